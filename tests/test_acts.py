"""Acts of staff: asked for on a page of their own, with a reason, once, and only by those who may."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from catalog.models import Plan
from orders.models import Order, OrderEvent
from tests.factories import OrderFactory, PaymentFactory, PlanFactory

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "/admin/acts/reprovision/"


@pytest.fixture
def login(db: None) -> Callable[..., Client]:
    """A browser of a member of staff with these permissions."""

    def login(*permissions: str, name: str = "maria") -> Client:
        user = User.objects.create_user(name, password="password", is_staff=True)
        for permission in permissions:
            app, codename = permission.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        client = Client()
        client.force_login(user)
        return client

    return login


def stuck_order(cause: str = Order.Cause.OUTCOME_UNKNOWN, *, is_paid: bool = True) -> Order:
    plan = Plan.objects.first() or PlanFactory()
    order = OrderFactory(plan=plan, status=Order.Status.NEEDS_ATTENTION, cause=cause)
    if is_paid:
        PaymentFactory(order=order, customer=order.customer)
    return order


def moves_of(order: Order) -> list[tuple[str, str, str]]:
    moves = order.events.filter(kind=OrderEvent.Kind.MOVE)
    return list(moves.values_list("before", "after", "actor"))


def test_the_page_says_what_will_happen_and_changes_nothing(login: Callable[..., Client]) -> None:
    order = stuck_order()

    page = login("orders.reprovision_order").get(URL, {"id": order.pk})

    assert page.status_code == 200
    assert "Earlier purchases are searched for at eSIM Go" in page.text
    assert moves_of(order) == []


def test_with_a_reason_it_is_done_and_kept_with_name_and_reason(login: Callable[..., Client]) -> None:
    order = stuck_order()

    page = login("orders.reprovision_order").post(URL, {"id": order.pk, "reason": "the wholesaler is back"})

    assert "On its way." in page.text
    assert moves_of(order) == [("needs_attention", "provisioning", "admin:maria")]
    assert "the wholesaler is back" in order.events.get().reason
    assert LogEntry.objects.get().change_message == "Re-provision: the wholesaler is back"


def test_without_a_reason_nothing_happens_and_what_was_typed_stays(login: Callable[..., Client]) -> None:
    order = stuck_order()

    page = login("orders.reprovision_order").post(URL, {"id": order.pk, "reason": "  "})

    assert "This field is required." in page.text
    assert moves_of(order) == []


def test_a_reason_longer_than_the_timeline_keeps_is_refused(login: Callable[..., Client]) -> None:
    order = stuck_order()

    page = login("orders.reprovision_order").post(URL, {"id": order.pk, "reason": "x" * 501})

    assert "at most 500 characters" in page.text
    assert moves_of(order) == []


@pytest.mark.parametrize("method", ["get", "post"])
def test_without_the_permission_it_is_forbidden(login: Callable[..., Client], method: str) -> None:
    order = stuck_order()
    client = login("orders.view_order", "orders.cancel_order")

    assert getattr(client, method)(URL, {"id": order.pk, "reason": "please"}).status_code == 403
    assert moves_of(order) == []


def test_who_is_not_logged_in_is_asked_to(client: Client, db: None) -> None:
    answer = client.post(URL, {"id": stuck_order().pk, "reason": "please"})

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_a_press_from_another_site_is_refused(login: Callable[..., Client]) -> None:
    order = stuck_order()
    strict = Client(enforce_csrf_checks=True)
    login("orders.reprovision_order")
    strict.force_login(User.objects.get(username="maria"))

    assert strict.post(URL, {"id": order.pk, "reason": "please"}).status_code == 403
    assert moves_of(order) == []


def test_a_second_press_says_that_it_was_done(login: Callable[..., Client]) -> None:
    order = stuck_order()
    client = login("orders.reprovision_order")
    client.post(URL, {"id": order.pk, "reason": "once"})

    page = client.post(URL, {"id": order.pk, "reason": "twice"})

    assert "It has changed since" in page.text
    assert len(moves_of(order)) == 1
    assert LogEntry.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_do_it_once(login: Callable[..., Client]) -> None:
    order = stuck_order()
    browsers = [login("orders.reprovision_order", name=name) for name in ("maria", "ivan")]
    barrier, pages = Barrier(2), []

    def press(browser: Client) -> None:
        from django.db import connection

        barrier.wait()
        pages.append(browser.post(URL, {"id": order.pk, "reason": "both"}).text)
        connection.close()

    threads = [Thread(target=press, args=[browser]) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(moves_of(order)) == 1
    assert sum("On its way." in page for page in pages) == 1
    assert len(pages) == 2


def test_all_orders_of_one_cause_are_done_each_with_its_own_result(login: Callable[..., Client]) -> None:
    good, unpaid = stuck_order(), stuck_order(is_paid=False)
    other = stuck_order(Order.Cause.NO_ESIM_DATA)
    client = login("orders.reprovision_order")

    asked = client.get(URL, {"cause": "outcome_unknown"})
    page = client.post(URL, {"id": [good.pk, unpaid.pk], "reason": "all of them"})

    assert f"{str(good.pk)[:8]}, France, 1 GB, 7 days, 130 Stars" in asked.text
    assert str(other.pk)[:8] not in asked.text
    assert "its Stars were given back, or are on their way" in asked.text
    assert page.text.count("act-done") == 1
    assert page.text.count("act-refused") == 1
    assert moves_of(good)
    assert not moves_of(unpaid)


def test_chosen_rows_of_a_list_are_asked_about_first(login: Callable[..., Client]) -> None:
    order = stuck_order()
    client = login("orders.reprovision_order", "orders.view_order")

    page = client.post("/admin/orders/order/", {"action": "reprovision", "_selected_action": [order.pk]})

    assert "Earlier purchases are searched for" in page.text
    assert moves_of(order) == []


def test_a_list_offers_only_what_one_may_do(login: Callable[..., Client]) -> None:
    stuck_order()

    assert "Re-provision" in login("orders.reprovision_order", "orders.view_order").get("/admin/orders/order/").text
    assert "Re-provision" not in login("orders.view_order", name="ivan").get("/admin/orders/order/").text


@pytest.mark.parametrize(
    "address",
    ["/admin/acts/nothing/", URL, f"{URL}?id=nonsense", "/admin/acts/reprovision/extra/"],
)
def test_an_address_that_names_no_act_or_no_row_is_not_found(login: Callable[..., Client], address: str) -> None:
    assert login("orders.reprovision_order").get(address).status_code == 404


@pytest.mark.parametrize("address", ["write-off-orphan/?id=99999999999999999999", "reprovision/?cause=%00"])
def test_what_no_column_could_hold_is_not_found(login: Callable[..., Client], address: str) -> None:
    assert login("orders.reprovision_order", "orders.decide_orphan").get(f"/admin/acts/{address}").status_code == 404


def test_a_row_that_is_gone_is_said_to_be(login: Callable[..., Client]) -> None:
    page = login("orders.reprovision_order").get(URL, {"id": "6808c012-0000-4000-8000-000000000000"})

    assert "No row is left to do this to" in page.text


def test_a_long_list_offers_all_rows_that_match_without_counting_them(login: Callable[..., Client]) -> None:
    plan = PlanFactory()
    orders = [OrderFactory(plan=plan, status=Order.Status.NEEDS_ATTENTION) for _ in range(51)]
    client = login("orders.reprovision_order", "orders.view_order")

    listed = client.get("/admin/orders/order/").text
    chosen = {"action": "reprovision", "select_across": "1", "_selected_action": [orders[0].pk]}
    asked = client.post("/admin/orders/order/", chosen).text

    assert "Select all that match" in listed
    assert "9999999999" not in listed
    assert asked.count('class="act-row"') == 51
    assert "Select all that match" not in client.get(f"/admin/orders/order/?q={orders[0].pk}").text


def test_the_way_back_is_not_mistaken_for_the_act(login: Callable[..., Client]) -> None:
    order = OrderFactory()

    page = login("orders.cancel_order").get("/admin/acts/cancel-order/", {"id": order.pk}).text

    assert page.count(">Cancel<") == 1
    assert f'href="/admin/orders/order/{order.pk}/change/">Go back</a>' in page


def test_why_is_asked_last(login: Callable[..., Client]) -> None:
    page = login("catalog.pause_sales").get("/admin/acts/pause-sales/").text

    assert page.index('name="min_cost_usd"') < page.index('name="reason"')
