"""The exercises of the support handbook, each done as it is written, and each ending as it says."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import requests

from esimshop.management.commands.demo import STAFF_PASSWORD
from tests.docs.chat import Chat
from tests.docs.desk import Desk
from tests.docs.documents import PROJECT, read_document
from tests.outside import wait_until

if TYPE_CHECKING:
    from tests.e2e.shop import Shop

pytestmark = pytest.mark.slow

EXERCISES = read_document("docs/support-handbook.md").section("Exercises")
PLAN = "esim_1GB_7D_TR_V2"
PATIENCE_SECONDS = 90


@pytest.fixture
def ben(shop: Shop) -> int:
    """A customer of this exercise's own."""
    return shop.new_customer(language="en", name="Ben")


def desk_of(shop: Shop, name: str) -> Desk:
    return Desk(shop.url, name, STAFF_PASSWORD)


def plan_fault(shop: Shop, title: str) -> None:
    """Add a fault by its name in the sandbox's panel, which the handbook gives."""
    assert f"*{title}*" in EXERCISES.text.replace("\n", " ")
    panel = (PROJECT / "esimshop/sandbox/static/js/panel.js").read_text()
    [written] = re.findall(rf'en: "{re.escape(title)}", fault: (\{{.*\}}) \}},', panel)
    fault = json.loads(re.sub(r"([{,] *)(\w+):", r'\1"\2":', written))
    shop.sandbox.post("/sandbox/faults", {**fault, "times": 1})


def run_command(shop: Shop, words: str, **values: str) -> None:
    """The handbook's own shell command."""
    [text] = [fence.text for fence in EXERCISES.fences if words in fence.text]
    for name, value in {"http://127.0.0.1:8900": shop.sandbox_url, **values}.items():
        text = text.replace(name, value)
    done = subprocess.run(["bash", "-ec", text], capture_output=True, text=True, timeout=30, check=True)
    assert '"error"' not in done.stdout


def page_of(order: dict[str, Any]) -> str:
    return f"/admin/orders/order/{order['order_id']}/change/"


def state_of(shop: Shop, ben: int, order: dict[str, Any]) -> str:
    return next(each["status"] for each in shop.orders_of(ben) if each["order_id"] == order["order_id"])


def charge_of(shop: Shop, ben: int) -> str:
    """Of a customer's last payment, as their receipt in Telegram has it."""
    rows = shop.sandbox.ledger()["transactions"]
    return str([row["id"] for row in rows if row.get("source", {}).get("user", {}).get("id") == ben][-1])


def count_bought(shop: Shop) -> int:
    return len(shop.sandbox.orders())


def test_1_find(shop: Shop, ben: int) -> None:
    order = shop.buy(ben, PLAN)
    support = desk_of(shop, "support")
    charge = charge_of(shop, ben)
    for words in (order["order_id"][:8], f" {charge[:9]} {charge[9:]}\n"):
        assert page_of(order) in support.find(words), words
    assert order["order_id"] in support.open(support.find(str(ben)).removeprefix(shop.url))
    assert "POST /orders" in support.open(page_of(order))


def test_2_send_again(shop: Shop, ben: int) -> None:
    order = shop.buy(ben, PLAN)
    chat = Chat(shop.sandbox, ben)
    before = len(chat.said("Your eSIM is ready"))
    support = desk_of(shop, "support")
    wait_until(lambda: len(chat.said("eSIM")) > 0, seconds=PATIENCE_SECONDS)
    support.press("resend-esim", order["order_id"], reason="deleted the chat")
    second = support.press("resend-esim", order["order_id"], reason="once more")
    assert "on its way already" in second or "sent a moment ago" in second
    assert before <= len(chat.said("Your eSIM is ready"))


def test_3_refused(shop: Shop, ben: int) -> None:
    stars, bought = shop.stars_of(ben), count_bought(shop)
    plan_fault(shop, "eSIM Go: bundle refused (400)")
    order = shop.buy(ben, PLAN, until="refunded")
    assert (shop.stars_of(ben), count_bought(shop)) == (stars, bought)
    assert "worker" in desk_of(shop, "support").open(page_of(order))


def test_4_unknown(shop: Shop, ben: int) -> None:
    bought = count_bought(shop)
    plan_fault(shop, "eSIM Go: order placed, answers 503")
    shop.buy(ben, PLAN)
    assert count_bought(shop) == bought + 1


def test_5_a_person(shop: Shop, ben: int) -> None:
    plan_fault(shop, "eSIM Go: bundle refused (400)")
    plan_fault(shop, "Telegram: refund refused (400)")
    order = shop.buy(ben, PLAN, until="needs_attention")
    support = desk_of(shop, "support")
    assert "Telegram refused the refund" in support.open("/admin/")
    assert "Re-provision" in support.open(page_of(order))
    support.press("reprovision", order["order_id"], reason="an exercise")
    wait_until(lambda: state_of(shop, ben, order) == "completed", seconds=PATIENCE_SECONDS)


