"""Cases: what a customer writes comes to staff, what staff answer comes to the customer, and nothing is lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.utils import timezone

from orders.models import Customer, Delivery
from payments.models import Case, CaseMessage, TelegramUpdate
from payments.services import cases
from payments.services.cases import (
    CaseRefused,
    NewerLines,
    answer_case,
    close_case,
    note_in_case,
    reopen_case,
    take_case,
)
from tests.factories import CustomerFactory, PaymentFactory, PlanFactory
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    at_once,
    is_russian,
    membership_update,
    message_update,
    run_tasks,
    send_update,
    sweep,
)

pytestmark = pytest.mark.django_db
NOBODY = None


@pytest.fixture
def agent(db: None) -> User:
    return User.objects.create_user("olga", is_staff=True)


def make_case(**fields: Any) -> Case:
    """Ben's open case about a payment, with the line that opened it."""
    payment = fields.pop("payment", None) or PaymentFactory(order__status="completed", order__plan=PlanFactory())
    case = Case.objects.create(
        **{"customer": payment.customer, "payment": payment, "order": payment.order, "reason": "other", "wish": "help",
           **fields}
    )  # fmt: skip
    CaseMessage.objects.create(case=case, author="customer", actor="customer", text="Asks for help.", after="open")
    return case


def write(sandbox: SandboxControl, text: str, *, user_id: int = BEN, **message: Any) -> list[str]:
    """Write to the bot; returns what it says."""
    before = len(sandbox.chat(user_id))
    update = message_update(text, user_id=user_id)
    update["message"].update(message)
    assert send_update(update).status_code == 200
    run_tasks()
    return [answer["text"] for answer in sandbox.chat(user_id)[before:]]


def newest(case: Case) -> int:
    return case.messages.latest("pk").pk


def lines(case: Case, author: str = "customer") -> list[str]:
    return list(case.messages.filter(author=author, update__isnull=author != "customer").values_list("text", flat=True))


# The customer writes


def test_what_a_customer_writes_goes_to_their_case_and_is_thanked_for_once(sandbox: SandboxControl) -> None:
    case = make_case()

    (thanks,) = write(sandbox, "It says  <no> network")
    assert f"Thank you, we have it. The answer comes here. (Request {case.pk})" in thanks
    assert write(sandbox, "in Paris") == write(sandbox, "since noon") == []

    assert lines(case) == ["It says  <no> network", "in Paris", "since noon"]
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        assert len(write(sandbox, "still nothing")) == 1


def test_a_message_without_a_case_gets_the_hint_at_paysupport(sandbox: SandboxControl) -> None:
    (answer,) = write(sandbox, "hello")

    assert "/paysupport" in answer
    assert not CaseMessage.objects.exists()


def test_a_command_is_no_message_to_staff(sandbox: SandboxControl) -> None:
    case = make_case()

    assert "How it works" in write(sandbox, "/help")[0]
    assert "I sell mobile data" in write(sandbox, "/refund")[0]
    assert lines(case) == []


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ({"photo": [{"file_id": "1"}], "caption": "the error"}, "[sent a photo] the error"),
        ({"voice": {"file_id": "1"}}, "[sent a voice message]"),
        ({"sticker": {"file_id": "1"}}, "[sent a sticker]"),
        ({"document": {"file_id": "1"}}, "[sent a file]"),
    ],
)
def test_of_what_is_no_text_staff_see_what_it_was(sandbox: SandboxControl, content: Any, kept: str) -> None:
    case = make_case()

    (answer,) = write(sandbox, "", **content)

    assert lines(case) == [kept]
    assert "We cannot see pictures or hear voices here" in answer


def test_a_very_long_message_is_cut_and_kept(sandbox: SandboxControl) -> None:
    case = make_case()

    write(sandbox, "ё" * 4096)

    assert lines(case) == ["ё" * 4000]


