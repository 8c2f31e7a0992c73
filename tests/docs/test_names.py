"""Commands, settings, files and addresses that the documents name are those of the project."""

from __future__ import annotations

import fnmatch
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from esimshop.acts import all_acts
from payments.services.replies import describe_commands
from tests.docs.documents import (
    PROJECT,
    Document,
    all_documents,
    code_words,
    planted,
    project_files,
    read_document,
    sources,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.core.management.base import BaseCommand

#: Other programs whose names could be those of ours.
_OTHER_PROGRAMS = re.compile(r"pg_\w+|docker_\w+")
#: Read from the environment by us, but nothing that an operator sets.
_INNER = {"READ_DOT_ENV", "DJANGO_SETTINGS_MODULE", "PTB_TIMEDELTA"}
#: Folders of a machine, of things that are made when something runs, or of no particular place.
_ELSEWHERE = re.compile(
    r"/(tmp|etc|var|usr|opt|srv|run|home|root|proc|dev|path|lib|mnt|backup)\b|~/|var/|\.venv/|\.env\b"
)
_METHODS = r"GET|POST|PUT|PATCH|DELETE|HEAD"
_HOSTS = r"https?://(?:127\.0\.0\.1(?::\d+)?|localhost(?::\d+)?|shop\.example|<shop>)"
#: Of @BotFather, which is not ours.
_BOT_FATHER = {
    *("/newbot", "/newapp", "/mybots", "/setdescription", "/setabouttext", "/setuserpic", "/setprivacy", "/revoke"),
    *("/setmenubutton", "/setcommands", "/setdomain"),
}
#: Of eSIM Go's portal, of Telegram's apps, of @BotFather and of where the repository lies.
_FOREIGN_PAGES = {
    *("Security", "Report a vulnerability"),
    *("Account Settings", "API Details", "Settings", "My Stars"),
    *("Bot Settings", "Configure Mini App", "Enable Mini App", "Edit Bot", "Edit Privacy Policy"),
}


@cache
def command_named(name: str) -> BaseCommand | None:
    app = get_commands().get(name)
    return (load_command_class(app, name) if isinstance(app, str) else app) if app else None


def unknown_commands(document: Document) -> list[str]:
    """`manage.py X` without an X, and flags that X does not take. A bare `X --flag` counts too."""
    faults = []
    for found in document.commands:
        for call in re.split(r"\s(?:&&|\|\||\||;)\s", found.text):
            if (asked := _read_call(call)) is None:
                continue
            name, rest = asked
            command = command_named(name)
            if command is None:
                faults.append(f"{document}:{found.line} {name}: no such command")
                continue
            takes = command.create_parser("manage.py", name)._option_string_actions
            faults += [
                f"{document}:{found.line} {name} {flag}: no such flag"
                for flag in re.findall(r"(?<=\s)--[a-z][a-z-]*", rest)
                if flag not in takes
            ]
    return faults


def _read_call(call: str) -> tuple[str, str] | None:
    """(command, what follows) of a call of manage.py, or of a bare command with a flag that could be one of ours."""
    # `esimshop` is what deployment calls it on a server.
    if match := re.search(r"(?:manage\.py|^esimshop)\s+([a-z_]+)(?=\s|$)(.*)", call):
        return match[1], match[2]
    match = re.match(r"([a-z]+\w*)(?=\s)(.*)", call)
    is_ours = match and ("_" in match[1] or command_named(match[1])) and not _OTHER_PROGRAMS.match(match[1])
    return (match[1], match[2]) if match and is_ours and re.search(r"\s--[a-z]", match[2]) else None


@cache
def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))


def unknown_targets(document: Document) -> list[str]:
    return [
        f"{document}:{found.line} make {target}: no such target"
        for found in document.commands
        for target in re.findall(r"(?:^|&& |[A-Z]=\S+ )make(?: -\w+| --[\w-]+| [A-Z_]+=\S+)* ([a-z]+)", found.text)
        if target not in _make_targets()
    ]


