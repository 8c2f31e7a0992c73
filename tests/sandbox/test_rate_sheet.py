"""Where the sandbox's catalogue comes from."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from esimshop.sandbox.rate_sheet import made_up, read_csv

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "bundle,group,area_name,area_code,countries,profile,data_mb,days,unlimited,price_usd\n"


def test_the_made_up_catalogue_has_every_kind_of_bundle() -> None:
    bundles = made_up().bundles
    assert {"esim_1GB_7D_FR_V2", "esim_ULE_7D_FR_V2", "esim_10GB_30D_REUP_V2"} <= set(bundles)
    assert {group for bundle in bundles.values() for group in bundle["groups"]} == {
        "Standard Fixed",
        "Standard Unlimited Lite",
        "Standard Unlimited Essential",
        "Standard Unlimited Plus",
        "Standard Long Duration",
    }
    assert bundles["esim_50GB_180D_RGBS_V2"]["price"] == Decimal("88.375")
    assert all(bundle["price"] > 1 for bundle in bundles.values())


def test_bigger_bundles_cost_more_and_less_per_gigabyte() -> None:
    bundles = made_up().bundles
    prices = [bundles[f"esim_{size}_FR_V2"]["price"] for size in ("1GB_7D", "5GB_30D", "20GB_30D")]
    assert prices == sorted(prices)
    assert prices[0] > prices[1] / 5 > prices[2] / 20


def test_a_rate_sheet_is_read_as_the_wholesaler_would_answer(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        HEADER
        + "esim_1GB_7D_LT_V2,Standard - Fixed,Lithuania,LT,LT,1,1000,7,0,1.3\n"
        + "esim_UL_1D_RBAL_V2,Standard - Unlimited Lite,Baltics,RBAL,LT;EE,4,,1,1,90.275\n"
        + "esim_5GB_90D_RBAL_V2,Standard - Long Duration Bundle,Baltics,RBAL,LT;EE,4,5000,90,0,34.1\n"
    )
    fixed, unlimited, long = read_csv(sheet).bundles.values()
    assert fixed["groups"] == ["Standard Fixed"]
    assert long["groups"] == ["Standard Long Duration"]
    assert fixed["countries"] == [{"name": "Lithuania", "region": "Europe", "iso": "LT"}]
    assert unlimited["price"] == Decimal("90.275")
    assert (unlimited["dataAmount"], unlimited["unlimited"]) == (-1, True)
    assert unlimited["countries"][0]["iso"] == "RBAL"
    assert [country["name"] for country in unlimited["roamingEnabled"]] == ["Lithuania", "EE"]


@pytest.mark.parametrize(
    "content",
    ["no,such,columns\n1,2,3\n", HEADER + "x,g,a,AA,AA,1,many,7,0,1.3\n", HEADER + "x,g,a,AA,AA,1,1000,7,0,cheap\n"],
)
def test_what_is_no_rate_sheet_is_said_so(tmp_path: Path, content: str) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(content)
    with pytest.raises(ValueError):
        read_csv(sheet)
