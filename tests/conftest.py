"""What all tests share: the database's leftovers, the browser, and what else a machine may not have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from esimshop.sandbox.server import Sandbox
from tests import chromium, debian, telegram_script
from tests.outside import SandboxControl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Some tests need more of a machine than Python. By their marks: the variable that says what to do where it is missing
# (auto: leave them out; 0: always leave them out; required: fail), where it is, and what to say where it is not.
NEEDS: dict[str, tuple[str, Callable[[], object | None], str]] = {
    "browser": ("BROWSER_TESTS", chromium.find_chromium, "no Chromium here (python -m tests.chromium)"),
    "official_script": (
        "BROWSER_TESTS",
        telegram_script.find_script,
        "no script of Telegram here (python -m tests.telegram_script)",
    ),
    "server": ("SERVER_TESTS", debian.find_packages, "not root, or without Debian's packages (python -m tests.debian)"),
}
LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    left_out = config.stash[LEFT_OUT] = {}
    for mark, (variable, find, why) in NEEDS.items():
        wish = os.environ.get(variable, "auto")
        in_need = [item for item in items if item.get_closest_marker(mark)]
        if in_need and wish != "0" and find() is not None:
            continue
        if wish == "required":
            raise pytest.UsageError(f"{variable}=required, but {why if in_need else f'no {mark} test is collected'}")
        if in_need:
            left_out[f"{mark} tests: {f'{variable}=0' if wish == '0' else why}"] = len(in_need)
            config.hook.pytest_deselected(items=in_need)
            items[:] = [item for item in items if item not in in_need]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if left_out := config.stash.get(LEFT_OUT, {}):
        terminalreporter.section("LEFT OUT")
        for why, count in left_out.items():
            terminalreporter.line(f"{count} {why}. Everything else ran.", yellow=True)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {
        **browser_type_launch_args,
        "executable_path": str(chromium.find_chromium()),
        "args": chromium.launch_arguments(),
    }


@pytest.fixture(autouse=True)
def _empty_queue(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[None]:
    """Leave no task behind: the queue's tables are not Django's, so that its flush does not know them."""
    yield
    marker = request.node.get_closest_marker("django_db")
    is_transactional = {"transactional_db", "live_server"} & set(request.fixturenames)
    if is_transactional or (marker and marker.kwargs.get("transaction")):
        from django.db import connection

        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers,"
                " procrastinate_workers RESTART IDENTITY"
            )


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    """The stand-in for Telegram and eSIM Go, in a thread, for the whole run."""
    server = Sandbox()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sandbox(sandbox_server: Sandbox, settings: Any) -> SandboxControl:
    """The sandbox as new, with the shop's clients talking to it."""
    control = SandboxControl(sandbox_server)
    control.reset()
    settings.TELEGRAM_API_BASE_URL = control.bot_api_base_url
    settings.ESIMGO_BASE_URL = control.esimgo_base_url
    settings.ESIMGO_TIMEOUT = 2
    return control