def unknown_modules(document: Document) -> list[str]:
    """`python -m tests.x` without such a module."""
    return [
        f"{document}:{found.line} {module}: no such module"
        for found in document.commands
        for module in re.findall(r"-m ((?:tests|esimshop|catalog|orders|payments)[\w.]*)", found.text)
        if not {f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__main__.py"} & project_files()
    ]


def unknown_settings(document: Document) -> list[str]:
    """Names in capitals that nothing in the project knows."""
    return [
        f"{document}:{found.line} {name}: nothing reads it"
        for found in document.commands
        for name in re.findall(r"(?:^|\s)([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?==|$)", found.text)
        if not re.search(rf"\b{name}\b", sources())
    ]


def missing_files(document: Document) -> list[str]:
    """Paths in backticks that are not in the project: from its folder, the document's, or by their last parts."""
    missing = []
    for found in document.codes:
        text = found.text.removeprefix("./").split("#")[0]
        if not re.fullmatch(
            r"[\w.@-][\w./{},<>*@-]*(\.(py|md|js|css|json|html|po|toml|yaml|yml|sh|sql|conf|txt)|/)", text
        ):
            continue
        if _ELSEWHERE.match(text) or re.match(r"t\.me/|https?:", text):
            continue
        choices = re.search(r"\{([^}]*)\}", text)
        names = [text.replace(choices[0], one) for one in choices[1].split(",")] if choices else [text]
        for name in names:
            pattern = re.sub(r"<\w+>", "*", name)
            near = f"{document.path.parent}/{pattern}".removeprefix("./")
            if not any(fnmatch.filter(project_files(), each) for each in (pattern, f"*/{pattern}", near)):
                missing.append(f"{document}:{found.line} {name}: no such file")
    return missing


@cache
def _sandbox_routes() -> set[str]:
    text = "".join(
        (PROJECT / name).read_text() for name in project_files() if re.match(r"esimshop/sandbox/\w+\.py", name)
    )
    return {_blank(path) for path in re.findall(rf'"(?:{_METHODS})", f?"(/[^"]*)"', text)}


def _blank(path: str) -> str:
    return re.sub(r"\{[^}]*\}|<[^>]*>|\b[A-Z]{3,}\b", "{}", path)


@cache
def _bot_commands() -> set[str]:
    return {f"/{name}" for name, _ in describe_commands("en")} | {"/start", "/support", "/privacy", "/terms"}


def unknown_addresses(document: Document) -> list[str]:
    """Paths of HTTP in backticks, and addresses of the shop and the sandbox anywhere, that lead to nothing."""
    named = [(found.text, found.line) for found in document.codes]
    for at, line in enumerate(document.text.splitlines(), 1):
        named += [(path, at) for path in re.findall(rf"{_HOSTS}(/[^\s`)>\"'|]*)", line)]
    faults = []
    for text, line in named:
        match = re.fullmatch(rf"(?:(?:{_METHODS}) )?(/[\w/{{}}<>.$-]*…?)(?:\?\S*)?", text)
        if match is None or _ELSEWHERE.match(match[1]) or match[1] in _BOT_FATHER | _bot_commands():
            continue
        if not _leads_somewhere(match[1]):
            faults.append(f"{document}:{line} {text}: no such address")
    return faults


def _leads_somewhere(path: str) -> bool:
    if path.startswith(("/bot<token>", "/esimgo/v2.5", "/static/")):
        return True
    blank = _blank(path.rstrip("…"))
    if any(
        re.fullmatch(re.escape(route).replace(r"\{\}", "[^/]+"), blank)
        or (path.endswith("…") and route.startswith(blank))
        for route in _sandbox_routes()
    ):
        return True
    try:
        match = resolve(blank.replace("{}", "1"))
    except Resolver404:
        return False
    return match.url_name is not None or match.view_name != "admin:index"


@cache
def _words_of_pages() -> str:
    """Texts of code and templates, each behind a quotation mark or a tag, and the names of fields and models."""
    models = apps.get_models()
    fields = [getattr(field, "verbose_name", field.name) for model in models for field in model._meta.get_fields()]
    plurals = [model._meta.verbose_name_plural for model in models]
    return (
        "\n".join(f'"{name}"' for name in [*fields, *plurals]).lower().replace("_", " ") + sources(tests=False).lower()
    )


def unknown_buttons(document: Document) -> list[str]:
    """Names of pages, buttons and fields (italics that begin with a capital) that no page has."""
    return [
        f"{document}:{found.line} *{found.text}*: not on any page"
        for found in document.italics
        if found.text[:1].isupper()
        for part in found.text.rstrip("…").split(" → ")
        if part not in _FOREIGN_PAGES
        and not re.search(rf"[\"'>`}}]\s*{re.escape(part.lower())}(?!\w)", _words_of_pages())
    ]


CHECKS = [
    *(unknown_commands, unknown_targets, unknown_modules, unknown_settings, missing_files, unknown_addresses),
    unknown_buttons,
]


def checks_of_documents() -> Iterator[Any]:
    """All of each, but for the buttons in the questions of customers, which are their phones'."""
    for document in all_documents():
        for check in CHECKS:
            if check is not unknown_buttons or "faq" not in document.path.name:
                yield pytest.param(check, document, id=f"{document}-{check.__name__}")


@pytest.mark.parametrize(("check", "document"), list(checks_of_documents()))
def test_names_are_those_of_the_project(check: Callable[[Document], list[str]], document: Document) -> None:
    assert check(document) == []


FAULTS = {
    unknown_commands: [
        "`manage.py reconcile_star`",
        "`sync_catalog --forced`",
        "```sh\nesimshop set_web_hook\n```",
        "```sh\nls && .venv/bin/python manage.py doctor --yaml\n```",
        "```sh\n.venv/bin/python manage.py refund_payment X \\\n  --forced # a lead\n```",
        "`nothing_like_it --json`",
    ],
    unknown_targets: ["`make everything`", "```sh\nmake demos ARGS=x\n```", "```sh\nBROWSER_TESTS=0 make tests\n```"],
    unknown_modules: ["`python -m tests.benchmarks.nothing`"],
    unknown_settings: ["`TELEGRAM_TOKEN`", "```sh\nESIMGO_KEY=x make demo\n```"],
    missing_files: [
        "`payments/views/orders.py`",
        "`docs/faq.{ru,fr}.md`",
        "`nothing/`",
        "`static/miniapp/texts/<x>.toml`",
    ],
    unknown_addresses: [
        *("`/api/order`", "`GET /api/nothing/{id}`", "`/adminn/`", "<http://127.0.0.1:8900/sandbox/nothing>"),
        *("`POST /sandbox/fault`", "`/refund`", "```sh\ncurl https://shop.example/ready\n```"),
    ],
    unknown_buttons: ["Press *Refund half of it*.", "*Operation → Wishes*"],
}
GOOD = """
`manage.py doctor --json`, `reconcile_stars --adopt-history`, `make demo ARGS="--port 8001"`, `make -k lint`.

`TELEGRAM_BOT_TOKEN` `ALLOWED_MOVES` `payments/views.py` `static/miniapp/texts/{ru,en}.json`
`views.py` `var/demo/web.log` `GET /api/orders/{order_id}` `/admin/payments/payment/?q=` `/paysupport`
`POST /sandbox/users/{id}/pay` `/sandbox/…` `POST /orders`

*Operation → Alerts*, *Refund a bought eSIM*, *Second person stars*, *why*

```sh
.venv/bin/python manage.py check --deploy --database default   # `--nothing`
curl http://127.0.0.1:8000/api/plans?area=TR
python -m tests.benchmarks.replays
```
"""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_planted_fault_is_found(check: object) -> None:
    assert check(planted(GOOD)) == []  # type: ignore[operator]
    for fault in FAULTS[check]:  # type: ignore[index]
        assert len(check(planted(fault))) == 1, fault  # type: ignore[operator]


# --- The environment


def names_of_example() -> set[str]:
    return set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))


