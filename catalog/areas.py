"""What eSIM Go's area codes mean: kind, names in Russian and English, and the words by which people look for them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from babel import Locale

from catalog.models import Area

# eSIM Go's codes of regions (rate sheet of November 2025), and of places that are no country in CLDR: English, Russian.
REGIONS = {
    "RAF": ("Africa", "Африка"),
    "RAS": ("Asia", "Азия"),
    "RBH": ("Europe, USA & business hubs", "Европа, США и деловые центры"),
    "RBK": ("Balkans", "Балканы"),
    "RCA": ("Caribbean", "Карибы"),
    "RCE": ("Central America", "Центральная Америка"),
    "RCI": ("CIS", "СНГ"),
    "REUL": ("Europe Lite", "Европа Лайт"),
    "REUP": ("Europe Plus", "Европа Плюс"),
    "REUS": ("Europe & USA", "Европа и США"),
    "RGB": ("Worldwide", "Весь мир"),
    "RGBL": ("Worldwide Light", "Весь мир Лайт"),
    "RGBM": ("Worldwide Max", "Весь мир Макс"),
    "RGBS": ("Worldwide Standard", "Весь мир Стандарт"),
    "RLA": ("Americas", "Америка"),
    "RME": ("Middle East & Africa", "Ближний Восток и Африка"),
    "RMENA": ("Middle East & North Africa", "Ближний Восток и Северная Африка"),
    "RNA": ("North America", "Северная Америка"),
    "ROC": ("Oceania", "Океания"),
}
PLACES = {
    "AN": ("Netherlands Antilles", "Нидерландские Антилы"),
    "CYP": ("Northern Cyprus", "Северный Кипр"),
    "US-HI": ("Hawaii", "Гавайи"),
}
# Where CLDR's name is longer or stiffer than what people say.
EVERYDAY_NAMES = {
    "CD": ("DR Congo", "ДР Конго"),
    "CF": ("Central African Republic", "ЦАР"),
    "CG": ("Congo", "Конго"),
    "DO": ("Dominican Republic", "Доминикана"),
    "HK": ("Hong Kong", "Гонконг"),
    "IM": ("Isle of Man", "Остров Мэн"),
    "KR": ("South Korea", "Южная Корея"),
    "MO": ("Macao", "Макао"),
    "PS": ("Palestine", "Палестина"),
    "US": ("United States", "США"),
    "VG": ("British Virgin Islands", "Британские Виргинские о-ва"),
    "VI": ("US Virgin Islands", "Виргинские о-ва США"),
    "ZA": ("South Africa", "ЮАР"),
}
# Other spellings, cities and islands that people name instead of the country, lower case.
OTHER_WORDS = {
    "AE": "uae emirates dubai abu dhabi эмираты дубай абу-даби объединенные арабские эмираты",
    "AM": "yerevan ереван",
    "AR": "buenos aires буэнос-айрес",
    "AT": "vienna вена",
    "AZ": "baku баку",
    "BA": "bosnia босния",
    "BY": "minsk минск белоруссия",
    "CD": "kinshasa киншаса democratic republic of the congo",
    "CF": "центрально-африканская республика car",
    "CG": "brazzaville браззавиль",
    "CH": "swiss zurich geneva цюрих женева",
    "CI": "ivory coast берег слоновой кости",
    "CN": "prc beijing shanghai кнр пекин шанхай",
    "CV": "cabo verde острова зеленого мыса",
    "CW": "curacao",
    "CY": "larnaca limassol ларнака лимассол",
    "CYP": "north cyprus trnc kyrenia кирения",
    "CZ": "czech republic чешская республика prague прага",
    "DE": "berlin munich берлин мюнхен фрг",
    "DO": "punta cana пунта-кана доминиканская республика",
    "EG": "cairo hurghada sharm el sheikh каир хургада шарм-эль-шейх",
    "ES": "barcelona madrid mallorca ibiza барселона мадрид майорка ибица",
    "FR": "paris nice париж ницца",
    "GB": "uk britain england scotland wales london англия британия шотландия уэльс лондон соединенное королевство",
    "GE": "tbilisi batumi тбилиси батуми",
    "GR": "athens crete rhodes афины крит родос",
    "HK": "сянган hongkong",
    "HU": "budapest будапешт",
    "IC": "tenerife gran canaria тенерифе канары",
    "ID": "bali jakarta бали джакарта",
    "IE": "dublin дублин",
    "IL": "tel aviv jerusalem тель-авив иерусалим",
    "IN": "goa delhi mumbai гоа дели мумбаи",
    "IT": "rome milan venice sicily рим милан венеция сицилия",
    "JP": "tokyo osaka токио осака",
    "KG": "kirghizia bishkek кыргызстан бишкек",
    "KR": "korea republic of korea seoul корея республика корея сеул",
    "KZ": "almaty astana алматы астана",
    "LK": "ceylon цейлон",
    "MD": "moldavia молдавия",
    "ME": "crna gora budva будва",
    "MK": "macedonia македония",
    "MO": "macau",
    "MY": "kuala lumpur куала-лумпур",
    "NL": "holland amsterdam голландия амстердам",
    "PL": "warsaw варшава",
    "PT": "lisbon madeira лиссабон мадейра",
    "RAS": "юго-восточная азия southeast asia",
    "RBH": "business hubs",
    "RBK": "south east europe юго-восточная европа",
    "RCA": "карибские острова карибский бассейн",
    "RCE": "cenam",
    "RCI": "commonwealth снг",
    "REUL": "eu ес",
    "REUP": "eu ес",
    "REUS": "eu ес usa",
    "RGB": "global world глобальный мир",
    "RGBL": "global world глобальный мир",
    "RGBM": "global world глобальный мир",
    "RGBS": "global world глобальный мир",
    "RLA": "latin america south america латинская америка южная америка latam",
    "RME": "mea",
    "RMENA": "mena",
    "ROC": "australia new zealand австралия новая зеландия",
    "RS": "belgrade белград",
    "RU": "russian federation moscow москва рф",
    "SA": "ksa riyadh mecca эр-рияд мекка",
    "SC": "сейшелы",
    "SZ": "swaziland свазиленд",
    "TH": "thai phuket bangkok тайланд пхукет бангкок",
    "TR": "turkey turkiye istanbul antalya стамбул анталья анталия",
    "TZ": "zanzibar занзибар",
    "UA": "kyiv kiev киев",
    "US": "usa america new york соединенные штаты америка нью-йорк united states of america",
    "UZ": "tashkent samarkand ташкент самарканд",
    "VA": "holy see",
    "VN": "viet nam nha trang нячанг",
    "ZA": "южная африка южно-африканская республика rsa cape town кейптаун",
}


@dataclass(frozen=True)
class AreaNames:
    en: str
    ru: str


def area_kind(*, code: str, region: str) -> Area.Kind:
    """Kind of an area by eSIM Go's code and region; a code that neither we nor CLDR know is a region."""
    if code.startswith("RGB") or (code not in REGIONS and region == "Global"):
        return Area.Kind.GLOBAL
    if code in PLACES or code in _territories("en"):
        return Area.Kind.COUNTRY
    return Area.Kind.REGION


