"""A refund that cannot begin at once: a second person agrees, or the unused bundle goes back first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests
import time_machine
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.utils import timezone

from esimshop.models import Alert
from orders.models import Order
from orders.services.revocations import RevocationRefused, inspect_esim, revoke_bundle_of
from payments.models import Payment, PaymentEvent, Refund, RefundRequest, ServicePolicy
from payments.services.refund_requests import (
    CUSTOMER_WAITS,
    LEASE,
    RefundRequestRefused,
    carry_out_refund_request,
    decide_refund_request,
    request_refund,
)
from payments.services.refunds import AskedRefund, NotALead, RefundBlocked
from tests.outside import SandboxControl, at_once, payment_update, run_tasks, send_update, sweep
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db

REVOKE = "esimgo.DELETE /esims/{iccid}/bundles/{name}/assignments/{assignment}"
BUNDLES = "esimgo.GET /esims/{iccid}/bundles"


def member(username: str, *permissions: str) -> User:
    user = User.objects.create_user(username)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.fixture
def olga(db: None) -> User:
    return member("olga", "refund_undelivered", "refund_delivered", "approve_refundrequest")


@pytest.fixture
def pavel(db: None) -> User:
    return member("pavel", "refund_undelivered", "refund_delivered", "approve_refundrequest")


def pay(sandbox: SandboxControl, order: Order) -> Payment:
    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    return Payment.objects.get()


@pytest.fixture
def paid(sandbox: SandboxControl, order: Order) -> Payment:
    """Ben's charge, for which nothing was bought yet."""
    return pay(sandbox, order)


@pytest.fixture
def delivered(sandbox: SandboxControl, paid: Payment) -> Payment:
    """Ben's charge, whose eSIM he has; eSIM Go takes unused bundles back."""
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    run_tasks()
    paid.refresh_from_db()
    assert paid.order.status == "completed"
    return paid


def above_limit(payment: Payment, *, by: int = 1) -> None:
    ServicePolicy.objects.create(second_person_stars=payment.amount_stars - by)


def bundle_states(sandbox: SandboxControl) -> list[str]:
    return [each["fields"]["bundleState"] for esim in sandbox.ledger()["esims"] for each in esim["assignments"]]


def change_esim(sandbox: SandboxControl, **changes: Any) -> None:
    [esim] = sandbox.ledger()["esims"]
    sandbox.post(f"/sandbox/esims/{esim['iccid']}", changes)


def ask(payment: Payment, **details: Any) -> RefundRequest | AskedRefund:
    return request_refund(payment, **{"actor": "admin:olga", "reason": "asked for", **details})


def ask_as_customer(payment: Payment) -> RefundRequest:
    request = ask(payment, actor="customer", revokes_bundle=True)
    assert isinstance(request, RefundRequest)
    return request


def end_of(payment: Payment) -> tuple[str, str]:
    payment.refresh_from_db()
    payment.order.refresh_from_db()
    return payment.status, payment.order.status


# At once, or by two


@pytest.mark.parametrize(("above_by", "begins"), [(0, True), (1, False)])
def test_only_above_the_policys_amount_a_second_person_is_needed(
    paid: Payment, olga: User, above_by: int, begins: bool
) -> None:
    above_limit(paid, by=above_by)
    asked = ask(paid)
    assert isinstance(asked, AskedRefund) is begins
    assert Refund.objects.exists() is begins
    assert Alert.objects.filter(cause__startswith="refund_request:").exists() is not begins


def test_the_second_person_agrees_and_the_stars_go_back(
    sandbox: SandboxControl, paid: Payment, olga: User, pavel: User
) -> None:
    above_limit(paid)
    request = ask(paid)
    run_tasks_without_purchase(paid)
    decided = decide_refund_request(request, by=pavel, approve=True, reason="he is right")
    assert (decided.status, decided.decided_by) == ("done", "pavel")
    run_tasks()
    assert end_of(paid) == ("refunded", "refunded")
    assert Refund.objects.get().requested_by == "admin:olga"
    reasons = " | ".join(PaymentEvent.objects.values_list("reason", flat=True))
    assert "asks for a refund, which waits" in reasons
    assert "he is right" in reasons
    assert not Alert.objects.filter(cleared_at=None).exists()


