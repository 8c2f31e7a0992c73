"""Alerts: each cause is told once, and nothing that a person must know is lost on the way to them."""

from __future__ import annotations

import ast
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from django.conf import settings as django_settings
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from esimshop.alerts import LONGEST_TEXT, clear_alert, raise_alert
from esimshop.models import Alert
from esimshop.tasks import sweep_alerts_task
from tests.outside import ANNA, BEN, SandboxControl, at_once, run_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(sandbox: SandboxControl, settings: Any) -> SandboxControl:
    """Ben is told of alerts."""
    settings.ALERT_CHAT_ID = str(BEN)
    return sandbox


def raise_some(cause: str = "esimgo_account", text: str = "eSIM Go refuses <our> account: check the key.") -> None:
    raise_alert(cause=cause, text=text, path="/admin/catalog/wholesaleraccount/")


def sweep_after(**time: int) -> None:
    with time_machine.travel(timezone.now() + timedelta(**time)):
        sweep_alerts_task(timestamp=0)


def test_an_operator_is_told_once_with_a_link_and_what_to_do(operator: SandboxControl) -> None:
    for _ in range(3):
        raise_some()
        run_tasks()
    [message] = operator.chat(BEN)
    assert "eSIM Go refuses <our> account: check the key." in str(message)
    assert f"{django_settings.PUBLIC_URL}/admin/catalog/wholesaleraccount/" in str(message)
    assert Alert.objects.get().sent_at


def test_a_cause_that_ended_long_ago_is_told_again(operator: SandboxControl) -> None:
    raise_some()
    run_tasks()
    clear_alert(cause="esimgo_account")
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        raise_some()
        run_tasks()
    assert len(operator.chat(BEN)) == Alert.objects.count() == 2


def test_a_cause_that_comes_and_goes_is_told_once_and_stays_visible(operator: SandboxControl) -> None:
    now = timezone.now()
    for minute in range(30):
        with time_machine.travel(now + timedelta(minutes=minute)):
            raise_some(text=f"the {minute}th time")
            run_tasks()
            if minute < 29:
                clear_alert(cause="esimgo_account")
    assert len(operator.chat(BEN)) == 1
    alert = Alert.objects.get()
    assert (alert.cleared_at, alert.text) == (None, "the 29th time")


def test_a_reopened_alert_that_nobody_was_told_of_is_sent(operator: SandboxControl) -> None:
    operator.fail("telegram.sendMessage", "status", status=502)
    raise_some()
    run_tasks()
    clear_alert(cause="esimgo_account")
    raise_some()
    assert not operator.chat(BEN)
    sweep_after(minutes=2)
    assert len(operator.chat(BEN)) == 1


@pytest.mark.django_db(transaction=True)
def test_two_at_once_of_one_cause_are_one() -> None:
    at_once(*[raise_some] * 8)
    assert Alert.objects.count() == ProcrastinateJob.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_that_come_back_at_once_are_one() -> None:
    raise_some()
    clear_alert(cause="esimgo_account")
    at_once(*[raise_some] * 8)
    assert Alert.objects.count() == Alert.objects.filter(cleared_at=None).count() == 1


def test_an_alert_of_a_transaction_that_was_rolled_back_is_not_told(operator: SandboxControl) -> None:
    with transaction.atomic():
        raise_some()
        transaction.set_rollback(True)
    assert not run_tasks()
    assert not Alert.objects.exists()


def test_an_alert_whose_task_died_is_sent_by_the_sweep(operator: SandboxControl) -> None:
    raise_some()
    ProcrastinateJob.objects.all().delete()
    sweep_alerts_task(timestamp=0)
    assert not operator.chat(BEN), "its task may be under way"
    sweep_after(seconds=61)
    sweep_after(minutes=5)
    assert len(operator.chat(BEN)) == 1


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 502}, {"kind": "status", "status": 429}])
def test_telegram_being_away_delays_an_alert_and_no_more(operator: SandboxControl, fault: Any) -> None:
    operator.fail("telegram.sendMessage", times=2, **fault)
    raise_some()
    run_tasks()
    sweep_after(minutes=2)
    assert Alert.objects.get().sent_at is None
    sweep_after(minutes=3)
    assert len(operator.chat(BEN)) == 1
    assert Alert.objects.get().sent_at


@pytest.mark.parametrize("chat_id", ["555000111", "the operators"])
def test_a_wrong_chat_is_said_in_the_log_and_made_good_when_it_is_mended(
    operator: SandboxControl, settings: Any, caplog: Any, chat_id: str
) -> None:
    settings.ALERT_CHAT_ID = chat_id
    raise_some()
    run_tasks()
    assert "alert_not_sent" in caplog.text
    assert Alert.objects.get().sent_at is None
    settings.ALERT_CHAT_ID = str(ANNA)
    sweep_after(minutes=60)
    assert len(operator.chat(ANNA)) == 1


def test_sentry_has_what_telegram_does_not_take(operator: SandboxControl, settings: Any, monkeypatch: Any) -> None:
    import sentry_sdk

    captured: list[tuple[str, Any]] = []
    monkeypatch.setattr(sentry_sdk, "capture_message", lambda text, **details: captured.append((text, details)))
    settings.SENTRY_DSN, settings.ALERT_CHAT_ID = "https://key@sentry.example/1", "555000111"
    raise_some()
    run_tasks()
    [(text, details)] = captured
    assert "refuses" in text
    assert details["fingerprint"] == ["esimgo_account"]


def test_without_a_chat_the_alert_is_in_the_log_and_the_admin(sandbox: SandboxControl, caplog: Any) -> None:
    raise_some()
    run_tasks()
    sweep_after(minutes=5)
    assert "esimgo_account" in caplog.text
    assert Alert.objects.get().sent_at
    assert not sandbox.calls("telegram.sendMessage")


def test_a_cause_longer_than_its_column_is_kept_apart_from_its_like() -> None:
    charges = ["x" * 200 + "1", "x" * 200 + "2"]
    for charge in charges * 2:
        raise_some(cause=f"refund:{charge}")
    assert Alert.objects.count() == 2
    clear_alert(cause=f"refund:{charges[0]}")
    assert Alert.objects.filter(cleared_at=None).count() == 1


def test_a_text_too_long_for_telegram_is_cut(operator: SandboxControl) -> None:
    raise_some(text="<" * 10_000)
    run_tasks()
    assert len(Alert.objects.get().text) == LONGEST_TEXT
    assert len(operator.chat(BEN)) == 1


def test_an_alert_tells_no_secret(operator: SandboxControl) -> None:
    raise_some(text=f"https://api.telegram.org/bot{django_settings.TELEGRAM_BOT_TOKEN}/getMe failed")
    run_tasks()
    assert "sandbox-token" not in Alert.objects.get().text + str(operator.chat(BEN))


def alerts_of_the_code() -> Iterator[tuple[str, ast.Call]]:
    for app in ("esimshop", "catalog", "orders", "payments"):
        for file in (django_settings.BASE_DIR / app).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"raise_alert", "alert_on_error"}:
                    yield f"{file.relative_to(django_settings.BASE_DIR)}:{node.lineno}", node


def test_every_alert_of_the_code_has_a_link() -> None:
    links = {place: {word.arg for word in call.keywords} >= {"path"} for place, call in alerts_of_the_code()}
    assert links
    assert not [place for place, has_link in links.items() if not has_link]
