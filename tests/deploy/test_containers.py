"""Dockerfile and compose.yaml name what is there. No engine runs them here; their own commands run without one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from django.db import connection

from tests.e2e.shop import database_url

PROJECT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# A value that begins a line, commented out or not.
NAMES_OF_ENVIRONMENT = set(re.findall(r"^(?:# )?([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))
# What other programs of these images read.
OF_OTHERS = {"SITE_ADDRESS", "UPSTREAM"}


def dockerfile() -> list[tuple[str, list[str]]]:
    """The instructions: (name, words)."""
    text = re.sub(r"^#.*\n", "", (PROJECT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name, shlex.split(rest)) for name, rest in lines]


def words_of(name: str) -> list[list[str]]:
    return [words for instruction, words in dockerfile() if instruction == name]


def sources() -> list[str]:
    return [source for words in words_of("COPY") if not words[0].startswith("--from") for source in words[:-1]]


@pytest.mark.parametrize("source", sources())
def test_what_the_image_copies_is_there_and_let_through(source: str) -> None:
    assert (PROJECT / source).exists()
    assert f"!{source}" in (PROJECT / ".dockerignore").read_text().splitlines()


def test_nothing_is_let_through_that_the_image_does_not_copy() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == set(sources())
    assert "*" in lines


def test_the_image_is_pinned_and_runs_without_root() -> None:
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", words[0]) for words in words_of("FROM"))
    assert words_of("USER") == [["10001"]]
    assert any("requirements.txt" in words for words in words_of("RUN")[1])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate", "web", "worker"}))
def test_other_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z]+", SERVICES[name]["image"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert ("ports" in service) == (name == "caddy")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_names_of_the_environment_are_those_of_the_example(name: str) -> None:
    given = set(SERVICES[name].get("environment", {}))
    assert given <= NAMES_OF_ENVIRONMENT | OF_OTHERS
    used = set(re.findall(r"\$\{([A-Z_]+)", str(SERVICES[name])))
    assert used <= NAMES_OF_ENVIRONMENT


@pytest.mark.parametrize("name", ["migrate", "worker"])
def test_commands_are_those_of_manage_py(name: str) -> None:
    python, script, command, *_ = SERVICES[name]["command"]
    assert (python, script) == ("python", "manage.py")
    assert command in get_commands()


def test_only_the_migration_knows_the_owners_password() -> None:
    files = {name: service.get("env_file", []) for name, service in SERVICES.items()}
    assert [name for name, names in files.items() if "deploy/docker/owner.env" in names] == ["migrate"]
    assert [name for name, names in files.items() if "deploy/docker/postgres.env" in names] == ["postgres"]
    for example in ("owner", "postgres"):
        assert (PROJECT / f"deploy/docker/{example}.env.example").exists()
    ignored = subprocess.run(["git", "check-ignore", "-q", "deploy/docker/owner.env"], cwd=PROJECT, check=False)
    assert ignored.returncode == 0


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_container_mounts_and_meets_is_there(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (PROJECT / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for other, wish in service.get("depends_on", {}).items():
        if wish["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other] or other == "web"  # web has that of the image
        else:
            assert (wish["condition"], SERVICES[other]["restart"]) == ("service_completed_successfully", "no")


def test_caddy_meets_the_shop_by_the_one_address_that_is_believed() -> None:
    caddy, web = SERVICES["caddy"], SERVICES["web"]
    assert set(caddy["networks"]) & set(web["networks"]) == {"proxy"}
    assert caddy["networks"]["proxy"]["ipv4_address"] == web["environment"]["FORWARDED_ALLOW_IPS"]
    assert "database" not in caddy["networks"]


@pytest.mark.slow
def test_the_files_that_the_image_holds_collect_their_static_files_and_serve(tmp_path: Path) -> None:
    """Without an engine: the same files in an empty folder, the same commands but for the path of the interpreter."""
    for source in sources():
        target = tmp_path / source
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--recursive", PROJECT / source, target], check=True)
    [command] = [" ".join(words) for words in words_of("RUN") if "collectstatic" in words]
    command = command.replace("/venv/bin/python", sys.executable)
    subprocess.run(["sh", "-euc", command], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, check=True, timeout=120)

    assert (tmp_path / "staticfiles" / "staticfiles.json").exists()
    # The questions and answers are read from docs/.
    ask = "import django; django.setup(); from esimshop.faq import read_faq; read_faq('ru')"
    environment = {
        "PATH": os.environ["PATH"],
        "READ_DOT_ENV": "off",
        "DEBUG": "on",
        "DJANGO_SETTINGS_MODULE": "esimshop.settings",
    }
    subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, env=environment, check=True, timeout=60)


@pytest.mark.django_db(transaction=True)
def test_the_workers_health_is_its_sign_of_life() -> None:
    def check() -> int:
        return subprocess.run(
            [sys.executable, PROJECT / "deploy/docker/healthcheck.py", "worker"],
            env={"PATH": os.environ["PATH"], "DATABASE_URL": as_libpq(database_url(connection.settings_dict["NAME"]))},
            timeout=30,
            check=False,
        ).returncode

    assert check() == 1
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")
    assert check() == 0
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '31 s'")
    assert check() == 1


def as_libpq(url: str) -> str:
    return url.replace("postgres://", "postgresql://")