def run_tasks_without_purchase(payment: Payment) -> None:
    """Nothing may be bought for it meanwhile."""
    Order.objects.filter(pk=payment.order_id).update(status="needs_attention", cause="outcome_unknown")


def test_the_second_person_says_no(paid: Payment, olga: User, pavel: User) -> None:
    above_limit(paid)
    request = ask(paid)
    decided = decide_refund_request(request, by=pavel, approve=False, reason="he used it")
    assert (decided.status, decided.note) == ("declined", "pavel declined: he used it")
    assert (end_of(paid)[0], Refund.objects.count()) == ("paid", 0)
    assert not Alert.objects.filter(cleared_at=None).exists()
    assert isinstance(ask(paid), RefundRequest)  # and somebody may ask anew


def test_nobody_agrees_to_their_own_wish(paid: Payment, olga: User) -> None:
    above_limit(paid)
    request = ask(paid)
    for approve in (True, False):
        with pytest.raises(RefundRequestRefused, match="cannot be its second person"):
            decide_refund_request(request, by=olga, approve=approve, reason="yes")
    request.refresh_from_db()
    assert (request.status, Refund.objects.count()) == ("waiting", 0)


def test_who_pressed_a_lead_into_service_is_not_the_second_person(delivered: Payment, olga: User, pavel: User) -> None:
    above_limit(delivered)
    request = ask(delivered, forced_by="pavel")
    with pytest.raises(RefundRequestRefused, match="cannot be its second person"):
        decide_refund_request(request, by=pavel, approve=True, reason="yes")


def test_whoever_may_not_or_may_no_longer_agree_decides_nothing(paid: Payment, olga: User, pavel: User) -> None:
    above_limit(paid)
    request = ask(paid)
    assert pavel.has_perm("payments.approve_refundrequest")  # as the page that he opened saw it
    pavel.user_permissions.clear()
    for by in (pavel, member("eve", "refund_delivered")):
        with pytest.raises(RefundRequestRefused, match="may not agree"):
            decide_refund_request(request, by=by, approve=True, reason="yes")


@pytest.mark.parametrize("lost", ["permission", "account"])
def test_the_wish_of_one_who_may_no_longer_refund_counts_no_more(
    paid: Payment, olga: User, pavel: User, lost: str
) -> None:
    above_limit(paid)
    request = ask(paid)
    if lost == "permission":
        olga.user_permissions.clear()
    else:
        User.objects.filter(pk=olga.pk).update(is_active=False)
    decided = decide_refund_request(request, by=pavel, approve=True, reason="yes")
    assert (decided.status, Refund.objects.count()) == ("refused", 0)
    assert "olga may no longer" in decided.note


def test_a_lead_who_left_meanwhile_takes_nothing_on_themselves(delivered: Payment, olga: User, pavel: User) -> None:
    above_limit(delivered)
    request = ask(delivered, forced_by="olga")
    olga.user_permissions.remove(Permission.objects.get(codename="refund_delivered"))
    assert decide_refund_request(request, by=pavel, approve=True, reason="yes").status == "refused"
    assert not Refund.objects.exists()


def test_what_was_delivered_while_it_waited_is_not_refunded_as_undelivered(
    paid: Payment, olga: User, pavel: User
) -> None:
    above_limit(paid)
    request = ask(paid)
    run_tasks()
    decided = decide_refund_request(request, by=pavel, approve=True, reason="yes")
    assert (decided.status, end_of(paid)) == ("refused", ("paid", "completed"))
    assert "delivered" in decided.note


def test_it_is_asked_for_and_decided_once(paid: Payment, olga: User, pavel: User) -> None:
    above_limit(paid)
    request = ask(paid)
    with pytest.raises(RefundRequestRefused, match="admin:olga has asked for it already"):
        ask(paid, actor="admin:pavel")
    decide_refund_request(request, by=pavel, approve=True, reason="yes")
    with pytest.raises(RefundRequestRefused, match="decided already by pavel"):
        decide_refund_request(request, by=pavel, approve=False, reason="no")
    again = ask(paid)
    assert isinstance(again, AskedRefund)
    assert not again.is_new


