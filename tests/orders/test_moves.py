"""The order's transition table: every pair of states."""

import itertools

import pytest

from orders.models import ALLOWED_MOVES, IllegalMove, Order, OrderEvent, StaleOrder, move_order
from tests.factories import OrderFactory
from tests.outside import at_once

Status = Order.Status

# Written out a second time, from the specification: a slip in the table must not pass unseen.
SPECIFIED = {
    ("awaiting_payment", "paid"),
    ("awaiting_payment", "expired"),
    ("awaiting_payment", "cancelled"),
    ("expired", "paid"),
    ("paid", "provisioning"),
    ("paid", "refunding"),
    ("provisioning", "completed"),
    ("provisioning", "paid"),
    ("provisioning", "refunding"),
    ("provisioning", "needs_attention"),
    ("needs_attention", "provisioning"),
    ("needs_attention", "completed"),
    ("needs_attention", "refunding"),
    ("needs_attention", "refunded"),
    ("completed", "refunding"),
    ("refunding", "refunded"),
    ("refunding", "needs_attention"),
    ("refunding", "completed"),
}


def test_the_table_knows_every_state() -> None:
    assert set(ALLOWED_MOVES) == set(Status)


@pytest.mark.django_db
@pytest.mark.parametrize(("before", "after"), [*itertools.product(Status.values, repeat=2)])
def test_an_order_moves_only_along_the_table(before: str, after: str) -> None:
    order = OrderFactory(status=before)
    if (before, after) in SPECIFIED:
        move_order(order, after, actor="admin:olga", reason="because")
        event = OrderEvent.objects.get(order=order)
        assert (event.kind, event.before, event.after) == ("move", before, after)
        assert (event.actor, event.reason) == ("admin:olga", "because")
        assert event.created_at is not None
    else:
        with pytest.raises(IllegalMove):
            move_order(order, after, actor="admin:olga")
        assert not OrderEvent.objects.filter(order=order).exists()
    order.refresh_from_db()
    assert order.status == (after if (before, after) in SPECIFIED else before)


@pytest.mark.django_db
def test_a_move_by_an_old_reading_of_the_order_is_refused() -> None:
    order = OrderFactory(paid=True)
    old = Order.objects.get(pk=order.pk)
    move_order(order, Status.PROVISIONING, actor="worker")
    with pytest.raises(StaleOrder):
        move_order(old, Status.REFUNDING, actor="clock", cause=Order.Cause.PROMISE_MISSED)
    order.refresh_from_db()
    assert (order.status, order.cause) == (Status.PROVISIONING, "")
    assert order.events.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_moves_at_once_one_wins() -> None:
    order = OrderFactory(paid=True)

    def move_to(status: str) -> str:
        try:
            move_order(Order.objects.get(pk=order.pk), status, actor="worker")
        except (StaleOrder, IllegalMove) as error:
            return type(error).__name__
        return "moved"

    results = at_once(lambda: move_to(Status.PROVISIONING), lambda: move_to(Status.REFUNDING))
    order.refresh_from_db()
    # paid -> provisioning -> refunding is a legal sequence too; what must not be is a move without its event.
    assert order.events.count() == results.count("moved")
    assert order.events.last().after == order.status
