"""The units of systemd and Caddy's file, as their own programs read them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands

from esimshop.settings import PROCRASTINATE_WORKER_DEFAULTS

PROJECT = Path(__file__).resolve().parents[2]
UNITS = sorted((PROJECT / "deploy" / "systemd").glob("esimshop*"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
LONG_RUNNING = ["esimshop-web.service", "esimshop-worker@.service"]


def read(name: str) -> dict[str, list[str]]:
    """The lines of a unit by their names, whatever the section."""
    lines: dict[str, list[str]] = {}
    for line in (PROJECT / "deploy" / "systemd" / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            lines.setdefault(key, []).append(value)
    return lines


@pytest.mark.server
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # It looks for the programs, which are there on a server only.
        text = re.sub(r"/opt/esimshop/[\w/%.]*/bin/\w+", "/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", *sorted(tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.server
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_systemd_finds_a_service_little_exposed(unit: Path) -> None:
    """Of 100; a service without any of it has 96."""
    threshold = 60 if "metrics" in unit.name else 20
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_service_comes_back_and_is_not_root(name: str) -> None:
    unit = read(name)
    assert unit["User"] == ["esimshop"]
    assert unit["Restart"] == ["always"]
    assert unit["EnvironmentFile"] == ["/etc/esimshop/environment"]


def test_a_stop_waits_for_what_the_processes_end_first() -> None:
    gunicorn: dict[str, object] = {}
    text = (PROJECT / "gunicorn.conf.py").read_text()
    exec(re.search(r"^graceful_timeout = \d+$", text, re.MULTILINE)[0], gunicorn)  # type: ignore[index]
    web, worker = (int(read(name)["TimeoutStopSec"][0]) for name in LONG_RUNNING)
    assert web > int(str(gunicorn["graceful_timeout"])) + 10
    assert worker > PROCRASTINATE_WORKER_DEFAULTS["shutdown_graceful_timeout"] + settings.ESIMGO_TIMEOUT + 10


def test_web_and_workers_count_in_one_folder_which_is_emptied_only_with_the_whole_shop() -> None:
    folder = f"/run/{read('esimshop-metrics.service')['RuntimeDirectory'][0]}"
    for name in LONG_RUNNING:
        unit = read(name)
        assert f"PROMETHEUS_MULTIPROC_DIR={folder}" in unit["Environment"]
        assert unit["ReadWritePaths"] == [folder]
        assert "esimshop-metrics.service" in unit["Requires"][0].split()
    assert read("esimshop-metrics.service")["PartOf"] == ["esimshop.target"]


def test_only_migrations_and_backups_are_the_owner_of_the_tables() -> None:
    owners = [unit.name for unit in SERVICES if "User=esimshop_owner" in unit.read_text()]
    assert owners == ["esimshop-backup.service", "esimshop-migrate@.service"]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_commands_of_units_exist(unit: Path) -> None:
    for command in re.findall(r"manage\.py (\w+)", unit.read_text()):
        assert command in get_commands()


@pytest.mark.server
def test_caddys_file_is_valid_and_in_its_own_style() -> None:
    file = PROJECT / "deploy" / "caddy" / "Caddyfile"
    adapted = subprocess.run(
        ["caddy", "adapt", "--config", file, "--adapter", "caddyfile"], capture_output=True, text=True, check=True
    )
    assert "warn" not in adapted.stderr.lower()
    assert json.loads(adapted.stdout)
    formatted = subprocess.run(["caddy", "fmt", file], capture_output=True, text=True, check=True)
    assert formatted.stdout == file.read_text()


@pytest.mark.server
def test_caddy_serves_the_name_and_the_upstream_that_it_is_given() -> None:
    adapted = subprocess.run(
        ["caddy", "adapt", "--config", PROJECT / "deploy/caddy/Caddyfile", "--adapter", "caddyfile"],
        env={"SITE_ADDRESS": "https://other.example", "UPSTREAM": "web:8000", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"dial":"web:8000"' in adapted.stdout
    assert '"host":["other.example"]' in adapted.stdout


def test_the_environment_file_is_read_alike_by_systemd_and_by_the_settings() -> None:
    """Neither quotes nor blanks nor comments behind a value, which the two would read differently."""
    for line in (PROJECT / ".env.example").read_text().splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"[A-Z_]+=[^\s\"'#\\]*", line)
