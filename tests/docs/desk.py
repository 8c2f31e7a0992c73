"""A member of staff at the back office, by its forms alone: no browser is needed to fill them in."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import requests
from django_otp.oath import totp


class Form(HTMLParser):
    """The fields of a form of a page, as a browser would send them untouched.

    action: the end of the form's address; without it the last form that is posted.
    """

    def __init__(self, page: str, *, action: str = "") -> None:
        super().__init__()
        self._action = action
        self.fields: dict[str, list[str]] = {}
        self._name = self._text = ""
        self._select: str | None = None
        self._is_post = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        at = dict(attrs)
        if tag == "form":
            is_meant = not self._action or str(at.get("action") or "").endswith(self._action)
            self._is_post = is_meant and str(at.get("method", "get")).lower() == "post"
            if self._is_post:
                self.fields = {}
        if not self._is_post:
            return
        name = at.get("name") or ""
        if tag == "input" and name and "disabled" not in at:
            kind = at.get("type", "text")
            if kind in {"checkbox", "radio"} and "checked" not in at:
                return
            if kind not in {"submit", "button", "file"}:
                self.fields.setdefault(name, []).append(at.get("value", "on" if kind == "checkbox" else "") or "")
        elif tag == "textarea":
            self._name, self._text = name, ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in at:
            self.fields.setdefault(self._select, []).append(at.get("value") or "")

    def handle_data(self, data: str) -> None:
        self._text += data if self._name else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._name:
            self.fields[self._name], self._name = [self._text.lstrip("\n")], ""
        elif tag == "select":
            self._select = None
        elif tag == "form":
            self._is_post = False


class Desk:
    """Logged in. Raises: AssertionError where a page does not open, or a form comes back with a fault."""

    def __init__(self, shop_url: str, name: str, password: str) -> None:
        self.name = name
        self._url = shop_url
        self._session = requests.Session()
        answer = self.submit("/admin/login/?next=/admin/", username=name, password=password)
        assert "/login/" not in answer.url, f"{name} may not log in"

    def set_up_second_factor(self) -> None:
        """As the page has it: the key goes into an authenticator app, whose code is typed in."""
        page = "/admin/second-factor/"
        self.submit(page, act="start")
        found = re.search(r'class="second-factor-secret">(\w+)<', self.open(page))
        assert found, f"{self.name}: no key is shown"
        self.submit(page, act="confirm", code=f"{totp(base64.b32decode(found[1])):06d}")

    def open(self, path: str) -> str:
        answer = self._session.get(f"{self._url}{path}", timeout=30)
        assert answer.ok, f"{self.name} {path}: {answer.status_code}"
        assert "/login/" in path or "/login/" not in answer.url, f"{self.name} is logged in no longer"
        return answer.text

    def find(self, words: str) -> str:
        """The page that the box on every page leads to."""
        answer = self._session.get(f"{self._url}/admin/find/", params={"q": words}, timeout=30)
        assert answer.ok, answer.status_code
        return answer.url

    def may_open(self, path: str) -> bool:
        return self._session.get(f"{self._url}{path}", timeout=30).ok

    def submit(self, path: str, *, on: str = "", **values: str | None) -> requests.Response:
        """Fill a form in and send it to its address. on: the page that has it, where that is another one.

        values: of its fields; None takes a tick away.
        """
        fields: dict[str, Any] = {**Form(self.open(on or path), action=path if on else "").fields}
        assert fields, f"{self.name}: no form for {path}"
        for name, value in values.items():
            fields[name] = [value]
            if value is None:
                del fields[name]
        answer = self._session.post(
            f"{self._url}{path}", data=fields, headers={"Referer": f"{self._url}{path}"}, timeout=60
        )
        assert answer.ok, f"{self.name} {path}: {answer.status_code}"
        assert "errorlist" not in answer.text, f"{self.name} {path}: {answer.text}"
        return answer

    def press(self, act: str, *ids: object, reason: str, **values: str) -> str:
        """Press an act's button for these rows, and say why. Returns the page with the results."""
        query = "&".join(f"id={each}" for each in ids)
        return self.submit(f"/admin/acts/{act}/?{query}", reason=reason, **values).text
