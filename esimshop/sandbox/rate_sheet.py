"""The bundles that the sandbox sells: a made-up catalogue, or a real rate sheet read from CSV."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from esimshop.sandbox.exchange import Json

GROUPS: Json = {
    "Standard Fixed": "A fixed amount of data.",
    "Standard Unlimited Lite": "Unlimited; 1 GB a day at full speed, then 512 kbit/s.",
    "Standard Unlimited Essential": "Unlimited; 1 GB a day at full speed, then 1.25 Mbit/s.",
    "Standard Unlimited Plus": "Unlimited; 2 GB a day at full speed, then 2 Mbit/s.",
    "Standard Long Duration": "A fixed amount of data for up to half a year.",
}

_REGIONS = {
    "Africa": (
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW IO KE KM LR LS LY MA MG "
        "ML MR MU MW MZ NA NE NG RE RW SC SD SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW"
    ),
    "Asia": (
        "AF AM AZ BD BN BT CN GE HK ID IN JP KG KH KP KR KZ LA LK MM MN MO MV MY NP PH PK SG TH TJ TL TM TW UZ VN"
    ),
    "Middle East": "AE BH IL IQ IR JO KW LB OM PS QA SA SY TR YE",
    "North America": "CA US US-HI PR GU VI BM GL",
    "Oceania": "AU FJ FM KI MH NC NR NU NZ PF PG PW SB TO TV VU WS",
    "LATAM": (
        "AG AI AN AR AW BB BL BO BQ BR BS BZ CL CO CR CU CW DM DO EC FK GD GF GP GT GY HN HT JM KN "
        "KY LC MF MQ MS MX NI PA PE PY SR SV SX TC TT UY VC VE VG"
    ),
    "Antarctica": "AQ",
    "Global": "RGB RGBL RGBS RGBM",
}
_REGION_OF = {code: region for region, codes in _REGIONS.items() for code in codes.split()}
_REGION_OF_AREA = {
    "RAF": "Africa",
    "RAS": "Asia",
    "RNA": "North America",
    "ROC": "Oceania",
    "RLA": "LATAM",
    "RCA": "LATAM",
    "RCE": "LATAM",
    "RME": "Middle East",
    "RMENA": "Middle East",
    "RCI": "Asia",
}

# Made-up dollars per gigabyte.
_COUNTRIES = """
AE United Arab Emirates 2.40|AT Austria 1.10|AU Australia 1.30|BE Belgium 1.15
BR Brazil 2.10|CA Canada 1.90|CH Switzerland 1.45|CN China 1.60
CY Cyprus 1.25|CZ Czech Republic 1.10|DE Germany 1.20|DK Denmark 1.05
EG Egypt 2.20|ES Spain 1.10|FI Finland 1.05|FR France 1.15
GB United Kingdom 1.25|GE Georgia 1.55|GR Greece 1.15|HK Hong Kong 1.10
HR Croatia 1.20|ID Indonesia 1.35|IE Ireland 1.15|IL Israel 1.40
IN India 1.75|IT Italy 1.10|JP Japan 1.40|KR Korea, Republic of 1.35
KZ Kazakhstan 1.50|MA Morocco 2.05|ME Montenegro 1.60|MV Maldives 4.20
MX Mexico 1.95|MY Malaysia 1.20|NL Netherlands 1.10|NO Norway 1.15
NZ New Zealand 1.70|PL Poland 1.05|PT Portugal 1.10|RS Serbia 1.50
SE Sweden 1.05|SG Singapore 1.15|TH Thailand 1.25|TR Turkey 1.30
US United States 1.50|UZ Uzbekistan 1.80|VN Viet Nam 1.20|ZA South Africa 2.30
"""
_AREAS = {
    "REUP": ("EU+", "AT BE CH CY CZ DE DK ES FI FR GB GR HR IE IT NL NO PL PT SE TR", "1.55"),
    "RAS": ("Asia", "CN HK ID IN JP KR KZ MY SG TH UZ VN", "1.90"),
    "RNA": ("North America", "CA MX US", "1.95"),
    "RLA": ("Americas", "BR CA MX US", "2.60"),
    "RME": ("Middle East & Africa", "AE EG IL MA TR ZA", "3.10"),
    "RBK": ("Balkans", "GR HR ME RS TR", "1.75"),
    "ROC": ("Oceania", "AU NZ", "1.60"),
    "RGB": ("Global", "", "3.40"),
}
_FIXED = ((1, 7), (2, 15), (3, 30), (5, 30), (10, 30), (20, 30), (50, 30))
_LONG = ((20, 60, "38.3"), (50, 90, "79.5"), (50, 180, "88.375"))
_UNLIMITED = (
    ("UL", "Standard Unlimited Lite", "1.45"),
    ("ULE", "Standard Unlimited Essential", "1.75"),
    ("ULP", "Standard Unlimited Plus", "3.10"),
)
_UNLIMITED_DAYS = (1, 3, 7, 15, 30)


@dataclass(frozen=True)
class _Row:
    name: str
    group: str
    area_name: str
    area_code: str
    countries: tuple[str, ...]
    profile: str
    data_mb: int | None
    days: int
    price_usd: Decimal


class Catalogue:
    """Bundles in the shape of GET /catalogue, in the order of the sheet."""

    def __init__(self, rows: Iterable[_Row]) -> None:
        rows = list(rows)
        names = {row.area_code: row.area_name for row in rows}
        places: dict[str, Json] = {}
        roaming: dict[tuple[str, ...], list[Json]] = {}

        def place(code: str) -> Json:
            if code not in places:
                places[code] = {
                    "name": names.get(code, code),
                    "region": _REGION_OF.get(code) or _REGION_OF_AREA.get(code, "Europe"),
                    "iso": code,
                }
            return places[code]

        self.bundles: dict[str, Json] = {}
        for row in rows:
            if row.countries not in roaming:
                roaming[row.countries] = [place(code) for code in row.countries]
            self.bundles[row.name] = _bundle(row, place(row.area_code), roaming[row.countries])


def made_up() -> Catalogue:
    """Forty-eight countries and eight regions at invented prices, and long-duration bundles of one more."""
    return Catalogue(_made_up_rows())


def read_csv(file: Path) -> Catalogue:
    """A rate sheet with the columns bundle, group, area_name, area_code, countries (codes joined by ;),
    profile, data_mb (empty when unlimited), days, unlimited (0 or 1), price_usd.

    Raises: OSError, ValueError for a sheet without these columns or with a value of the wrong kind.
    """
    with file.open(newline="", encoding="utf-8") as lines:
        try:
            return Catalogue([_read_row(line) for line in csv.DictReader(lines)])
        except (KeyError, ArithmeticError) as error:
            raise ValueError(f"{file.name} is not a rate sheet: {error!r}") from None


def _read_row(line: dict[str, str]) -> _Row:
    return _Row(
        name=line["bundle"],
        group=line["group"].replace(" - ", " ").removesuffix(" Bundle"),
        area_name=line["area_name"],
        area_code=line["area_code"],
        countries=tuple(line["countries"].split(";")),
        profile=line["profile"],
        data_mb=None if line["unlimited"] == "1" else int(line["data_mb"]),
        days=int(line["days"]),
        price_usd=Decimal(line["price_usd"]),
    )


def _made_up_rows() -> Iterator[_Row]:
    countries = {}
    for entry in _COUNTRIES.replace("\n", "|").split("|"):
        if entry:
            code, rest = entry.split(" ", 1)
            name, price = rest.rsplit(" ", 1)
            countries[code] = name
            yield from _area_rows(code, name, (code,), Decimal(price))
    for code, (name, inside, price) in _AREAS.items():
        yield from _area_rows(code, name, tuple(inside.split()) or tuple(countries), Decimal(price))
    for size, days, price in _LONG:
        yield _Row(
            name=f"esim_{size}GB_{days}D_RGBS_V2",
            group="Standard Long Duration",
            area_name="Global - Standard",
            area_code="RGBS",
            countries=tuple(countries),
            profile="4",
            data_mb=size * 1000,
            days=days,
            price_usd=Decimal(price),
        )


def _area_rows(code: str, name: str, countries: tuple[str, ...], per_gb: Decimal) -> Iterator[_Row]:
    profile = "1" if len(countries) == 1 and zlib.crc32(code.encode()) % 4 else "4"

    def row(bundle: str, group: str, data_mb: int | None, days: int, price: Decimal) -> _Row:
        price = price.quantize(Decimal("0.01"), ROUND_HALF_UP)
        return _Row(bundle, group, name, code, countries, profile, data_mb, days, price)

    for size, days in _FIXED:
        # A gigabyte costs less in a bigger bundle.
        price = per_gb * size * (Decimal(1) - Decimal(size).ln() / 12)
        yield row(f"esim_{size}GB_{days}D_{code}_V2", "Standard Fixed", size * 1000, days, price)
    for tier, group, factor in _UNLIMITED:
        for days in _UNLIMITED_DAYS:
            price = per_gb * Decimal(factor) * days * (Decimal(1) - Decimal(days).ln() / 12)
            yield row(f"esim_{tier}_{days}D_{code}_V2", group, None, days, price)


def _bundle(row: _Row, area: Json, roaming: list[Json]) -> Json:
    amount = "Unlimited" if row.data_mb is None else f"{row.data_mb / 1000:g}GB"
    data_amount = -1 if row.data_mb is None else row.data_mb
    days = "1 Day" if row.days == 1 else f"{row.days} Days"
    description = f"eSIM, {amount}, {days}, {row.area_name}, V2"
    # eSIM Go leaves the speed of some bundles out; which ones, depends here on the name alone.
    speed = None if zlib.crc32(row.name.encode()) % 11 == 0 else ["2G", "3G", "4G", "5G"]
    return {
        "name": row.name,
        "description": description,
        "groups": [row.group],
        "countries": [area],
        "dataAmount": data_amount,
        "duration": row.days,
        "speed": speed,
        "autostart": True,
        "unlimited": row.data_mb is None,
        "roamingEnabled": roaming,
        "price": row.price_usd,
        "billingType": "FixedCost",
        "profileName": f"Profile {row.profile}",
        "allowances": [
            {
                "type": "DATA",
                "service": "STANDARD",
                "description": description,
                "amount": data_amount,
                "unit": "MB",
                "unlimited": row.data_mb is None,
            }
        ],
    }
