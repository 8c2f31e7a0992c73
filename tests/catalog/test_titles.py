"""What plans are called, and Telegram's limits on it."""

from __future__ import annotations

from itertools import product

import pytest
from django.utils.translation import override

from catalog.areas import PLACES, REGIONS, _territories, area_names
from catalog.models import Area, Plan
from catalog.titles import (
    amount_text,
    describe_plan,
    fair_use_sentence,
    invoice_description,
    invoice_title,
    plan_title,
)
from esimshop.languages import LANGUAGES, Language

CODES = sorted({*REGIONS, *PLACES, *_territories("en")})
AMOUNTS = [(1000, 7), (100_000, 180), (2500, 30), (500, 1), (None, 1), (None, 15), (None, 180)]
# More than any rate sheet has.
NO_ROOM = (None, 180)


def a_plan(code: str = "TR", data_mb: int | None = 10_000, days: int = 30, **values: object) -> Plan:
    names = area_names(code=code, fallback=code)
    assert names is not None
    area = Area(code=code, kind=Area.Kind.COUNTRY, name_en=names.en, name_ru=names.ru)
    return Plan(
        bundle_name=f"esim_{code}",
        area=area,
        data_mb=data_mb,
        is_unlimited=data_mb is None,
        validity_days=days,
        **values,
    )


@pytest.mark.parametrize(
    ("data_mb", "days", "en", "ru"),
    [
        (10_000, 30, "Türkiye, 10 GB, 30 days", "Турция, 10 ГБ, 30 дней"),
        (1000, 1, "Türkiye, 1 GB, 1 day", "Турция, 1 ГБ, 1 день"),
        (1500, 3, "Türkiye, 1.5 GB, 3 days", "Турция, 1,5 ГБ, 3 дня"),
        (500, 21, "Türkiye, 500 MB, 21 days", "Турция, 500 МБ, 21 день"),
        (100_000, 11, "Türkiye, 100 GB, 11 days", "Турция, 100 ГБ, 11 дней"),
        (None, 7, "Türkiye, unlimited, 7 days", "Турция, безлимит, 7 дней"),
    ],
)
def test_a_title_says_area_data_and_days(data_mb: int | None, days: int, en: str, ru: str) -> None:
    plan = a_plan(data_mb=data_mb, days=days)
    assert plan_title(plan, "en") == en
    assert plan_title(plan, "ru") == ru


def test_without_a_language_the_one_of_the_moment_is_spoken() -> None:
    with override("ru"):
        assert plan_title(a_plan()) == "Турция, 10 ГБ, 30 дней"
    with override("en"):
        assert plan_title(a_plan()) == "Türkiye, 10 GB, 30 days"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_invoice_fits_telegrams_limits_and_keeps_the_amount_for_every_area(language: Language) -> None:
    for code, (data_mb, days), fair_use in product(CODES, AMOUNTS, Plan.FairUse):
        plan = a_plan(code, data_mb, days, fair_use=fair_use, countries=["XX"] * 150)
        title = invoice_title(plan, language)
        assert 1 <= len(title) <= 32
        assert title.endswith(f", {amount_text(data_mb=data_mb, days=days, language=language)}")
        assert 1 <= len(invoice_description(plan, language)) <= 255


@pytest.mark.parametrize("language", LANGUAGES)
def test_areas_that_a_wholesaler_sells_keep_apart_however_short_their_names_become(language: Language) -> None:
    # The likely confusions; islands that nobody sells may share a beginning.
    alike = "AE GB US ZA KR KP SA SV DO DM GF PF MK NZ VG VI CG CD GN GW AG"
    sold = [*alike.split(), *REGIONS, *PLACES]
    titles = [invoice_title(a_plan(code, *NO_ROOM), language) for code in sold]
    assert len(set(titles)) == len(sold), titles


def test_a_name_that_nobody_foresaw_is_cut_and_marked() -> None:
    plan = a_plan()
    plan.area.name_en = "A region with an unreasonably long name of its own" * 2
    title = invoice_title(plan, "en")
    assert title == "A region with a…, 10 GB, 30 days"
    assert len(invoice_description(plan, "en")) <= 255


def test_a_description_says_where_it_works_and_what_slows_it_down() -> None:
    plan = a_plan("REUP", None, 7, countries=["FR", "DE"], fair_use=Plan.FairUse.LITE)
    assert invoice_description(plan, "ru") == (
        "eSIM для поездки: Европа Плюс, безлимит, 7 дней. Работает в 2 странах. "
        "Первый 1 ГБ каждого дня — на полной скорости, затем 512 кбит/с. QR-код придёт в этот чат."
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_fair_use_rule_has_a_sentence_of_its_own(language: Language) -> None:
    sentences = [fair_use_sentence(rule, language) for rule in Plan.FairUse if rule]
    assert len(set(sentences)) == 4
    assert all(sentence and sentence.endswith(".") for sentence in sentences)
    assert fair_use_sentence("", language) is None


def test_the_sentences_differ_by_language() -> None:
    for rule in Plan.FairUse:
        if rule:
            assert fair_use_sentence(rule, "ru") != fair_use_sentence(rule, "en")


def test_a_plan_is_described_in_the_shape_of_the_api() -> None:
    plan = a_plan("TR", None, 7, fair_use=Plan.FairUse.PLUS, speeds=["5G"], countries=["TR"], price_stars=390)
    assert describe_plan(plan, language="ru") == {
        "bundle": "esim_TR",
        "title": "Турция, безлимит, 7 дней",
        "area": {"code": "TR", "name": "Турция", "kind": "country"},
        "data_mb": None,
        "days": 7,
        "unlimited": True,
        "fair_use": "Первые 2 ГБ каждого дня — на полной скорости, затем 2 Мбит/с.",
        "speed": ["5G"],
        "countries": ["TR"],
        "price_stars": 390,
    }
