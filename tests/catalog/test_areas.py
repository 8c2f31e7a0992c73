"""Names, kinds and search words of areas."""

from __future__ import annotations

import pytest

from catalog.areas import AreaNames, area_kind, area_names, search_words, searchable
from catalog.models import Area


@pytest.mark.parametrize(
    ("code", "region", "kind"),
    [
        ("FR", "Europe", Area.Kind.COUNTRY),
        ("XK", "Europe", Area.Kind.COUNTRY),
        ("US-HI", "North America", Area.Kind.COUNTRY),
        ("CYP", "Europe", Area.Kind.COUNTRY),
        ("REUP", "Europe", Area.Kind.REGION),
        ("RLA", "Global", Area.Kind.REGION),
        ("RGBL", "Global", Area.Kind.GLOBAL),
        ("RGBX", "", Area.Kind.GLOBAL),
        ("RXX", "Asia", Area.Kind.REGION),
    ],
)
def test_the_kind_follows_from_code_and_region(code: str, region: str, kind: Area.Kind) -> None:
    assert area_kind(code=code, region=region) == kind


@pytest.mark.parametrize(
    ("code", "en", "ru"),
    [
        ("TR", "Türkiye", "Турция"),
        ("AE", "United Arab Emirates", "ОАЭ"),
        ("REUP", "Europe Plus", "Европа Плюс"),
        ("US-HI", "Hawaii", "Гавайи"),
        ("HK", "Hong Kong", "Гонконг"),
    ],
)
def test_areas_have_names_in_both_languages(code: str, en: str, ru: str) -> None:
    assert area_names(code=code, fallback="what the wholesaler says") == AreaNames(en=en, ru=ru)


def test_an_unknown_area_is_called_as_the_wholesaler_calls_it() -> None:
    assert area_names(code="RXX", fallback="Silk Road") == AreaNames(en="Silk Road", ru="Silk Road")
    assert area_names(code="PO", fallback="") is None


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("Turkey", "TR"),
        ("Türkiye", "TR"),
        ("turkiye", "TR"),
        ("турц", "TR"),
        ("UAE", "AE"),
        ("Эмираты", "AE"),
        ("Дубай", "AE"),
        ("usa", "US"),
        ("США", "US"),
        ("Соединённые Штаты", "US"),
        ("England", "GB"),
        ("Англия", "GB"),
        ("Bali", "ID"),
        ("Бали", "ID"),
        ("корея", "KR"),
        ("Czech Republic", "CZ"),
        ("Чехия", "CZ"),
        ("тайланд", "TH"),
        ("Кот-д’Ивуар", "CI"),
        ("cote d'ivoire", "CI"),
        ("Йемен", "YE"),
        ("Канарские острова", "IC"),
        ("весь мир", "RGB"),
        ("us-hi", "US-HI"),
    ],
)
def test_people_find_an_area_by_the_words_they_use(asked: str, code: str) -> None:
    names = area_names(code=code, fallback="")
    assert names is not None
    found_in = search_words(code=code, names=names, wholesaler_names=[])
    assert all(f" {word}" in found_in for word in searchable(asked).split())


def test_search_words_are_in_lower_case_without_yo_and_each_once() -> None:
    names = AreaNames(en="Turks & Caicos", ru="Тёркс и Кайкос")
    words = search_words(code="TC", names=names, wholesaler_names=["Turks And Caicos Islands"]).split()
    assert "теркс" in words
    assert "кайкос" in words
    assert words.count("turks") == 1
    assert words == [word.lower() for word in words]