def area_names(*, code: str, fallback: str) -> AreaNames | None:
    """Names in both languages; `fallback` (the wholesaler's name) where we know none, None where that is empty too."""
    for table in (REGIONS, PLACES, EVERYDAY_NAMES):
        if code in table:
            return AreaNames(*table[code])
    english, russian = _territories("en").get(code), _territories("ru").get(code)
    if english and russian:
        return AreaNames(en=english, ru=russian)
    return AreaNames(en=fallback[:100], ru=fallback[:100]) if fallback else None


def search_words(*, code: str, names: AreaNames, wholesaler_names: Iterable[str]) -> str:
    """Everything by which the area is found: words in lower case, each once, one space between and before them."""
    texts = [
        names.en,
        names.ru,
        names.ru.replace("о-ва", "острова"),
        _territories("en").get(code, ""),
        _territories("ru").get(code, ""),
        *sorted(wholesaler_names),
        code,
        OTHER_WORDS.get(code, ""),
    ]
    words = [word for text in texts for word in searchable(text).split()]
    plain = [_without_accents(word) for word in words]
    return "".join(f" {word}" for word in dict.fromkeys([*words, *plain]))


def searchable(text: str) -> str:
    """Lower case, with ё as е and punctuation between words as spaces: for what is stored and what is asked alike."""
    letters = (char if char.isalnum() or unicodedata.combining(char) else " " for char in text.casefold())
    return " ".join("".join(letters).replace("ё", "е").split())


def _without_accents(word: str) -> str:
    # й is и with an accent to Unicode, but another letter to people.
    return "".join(
        char if char == "й" else "".join(c for c in unicodedata.normalize("NFD", char) if not unicodedata.combining(c))
        for char in unicodedata.normalize("NFC", word)
    )


@cache
def _territories(language: str) -> dict[str, str]:
    """CLDR's names of countries by ISO code; its numeric codes are continents."""
    territories = Locale(language).territories
    return {code: name for code, name in territories.items() if code.isalpha() and code not in {"EU", "EZ", "UN", "ZZ"}}