def test_the_same_message_is_taken_in_once(sandbox: SandboxControl) -> None:
    case = make_case()
    update = message_update("hello")
    for _ in range(2):
        send_update(update)
        run_tasks()

    assert lines(case) == ["hello"]
    assert len(sandbox.chat(BEN)) == 1


def test_a_message_survives_that_telegram_does_not_take_the_thanks(sandbox: SandboxControl) -> None:
    case = make_case()
    sandbox.fail("telegram.sendMessage", "status", status=429)

    assert write(sandbox, "hello") == []
    TelegramUpdate.objects.update(next_try_at=timezone.now())
    sweep()

    assert lines(case) == ["hello"]
    assert "we have it" in sandbox.chat(BEN)[-1]["text"]


def test_a_message_is_not_marked_as_handled_before_it_is_kept(
    sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case()
    # The process may break wherever it likes between taking the update and storing the line.
    monkeypatch.setattr(cases, "_begins_burst", lambda case: 1 // 0)

    assert write(sandbox, "hello") == []
    assert TelegramUpdate.objects.get().status == "failed"
    monkeypatch.undo()
    TelegramUpdate.objects.update(next_try_at=timezone.now())
    sweep()

    assert lines(case) == ["hello"]


def test_the_latest_case_in_progress_gets_what_is_written(sandbox: SandboxControl) -> None:
    older, newer = make_case(), make_case(status="answered")
    make_case(status="closed", closed_at=timezone.now())
    Case.objects.filter(pk=older.pk).update(updated_at=timezone.now() - timedelta(hours=1))

    write(sandbox, "hello")

    newer.refresh_from_db()
    assert (lines(older), lines(newer), newer.status) == ([], ["hello"], "open")


def test_a_reply_goes_to_the_case_of_the_message_that_it_answers(sandbox: SandboxControl, agent: User) -> None:
    older = make_case()
    answer_case(older.pk, user=agent, text="Did you install it?", seen_pk=newest(older))
    run_tasks()
    newer = make_case()
    message_id = Delivery.objects.get().message_id

    write(sandbox, "and more", reply_to_message={"message_id": 1})
    write(sandbox, "yes", reply_to_message={"message_id": message_id})
    write(sandbox, "and", reply_to_message={"message_id": message_id}, user_id=ANNA)

    assert (lines(older), lines(newer)) == (["yes"], ["and more"])


def test_a_closed_case_is_opened_again_by_a_message_within_a_week(sandbox: SandboxControl) -> None:
    case = make_case(status="closed", closed_at=timezone.now() - timedelta(days=6, hours=23))

    assert "we have it" in write(sandbox, "it is not settled")[0]

    case.refresh_from_db()
    assert (case.status, case.closed_at) == ("open", None)
    line = case.messages.latest("pk")
    assert (line.before, line.after, line.actor) == ("closed", "open", "customer")


def test_a_case_closed_long_ago_stays_closed_unless_it_is_replied_to(sandbox: SandboxControl, agent: User) -> None:
    case = make_case()
    answer_case(case.pk, user=agent, text="It is on.", seen_pk=newest(case), closes=True)
    run_tasks()
    Case.objects.update(closed_at=timezone.now() - timedelta(days=8))

    assert "I sell mobile data" in write(sandbox, "hello")[0]
    write(sandbox, "hello", reply_to_message={"message_id": Delivery.objects.get().message_id})

    case.refresh_from_db()
    assert (case.status, lines(case)) == ("open", ["hello"])


def test_a_flood_is_kept_and_asked_for_patience_once(sandbox: SandboxControl) -> None:
    case = make_case()

    with time_machine.travel("2026-11-24T10:00:01Z", tick=False):
        said = [text for number in range(30) for text in write(sandbox, f"line {number}")]

    assert len(lines(case)) == 30
    assert [text[:9] for text in said] == ["Thank you", "We have a"]


# Staff answer


@pytest.mark.parametrize(("user_id", "language"), [(ANNA, "ru"), (BEN, "en")])
def test_an_answer_reaches_the_customer_as_it_was_written(
    sandbox: SandboxControl, agent: User, user_id: int, language: str
) -> None:
    customer = CustomerFactory(telegram_user_id=user_id, language=language)
    case = make_case(payment=PaymentFactory(customer=customer, order__customer=customer))
    words = "Включите роуминг <b>данных</b> & перезапустите" if language == "ru" else "Switch <b>roaming</b> on & off"

    line = answer_case(case.pk, user=agent, text=f" {words}\n", seen_pk=newest(case))
    run_tasks()

    text = sandbox.chat(user_id)[-1]["text"]
    assert f"\n\n{words}\n\n" in text
    assert is_russian(text) is (language == "ru")
    case.refresh_from_db()
    assert (case.status, case.owner, case.first_answered_at) == ("answered", agent, line.created_at)
    assert (line.before, line.after, line.actor, line.author) == ("open", "answered", "admin:olga", "staff")
    line.delivery.refresh_from_db()  # type: ignore[union-attr]
    assert line.delivery.status == "sent"  # type: ignore[union-attr]


def test_the_first_answer_is_the_first(sandbox: SandboxControl, agent: User) -> None:
    case = make_case()
    first = answer_case(case.pk, user=agent, text="One moment", seen_pk=newest(case))
    answer_case(case.pk, user=User.objects.create_user("pavel"), text="Done", seen_pk=newest(case))

    case.refresh_from_db()
    assert (case.status, case.owner, case.first_answered_at) == ("answered", agent, first.created_at)


def test_an_answer_to_a_customer_who_blocked_the_bot_comes_when_they_are_back(
    sandbox: SandboxControl, agent: User
) -> None:
    case = make_case()
    sandbox.post("/sandbox/users", {"id": BEN, "blocked_bot": True})
    answer_case(case.pk, user=agent, text="Are you there?", seen_pk=newest(case))
    run_tasks()
    assert Delivery.objects.get().status == "blocked"

    sandbox.post("/sandbox/users", {"id": BEN, "blocked_bot": False})
    send_update(membership_update("member"))
    run_tasks()

    assert Delivery.objects.get().status == "sent"
    assert "Are you there?" in sandbox.chat(BEN)[-1]["text"]


def test_an_answer_is_sent_again_until_telegram_takes_it(sandbox: SandboxControl, agent: User) -> None:
    case = make_case()
    sandbox.fail("telegram.sendMessage", "drop", times=2)
    answer_case(case.pk, user=agent, text="Hello", seen_pk=newest(case))
    run_tasks()
    for _ in range(2):
        Delivery.objects.update(next_try_at=timezone.now() - timedelta(seconds=6))
        sweep()

    assert "Hello" in sandbox.chat(BEN)[-1]["text"]
    assert Delivery.objects.get().status == "sent"


def test_an_answer_to_what_has_changed_meanwhile_is_held_back(sandbox: SandboxControl, agent: User) -> None:
    case = make_case()
    seen = newest(case)
    write(sandbox, "never mind, it works")

    with pytest.raises(NewerLines, match="The customer wrote meanwhile"):
        answer_case(case.pk, user=agent, text="Restart it", seen_pk=seen)
    answer_case(case.pk, user=agent, text="Good!", seen_pk=newest(case))
    with pytest.raises(NewerLines, match="olga wrote meanwhile"):
        answer_case(case.pk, user=User.objects.create_user("pavel"), text="Good!", seen_pk=newest(case) - 1)

    assert Delivery.objects.count() == 1


def test_a_note_for_colleagues_holds_no_answer_back_and_reaches_no_customer(
    sandbox: SandboxControl, agent: User
) -> None:
    case = make_case()
    seen = newest(case)
    note_in_case(case.pk, user=agent, text="the third time this week")

    answer_case(case.pk, user=agent, text="Good!", seen_pk=seen)

    assert [delivery.text for delivery in Delivery.objects.all()] == ["Good!"]


@pytest.mark.parametrize(("text", "words"), [(" \n", "Write an answer"), ("😀" * 1751, "at most 3,500 characters")])
def test_an_answer_that_telegram_would_not_take_is_refused(agent: User, text: str, words: str) -> None:
    case = make_case()

    with pytest.raises(CaseRefused, match=words):
        answer_case(case.pk, user=agent, text=text, seen_pk=newest(case))


@pytest.mark.django_db(transaction=True)
def test_two_who_answer_at_once_send_one_answer() -> None:
    case = make_case()
    seen = newest(case)
    users = [User.objects.create_user(name) for name in ("olga", "pavel", "rita")]

    def answer(user: User) -> str:
        try:
            answer_case(case.pk, user=user, text="Hello", seen_pk=seen)
        except NewerLines:
            return "held back"
        return "sent"

    assert sorted(at_once(*[lambda user=user: answer(user) for user in users])) == ["held back", "held back", "sent"]
    assert Delivery.objects.count() == 1


# Whose it is, and its end


def test_a_case_has_one_owner_and_the_others_see_who_took_it(agent: User) -> None:
    case, pavel = make_case(), User.objects.create_user("pavel")
    take_case(case.pk, user=agent, seen_owner_pk=NOBODY)
    take_case(case.pk, user=agent, seen_owner_pk=NOBODY)  # pressed twice

    with pytest.raises(CaseRefused, match="olga took the case meanwhile"):
        take_case(case.pk, user=pavel, seen_owner_pk=NOBODY)
    take_case(case.pk, user=pavel, seen_owner_pk=agent.pk)

    case.refresh_from_db()
    assert case.owner == pavel
    assert lines(case, "staff") == ["Took the case.", "Took the case from olga."]


def test_closing_tells_the_customer_and_says_who_it_was(sandbox: SandboxControl, agent: User) -> None:
    case = make_case(status="answered")

    close_case(case.pk, user=agent)
    run_tasks()

    case.refresh_from_db()
    line = case.messages.latest("pk")
    assert (case.status, line.before, line.after, line.actor) == ("closed", "answered", "closed", "admin:olga")
    assert case.closed_at is not None
    assert "We closed your request" in sandbox.chat(BEN)[-1]["text"]
    with pytest.raises(CaseRefused, match="closed already"):
        close_case(case.pk, user=agent)
    with pytest.raises(CaseRefused, match="Reopen it"):
        answer_case(case.pk, user=agent, text="One more thing", seen_pk=newest(case))


def test_an_answer_can_close_with_one_message(sandbox: SandboxControl, agent: User) -> None:
    case = make_case()

    answer_case(case.pk, user=agent, text="Done. Good trip!", seen_pk=newest(case), closes=True)
    run_tasks()

    case.refresh_from_db()
    assert (case.status, len(sandbox.chat(BEN))) == ("closed", 1)


def test_a_closed_case_is_reopened_unless_its_payment_has_a_newer_one(agent: User) -> None:
    case = make_case(status="closed", closed_at=timezone.now())
    newer = make_case(payment=case.payment)

    with pytest.raises(CaseRefused, match=f"Case {newer.pk} about the same payment"):
        reopen_case(case.pk, user=agent)
    close_case(newer.pk, user=agent)
    reopen_case(case.pk, user=agent)

    case.refresh_from_db()
    assert (case.status, case.closed_at) == ("open", None)


@pytest.mark.django_db(transaction=True)
def test_writing_and_closing_at_once_loses_nothing(sandbox: SandboxControl) -> None:
    agent, case = User.objects.create_user("olga"), make_case()
    customer = Customer.objects.get()
    update = TelegramUpdate.objects.create(update_id=1, kind="message", body={}, status="received")

    at_once(
        lambda: close_case(case.pk, user=agent),
        lambda: cases.take_message(customer=customer, update=update, text="wait!"),
    )

    case.refresh_from_db()
    assert lines(case) == ["wait!"]
    closing, writing = case.messages.get(after="closed"), case.messages.get(update=update)
    # Whoever came second decides: a word after the end opens it again.
    assert case.status == ("open" if writing.pk > closing.pk else "closed")