def test_a_request_whose_stars_went_back_otherwise_is_closed(
    sandbox: SandboxControl, paid: Payment, olga: User, pavel: User
) -> None:
    above_limit(paid)
    request = ask(paid)
    call_command("refund_payment", paid.charge_id, reason="at once", by="pavel")
    sweep()
    request.refresh_from_db()
    assert (request.status, len(sandbox.refunds())) == ("done", 1)
    assert not Alert.objects.filter(cleared_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_make_one_request_and_one_decision(sandbox: SandboxControl, transactional_db: None) -> None:
    payment = pay(sandbox, invoiced_order())
    above_limit(payment)
    deciders = [member(name, "approve_refundrequest", "refund_delivered") for name in ("pavel", "vera", "ivan")]
    member("olga", "refund_undelivered")

    def outcome(call: Any) -> str:
        try:
            return type(call()).__name__
        except RefundRequestRefused:
            return "refused"

    asked = at_once(*[lambda: outcome(lambda: ask(payment))] * 3)
    assert sorted(asked) == ["RefundRequest", "refused", "refused"]
    request = RefundRequest.objects.get()
    decided = at_once(
        *[
            lambda by=by: outcome(lambda: decide_refund_request(request, by=by, approve=True, reason="yes"))
            for by in deciders
        ]
    )
    assert sorted(decided) == ["RefundRequest", "refused", "refused"]
    assert Refund.objects.count() == 1


# The bundle first


def test_an_unused_bundle_goes_back_before_the_stars(sandbox: SandboxControl, delivered: Payment, olga: User) -> None:
    request = ask(delivered, revokes_bundle=True)
    assert isinstance(request, RefundRequest)
    assert (request.status, Refund.objects.count()) == ("approved", 0)
    run_tasks()
    request.refresh_from_db()
    assert (request.status, end_of(delivered)) == ("done", ("refunded", "refunded"))
    assert (bundle_states(sandbox), len(sandbox.refunds())) == (["revoked"], 1)
    assert delivered.order.attempts.get().status == "revoked"
    assert delivered.order.esim is None
    assert (Refund.objects.get().forced_by, Refund.objects.get().requested_by) == ("", "admin:olga")
    event = delivered.order.events.filter(reason__contains="took its bundle back").get()
    assert event.actor == "admin:olga"


def test_a_large_refund_revokes_only_after_the_second_person(
    sandbox: SandboxControl, delivered: Payment, olga: User, pavel: User
) -> None:
    above_limit(delivered)
    request = ask(delivered, revokes_bundle=True)
    run_tasks()
    sweep()
    assert bundle_states(sandbox) == ["queued"]
    assert decide_refund_request(request, by=pavel, approve=True, reason="yes").status == "approved"
    run_tasks()
    assert (bundle_states(sandbox), end_of(delivered)) == (["revoked"], ("refunded", "refunded"))


def test_a_bundle_that_would_only_be_destroyed_is_left_and_nothing_refunded(
    sandbox: SandboxControl, delivered: Payment, olga: User
) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": False})
    request = ask(delivered, revokes_bundle=True)
    run_tasks()
    request.refresh_from_db()
    assert (request.status, bundle_states(sandbox), end_of(delivered)) == ("refused", ["queued"], ("paid", "completed"))
    assert "would not give its price back" in request.note
    assert "would not give its price back" in Alert.objects.get(cleared_at=None).text


@pytest.mark.parametrize(
    ("change", "customer_ends", "staff_ends"),
    [
        ({"profile_status": "Released"}, "done", "done"),
        ({"profile_status": "Installed"}, "refused", "done"),
        ({"profile_status": "Strange"}, "refused", "done"),
        ({"remaining_mb": 999}, "refused", "refused"),
    ],
)
@pytest.mark.parametrize("asker", ["customer", "admin:olga"])
def test_what_was_used_stays_and_what_was_installed_only_staff_take_back(
    sandbox: SandboxControl,
    delivered: Payment,
    olga: User,
    change: dict[str, Any],
    customer_ends: str,
    staff_ends: str,
    asker: str,
) -> None:
    change_esim(sandbox, **change)
    request = ask(delivered, actor=asker, revokes_bundle=True)
    run_tasks()
    request.refresh_from_db()
    ends = customer_ends if asker == "customer" else staff_ends
    assert request.status == ends
    assert len(sandbox.refunds()) == (ends == "done")
    # A customer's goes on as a case: only staff are told by an alert.
    assert Alert.objects.filter(cleared_at=None).exists() is (ends == "refused" and asker != "customer")


def test_a_profile_deleted_from_the_phone_counts_as_installed(sandbox: SandboxControl, delivered: Payment) -> None:
    change_esim(sandbox, profile_status="Installed")
    change_esim(sandbox, profile_status="Released")
    assert inspect_esim(delivered.order).is_installed is True
    with pytest.raises(RevocationRefused, match="installed"):
        revoke_bundle_of(delivered.order, actor="customer", reason="x", may_be_installed=False)


def test_what_esim_go_says_is_shown_without_changing_anything(sandbox: SandboxControl, delivered: Payment) -> None:
    found = inspect_esim(delivered.order)
    assert (found.is_installed, found.is_used, found.is_refundable, found.is_revoked) == (False, False, True, False)
    assert (found.bundle_state, str(found.cost_usd.normalize())) == ("queued", "1.15")
    change_esim(sandbox, remaining_mb=400)
    found = inspect_esim(delivered.order)
    assert (found.is_used, found.is_refundable, found.bundle_state) == (True, False, "active")
    assert bundle_states(sandbox) == ["active"]


def test_nothing_is_revoked_where_nothing_was_delivered(paid: Payment) -> None:
    with pytest.raises(RefundRequestRefused, match="no bundle to take back"):
        ask(paid, revokes_bundle=True)


def test_in_spite_of_an_esim_a_lead_must_say_so(delivered: Payment, olga: User) -> None:
    with pytest.raises(RefundBlocked):
        ask(delivered)
    with pytest.raises(NotALead):
        ask(delivered, forced_by="nobody")
    assert isinstance(ask(delivered, forced_by="olga"), AskedRefund)


# What goes wrong on the way


def test_while_esim_go_is_away_a_customers_request_waits_and_then_a_person_decides(
    sandbox: SandboxControl, delivered: Payment
) -> None:
    sandbox.fail(BUNDLES, "status", status=503, times=None)
    request = ask_as_customer(delivered)
    run_tasks()
    request.refresh_from_db()
    assert (request.status, request.attempts) == ("approved", 1)
    now = timezone.now()
    for minute in range(1, 40):
        with time_machine.travel(now + timedelta(minutes=minute), tick=True):
            sweep()
        request.refresh_from_db()
        if request.status != "approved":
            break
    assert (request.status, end_of(delivered)) == ("refused", ("paid", "completed"))
    assert "could not be asked" in request.note
    assert CUSTOMER_WAITS.total_seconds() / 60 <= minute < 35


def test_when_esim_go_is_back_in_time_the_request_goes_on(sandbox: SandboxControl, delivered: Payment) -> None:
    sandbox.fail(BUNDLES, "status", status=503)
    request = ask_as_customer(delivered)
    run_tasks()
    with time_machine.travel(timezone.now() + timedelta(seconds=30), tick=True):
        sweep()
    request.refresh_from_db()
    assert (request.status, end_of(delivered)) == ("done", ("refunded", "refunded"))


def test_a_revocation_whose_answer_is_lost_ends_in_the_refund(sandbox: SandboxControl, delivered: Payment) -> None:
    # The rehearsal passes; the revocation is done, its answer is lost, and so is the look at it.
    sandbox.fail(BUNDLES, "delay", seconds=0)
    sandbox.fail(BUNDLES, "status", status=503)
    sandbox.fail(REVOKE, "delay", seconds=0)
    sandbox.fail(REVOKE, "drop_after_work")
    request = ask_as_customer(delivered)
    run_tasks()
    request.refresh_from_db()
    assert (request.status, bundle_states(sandbox), Refund.objects.count()) == ("approved", ["revoked"], 0)
    with time_machine.travel(timezone.now() + timedelta(seconds=30), tick=True):
        sweep()
    assert end_of(delivered) == ("refunded", "refunded")
    assert len(sandbox.refunds()) == 1


class Died(BaseException):
    """The process is gone: no handler of the shop's catches it."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_process_that_dies_at_any_call_loses_nothing(
    sandbox: SandboxControl, delivered: Payment, monkeypatch: pytest.MonkeyPatch, call: int, after: bool
) -> None:
    """Calls: the bundles, the rehearsal, the eSIM, the revocation."""
    request = ask_as_customer(delivered)
    with monkeypatch.context() as patch:
        _die_at(patch, call, after=after)
        with pytest.raises(Died):
            carry_out_refund_request(request.pk)
    with time_machine.travel(timezone.now() + LEASE + timedelta(seconds=10), tick=True):
        sweep()
    request.refresh_from_db()
    assert (request.status, end_of(delivered)) == ("done", ("refunded", "refunded"))
    assert (bundle_states(sandbox), len(sandbox.refunds())) == (["revoked"], 1)


def _die_at(patch: pytest.MonkeyPatch, call: int, *, after: bool) -> None:
    send, made = requests.Session.send, []

    def mortal(session: Any, prepared: Any, **options: Any) -> Any:
        made.append(prepared.url)
        if len(made) == call and not after:
            raise Died
        answer = send(session, prepared, **options)
        if len(made) == call:
            raise Died
        return answer

    patch.setattr(requests.Session, "send", mortal)


def test_a_process_that_dies_between_revocation_and_refund_loses_nothing(
    sandbox: SandboxControl, delivered: Payment
) -> None:
    request = ask_as_customer(delivered)
    revoke_bundle_of(delivered.order, actor="customer", reason="x", may_be_installed=False)
    run_tasks()
    request.refresh_from_db()
    assert (request.status, end_of(delivered), len(sandbox.refunds())) == ("done", ("refunded", "refunded"), 1)


def test_two_workers_carry_it_out_once(sandbox: SandboxControl, delivered: Payment) -> None:
    request = ask_as_customer(delivered)
    carry_out_refund_request(request.pk)
    calls = sandbox.ledger()["calls"]["counts"]
    carry_out_refund_request(request.pk)
    assert sandbox.ledger()["calls"]["counts"] == calls
    assert Refund.objects.count() == 1


def test_stars_that_are_going_back_already_leave_the_bundle_to_the_customer(
    sandbox: SandboxControl, delivered: Payment, olga: User
) -> None:
    request = ask_as_customer(delivered)
    call_command("refund_payment", delivered.charge_id, reason="goodwill", force=True, by="olga")
    run_tasks()
    request.refresh_from_db()
    assert (request.status, bundle_states(sandbox)) == ("done", ["queued"])


def test_a_refund_that_telegram_refuses_after_the_revocation_waits_for_a_person_who_may_buy_anew(
    sandbox: SandboxControl, delivered: Payment, olga: User
) -> None:
    """The customer has neither eSIM nor Stars: the order is not completed any more."""
    sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    ask_as_customer(delivered)
    run_tasks()
    assert end_of(delivered) == ("refund_failed", "needs_attention")
    assert delivered.order.cause == "refund_refused"
    assert "eSIM was taken back" in Alert.objects.get(cause=f"order:{delivered.order_id}").text
    assert delivered.order.deliveries.filter(kind="attention").exists()
    asked = ask(delivered)  # nothing blocks a second try
    assert isinstance(asked, AskedRefund)
    run_tasks()
    assert (end_of(delivered), len(sandbox.refunds())) == (("refunded", "refunded"), 1)


def test_an_esim_whose_stars_go_back_is_not_sent_again(sandbox: SandboxControl, delivered: Payment) -> None:
    delivery = delivered.order.deliveries.get(kind="esim")
    delivered.order.deliveries.filter(kind="esim").update(status="blocked")
    ask_as_customer(delivered)
    run_tasks()
    from orders.services.deliveries import resume_deliveries

    resume_deliveries(delivered.customer)
    run_tasks()
    delivery.refresh_from_db()
    assert (delivery.status, delivered.order.delivery_state) == ("skipped", "pending")


# The command


def test_the_command_needs_a_second_person_above_the_limit(sandbox: SandboxControl, paid: Payment, pavel: User) -> None:
    above_limit(paid)
    member("eve", "refund_delivered")
    for by in ("", "eve", "unknown"):
        with pytest.raises(CommandError, match="second person"):
            call_command("refund_payment", paid.charge_id, reason="x", by=by)
    assert not Refund.objects.exists()
    call_command("refund_payment", paid.charge_id, reason="x", by="pavel")
    call_command("refund_payment", paid.charge_id, reason="x")  # says that it is returned already
    assert Refund.objects.count() == 1
