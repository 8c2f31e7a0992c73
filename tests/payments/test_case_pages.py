"""The pages of cases in the admin: who may do what, what waits longest, and no secret on them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from orders.models import Delivery
from payments.models import Case, CaseMessage
from tests.factories import CustomerFactory, EsimFactory, PaymentFactory, PlanFactory
from tests.payments.test_cases import make_case, newest

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db
LIST = "/admin/payments/case/"
ACTS = ("answer", "note", "take", "close", "reopen")


def log_in(client: Client, *permissions: str, name: str = "olga") -> User:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


@pytest.fixture
def agent(client: Client) -> User:
    return log_in(client, "view_case", "answer_case")


def page(case: Case) -> str:
    return f"{LIST}{case.pk}/change/"


def do(client: Client, case: Case, what: str, **values: Any) -> Any:
    return client.post(f"{LIST}{case.pk}/{what}/", values)


def shown(client: Client, query: str = "") -> list[int]:
    return [case.pk for case in client.get(f"{LIST}{query}").context["cl"].result_list]


# Who may


def test_a_stranger_is_asked_to_log_in(client: Client) -> None:
    case = make_case()
    for what in ACTS:
        assert do(client, case, what, text="hello").status_code == 302
    assert case.messages.count() == 1


@pytest.mark.parametrize("permissions", [(), ("answer_case",), ("view_case",)])
def test_acts_need_both_permissions(client: Client, permissions: tuple[str, ...]) -> None:
    log_in(client, *permissions)
    case = make_case()

    for what in ACTS:
        assert do(client, case, what, text="hello", seen=newest(case)).status_code == 403
    assert client.get(page(case)).status_code == (200 if "view_case" in permissions else 403)
    assert case.messages.count() == 1
    assert not Delivery.objects.exists()


def test_who_may_only_look_is_offered_nothing_to_press(client: Client) -> None:
    log_in(client, "view_case")
    case = make_case()

    content = client.get(page(case)).content.decode()

    assert f"{LIST}{case.pk}/" not in content.replace(page(case), "")
    assert "You may read cases, and not answer them." in content


def test_acts_are_posts(client: Client, agent: User) -> None:
    case = make_case()
    for what in ACTS:
        assert client.get(f"{LIST}{case.pk}/{what}/").status_code == 405


def test_acts_need_the_token_of_the_page(agent: User) -> None:
    from django.test import Client as Browser

    careful = Browser(enforce_csrf_checks=True)
    careful.force_login(agent)
    case = make_case()

    assert do(careful, case, "close").status_code == 403
    case.refresh_from_db()
    assert case.status == "open"


@pytest.mark.parametrize("number", ["999999", "x", "-1"])
def test_a_case_that_is_not_there_is_not_found(client: Client, agent: User, number: str) -> None:
    assert client.get(f"{LIST}{number}/change/").status_code == 404


def test_an_act_on_a_case_that_is_not_there_is_not_found(client: Client, agent: User) -> None:
    assert client.post(f"{LIST}999999/close/").status_code == 404


# What is done


def test_an_answer_is_sent_and_logged(client: Client, agent: User) -> None:
    case = make_case()

    answer = do(client, case, "answer", text="Switch it on", seen=newest(case))

    assert (answer.status_code, answer["Location"]) == (302, page(case))
    assert Delivery.objects.get().text == "Switch it on"
    assert LogEntry.objects.get().get_change_message() == "Your answer is on its way."
    case.refresh_from_db()
    assert (case.status, case.owner) == ("answered", agent)


def test_an_answer_that_is_held_back_keeps_what_was_typed(client: Client, agent: User) -> None:
    case = make_case()
    seen = newest(case)
    CaseMessage.objects.create(case=case, author="customer", actor="customer", text="it works!")

    answer = do(client, case, "answer", text="Switch <it> on", seen=seen)

    content = answer.content.decode()
    assert answer.status_code == 409
    assert "The customer wrote meanwhile" in content
    assert "Switch &lt;it&gt; on</textarea>" in content
    assert "it works!" in content
    assert f'name="seen" value="{newest(case)}"' in content
    assert not Delivery.objects.exists()


def test_pressing_send_twice_sends_once(client: Client, agent: User) -> None:
    case = make_case()
    seen = newest(case)

    statuses = [do(client, case, "answer", text="Hello", seen=seen).status_code for _ in range(2)]

    assert statuses == [302, 409]
    assert Delivery.objects.count() == 1


def test_take_note_close_and_reopen(client: Client, agent: User) -> None:
    case = make_case()

    do(client, case, "take", seen_owner="")
    do(client, case, "note", text="third time")
    do(client, case, "close")
    case.refresh_from_db()
    assert (case.owner, case.status) == (agent, "closed")
    assert do(client, case, "close").status_code == 409
    do(client, case, "reopen")
    case.refresh_from_db()

    assert case.status == "open"
    assert case.messages.filter(is_internal=True).count() == 3
    assert "only staff see this" in client.get(page(case)).content.decode()


def test_who_does_not_own_a_case_is_told_whose_it_is(client: Client, agent: User) -> None:
    case = make_case(owner=User.objects.create_user("pavel"))

    content = client.get(page(case)).content.decode()

    assert "pavel owns this case. You may answer anyway." in content
    assert "Take over" in content


# What is shown


def test_an_activation_code_that_a_customer_pastes_is_not_shown(client: Client, agent: User) -> None:
    case = make_case()
    esim = EsimFactory(order=case.order, customer=case.customer, matching_id="K2-SECRET-1")
    texts = [esim.activation_code, f"my code is {esim.matching_id}.", "LPA:1$rsp.example.com$ANOTHER-CODE"]
    for text in texts:
        CaseMessage.objects.create(case=case, author="customer", actor="customer", text=text)

    content = client.get(page(case)).content.decode()

    assert "K2-SECRET-1" not in content
    assert "ANOTHER-CODE" not in content
    assert "my code is [redacted]." in content


def test_what_a_customer_writes_is_text_and_no_markup(client: Client, agent: User) -> None:
    case = make_case()
    CaseMessage.objects.create(case=case, author="customer", actor="customer", text="<script>alert(1)</script>")

    assert "&lt;script&gt;alert(1)" in client.get(page(case)).content.decode()


def test_an_answer_that_cannot_be_delivered_is_seen(client: Client, agent: User) -> None:
    case = make_case()
    do(client, case, "answer", text="Hello", seen=newest(case))
    Delivery.objects.update(status="blocked")

    assert "not delivered: the customer blocked the bot" in client.get(page(case)).content.decode()


def test_the_page_costs_as_much_for_many_lines_as_for_few(
    client: Client, agent: User, django_assert_num_queries: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    case = make_case()
    with CaptureQueriesContext(connection) as few:
        client.get(page(case))
    for number in range(400):
        delivery = Delivery.objects.create(customer=case.customer, kind="answer", text="x")
        CaseMessage.objects.create(case=case, author="staff", actor="admin:olga", text=f"<{number}>", delivery=delivery)

    with CaptureQueriesContext(connection) as many:
        content = client.get(page(case)).content.decode()

    assert len(many) == len(few) <= 10
    assert "the newest 300" in content
    assert "&lt;399&gt;" in content
    assert "&lt;99&gt;" not in content


def test_the_longest_wait_is_on_top_and_what_is_done_below(client: Client, agent: User) -> None:
    now = timezone.now()
    closed = make_case(status="closed", closed_at=now)
    answered = make_case(status="answered")
    young, old, deciding = make_case(), make_case(), make_case(status="deciding")
    CaseMessage.objects.filter(case=old).update(created_at=now - timedelta(hours=3))
    CaseMessage.objects.create(case=old, author="customer", actor="customer", text="hello?")
    Case.objects.filter(pk=old.pk).update(updated_at=now)

    assert shown(client) == [old.pk, young.pk, deciding.pk, answered.pk, closed.pk]
    assert "3 hours" in client.get(LIST).content.decode().replace("\xa0", " ")


def test_the_list_is_filtered_by_state_owner_and_reason(client: Client, agent: User) -> None:
    mine, nobodys = make_case(owner=agent, reason="not_needed"), make_case(status="answered")
    other = make_case(owner=User.objects.create_user("pavel"), reason="not_received")

    assert shown(client, "?owned=me") == [mine.pk]
    assert shown(client, "?owned=nobody") == [nobodys.pk]
    assert shown(client, "?status__exact=answered") == [nobodys.pk]
    assert shown(client, "?reason__exact=not_received") == [other.pk]


def test_a_case_is_found_by_what_a_customer_quotes(client: Client, agent: User) -> None:
    customer = CustomerFactory(telegram_user_id=777, username="Vera")
    case = make_case(payment=PaymentFactory(customer=customer, order__customer=customer, order__plan=PlanFactory()))
    make_case()

    for term in (f"#{case.pk}", "777", "@vera", str(case.order_id)[:8], case.payment.charge_id):  # type: ignore[union-attr]
        assert shown(client, f"?q={term}".replace("#", "%23")) == [case.pk], term


def test_the_median_wait_for_the_first_answer_is_on_top(client: Client, agent: User) -> None:
    assert "First answer in the last 30 days" not in client.get(LIST).content.decode()
    now = timezone.now()
    for minutes in (5, 20, 300):
        make_case(
            opened_at=now - timedelta(days=2), first_answered_at=now - timedelta(days=2) + timedelta(minutes=minutes)
        )
    make_case(opened_at=now - timedelta(days=40), first_answered_at=now)

    content = client.get(LIST).content.decode().replace("\xa0", " ")

    assert "20 minutes (median of 3 cases)" in content


def test_open_cases_are_counted_in_the_navigation(client: Client, agent: User) -> None:
    make_case()
    make_case()
    make_case(status="answered")

    items = [item for group in client.get(LIST).context["sidebar_navigation"] for item in group["items"]]

    assert [item["badge"] for item in items if item["title"] == "Cases"] == ["2"]