def test_6_give_back(shop: Shop, ben: int) -> None:
    run_command(shop, "refunds_enabled")
    stars = shop.stars_of(ben)
    order = shop.buy(ben, PLAN)
    Chat(shop.sandbox, ben).ask_for("1. ", "I want my Stars back", "I do not need it")
    wait_until(lambda: state_of(shop, ben, order) == "refunded", seconds=PATIENCE_SECONDS)
    assert shop.stars_of(ben) == stars
    assert "customer" in desk_of(shop, "support").open(page_of(order))


def test_7_a_case(shop: Shop, ben: int) -> None:
    order = shop.buy(ben, PLAN)
    run_command(shop, "profile_status", ICCID=order["esim"]["iccid"])
    chat = Chat(shop.sandbox, ben)
    chat.ask_for("1. ", "I want my Stars back", "I do not need it")
    support = desk_of(shop, "support")
    cases = re.compile(r"/admin/payments/case/(\d+)/change/")
    listed = f"/admin/payments/case/?q={ben}"
    wait_until(lambda: bool(cases.search(support.open(listed))), seconds=PATIENCE_SECONDS)
    found = cases.search(support.open(listed))
    assert found is not None
    case = f"/admin/payments/case/{found[1]}/"
    # The shop looks at the eSIM first; then it is a person's.
    wait_until(lambda: "/answer/" in support.open(f"{case}change/"), seconds=PATIENCE_SECONDS)
    support.submit(f"{case}take/", on=f"{case}change/")
    support.submit(f"{case}answer/", on=f"{case}change/", text="Does it connect?")
    chat.wait_for("Does it connect?")
    chat.write("It does, I was wrong")
    wait_until(lambda: "It does, I was wrong" in support.open(f"{case}change/"), seconds=PATIENCE_SECONDS)
    support.submit(f"{case}close/", on=f"{case}change/")
    chat.wait_for("closed")


def test_8_two_people(shop: Shop, ben: int) -> None:
    order = shop.buy(ben, PLAN)
    stars = shop.stars_of(ben)
    operator, support = desk_of(shop, "operator"), desk_of(shop, "support")
    lead, admin = desk_of(shop, "lead"), desk_of(shop, "admin")
    policy = "/admin/payments/servicepolicy/add/"
    operator.submit(policy, second_person_stars="100", reason="an exercise")
    try:
        assert "Refund a bought eSIM" not in support.open(page_of(order))
        assert not support.may_open(f"/admin/acts/refund-bought-order/?id={order['order_id']}")
        lead.press("refund-bought-order", order["order_id"], reason="it does not work", how="in_spite")
        requests_ = re.findall(
            r"/admin/payments/refundrequest/(\d+)/change/", lead.open("/admin/payments/refundrequest/")
        )
        assert "done" not in _state(lead.press("approve-refund", requests_[0], reason="I agree with myself"))
        assert "done" in _state(admin.press("approve-refund", requests_[0], reason="I agree"))
        wait_until(lambda: state_of(shop, ben, order) == "refunded", seconds=PATIENCE_SECONDS)
        assert shop.stars_of(ben) == stars + order["amount_stars"]
    finally:
        operator.submit(policy, second_person_stars="10000", reason="the exercise is over")


def test_9_stop(shop: Shop, ben: int) -> None:
    lead = desk_of(shop, "lead")
    lead.press("pause-sales", reason="an exercise")
    try:
        with pytest.raises(requests.HTTPError) as refused:
            shop.place_order(ben, PLAN)
        assert refused.value.response.json()["code"] == "sales_paused"
    finally:
        pauses = re.findall(r"/admin/catalog/salespause/(\d+)/change/", lead.open("/admin/catalog/salespause/"))
        lead.press("resume-sales", pauses[0], reason="it is over")
    assert shop.place_order(ben, PLAN)["amount_stars"] > 0


def test_10_read_the_code(shop: Shop, ben: int) -> None:
    order = shop.buy(ben, PLAN)
    support = desk_of(shop, "support")
    code = order["esim"]["activation_code"]
    assert code not in support.open(page_of(order))
    assert code in support.submit(f"/admin/orders/order/{order['order_id']}/reveal/", reason="reads no screen").text
    assert "reads no screen" in support.open(page_of(order))


def _state(page: str) -> list[str]:
    return re.findall(r'class="act-state">(\w+)<', page)


def test_every_exercise_is_walked_and_says_how_it_ends() -> None:
    written = re.split(r"^\d+\. ", EXERCISES.text, flags=re.MULTILINE)[1:]
    titles = [re.match(r"\*\*(.+?)\.\*\*", each) for each in written]
    walked = {name for name in globals() if re.match(r"test_\d+_", name)}
    assert walked == {
        f"test_{at}_{title[1].lower().replace(' ', '_')}" for at, title in enumerate(titles, 1) if title is not None
    }
    assert [each for each in written if "→" not in each] == []
