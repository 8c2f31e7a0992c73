"""What the bot brings: the QR code with its buttons, at least once, or as soon as it may write."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import cv2
import numpy
import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from catalog.models import Plan
from esimshop.models import Alert
from orders.messages import write_message
from orders.models import Delivery, Order
from orders.services.deliveries import send_delivery
from orders.services.fulfilment import provision_order
from tests.factories import EsimFactory, OrderFactory
from tests.orders.conftest import paid_order
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    at_once,
    bearer,
    is_russian,
    membership_update,
    message_update,
    run_tasks,
    send_update,
    sweep,
)

pytestmark = pytest.mark.django_db


def completed(sandbox: SandboxControl, plan: Plan, **fields: Any) -> Order:
    """An order whose eSIM is bought and whose message is owed."""
    order = paid_order(sandbox, plan=plan, **fields)
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert order.status == "completed"
    return order


def decoded(photo: bytes) -> str:
    image = cv2.imdecode(numpy.frombuffer(photo, numpy.uint8), cv2.IMREAD_COLOR)
    return str(cv2.QRCodeDetectorAruco().detectAndDecode(image)[0])


def delivery_of(order: Order) -> Delivery:
    return Delivery.objects.get(order=order, kind=Delivery.Kind.ESIM)


def test_the_qr_code_says_the_activation_code(sandbox: SandboxControl, plan: Plan) -> None:
    order = completed(sandbox, plan)
    run_tasks()
    (message,) = sandbox.chat(BEN)
    esim = order.esims.get()
    assert decoded(sandbox.get(message["photo"])) == f"LPA:1${esim.smdp_address}${esim.matching_id}"


def test_the_message_brings_codes_guide_and_buttons(sandbox: SandboxControl, plan: Plan, settings: Any) -> None:
    order = completed(sandbox, plan)
    run_tasks()
    (message,) = sandbox.chat(BEN)
    esim = order.esims.get()
    for part in ("France, 1 GB, 7 days", esim.smdp_address, esim.matching_id, esim.activation_code, "iOS 17.4"):
        assert part in message["text"]
    buttons = [button for row in message["buttons"] for button in row]
    urls = [button["url"] for button in buttons if "url" in button]
    assert [url.split("?")[0] for url in urls] == [
        "https://esimsetup.apple.com/esim_qrcode_provisioning",
        "https://esimsetup.android.com/esim_qrcode_provisioning",
    ]
    code = esim.activation_code.replace(":", "%3A").replace("$", "%24")
    assert all(url.endswith(f"?carddata={code}") for url in urls)
    apps = [button["web_app"]["url"] for button in buttons if "web_app" in button]
    assert apps == [f"{settings.PUBLIC_URL}/?{place}={order.pk}" for place in ("guide", "order")]


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize(
    ("name", "length", "has_codes"),
    [("Ä" * 100, 40, True), ("🏝️" * 50, 120, True), ("<&>" * 60, 255, False)],
    ids=["long", "wide", "longest"],
)
def test_the_message_fits_under_its_photo(language: str, name: str, length: int, has_codes: bool) -> None:
    order = OrderFactory(status="completed", customer__language=language)
    order.bought_plan[language]["title"] = name
    order.save()
    esim = EsimFactory(order=order, smdp_address="a" * (length // 2), matching_id="M" * length)
    delivery = Delivery.objects.create(customer=order.customer, order=order, kind=Delivery.Kind.ESIM)
    message = write_message(delivery)
    shown = unescape(re.sub(r"</?(b|code)>", "", message.text))
    assert len(shown.encode("utf-16-le")) // 2 <= 1024
    assert name in shown
    assert (esim.matching_id in shown) is has_codes
    assert decoded(message.photo or b"") == esim.activation_code


def test_the_message_speaks_russian_to_anna(sandbox: SandboxControl, plan: Plan) -> None:
    completed(sandbox, plan, user_id=ANNA, language="ru")
    run_tasks()
    (message,) = sandbox.chat(ANNA)
    assert "Франция, 1 ГБ, 7 дней" in message["text"]
    assert is_russian(message["text"].split("SM-DP+")[0])


def test_the_message_id_is_kept(sandbox: SandboxControl, plan: Plan) -> None:
    order = completed(sandbox, plan)
    run_tasks()
    delivery = delivery_of(order)
    (message,) = sandbox.chat(BEN)
    assert (delivery.status, delivery.message_id, delivery.attempts) == ("sent", message["message_id"], 1)
    assert delivery.sent_at is not None
    assert order.delivery_state == "sent"


def test_a_top_up_is_told_without_a_qr_code(sandbox: SandboxControl, plan: Plan) -> None:
    esim = completed(sandbox, plan).esims.get()
    completed(sandbox, plan, top_up_esim=esim)
    run_tasks()
    message = sandbox.chat(BEN)[-1]
    assert message["photo"] is None
    assert "Topped up" in message["text"]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 502},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "20"}},
        {"kind": "status", "status": 400},
        {"kind": "status", "status": 401},
        {"kind": "drop"},
        {"kind": "html", "after_work": False},
        {"kind": "half_json", "after_work": False},
    ],
    ids=str,
)
def test_a_message_that_failed_is_sent_again(sandbox: SandboxControl, plan: Plan, fault: dict[str, Any]) -> None:
    order = completed(sandbox, plan)
    sandbox.fail("telegram.sendPhoto", times=2, **fault)
    run_tasks()
    assert delivery_of(order).status == "pending"
    assert delivery_of(order).error
    assert sweep() == []  # not due yet
    now = timezone.now()
    for minutes in (1, 3):
        with time_machine.travel(now + timedelta(minutes=minutes)):
            sweep()
    delivery = delivery_of(order)
    assert (delivery.status, delivery.attempts, delivery.error) == ("sent", 3, "")
    assert len(sandbox.chat(BEN)) == 1


def test_telegrams_wish_to_wait_is_kept(sandbox: SandboxControl, plan: Plan) -> None:
    order = completed(sandbox, plan)
    sandbox.fail("telegram.sendPhoto", "status", status=429, headers={"Retry-After": "300"})
    run_tasks()
    assert delivery_of(order).next_try_at > timezone.now() + timedelta(seconds=290)


def test_a_message_whose_answer_was_lost_may_come_twice_but_not_never(sandbox: SandboxControl, plan: Plan) -> None:
    order = completed(sandbox, plan)
    sandbox.fail("telegram.sendPhoto", "drop_after_work")
    run_tasks()
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        sweep()
    assert delivery_of(order).status == "sent"
    assert len(sandbox.chat(BEN)) == 2


def test_a_message_that_fails_on_and_on_is_told_to_staff_once(sandbox: SandboxControl, plan: Plan) -> None:
    order = completed(sandbox, plan)
    sandbox.fail("telegram.sendPhoto", "status", status=502, times=None)
    run_tasks()
    now = timezone.now()
    for hours in range(1, 10):
        with time_machine.travel(now + timedelta(hours=hours)):
            sweep()
    assert delivery_of(order).status == "pending"
    assert Alert.objects.filter(cause=f"delivery:{delivery_of(order).pk}").count() == 1
    sandbox.heal()
    with time_machine.travel(now + timedelta(hours=11)):
        sweep()
    assert delivery_of(order).status == "sent"
    assert not Alert.objects.filter(cleared_at=None).exists()


def test_a_worker_that_died_while_it_sent_is_followed_by_another(sandbox: SandboxControl, plan: Plan) -> None:
    order = completed(sandbox, plan)
    Delivery.objects.update(next_try_at=timezone.now() + timedelta(seconds=60), attempts=1)
    run_tasks()
    assert sandbox.chat(BEN) == []
    with time_machine.travel(timezone.now() + timedelta(seconds=70)):
        sweep()
    assert (delivery_of(order).status, len(sandbox.chat(BEN))) == ("sent", 1)


@pytest.mark.django_db(transaction=True)
def test_eight_workers_on_one_message_send_it_once(sandbox: SandboxControl) -> None:
    delivery = Delivery.objects.create(
        customer=OrderFactory().customer, kind=Delivery.Kind.EXTRA_REFUNDED, amount_stars=5
    )
    at_once(*[lambda: send_delivery(delivery.pk)] * 8)
    assert len(sandbox.chat(BEN)) == 1


# Blocked


def test_who_blocked_the_bot_finds_the_esim_in_the_mini_app(sandbox: SandboxControl, plan: Plan) -> None:
    sandbox.post("/sandbox/users", {"id": BEN, "blocked_bot": True})
    order = completed(sandbox, plan)
    run_tasks()
    delivery = delivery_of(order)
    assert (delivery.status, delivery.customer.is_bot_blocked) == ("blocked", True)
    shown = Client().get(f"/api/orders/{order.pk}", headers=bearer()).json()
    assert (shown["status"], shown["delivery"]) == ("completed", "blocked")
    assert shown["esim"]["activation_code"] == order.esims.get().activation_code
    with time_machine.travel(timezone.now() + timedelta(days=1)):
        assert sweep() == []
    assert sandbox.calls("telegram.sendPhoto") == 1


def test_who_lets_the_bot_in_again_gets_the_message(sandbox: SandboxControl, plan: Plan) -> None:
    sandbox.post("/sandbox/users", {"id": BEN, "blocked_bot": True})
    order = completed(sandbox, plan)
    run_tasks()
    sandbox.post("/sandbox/users", {"id": BEN, "blocked_bot": False})
    send_update(membership_update("member"))
    run_tasks()
    delivery = delivery_of(order)
    assert (delivery.status, delivery.customer.is_bot_blocked) == ("sent", False)
    assert len(sandbox.chat(BEN)) == 1
    shown = Client().get(f"/api/orders/{order.pk}", headers=bearer()).json()
    assert shown["delivery"] == "sent"


def test_who_starts_the_bot_only_after_buying_gets_the_message(sandbox: SandboxControl, plan: Plan) -> None:
    sandbox.post("/sandbox/users", {"id": BEN, "started": False})
    order = completed(sandbox, plan)
    run_tasks()
    assert delivery_of(order).status == "blocked"
    sandbox.post(f"/sandbox/users/{BEN}/messages", {"text": "/start"})
    send_update(message_update("/start"))
    run_tasks()
    assert delivery_of(order).status == "sent"
    assert len(sandbox.chat(BEN)) == 2
