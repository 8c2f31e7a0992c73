"""The drill: the database is lost while people buy, and a backup of some seconds before is restored elsewhere.

In the end nobody has paid for nothing, nobody has got both their Stars and an eSIM, and whatever the tools cannot know
is listed. Everything runs as in production: gunicorn, worker, PostgreSQL, and the commands that docs/recovery.md names;
the sandbox stands for Telegram and eSIM Go, which remember what the backup does not.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import requests

from esimshop.embedded_postgres.server import EmbeddedServer
from tests.benchmarks import stock
from tests.benchmarks.processes import PROJECT, Processes
from tests.outside import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

PER_SECOND = 4
BEFORE_DUMP, AFTER_DUMP = 6, 10  # seconds
#: A charge is taken from the ledger once it is so old: its update may still come.
FRESH = 60


class Shop(Processes):
    """The shop on a server of its own, which can be lost."""

    def manage(self, *command: str, is_fine: bool = True) -> str:
        result = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert not is_fine or result.returncode == 0, result.stderr
        return result.stdout

    def start_shop(self) -> None:
        super().start_shop()
        self.start_worker()

    def lose_everything(self) -> None:
        """Web, worker and database are gone at once, as when a machine burns."""
        for process, _ in self._running[1:]:  # the first is the sandbox: the world outside
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        del self._running[1:]
        self._postgres.detach()
        wait_until(lambda: not self._postgres.is_running(), seconds=30)
        shutil.rmtree(self.folder / "postgres")

    def move(self) -> None:
        """Another server, with an empty database."""
        self._postgres = EmbeddedServer.of(self.folder / "elsewhere")
        address = self._postgres.attach()
        self.environment["DATABASE_URL"] = f"postgres://{address.user}@/esimshop?host={address.socket_folder}"

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            return connection.execute(sql).fetchall()

    def outside(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.sandbox_url}/sandbox/{path}", json=body or {}, timeout=40)
        assert answer.ok, answer.text
        return answer.json()


@dataclass
class Buyers:
    """People who buy one eSIM each, some at once and some after having thought it over. They note what they ordered."""

    shop: Shop
    bundle: str
    orders: dict[int, str] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def buy(self) -> None:
        with ThreadPoolExecutor(24) as pool:
            started = time.monotonic()
            for number in range(1000):
                if self.stop.wait(max(0.0, started + number / PER_SECOND - time.monotonic())):
                    break
                pool.submit(self._buy, 6_000_000 + number, thinks=5 if number % 3 == 0 else 0)

    def _buy(self, user_id: int, *, thinks: float) -> None:
        user = {"id": user_id, "first_name": "Ben", "language_code": "en", "stars": 1_000_000, "started": True}
        self.shop.outside("POST", "users", user)
        init_data = self.shop.outside("GET", f"users/{user_id}/init-data")["init_data"]
        try:
            answer = requests.post(
                f"http://127.0.0.1:{self.shop.shop_port}/api/telegram/stars/create-invoice",
                json={"plan": self.bundle}, headers={"Authorization": f"tma {init_data}"}, timeout=20,
            )  # fmt: skip
        except requests.RequestException:
            return  # the shop is gone
        if answer.status_code != 201:
            return
        self.orders[user_id] = answer.json()["order_id"]
        self.stop.wait(thinks)
        self.shop.outside("POST", f"users/{user_id}/pay", {"link": answer.json()["invoice_link"]})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Shop() as shop:
        stock.write_rate_sheet(shop.folder / "rates.csv", plans=20)
        shop.start_sandbox(rate_sheet=shop.folder / "rates.csv")
        shop.outside("POST", "settings", {"rate_limit": False, "balance_usd": 100_000})
        for command in ("migrate", "sync_catalog", "set_webhook"):
            shop.manage(command)
        shop.start_shop()
        yield shop


@dataclass
class World:
    """What Telegram and eSIM Go know, and what lies in the chats."""

    charges: dict[str, int]  # charge id → buyer
    returned: Counter[str]
    bought: Counter[str]  # order id that eSIM Go has on the eSIM → eSIMs
    purchases: int
    updates: dict[int, str]  # update id → charge id

    @classmethod
    def of(cls, shop: Shop) -> World:
        ledger = shop.outside("GET", "ledger")
        rows = ledger["transactions"]
        updates = [record["update"] for record in ledger["updates"]]
        return cls(
            charges={row["id"]: row["source"]["user"]["id"] for row in rows if "source" in row},
            returned=Counter(row["id"] for row in rows if "receiver" in row),
            bought=Counter(esim["customerRef"] for esim in ledger["esims"] if esim["customerRef"]),
            purchases=len(ledger["orders"]),
            updates={
                update["update_id"]: update["message"]["successful_payment"]["telegram_payment_charge_id"]
                for update in updates
                if "successful_payment" in update.get("message", {})
            },
        )


def test_a_lost_database_is_restored_and_nothing_is_bought_or_returned_twice(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # People buy; a backup is taken meanwhile; they buy on; then everything is gone.
    [bundle] = shop.rows("SELECT bundle_name FROM catalog_plan WHERE is_on_sale ORDER BY wholesale_usd LIMIT 1")[0]
    buyers = Buyers(shop, bundle)
    buying = threading.Thread(target=buyers.buy)
    buying.start()
    try:
        time.sleep(BEFORE_DUMP)
        dump = json.loads(shop.manage("backup", str(tmp_path / "backups"), "--json"))
        time.sleep(AFTER_DUMP)
        shop.lose_everything()
    finally:
        buyers.stop.set()
        buying.join(60)
    lost_at = time.time()
    before = World.of(shop)

    # Restored elsewhere, by the page of the handbook.
    shop.move()
    restored = json.loads(shop.manage("restore_backup", dump["file"], "--json"))
    assert restored["unknown"] == []
    known_orders = {str(row[0]) for row in shop.rows("SELECT id FROM orders_order")}
    known_charges = {row[0] for row in shop.rows("SELECT charge_id FROM payments_payment")}
    in_doubt = shop.rows("SELECT orders_in_doubt FROM orders_restoration")[0][0]
    forgotten = {charge for charge in before.charges if charge not in known_charges}
    of_lost_orders = {charge for charge in forgotten if buyers.orders[before.charges[charge]] not in known_orders}
    assert len(of_lost_orders) > 5, "too few purchases after the backup"
    assert forgotten - of_lost_orders, "nobody paid after the backup for an order of before"

    # Telegram sends every third update of the lost time again, as it does where its answer was lost.
    shop.start_shop()
    again = [update for update, charge in before.updates.items() if charge in forgotten][::3]
    for update in again:
        shop.outside("POST", f"updates/{update}/redeliver")

    # Too early to adopt anything, and it does no harm.
    first = json.loads(shop.manage("reconcile_stars", "--adopt-history", "--json", is_fine=False))
    assert first["adopted"] == 0
    time.sleep(max(0.0, lost_at + FRESH + 5 - time.time()))
    stars = json.loads(shop.manage("reconcile_stars", "--adopt-history", "--json", is_fine=False))
    on_the_way = "SELECT count(*) FROM orders_order WHERE status IN ('paid', 'provisioning', 'refunding')"
    wait_until(lambda: shop.rows(on_the_way)[0][0] == 0, seconds=60)
    orders = json.loads(shop.manage("reconcile_orders", "--json", is_fine=False))
    recovery = json.loads(shop.manage("recover_lost_orders", "--json", is_fine=False))
    wait_until(lambda: shop.rows(on_the_way)[0][0] == 0, seconds=60)
    stars = json.loads(shop.manage("reconcile_stars", "--json", is_fine=False))
    after = World.of(shop)

    figures = {
        "charges": len(before.charges),
        "of them unknown to the backup": len(forgotten),
        "of them of orders unknown to the backup": len(of_lost_orders),
        "orders in doubt": in_doubt,
        "updates sent again": len(again),
        "dump": f"{dump['seconds']} s, {dump['bytes']:,} bytes",
        "restore": f"{restored['seconds']} s",
        "eSIMs bought before the loss, and after": f"{before.purchases}, {after.purchases - before.purchases}",
        "refunds": sum(after.returned.values()),
        "lost orders made anew": len(recovery["recovered"]),
        "charges held for a person": len(stars["held"]),
        "eSIMs without an order for a person": len(orders["unlinked_there"]) - len(recovery["recovered"]),
        "bought twice": sum(count - 1 for count in after.bought.values()),
    }
    with capsys.disabled():
        sys.stdout.write("\n" + "".join(f"  {name}: {value}\n" for name, value in figures.items()))

    # Nothing twice.
    assert set(after.bought.values()) == {1}
    assert after.purchases <= len(after.charges)
    assert all(count == 1 for count in after.returned.values())
    # Nobody has both.
    buyer_has = {user_id for user_id, order_id in buyers.orders.items() if order_id in after.bought}
    assert not {charge for charge in after.returned if after.charges[charge] in buyer_has}
    # Every charge is in our books, and every Star explained.
    assert {row[0] for row in shop.rows("SELECT charge_id FROM payments_payment")} == set(after.charges)
    assert (stars["only_in_telegram"], stars["only_here"], stars["different"], stars["unexplained_stars"]) == (
        [],
        [],
        [],
        0,
    )
    # A charge of an order that the backup knows brought its eSIM, or came back.
    for charge in set(after.charges) - of_lost_orders:
        order_id = buyers.orders[after.charges[charge]]
        [(status,)] = shop.rows(f"SELECT status FROM orders_order WHERE id = '{order_id}'")
        assert (status, order_id in after.bought) == ("completed", True) or (status, charge in after.returned) == (
            "refunded", True
        )  # fmt: skip
    # Of the others those that were bought are made anew; the rest is held for a person, and nobody knows better.
    lost_orders = {charge: buyers.orders[before.charges[charge]] for charge in of_lost_orders}
    delivered = {charge for charge, order_id in lost_orders.items() if order_id in after.bought}
    assert set(recovery["recovered"]) == {lost_orders[charge] for charge in delivered}
    assert (recovery["stopped"], set(stars["held"])) == ({}, of_lost_orders - delivered)
    # No eSIM is without its order, but one that was bought at the very end, before eSIM Go had its name.
    owned = {row[0] for row in shop.rows("SELECT reference FROM orders_provisioningattempt WHERE status = 'placed'")}
    assert len(owned) + len(recovery["nameless"]) == after.purchases
