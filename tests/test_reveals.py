"""An activation code is shown to staff by a reveal alone, which is noted before, with who and why."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User

from orders.models import Esim, Order, OrderEvent
from orders.services.reveals import RevealRefused, reveal_activation_code
from tests.factories import EsimFactory, OrderFactory
from tests.outside import broken_table

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

SECRET = "K2-SECRET-4711"


@pytest.fixture
def esim(db: None) -> Esim:
    return EsimFactory(matching_id=SECRET)


def member_of_staff(*codenames: str) -> User:
    user = User.objects.create_user("anna", password="password", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_order", *codenames]))
    return user


def url(order: Order) -> str:
    return f"/admin/orders/order/{order.pk}/reveal/"


def test_a_code_is_shown_once_with_its_qr_code_after_it_was_noted(client: Client, esim: Esim) -> None:
    client.force_login(member_of_staff("reveal_activation_code"))
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    logging.getLogger().addHandler(handler)

    question = client.get(url(esim.order))
    assert question.status_code == 200
    assert SECRET not in question.content.decode()
    assert not OrderEvent.objects.exists()
    answer = client.post(url(esim.order), {"reason": "she reads it by phone"})

    logging.getLogger().removeHandler(handler)
    page = answer.content.decode()
    assert esim.activation_code in page
    assert "<svg" in page
    assert "no-store" in answer["Cache-Control"]
    event = OrderEvent.objects.get()
    assert (event.kind, event.actor, event.reason) == ("reveal", "admin:anna", "she reads it by phone")
    assert SECRET not in output.getvalue()
    assert not LogEntry.objects.filter(change_message__contains=SECRET).exists()
    assert SECRET not in client.get(url(esim.order)).content.decode()
    assert SECRET not in client.get(f"/admin/orders/order/{esim.order_id}/change/").content.decode()


def test_who_lacks_the_permission_sees_no_button_and_no_code(client: Client, esim: Esim) -> None:
    client.force_login(member_of_staff())
    assert "Reveal" not in client.get(f"/admin/orders/order/{esim.order_id}/change/").content.decode()
    assert client.get(url(esim.order)).status_code == 403
    assert client.post(url(esim.order), {"reason": "curious"}).status_code == 403
    assert not OrderEvent.objects.exists()


def test_the_button_is_there_for_who_may(client: Client, esim: Esim) -> None:
    client.force_login(member_of_staff("reveal_activation_code"))
    assert url(esim.order) in client.get(f"/admin/orders/order/{esim.order_id}/change/").content.decode()


def test_strangers_are_asked_to_log_in(client: Client, esim: Esim) -> None:
    assert client.post(url(esim.order), {"reason": "x"}).status_code == 302


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, f"it is {SECRET}"])
def test_no_code_without_a_reason_that_all_may_read(client: Client, esim: Esim, reason: str) -> None:
    client.force_login(member_of_staff("reveal_activation_code"))
    answer = client.post(url(esim.order), {"reason": reason})
    assert "LPA:" not in answer.content.decode()
    assert not OrderEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_noted_is_not_shown(client: Client, esim: Esim) -> None:
    client.force_login(member_of_staff("reveal_activation_code"))
    client.raise_request_exception = False
    with broken_table("orders_orderevent"):
        answer = client.post(url(esim.order), {"reason": "by phone"})
    assert answer.status_code == 500
    assert SECRET not in answer.content.decode()


def test_a_top_up_reveals_the_esim_that_it_tops_up(esim: Esim) -> None:
    top_up = OrderFactory(customer=esim.customer, plan=esim.order.plan, top_up_esim=esim)
    shown = reveal_activation_code(top_up, actor="admin:anna", reason="by phone")
    assert shown.activation_code == esim.activation_code
    assert OrderEvent.objects.get().order == top_up
    assert SECRET not in repr(shown)


def test_an_order_without_an_esim_has_nothing_to_reveal(client: Client) -> None:
    order = OrderFactory()
    with pytest.raises(RevealRefused):
        reveal_activation_code(order, actor="admin:anna", reason="by phone")
    client.force_login(member_of_staff("reveal_activation_code"))
    assert "nothing to reveal" in client.get(url(order)).content.decode()