def names_that_are_read() -> set[str]:
    """By the settings, and by what must know them before there are settings."""
    texts = "".join((PROJECT / name).read_text() for name in ("esimshop/settings.py", "gunicorn.conf.py"))
    return set(re.findall(r'\benv(?:iron)?(?:\.\w+\(|\[)"([A-Z0-9_]+)"', texts)) - _INNER


def names_in_the_set_up() -> set[str]:
    rows = read_document("docs/setup.md").rows()
    return {name for row in rows for name in code_words(row[0]) if re.fullmatch("[A-Z][A-Z0-9_]+", name)}


def test_the_environment_is_the_same_in_settings_example_and_set_up() -> None:
    assert len(names_that_are_read()) > 15
    assert names_of_example() == names_that_are_read()
    assert names_in_the_set_up() == names_that_are_read()


# --- What staff press


def test_every_act_of_staff_is_in_a_document_by_its_name() -> None:
    said = {found.text.rstrip("…") for document in all_documents() for found in document.italics}
    assert {act.label for act in all_acts()} - said == set()


def test_the_handbooks_table_of_buttons_names_acts_alone() -> None:
    rows = read_document("docs/support-handbook.md").section("What the buttons do").rows()
    named = {name for row in rows for name in re.findall(r"\*([^*]+)\*", row[0])}
    assert named - {act.label for act in all_acts()} == set()


# --- What a newcomer presses


def test_the_readmes_five_minutes_name_buttons_that_are_there() -> None:
    steps = read_document("README.md").section("Five minutes to a purchase").text
    pressed = set(re.findall(r"\*\*([^*]+)\*\*", steps)) - {"Türkiye"}  # from the catalogue
    texts = _words_of_pages()
    assert len(pressed) > 5
    assert {each for each in pressed if not re.search(rf"[\"'>`}}]\s*{re.escape(each.lower())}\b", texts)} == set()
