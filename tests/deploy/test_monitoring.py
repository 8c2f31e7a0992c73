"""What watches the shop: rules and dashboard name only metrics that it exports, each alert fires, and has its page."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
import requests
import yaml
from django.conf import settings as shop_settings
from django.core.management import get_commands, load_command_class
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from catalog.models import CatalogSync, WholesalerAccount
from esimshop.clients.calls import recorded_call
from payments.models import StarsAccount, WebhookState
from tests.deploy.healthy_series import FAULTS, HEALTHY
from tests.outside import BEN, wait_until
from tests.payments.test_health import let_worker_beat

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django.live_server_helper import LiveServer

    from tests.outside import SandboxControl

ROOT = Path(shop_settings.BASE_DIR)
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOK = ROOT / "docs" / "runbook.md"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}

Labels = dict[str, set[str]]


# Only what is exported is named


@pytest.fixture
def exported(client: Client, settings: Any, db: None) -> dict[str, Labels]:
    """Each sample's name, with the values of its labels, in a shop that knows all that it can know."""
    settings.PUBLIC_URL, now = "https://testserver", timezone.now()
    CatalogSync.objects.create(finished_at=now)
    WholesalerAccount.objects.create(balance_usd=1, read_at=now)
    StarsAccount.objects.create(balance_stars=1, read_at=now)
    WebhookState.objects.create(read_at=now, last_error_at=now, certificate_ends_at=now, certificate_read_at=now)
    let_worker_beat(seconds_ago=1)
    with recorded_call("telegram", "test_monitoring"):
        pass
    client.get("/readyz")
    client.post("/api/telegram/stars/webhook")
    found: dict[str, Labels] = {"up": {"job": {"esimshop"}, "instance": set()}}
    for family in text_string_to_metric_families(client.get("/metrics").content.decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {"job": {"esimshop"}, "instance": set()})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def assert_exported(expression: str, exported: dict[str, Labels]) -> None:
    """Each metric of it is exported, with the labels by which it is chosen and grouped, and with their values."""
    chosen: list[promql_parser.VectorSelector] = []
    grouped: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        # A range's own selector is not visited.
        if isinstance(node, promql_parser.MatrixSelector):
            chosen.append(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector):
            chosen.append(node)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            grouped.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    assert chosen, expression
    for selector in chosen:
        assert selector.name in exported, f"{selector.name} in {expression}"
        labels = exported[selector.name]
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, f"{selector.name} has no {matcher.name}: {expression}"
            if matcher.name == "view" or re.match(r"esimshop_(?!outside_call)", selector.name):
                known = labels[matcher.name]
                assert any(re.fullmatch(matcher.value, value) for value in known), f"{matcher} of {selector.name}"
    assert grouped <= {label for selector in chosen for label in exported[selector.name]}, f"{grouped}: {expression}"


@pytest.mark.parametrize("alert", RULES)
def test_a_rule_names_only_what_is_exported(alert: str, exported: dict[str, Labels]) -> None:
    assert_exported(RULES[alert]["expr"], exported)


def test_a_name_or_label_that_is_not_exported_is_noticed(exported: dict[str, Labels]) -> None:
    for expression in (
        "max(esimshop_no_such_metric)",
        "rate(esimshop_no_such_metric[5m])",
        'esimshop_orders{state="paid"}',
        'esimshop_orders{status="payed"}',
        "sum by (state) (esimshop_orders)",
        'rate(django_http_responses_total_by_status_view_method_total{view="no-such-view"}[5m])',
    ):
        with pytest.raises(AssertionError):
            assert_exported(expression, exported)


# Each alert has its page


