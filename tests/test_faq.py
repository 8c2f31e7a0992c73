"""GET /api/faq, /api/terms and /api/privacy: one source, both languages alike, asked again by ETag."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.utils.translation import override

from esimshop.faq import read_faq
from payments.legal import privacy, terms
from payments.models import ServicePolicy
from payments.services.policies import set_service_policy
from tests.outside import is_russian

if TYPE_CHECKING:
    from django.test import Client

PATHS = ["/api/faq", "/api/terms", "/api/privacy"]
ALLOWED = {"p", "ul", "ol", "li", "strong", "em", "code", "a"}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append(tag)


def tags_of(answer_html: str) -> list[str]:
    parser = Tags()
    parser.feed(answer_html)
    return parser.found


def questions(language: Any) -> list[dict[str, str]]:
    return [question for section in read_faq(language)["sections"] for question in section["questions"]]


def test_both_languages_answer_the_same_questions_in_the_same_order() -> None:
    russian, english = read_faq("ru")["sections"], read_faq("en")["sections"]
    assert [len(section["questions"]) for section in russian] == [len(section["questions"]) for section in english]
    for one, other in zip(questions("ru"), questions("en"), strict=True):
        assert is_russian(one["question"])
        assert not is_russian(other["question"])
        # The same form and the same commands, codes and system names.
        assert tags_of(one["answer_html"]).count("li") == tags_of(other["answer_html"]).count("li")
        codes = [re.findall("<code>(.*?)</code>", answer["answer_html"]) for answer in (one, other)]
        assert sorted(codes[0]) == sorted(codes[1]), one["question"]


@pytest.mark.parametrize("language", ["ru", "en"])
def test_answers_are_plain_markup(language: Any) -> None:
    for question in questions(language):
        assert set(tags_of(question["answer_html"])) <= ALLOWED
        assert question["answer_html"].startswith("<p>")
        assert not re.search("[#*`]", question["question"])


@pytest.mark.django_db
@pytest.mark.parametrize("path", PATHS)
def test_they_speak_the_readers_language_and_are_not_sent_twice(client: Client, path: str) -> None:
    english = client.get(path, headers={"Accept-Language": "de"})
    russian = client.get(path, headers={"Accept-Language": "ru"})
    assert (english["Content-Language"], russian["Content-Language"]) == ("en", "ru")
    assert "Accept-Language" in russian["Vary"]
    assert english["Cache-Control"].startswith("public")
    assert is_russian(russian.json()["sections"][0]["title"])
    assert english["ETag"] != russian["ETag"]
    again = client.get(path, headers={"Accept-Language": "ru", "If-None-Match": russian["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", russian["ETag"])
    assert client.get(path, headers={"If-None-Match": russian["ETag"]}).status_code == 200


def text_of(client: Client, path: str) -> str:
    """Its words, without what keeps short ones together."""
    return client.get(path).text.replace("\u00a0", " ")


@pytest.mark.django_db
def test_the_terms_promise_what_the_policy_says(client: Client) -> None:
    assert "Within 15 minutes of payment" in text_of(client, "/api/terms")
    policy = ServicePolicy.in_force()
    values = {"promise_minutes": 1, "instant_refund_days": 30}
    assert (policy.promise_minutes, policy.instant_refund_days) == (15, 14)
    set_service_policy(by=User.objects.create_user("lead"), reason="a test", **values)
    text = text_of(client, "/api/terms")
    assert "Within 1 minute of payment" in text
    assert "within 30 days of payment" in text


@pytest.mark.django_db
@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_bots_messages_have_room_for_them(language: str) -> None:
    with override(language):
        for legal in (terms(), privacy()):
            assert sum(len(title) + len(text) + 10 for title, text in legal.sections) < 3000
