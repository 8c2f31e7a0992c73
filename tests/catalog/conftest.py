"""eSIM Go for the tests of the catalogue: the sandbox, with a rate sheet of the test's own."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from esimshop.clients.esimgo import EsimGoClient
from esimshop.sandbox.server import Sandbox

COLUMNS = (
    "bundle", "group", "area_name", "area_code", "countries", "profile", "data_mb", "days", "unlimited", "price_usd"
)  # fmt: skip
TRAVELLED = ("FR", "DE", "IT", "ES", "TR", "AE", "TH", "US", "GB", "JP")


def row(bundle: str, area: str = "FR", **values: Any) -> dict[str, Any]:
    """A line of a rate sheet: 1 GB for 7 days at 1.30 USD unless told otherwise."""
    return {
        "bundle": bundle,
        "group": "Standard - Fixed",
        "area_name": f"Area {area}",
        "area_code": area,
        "countries": area,
        "profile": "1",
        "data_mb": "1000",
        "days": "7",
        "unlimited": "0",
        "price_usd": "1.30",
        **values,
    }


def many_rows(number: int) -> list[dict[str, Any]]:
    """Different bundles of ten countries."""
    return [
        row(f"esim_{at}_V2", TRAVELLED[at % len(TRAVELLED)], price_usd=f"{1 + at % 200}.{at % 10}9")
        for at in range(number)
    ]


class Wholesaler:
    """eSIM Go with these bundles, over HTTP on loopback."""

    def __init__(self, rows: list[dict[str, Any]], file: Path) -> None:
        with file.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        self.sandbox = Sandbox(rate_sheet=file)
        self.sandbox.start()
        self.tell("settings", rate_limit=False)
        self.client = EsimGoClient(api_key="sandbox-key", base_url=self.sandbox.esimgo_base_url, deadline_seconds=20)

    def tell(self, path: str, **values: Any) -> None:
        requests.post(f"{self.sandbox.url}/sandbox/{path}", json=values, timeout=5).raise_for_status()

    def withdraw(self, bundle: str, *, withdrawn: bool = True) -> None:
        self.tell(f"catalogue/{bundle}", withdrawn=withdrawn)

    def reprice(self, bundle: str, price: Decimal | str) -> None:
        self.tell(f"catalogue/{bundle}", price=str(price))

    def fail(self, call: str, kind: str, **values: Any) -> None:
        self.tell("faults", target=f"esimgo.{call}", kind=kind, **values)


@pytest.fixture
def open_wholesaler(tmp_path: Path) -> Iterator[Any]:
    opened: list[Wholesaler] = []

    def open_with(rows: list[dict[str, Any]]) -> Wholesaler:
        opened.append(Wholesaler(rows, tmp_path / f"rates-{len(opened)}.csv"))
        return opened[-1]

    yield open_with
    for wholesaler in opened:
        wholesaler.sandbox.stop()