def anchors(markdown: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", markdown.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_says_what_it_is_how_bad_and_where_its_page_is(alert: str) -> None:
    rule = RULES[alert]
    kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower()
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{kebab}"
    assert kebab in anchors(RUNBOOK)


@pytest.mark.parametrize("alert", RULES)
def test_its_page_says_what_to_do(alert: str) -> None:
    kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower()
    [page] = re.findall(rf"^## {kebab}\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
    for part in ("**Means:**", "**Customers:**", "**First look:**", "**Cure:**", "**Wake:**"):
        assert part in page, part


def test_every_command_of_the_pages_exists_with_its_options() -> None:
    commands = get_commands()
    named = re.findall(r"manage\.py ([a-z_]+)([^`\n|]*)", RUNBOOK.read_text())
    assert len(named) > 20
    for name, rest in named:
        assert name in commands, name
        app = commands[name]
        command = load_command_class(app, name) if isinstance(app, str) else app
        options = {
            option for action in command.create_parser("manage.py", name)._actions for option in action.option_strings
        }
        for option in re.findall(r"(?<![\w-])--[a-z-]+", rest.split("#")[0]):
            assert option in options, f"{name} {option}"


def test_every_page_is_of_an_alert() -> None:
    pages = set(re.findall(r"^## (.+)$", RUNBOOK.read_text(), re.MULTILINE))
    kebabs = {re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower() for alert in RULES}
    assert {page for page in pages if re.fullmatch(r"[a-z-]+", page)} == kebabs


# As Prometheus itself sees it


def promtool(*arguments: str | Path, program: str = "promtool") -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """/etc/prometheus as prometheus.yml asks for it."""
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    (tmp_path / "prometheus" / "metrics-token").write_text("token-of-the-test")
    return tmp_path / "prometheus"


@pytest.mark.server
def test_prometheus_takes_the_files(folder: Path) -> None:
    promtool("check", "rules", folder / "alerts.yml")
    promtool("check", "config", folder / "prometheus.yml")


@pytest.mark.server
def test_alertmanager_takes_its_file() -> None:
    promtool("check-config", PROMETHEUS / "alertmanager.yml", program="amtool")


def test_every_alert_has_a_fault_that_sets_it_off() -> None:
    assert set().union(*(alerts for _, alerts in FAULTS)) == set(RULES)


@pytest.mark.server
def test_a_healthy_shop_is_silent_and_each_fault_sets_off_its_alerts_alone(tmp_path: Path) -> None:
    minutes, at = 100, "95m"
    tests = []
    for changes, alerts in [({}, set()), *FAULTS]:
        assert set(changes) <= set(HEALTHY) or any("unreachable" in name for name in changes), changes
        series = {**HEALTHY, **changes}
        firing = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)]
        tests.append(
            {
                "interval": "1m",
                "name": ", ".join(changes) or "healthy",
                "input_series": [
                    {"series": name, "values": values if "x" in values else f"{values}x{minutes}"}
                    for name, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": at,
                        "exp_samples": firing,
                    }
                ],
            }
        )
    # JSON is YAML.
    (tmp_path / "alerts_test.yml").write_text(
        json.dumps({"rule_files": [str(PROMETHEUS / "alerts.yml")], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", tmp_path / "alerts_test.yml")


@pytest.mark.server
@pytest.mark.django_db(transaction=True)
def test_prometheus_scrapes_the_shop_with_the_token_of_its_file(
    folder: Path, tmp_path: Path, live_server: LiveServer, settings: Any
) -> None:
    settings.METRICS_TOKEN = "token-of-the-test"
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    job["scheme"], job["static_configs"] = "http", [{"targets": [live_server.url.removeprefix("http://")]}]
    config["global"] |= {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "1s"}
    config.pop("alerting")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        *("prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"),
        f"--web.listen-address={address}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as prometheus:
        try:
            assert ask_until(address, "up", "1")
            assert ask_until(address, "esimshop_database_up", "1")
            # No worker beats in this test, and the rules see it.
            assert ask_until(address, 'ALERTS{alertname="WorkerSilent"}', "1")
        finally:
            prometheus.terminate()


@pytest.mark.server
def test_alertmanager_writes_into_the_chat(tmp_path: Path, sandbox: SandboxControl) -> None:
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    config["route"] |= {"group_wait": "0s"}
    [telegram] = config["receivers"][0]["telegram_configs"]
    telegram |= {
        "api_url": sandbox.bot_api_base_url.removesuffix("/bot"),
        "bot_token": shop_settings.TELEGRAM_BOT_TOKEN,
        "chat_id": BEN,
    }
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
    sandbox.post(f"/sandbox/users/{BEN}/messages", {"text": "/start"})
    rule = RULES["PaidOrderOverdue"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        *("prometheus-alertmanager", f"--config.file={tmp_path / 'alertmanager.yml'}", f"--storage.path={tmp_path}"),
        *(f"--web.listen-address={address}", "--cluster.listen-address="),
    ]
    annotations = {**rule["annotations"], "description": "It is overdue for 5 < 6 minutes."}
    alert = {"labels": {"alertname": "PaidOrderOverdue", **rule["labels"]}, "annotations": annotations}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as alertmanager:
        try:
            wait_until(lambda: tell(address, [alert]), seconds=20)
            wait_until(lambda: bool(sandbox.chat(BEN)), seconds=20)
        finally:
            alertmanager.terminate()
    [message] = sandbox.chat(BEN)
    assert message["text"].splitlines() == [
        "🔴 A paid order is overdue",
        "It is overdue for 5 < 6 minutes.",
        "What to do: docs/runbook.md#paid-order-overdue",
    ]


def tell(address: str, alerts: list[dict[str, Any]]) -> bool:
    try:
        return requests.post(f"http://{address}/api/v2/alerts", json=alerts, timeout=5).ok
    except requests.ConnectionError:
        return False


def ask_until(address: str, query: str, value: str, *, seconds: float = 60) -> bool:
    """Whether Prometheus comes to answer with the value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = requests.get(f"http://{address}/api/v1/query", params={"query": query}, timeout=5).json()
            if [row["value"][1] for row in found["data"]["result"]] == [value]:
                return True
        except (requests.RequestException, KeyError, ValueError):
            pass
        time.sleep(0.3)
    return False


# The dashboard

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "esimshop.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("title", [panel["title"] for panel in PANELS])
def test_a_panel_shows_only_what_is_exported(title: str, exported: dict[str, Labels]) -> None:
    [panel] = [panel for panel in PANELS if panel["title"] == title]
    assert panel["targets"]
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", "5m")
        assert_exported(expression, exported)
        # What the legend names is left after the grouping.
        for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
            assert re.search(rf"by \([^)]*\b{label}\b", expression) or "by (" not in expression, target


def test_the_dashboard_can_be_imported_with_any_prometheus() -> None:
    [variable] = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert "id" not in DASHBOARD, "Grafana gives it one"
    assert DASHBOARD["uid"]
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_no_panel_lies_over_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_metric_of_the_shop_is_watched(exported: dict[str, Labels]) -> None:
    """In a panel or a rule; what nobody looks at need not be asked of the database."""
    text = json.dumps(DASHBOARD) + (PROMETHEUS / "alerts.yml").read_text()
    ours = {name for name in exported if re.match(r"esimshop_(?!outside_call)", name)}
    assert {name for name in ours if not re.search(rf"\b{name}\b", text)} == set()
