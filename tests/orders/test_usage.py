"""Reading usage at eSIM Go: stored once, never older than a callback, asked for again in time, told to the customer."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from catalog.models import Plan
from orders.models import Customer, Delivery, Esim, EsimBundle, Order
from orders.services.fulfilment import provision_order
from orders.services.usage import read_usage, sweep_usage
from orders.tasks import sweep_usage_task
from tests.orders.conftest import paid_order
from tests.orders.esims import GB, bought_esim, bundle_body, call_back, read, use
from tests.outside import ANNA, BEN, SandboxControl, at_once, is_russian, run_tasks

pytestmark = pytest.mark.django_db

Kind = Delivery.Kind


def told(esim: Esim) -> list[tuple[str, str]]:
    """The notices of an eSIM, oldest first."""
    return list(Delivery.objects.filter(bundle__esim=esim).order_by("pk").values_list("kind", "status"))


def only_bundle(esim: Esim) -> EsimBundle:
    return EsimBundle.objects.get(esim=esim)


# Reading


def test_a_new_esim_is_read_soon_after_its_purchase(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    assert esim.usage_due_at is not None
    assert timedelta(0) < esim.usage_due_at - timezone.now() < timedelta(minutes=5)
    with time_machine.travel(esim.usage_due_at):
        sweep_usage_task(timestamp=0)
    esim.refresh_from_db()
    bundle = only_bundle(esim)
    assert (bundle.state, bundle.initial_bytes, bundle.remaining_bytes) == ("queued", GB, GB)
    assert bundle.order == esim.order
    assert (esim.profile_name, esim.profile_status, esim.was_installed) == ("Profile 4", "Released", False)
    assert esim.usage_read_at is not None


def test_what_is_not_due_is_not_asked(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    assert sweep_usage(limit=10) == 0
    assert read_usage(esim.pk)
    assert sandbox.calls("esimgo.GET /esims/{iccid}/bundles") == 0


def test_a_bundle_in_use(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    use(sandbox, esim, remaining_mb=640, profile_status="Installed")
    esim = read(esim)
    bundle = only_bundle(esim)
    assert (bundle.state, bundle.remaining_bytes) == ("active", 640_000_000)
    assert bundle.ends_at is not None
    assert bundle.starts_at is not None
    assert bundle.ends_at - bundle.starts_at == timedelta(days=7)
    assert esim.was_installed is True
    # Its profile is known: from now on one call is enough.
    calls = sandbox.calls("esimgo.GET /esims/{iccid}")
    read(esim)
    assert sandbox.calls("esimgo.GET /esims/{iccid}") == calls


def test_two_workers_ask_once(sandbox: SandboxControl, plan: Plan, transactional_db: None) -> None:
    esim = bought_esim(sandbox, plan)
    Esim.objects.filter(pk=esim.pk).update(usage_due_at=timezone.now())
    at_once(*[lambda: read_usage(esim.pk)] * 4)
    assert sandbox.calls("esimgo.GET /esims/{iccid}/bundles") == 1
    assert EsimBundle.objects.count() == 1


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "drop"}])
def test_without_an_answer_everything_stays_and_is_asked_again(
    sandbox: SandboxControl, plan: Plan, fault: dict[str, Any]
) -> None:
    esim = read(bought_esim(sandbox, plan))
    use(sandbox, esim, remaining_mb=640)
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", **fault)
    before = only_bundle(esim).told_at
    esim = read(esim)
    assert only_bundle(esim).told_at == before
    assert esim.usage_due_at is not None
    assert timezone.now() < esim.usage_due_at < timezone.now() + timedelta(minutes=11)


def test_a_sweep_ends_where_esim_go_does_not_answer(sandbox: SandboxControl, plan: Plan) -> None:
    esims = [bought_esim(sandbox, plan), bought_esim(sandbox, plan, user_id=ANNA)]
    Esim.objects.update(usage_due_at=timezone.now())
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", "status", status=503, times=9)
    assert sweep_usage(limit=10) == 0
    assert sandbox.calls("esimgo.GET /esims/{iccid}/bundles") == 1
    assert Esim.objects.filter(pk__in=[esim.pk for esim in esims], usage_due_at__lte=timezone.now()).count() == 1


def test_a_deactivated_esim_is_asked_about_no_more(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    use(sandbox, esim, state="deactivated")
    esim = read(esim)
    assert esim.is_deleted
    assert esim.usage_due_at is None


def test_what_is_used_up_is_asked_about_no_more_until_a_top_up(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    use(sandbox, esim, remaining_mb=0)
    esim = read(esim)
    assert (only_bundle(esim).state, esim.usage_due_at) == ("depleted", None)
    ended_at = only_bundle(esim).ended_at
    assert ended_at is not None

    top_up = paid_order(sandbox, plan=plan, top_up_esim=esim)
    provision_order(str(top_up.pk))
    esim.refresh_from_db()
    assert esim.usage_due_at is not None
    esim = read(esim)
    newest = esim.bundles.last()
    assert newest is not None
    assert (newest.order, newest.state) == (top_up, "queued")
    assert esim.bundles.get(state="depleted").ended_at == ended_at


def test_an_esim_whose_stars_went_back_is_nobodys(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    Order.objects.filter(pk=esim.order_id).update(status="refunded")
    esim = read(esim)
    assert esim.usage_due_at is None
    assert sandbox.calls("esimgo.GET /esims/{iccid}/bundles") == 0


@pytest.mark.parametrize("status", ["refunding", "needs_attention"])
def test_an_esim_whose_refund_is_refused_is_read_on(sandbox: SandboxControl, plan: Plan, status: str) -> None:
    esim = bought_esim(sandbox, plan)
    Order.objects.filter(pk=esim.order_id).update(status=status)
    esim = read(esim)
    assert sandbox.calls("esimgo.GET /esims/{iccid}/bundles") == 0
    assert esim.usage_due_at is not None
    Order.objects.filter(pk=esim.order_id).update(status="completed")
    with time_machine.travel(esim.usage_due_at):
        assert sweep_usage(limit=5) == 1
    assert only_bundle(esim).state == "queued"


def test_it_is_asked_again_at_the_moments_of_the_notices(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    use(sandbox, esim, remaining_mb=900)
    esim = read(esim)
    ends_at = only_bundle(esim).ends_at
    assert ends_at is not None
    assert esim.usage_due_at is not None
    assert esim.usage_due_at < timezone.now() + timedelta(hours=4)
    with time_machine.travel(ends_at - timedelta(days=3, minutes=5)):
        esim = read(esim)
        assert esim.usage_due_at == ends_at - timedelta(days=3)


# Late, twice, at once


def test_an_older_reading_does_not_undo_a_callback(sandbox: SandboxControl, plan: Plan) -> None:
    esim = read(bought_esim(sandbox, plan))
    assignment = only_bundle(esim).assignment_id
    # The callback comes after the question and before its answer, which still says 1 GB.
    with time_machine.travel(timezone.now() + timedelta(seconds=30)):
        assert call_back(bundle_body(esim, id=assignment)).status_code == 200
    read(esim)
    assert only_bundle(esim).remaining_bytes == GB // 5


def test_a_callback_during_a_reading_has_it_read_again(
    sandbox: SandboxControl, plan: Plan, transactional_db: None
) -> None:
    esim = read(bought_esim(sandbox, plan))
    assignment = only_bundle(esim).assignment_id
    Esim.objects.filter(pk=esim.pk).update(usage_due_at=timezone.now())
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", "delay", seconds=1)

    def call_back_meanwhile() -> None:
        time.sleep(0.4)
        assert call_back(bundle_body(esim, id=assignment)).status_code == 200

    at_once(lambda: read_usage(esim.pk), call_back_meanwhile)
    esim.refresh_from_db()
    assert only_bundle(esim).remaining_bytes == GB // 5
    assert esim.usage_due_at is not None
    assert esim.usage_due_at <= timezone.now()


# Telling the customer


def test_each_notice_comes_once(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    use(sandbox, esim, remaining_mb=150)
    for _ in range(3):
        read(esim)
    assert told(esim) == [("data_low", "pending")]
    run_tasks()
    message = sandbox.chat(BEN)[-1]
    assert "15%" in message["text"]
    assert "150 MB" in message["text"]
    assert [button["text"] for row in message["buttons"] for button in row] == ["Top up", "Switch such notices off"]
    assert message["buttons"][0][0]["web_app"]["url"].endswith(f"/?esim={esim.iccid}")
    use(sandbox, esim, remaining_mb=0)
    for _ in range(3):
        read(esim)
    run_tasks()
    assert told(esim) == [("data_low", "sent"), ("data_gone", "sent")]
    assert "used up" in sandbox.chat(BEN)[-1]["text"]


def test_days_are_told_of_when_their_time_comes(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan, user_id=ANNA, language="ru")
    use(sandbox, esim, remaining_mb=900)
    esim = read(esim)
    ends_at = only_bundle(esim).ends_at
    assert ends_at is not None
    for before, expected in ((timedelta(days=3), ["three_days"]), (timedelta(days=1), ["three_days", "one_day"])):
        with time_machine.travel(ends_at - before):
            sweep_usage_task(timestamp=0)
            run_tasks()
            assert [kind for kind, _ in told(esim)] == expected
    texts = [message["text"] for message in sandbox.chat(ANNA)[-2:]]
    assert all(is_russian(text) for text in texts)
    assert all(f"{ends_at:%H:%M} UTC" in text for text in texts)


def test_days_are_told_of_although_esim_go_does_not_answer(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    use(sandbox, esim, remaining_mb=900)
    esim = read(esim)
    ends_at = only_bundle(esim).ends_at
    assert ends_at is not None
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", "status", status=503, times=9)
    with time_machine.travel(ends_at - timedelta(days=3)):
        sweep_usage(limit=10)
    assert [kind for kind, _ in told(esim)] == ["three_days"]


def test_the_switch_turns_them_off(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    use(sandbox, esim, remaining_mb=150)
    Customer.objects.update(wants_usage_notices=False)
    read(esim)
    assert told(esim) == []
    Customer.objects.update(wants_usage_notices=True)
    read(esim)
    assert told(esim) == [("data_low", "pending")]
    # Switched off at the last moment: what is on its way is not sent.
    Customer.objects.update(wants_usage_notices=False)
    before = len(sandbox.chat(BEN))
    Delivery.objects.exclude(bundle=None).update(next_try_at=timezone.now())
    run_tasks()
    assert told(esim) == [("data_low", "skipped")]
    assert not [message for message in sandbox.chat(BEN)[before:] if "%" in message["text"]]


def test_a_notice_that_a_top_up_overtook_is_not_sent(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    use(sandbox, esim, remaining_mb=150)
    read(esim)
    EsimBundle.objects.create(
        esim=esim, assignment_id="1", bundle_name=plan.bundle_name, state="queued", initial_bytes=GB, remaining_bytes=GB
    )
    run_tasks()
    assert told(esim) == [("data_low", "skipped")]
