"""What the documents list is what the code has: all of it, and nothing else."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from esimshop.api import ERRORS
from esimshop.sandbox.faults import _KINDS as FAULT_KINDS
from esimshop.sandbox.state import DEFAULT_SETTINGS
from orders.models import ALLOWED_MOVES, Order, ProvisioningAttempt
from payments.models import ALLOWED_PAYMENT_MOVES, Payment, PreCheckout, RefundRequest, ServicePolicy
from payments.reports.books import REPORTS
from payments.services.roles import ROLES
from tests.docs.documents import PROJECT, Document, all_documents, code_words, planted, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

PROCESS = read_document("docs/payment-process.md")
API = read_document("docs/api.md")
FINANCE = read_document("docs/finance.md")
#: Where the causes of alerts may be explained.
ALERTS = ["docs/troubleshooting.md", "docs/runbook.md"]
TESTS = "\n".join(file.read_text() for file in (PROJECT / "tests").rglob("test_*.py"))


# --- Tests that are named as proof


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PROCESS.text))))
def test_a_test_that_guards_a_property_exists(name: str) -> None:
    assert f"def {name}(" in TESTS


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(?:tests/)?((?:\w+/)?test_\w+\.py)`", PROCESS.text))))
def test_a_file_of_tests_exists(path: str) -> None:
    assert list((PROJECT / "tests").rglob(path))


def unknown_tests(document: Document) -> list[str]:
    """`file.py::test_name` without such a file, or without such a test in it."""
    faults = []
    for found in document.codes:
        if match := re.fullmatch(r"(?:tests/)?([\w/]+\.py)::(\w+)", found.text):
            files = list((PROJECT / "tests").rglob(match[1]))
            if not any(f"def {match[2]}(" in file.read_text() for file in files):
                faults.append(f"{document}:{found.line} {found.text}")
    return faults


def test_tests_that_a_document_names_by_file_and_function_exist() -> None:
    assert [fault for document in all_documents() for fault in unknown_tests(document)] == []
    assert unknown_tests(planted("`test_alerts.py::test_an_alert_tells_no_secret`")) == []
    assert len(unknown_tests(planted("`test_alerts.py::test_nothing` `test_nothing.py::test_x`"))) == 2


# --- Reports


@pytest.mark.parametrize("name", sorted(REPORTS))
def test_the_finance_handbook_explains_every_column_of_a_report(name: str) -> None:
    heading = next(line[4:] for line in FINANCE.text.splitlines() if line.startswith(f"### {name}:"))
    explained = [word for row in FINANCE.section(heading).rows() for word in code_words(row[0])]
    assert explained == sorted(explained, key=explained.index)
    assert {column.name for column in REPORTS[name].columns} == set(explained)


# --- Errors of the API


def errors_of(document: Document) -> dict[str, int]:
    """Codes of the table of errors with their status."""
    return {code: int(row[0]) for row in document.rows() for code in code_words(row[1])}


def test_every_error_is_documented_and_no_other() -> None:
    documented = errors_of(API.section("Errors"))
    assert documented == {code: error.status_code for code, error in ERRORS.items()}


# --- States


def moves_of(document: Document) -> set[tuple[str, str]]:
    """The arrows of its state diagram, without those from the beginning and to the end."""
    [figure] = [fence.text for fence in document.fences if fence.text.startswith("stateDiagram")]
    arrows = set(re.findall(r"^\s*(\S+) --> ([^\s:]+)", figure, re.MULTILINE))
    return {(before, after) for before, after in arrows if "[*]" not in (before, after)}


@pytest.mark.parametrize(
    ("heading", "moves"),
    [("States of an order", ALLOWED_MOVES), ("States of a payment", ALLOWED_PAYMENT_MOVES)],
)
def test_a_diagram_has_the_moves_that_the_code_allows(heading: str, moves: dict[str, Any]) -> None:
    assert moves_of(PROCESS.section(heading)) == {(str(a), str(b)) for a, to in moves.items() for b in to}


@pytest.mark.parametrize(
    ("heading", "states"),
    [
        ("States of an order", Order.Status.values),
        ("States of a purchase attempt", ProvisioningAttempt.Status.values),
        ("States of a payment", Payment.Status.values),
        ("States of a refund request", RefundRequest.Status.values),
    ],
)
def test_a_diagram_has_every_state(heading: str, states: list[str]) -> None:
    [figure] = [fence.text for fence in PROCESS.section(heading).fences]
    ends = re.findall(r"^\s*(\S+) --> ([^\s:]+)", figure, re.MULTILINE)
    assert {state for pair in ends for state in pair} - {"[*]"} == set(states)


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("Causes", Order.Cause.values),
        ("Why a payment is refused", PreCheckout.Refusal.values),
        ("Why a charge pays for nothing", Payment.ExtraReason.values),
    ],
)
def test_every_cause_is_explained_and_no_other(heading: str, words: list[str]) -> None:
    explained = [word for row in PROCESS.section(heading).rows() for word in code_words(row[0])]
    assert sorted(explained) == sorted(word for word in words if word)


def test_every_state_of_an_order_is_explained_to_support_and_to_clients() -> None:
    table = read_document("docs/support-handbook.md").section("The order's page").rows()
    assert {word for row in table for word in code_words(row[0])} == set(Order.Status.values)
    assert set(Order.Status.values) <= {found.text for found in API.section("Orders").codes}


# --- Alerts


def raised_causes() -> set[str]:
    """What may be the `cause` of an alert, up to what differs from row to row."""
    constants: dict[str, ast.expr] = {}
    functions: dict[str, list[ast.expr]] = {}
    calls: list[ast.expr] = []
    for tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                constants[node.targets[0].id] = node.value
            elif isinstance(node, ast.FunctionDef):
                returned = [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value]
                functions.setdefault(node.name, []).extend(returned)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in {"raise_alert", "alert_on_error"}:
                    calls += [keyword.value for keyword in node.keywords if keyword.arg == "cause"]
                elif node.func.id == "_tell" and node.args:
                    calls.append(node.args[0])
    return {cause for call in calls for cause in _beginnings(call, constants, functions)} - {""}


def _beginnings(value: ast.expr, constants: dict[str, ast.expr], functions: dict[str, list[ast.expr]]) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            yield text
        case ast.JoinedStr(values=[ast.FormattedValue(value=inner), *_]):
            yield from _beginnings(inner, constants, functions)
        case ast.Name(id=name) if name in constants:
            yield from _beginnings(constants[name], constants, functions)
        case ast.Call(func=ast.Name(id=name)) if name in functions:
            for returned in functions[name]:
                yield from _beginnings(returned, constants, functions)


@cache
def _modules() -> list[ast.Module]:
    return [
        ast.parse(file.read_text())
        for app in ("esimshop", "catalog", "orders", "payments")
        for file in sorted((PROJECT / app).rglob("*.py"))
        if not {"migrations", "sandbox"} & set(file.parts)
    ]


def test_every_alert_is_explained_and_no_other() -> None:
    documents = [document for document in all_documents() if str(document) in ALERTS]
    explained = {word for each in documents for found in each.codes for word in [found.text.rstrip("…")]}
    assert len(raised_causes()) > 20
    assert raised_causes() - explained == set()
    # A cause may be named whole where the row differs by it: `sales_pause:account`.
    table = {
        re.sub(r":\w+$", ":", word.rstrip("…"))
        for row in read_document("docs/troubleshooting.md").section("Alerts").rows()
        for word in code_words(row[0])
    }
    assert table - raised_causes() == set()


# --- Metrics


@pytest.mark.django_db
def test_every_metric_that_a_document_names_is_exported(client: Client) -> None:
    exported = set(re.findall(r"^# TYPE (\S+)", client.get("/metrics").text, re.MULTILINE))
    sql = "".join(file.read_text() for file in (PROJECT / "deploy").rglob("*.sql"))
    others = {*re.findall(r"\besimshop_\w+", sql), *connection.introspection.django_table_names()}
    assert {
        f"{document}: {name}" for document in all_documents() for name in unknown_metrics(document, exported | others)
    } == set()
    assert unknown_metrics(planted('`esimshop_nothing` and `esimshop_orders{status="paid"}`'), exported) == [
        "esimshop_nothing"
    ]


def unknown_metrics(document: Document, exported: set[str]) -> list[str]:
    texts = [found.text for found in document.codes] + [fence.text for fence in document.fences]
    names = {name for text in texts for name in re.findall(r"(?<![\w./-])(?:esimshop|django_http)_[a-z_]+", text)}
    return sorted(name for name in names if not {name, re.sub("_(bucket|count|sum|total)$", "", name)} & exported)


# --- The checks above find what is planted


def test_faults_are_found() -> None:
    table = planted("| s | c |\n|---|---|\n| 400 | `bad_request` |\n| 404 | `nothing_there`, `order_not_found` |\n")
    assert errors_of(table) == {"bad_request": 400, "nothing_there": 404, "order_not_found": 404}
    figure = "```mermaid\nstateDiagram-v2\n    [*] --> a\n    a --> b: why\n    b --> [*]\n```"
    assert moves_of(planted(figure)) == {("a", "b")}
    assert "stars_unread" in raised_causes()
    assert "sales_pause:" in raised_causes()


# --- Questions and answers


def test_both_languages_have_the_same_anchors_in_the_same_order() -> None:
    """Headings of one level at the same places, and links that lead to the same places of it."""

    def outline(language: str) -> list[int]:
        text = Path(PROJECT / "docs" / f"faq.{language}.md").read_text()
        return [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]

    def links(language: str) -> list[str]:
        document = read_document(f"docs/faq.{language}.md")
        order = re.findall(r"^#+ (.+)$", document.text, re.MULTILINE)
        places = {planted(f"# {heading}").anchors.pop(): str(at) for at, heading in enumerate(order)}
        return [
            places[link.text[1:]] if link.text.startswith("#") else link.text.replace(f".{language}.", ".")
            for link in document.links
        ]

    assert outline("ru") == outline("en")
    assert len(outline("en")) > 20
    assert links("ru") == links("en")


@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_answers_name_buttons_as_the_shop_does(language: str) -> None:
    files = [f"static/miniapp/texts/{language}.json", "esimshop/locale/ru/LC_MESSAGES/django.po"]
    texts = "".join((PROJECT / file).read_text() for file in files).replace("\u00a0", " ")
    assert [each for each in read_document(f"docs/faq.{language}.md").italics if each.text not in texts] == []


# --- The architecture


def test_the_architecture_is_one_page_with_one_figure_and_every_decision() -> None:
    page = read_document("docs/architecture.md")
    assert [fence.info for fence in page.fences] == ["mermaid"]
    # What a printer takes for one page, set small.
    assert len(page.text.splitlines()) <= 110
    decided = {f"decisions/{file.name}" for file in (PROJECT / "docs" / "decisions").glob("*.md")}
    assert decided - {link.text for link in page.links} == set()


# --- Who may do what

#: What it takes to do what a row of the handbook's table says.
PERMISSIONS = {
    "look at orders, payments, refunds": "payments.view_payment",
    "answer cases, send the QR code again, cancel an unpaid order": "payments.answer_case",
    "re-provision an order that waits for a person": "orders.reprovision_order",
    "return Stars where no eSIM was bought": "payments.refund_undelivered",
    "return Stars of a delivered order; agree to another's refund": "payments.refund_delivered",
    "reveal an activation code (it is noted)": "orders.reveal_activation_code",
    "delete a customer's data": "orders.anonymise_customer",
    "adopt, revoke or write off a purchase that nobody owns": "orders.decide_orphan",
    "pause and resume sales": "catalog.pause_sales",
    "reports, Telegram's ledger": "payments.export_reports",
    "prices, rules, catalogue, updates, tasks": "catalog.add_pricingpolicy",
    'rates of currencies (only for the "≈" beside a price)': "catalog.change_currencyrate",
}


def test_the_handbook_says_who_may_do_what() -> None:
    rows = read_document("docs/support-handbook.md").section("Who may do what").rows()
    assert {row[0] for row in rows} == set(PERMISSIONS)
    for what, *marks in rows:
        # A word in place of a mark says that one may read it.
        may = {role for role, mark in zip(ROLES, marks, strict=True) if mark.startswith("✓")}
        assert may == {role for role, allowed in ROLES.items() if PERMISSIONS[what] in allowed}, what


def test_the_set_up_names_the_roles() -> None:
    rows = read_document("docs/setup.md").section("6. Staff").rows()
    assert [row[0] for row in rows] == list(ROLES)


# --- Figures of the policy


@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_answers_promise_what_a_new_shop_keeps(language: str) -> None:
    text = read_document(f"docs/faq.{language}.md").text
    policy = ServicePolicy()
    minutes, days = {"en": ("minutes", "days"), "ru": ("минут", "дней")}[language]
    assert re.search(rf"\b{policy.promise_minutes} {minutes}", text)
    assert re.search(rf"\b{policy.instant_refund_days} {days}", text)


# --- The sandbox


def test_the_sandbox_tells_all_that_it_can_do() -> None:
    page = read_document("esimshop/sandbox/README.md")
    source = (PROJECT / "esimshop/sandbox/control.py").read_text()
    calls = set(re.findall(r'"(GET|POST)", "(/sandbox/[^"]*)"', source))
    said = [re.sub(r"\{\w+\}", "{}", found.text) for found in page.codes]
    missing = {
        f"{method} {path}"
        for method, path in calls
        if not any(each.partition("?")[0] == f"{method} {re.sub('{[^}]*}', '{}', path)}" for each in said)
    }
    assert missing <= {"GET /sandbox/photos/{photo_id}", "GET /sandbox/faults"}
    assert set(DEFAULT_SETTINGS) <= {found.text for found in page.codes}
    assert {kind for kinds in FAULT_KINDS.values() for kind in kinds} <= {found.text for found in page.codes}
