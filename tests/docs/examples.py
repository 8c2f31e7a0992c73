"""Examples of HTTP in a document: a fence with a request, and one with the answer that it gets."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.docs.documents import Document

#: An answer that the worker brings about is asked for again so long.
PATIENCE_SECONDS = 30
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_REST = "…"


@dataclass(frozen=True)
class Message:
    """A request or an answer as it is written: its first line, its headers and its body."""

    start: str
    headers: dict[str, str]
    body: str

    @classmethod
    def read(cls, text: str) -> Message:
        head, _, body = text.strip("\n").partition("\n\n")
        start, *lines = head.splitlines()
        return cls(
            start, {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}, body.strip()
        )


@dataclass(frozen=True)
class Example:
    """line: of the request in the document."""

    request: Message
    answer: Message
    line: int

    def __str__(self) -> str:
        return f"line {self.line}: {self.request.start}"

    @property
    def method(self) -> str:
        return self.request.start.split()[0]

    @property
    def address(self) -> str:
        return self.request.start.split()[1]


def read_examples(document: Document) -> list[Example]:
    """Every `http` fence that is a request, with the answer in the fence behind it. Raises: ValueError without one."""
    fences = [fence for fence in document.fences if fence.info == "http"]
    requests_, answers = fences[::2], fences[1::2]
    for fence in requests_:
        if not re.match(r"(GET|POST|PATCH|DELETE) \S+\n", fence.text):
            raise ValueError(f"{document}:{fence.line} is no request, or the one before has no answer")
    for fence in answers:
        if not fence.text.startswith("HTTP/1.1 "):
            raise ValueError(f"{document}:{fence.line} is no answer")
    if len(requests_) != len(answers):
        raise ValueError(f"{document}:{requests_[-1].line} has no answer")
    return [
        Example(Message.read(one.text), Message.read(other.text), one.line)
        for one, other in zip(requests_, answers, strict=True)
    ]


@dataclass
class Reader:
    """Somebody who follows a document's examples from the first to the last.

    replace: what the document writes for what only a running shop knows, such as addresses.
    made_up: values that differ from shop to shop: the first answer that has one tells what is in its place.
    varies:  fields whose numbers and words differ from time to time.
    sign:    headers that are made from the body, by what the document writes for them.
    Spaces that keep words together are written as spaces.
    """

    shop_url: str
    replace: dict[str, str]
    made_up: set[str]
    varies: set[str] = field(default_factory=set)
    sign: Callable[[str], dict[str, str]] = field(default=lambda text: {})

    def follow(self, example: Example) -> list[str]:
        """Send the request; what differs from the answer as written, in words."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (faults := self._try(example)) and example.method == "GET" and time.monotonic() < deadline:
            time.sleep(0.3)
        return faults

    def _try(self, example: Example) -> list[str]:
        """Only an answer that is as written tells what is in the place of a made-up value."""
        before, answer = dict(self.replace), self._ask(example)
        # Twice: what is in the place of one value may be a part of another.
        if not (self._differences(example, answer) and (faults := self._differences(example, answer))):
            return []
        self.replace = before
        return faults

    def _ask(self, example: Example) -> requests.Response:
        body = self._fill(example.request.body)
        headers = {name: self._fill(value) for name, value in example.request.headers.items()}
        signed = self.sign(body)
        headers = {name: signed.get(value, value) for name, value in headers.items()}
        address = self._fill(example.address)
        return requests.request(
            example.method,
            address if address.startswith("http") else f"{self.shop_url}{address}",
            data=body.encode() or None,
            headers={**({"Content-Type": "application/json"} if body else {}), **headers},
            timeout=30,
        )

    def _differences(self, example: Example, answer: requests.Response) -> list[str]:
        faults = [] if f" {answer.status_code} " in f"{example.answer.start} " else [f"status {answer.status_code}"]
        for name, value in example.answer.headers.items():
            faults += self._compare_text(value, answer.headers.get(name, "(no such header)"), name)
        written = self._fill(example.answer.body)
        if written.startswith(("{", "[")):
            try:
                faults += self.compare(json.loads(written), answer.json(), "")
            except requests.JSONDecodeError:
                faults.append(f"no JSON: {answer.text[:200]}")
        else:
            faults += self._compare_text(written, answer.text.strip(), "body")
        return faults

    def _fill(self, text: str) -> str:
        for written, real in self.replace.items():
            text = text.replace(written, real)
        return text

    def compare(self, written: Any, real: Any, place: str) -> list[str]:
        """Differences of two JSON values: all fields, the types, and the values where they are not made up."""
        if (
            place.rpartition(".")[2] in self.varies
            and type(written) is type(real)
            and not isinstance(real, dict | list)
        ):
            return []
        if isinstance(written, dict) and isinstance(real, dict):
            names = set(written) - {_REST}
            faults = [f"{place}.{name} is not there" for name in sorted(names - set(real))]
            if _REST not in written:
                faults += [f"{place}.{name} is not written" for name in sorted(set(real) - names)]
            both = sorted(names & set(real))
            return faults + [
                fault for name in both for fault in self.compare(written[name], real[name], f"{place}.{name}")
            ]
        if isinstance(written, list) and isinstance(real, list):
            is_cut = written[-1:] == [_REST]
            wanted = written[:-1] if is_cut else written
            if len(real) < len(wanted) or (len(real) > len(wanted) and not is_cut):
                return [f"{place} has {len(real)} items"]
            pairs = zip(wanted, real, strict=False)
            return [
                fault for at, (one, other) in enumerate(pairs) for fault in self.compare(one, other, f"{place}.{at}")
            ]
        if isinstance(written, str) and isinstance(real, str):
            return self._compare_text(written, real, place)
        return [] if type(written) is type(real) and written == real else [f"{place}: {real!r}, not {written!r}"]

    def _compare_text(self, written: str, real: str, place: str) -> list[str]:
        if written in self.made_up and written not in self.replace:
            self.replace[written] = real
            return []
        pattern = ".*".join(re.escape(part) for part in written.split(_REST))
        if re.fullmatch(pattern, real.replace("\u00a0", " "), re.DOTALL) or (
            _TIME.fullmatch(written) and _TIME.fullmatch(real)
        ):
            return []
        return [f"{place}: {real[:200]!r}, not {written!r}"]
