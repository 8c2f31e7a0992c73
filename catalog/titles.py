"""How a plan is called: in the catalogue, on Telegram's invoice (which has limits), and its fair-use rule."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import get_language, gettext, ngettext, override

from catalog.models import Area, Plan
from esimshop.languages import Language, language_of

# Bot API, createInvoiceLink: title 1-32 characters, description 1-255.
INVOICE_TITLE_MAX = 32
INVOICE_DESCRIPTION_MAX = 255

# Names for a title with no room, where the beginning of the full one would be somebody else's: English, Russian.
SHORT_NAMES = {
    "AE": ("UAE", "ОАЭ"),
    "GB": ("UK", "Британия"),
    "US": ("USA", "США"),
    "GF": ("Fr. Guiana", "Фр. Гвиана"),
    "PF": ("Fr. Polynesia", "Фр. Полинезия"),
    "RBH": ("Europe + hubs", "Европа + центры"),
    "RGBL": ("World Light", "Мир Лайт"),
    "RGBM": ("World Max", "Мир Макс"),
    "RGBS": ("World Std", "Мир Станд."),
    "RME": ("Mideast+Afr", "БВ и Африка"),
    "RMENA": ("MENA", "БВ, С.Африка"),
    "VG": ("British VI", "Вирг. Брит."),
    "VI": ("US VI", "Вирг. США"),
}


def plan_title(plan: Plan, language: Language | None = None) -> str:
    """What the plan is, as in "Türkiye, 10 GB, 30 days"; in the language of the moment unless one is given."""
    language = language or spoken_language()
    return f"{area_name(plan.area, language)}, {_amount_of(plan, language)}"


def invoice_title(plan: Plan, language: Language | None = None) -> str:
    """`plan_title` in at most 32 characters: the area gives way, never the amount."""
    language = language or spoken_language()
    amount = _amount_of(plan, language)
    return f"{_fit_name(plan.area, INVOICE_TITLE_MAX - len(amount) - 2, language)}, {amount}"


def invoice_description(plan: Plan, language: Language | None = None) -> str:
    """What one buys, in whole sentences of at most 255 characters together."""
    language = language or spoken_language()
    with override(language):
        sentences = [gettext("Travel eSIM: %(title)s.") % {"title": plan_title(plan, language)}]
        if len(plan.countries) > 1:
            sentences.append(
                ngettext("Works in %(count)d country.", "Works in %(count)d countries.", len(plan.countries))
                % {"count": len(plan.countries)}
            )
        if rule := fair_use_sentence(plan.fair_use, language):
            sentences.append(rule)
        sentences.append(gettext("The QR code comes to this chat."))
    while len(" ".join(sentences)) > INVOICE_DESCRIPTION_MAX:
        sentences.pop()
    return " ".join(sentences)


def describe_plan(plan: Plan, *, language: Language) -> dict[str, Any]:
    """The plan as the API tells it; `plan.area` should be loaded.

    Shape: {"bundle", "title", "area": {"code", "name", "kind"}, "data_mb": int or None, "days", "unlimited",
    "fair_use": sentence or None, "speed": [str], "countries": [ISO code], "price_stars"}.
    """
    area = plan.area
    return {
        "bundle": plan.bundle_name,
        "title": plan_title(plan, language),
        "area": {"code": area.code, "name": area_name(area, language), "kind": area.kind},
        "data_mb": plan.data_mb,
        "days": plan.validity_days,
        "unlimited": plan.is_unlimited,
        "fair_use": fair_use_sentence(plan.fair_use, language),
        "speed": plan.speeds,
        "countries": plan.countries,
        "price_stars": plan.price_stars,
    }


def area_name(area: Area, language: Language) -> str:
    """The area's name in a given language."""
    return area.name_ru if language == "ru" else area.name_en


def spoken_language() -> Language:
    """The shop's language of the moment."""
    return language_of(get_language())


@lru_cache
def fair_use_sentence(fair_use: str, language: Language) -> str | None:
    """The daily rule of an unlimited plan, None for a plan with a fixed amount."""
    with override(language):
        match fair_use:
            case Plan.FairUse.LITE:
                return gettext("Full speed for the first 1 GB of each day, then 512 kbit/s.")
            case Plan.FairUse.ESSENTIAL:
                return gettext("Full speed for the first 1 GB of each day, then 1.25 Mbit/s.")
            case Plan.FairUse.PLUS:
                return gettext("Full speed for the first 2 GB of each day, then 2 Mbit/s.")
            case Plan.FairUse.UNKNOWN:
                return gettext("The operator may slow the connection down after a daily amount.")
        return None


@lru_cache(maxsize=1024)
def amount_text(*, data_mb: int | None, days: int, language: Language) -> str:
    """Data and days, as in "10 GB, 30 days" or "unlimited, 7 days" (`data_mb` None)."""
    with override(language):
        data = gettext("unlimited") if data_mb is None else data_text(data_mb, language=language)
        return f"{data}, " + ngettext("%(count)d day", "%(count)d days", days) % {"count": days}


def data_text(data_mb: int, *, language: Language) -> str:
    """An amount of data, as in "800 MB" or "1.5 GB"."""
    with override(language):
        if data_mb < 1000:
            return gettext("%(amount)s MB") % {"amount": data_mb}
        gigabytes = Decimal(f"{(Decimal(data_mb) / 1000).normalize():f}")
        return gettext("%(amount)s GB") % {"amount": number_format(gigabytes)}


def _amount_of(plan: Plan, language: Language) -> str:
    return amount_text(data_mb=None if plan.is_unlimited else plan.data_mb, days=plan.validity_days, language=language)


def _fit_name(area: Area, room: int, language: Language) -> str:
    name = area_name(area, language)
    if len(name) > room and area.code in SHORT_NAMES:
        name = SHORT_NAMES[area.code][language == "ru"]
    if len(name) <= room:
        return name
    return name[: room - 1].rstrip(" ,&-—(") + "…"
