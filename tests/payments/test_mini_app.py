"""GET /: the Mini App's page, as it is before any script has run."""

from __future__ import annotations

import gzip
import json
import re
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog.models import Plan
from payments.services.policies import set_service_policy
from tests.factories import PlanFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def russian() -> Client:
    return Client(headers={"accept-language": "ru"})


def page_of(client: Client) -> str:
    answer = client.get("/")
    assert answer.status_code == 200
    return answer.content.decode()


def start_of(client: Client) -> str:
    """The start view without its markup, and with plain spaces."""
    page = page_of(client)
    view = page[page.index('<div id="view-find"') : page.index("</main>")]
    return " ".join(re.sub(r"<[^>]+>", " ", view).replace("&nbsp;", " ").replace("\u00a0", " ").split())


def areas_in(page: str) -> list[str]:
    return re.findall(r'data-area="([^"]+)"', page)


def test_the_start_page_offers_places_in_the_language_that_is_asked_for(client: Client, russian: Client) -> None:
    PlanFactory(area__code="TR", wholesale_usd=Decimal("13.20"))
    PlanFactory(area__code="TR", wholesale_usd=Decimal("1.32"))
    PlanFactory(area__code="IT", wholesale_usd=Decimal("1.17"), is_on_sale=False)
    PlanFactory(area__code="REUP", area__countries=["FR", "DE", "TR"], wholesale_usd=Decimal("25.90"))
    PlanFactory(area__code="RGB", area__countries=["FR"], wholesale_usd=Decimal("1234.00"))

    in_russian, in_english = start_of(russian), start_of(client)
    assert "Интернет в 1 стране" in in_russian
    assert "Турция от 132" in in_russian
    assert "Европа Плюс 3 страны от 2 590" in in_russian
    assert "Весь мир 1 страна" in in_russian
    assert "Италия" not in in_russian
    assert "Mobile data in 1 country" in in_english
    assert "Türkiye from 132" in in_english
    assert "Worldwide 1 country from 123,400" in in_english
    assert areas_in(page_of(client)) == ["TR", "REUP", "RGB"]
    assert '<html lang="ru"' in page_of(russian)
    assert "🇹🇷" in page_of(client)


def test_the_popular_ones_come_first_and_those_with_most_plans_fill_up(client: Client) -> None:
    for code in ("AT", "BE", "DE", "DE", "CH", "CZ", "JP", "TR"):
        PlanFactory(area__code=code)
    page = page_of(client)
    assert areas_in(page) == ["TR", "JP", "DE", "AT", "BE", "CZ"]
    assert "All countries" in page


def test_an_empty_catalogue_says_so_and_still_leads_to_what_was_bought(client: Client) -> None:
    page = page_of(client)
    assert "No plans on sale yet" in start_of(client)
    assert "?view=orders" in page
    assert 'data-slot="query"' not in page


def test_the_words_of_all_views_are_in_the_page(russian: Client) -> None:
    found = re.search(r'<script id="texts" type="application/json">(.+?)</script>', page_of(russian), re.DOTALL)
    assert found
    texts: dict[str, Any] = json.loads(found[1])
    assert texts["find.title"] == "Куда летите?"
    assert texts["days"]["few"] == "{n}\u00a0дня"
    assert "QR-" not in found[1]


def test_what_has_not_changed_is_not_sent_again(client: Client, russian: Client) -> None:
    plan = PlanFactory(area__code="TR")
    first = client.get("/")
    again = {"if-none-match": first["ETag"]}
    assert (client.get("/", headers=again).status_code, first["Cache-Control"]) == (304, "no-cache")
    assert russian.get("/", headers=again).status_code == 200

    Plan.objects.filter(pk=plan.pk).update(price_stars=999)
    changed = client.get("/", headers=again)
    assert (changed.status_code, changed["ETag"] != first["ETag"]) == (200, True)
    set_service_policy(by=None, reason="test", promise_minutes=20)
    assert 'data-promise-minutes="20"' in page_of(client)


def test_the_page_is_compressed_and_varies_by_language(client: Client) -> None:
    answer = client.get("/", headers={"accept-encoding": "gzip"})
    assert answer["Content-Encoding"] == "gzip"
    assert {"Accept-Language", "Accept-Encoding"} <= set(answer["Vary"].split(", "))
    assert b"<!doctype html>" in gzip.decompress(answer.content)
    again = client.get("/", headers={"accept-encoding": "gzip", "if-none-match": answer["ETag"]})
    assert again.status_code == 304


def test_the_number_of_queries_does_not_depend_on_the_catalogue(client: Client) -> None:
    counts = []
    for codes in (["TR"], ["FR", "IT", "ES", "REUP", "RGB"]):
        for code in codes:
            PlanFactory(area__code=code)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get("/")
        counts.append(len(queries))
    assert counts == [5, 5]
