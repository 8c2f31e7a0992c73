"""systemd's part on a server of the tests: the first process of its namespaces, which does what units say.

It reads the unit files themselves, each time it starts one, and knows of systemd what the shop's and Debian's units
use: users, folders, environment files, sockets that it holds open, readiness by message, restarts. Not their hardening.

    unshare … /usr/bin/python3 supervisor.py FOLDER

FOLDER, which others share: `control` is the socket for `systemctl`, `logs/` what each unit wrote. Of the standard
library alone.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNIT_FOLDERS = (Path("/etc/systemd/system"), Path("/lib/systemd/system"))
ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
READY_SECONDS = 120
FIRST_PASSED = 3


class Failed(Exception):
    """What `systemctl` is told, with exit code 1."""


class Unit:
    """A unit file: `unit["User"]` is the last value of a name, `unit.all("Wants")` every one."""

    def __init__(self, name: str) -> None:
        self.name = name
        instance = re.fullmatch(r"(.+@)(.+)(\.\w+)", name)
        files = [name] + ([f"{instance[1]}{instance[3]}"] if instance else [])
        found = [folder / file for file in files for folder in UNIT_FOLDERS if (folder / file).is_file()]
        if not found:
            raise Failed(f"Unit {name} not found.")
        text = found[0].read_text()
        if instance:
            text = text.replace("%i", instance[2])
        self._lines = re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)

    def all(self, key: str) -> list[str]:
        return [value for name, value in self._lines if name == key]

    def words(self, key: str) -> list[str]:
        return " ".join(self.all(key)).split()

    def get(self, key: str, default: str = "") -> str:
        return ([default, *self.all(key)])[-1]


class Service:
    """A running command of a unit."""

    def __init__(self, unit: Unit, process: subprocess.Popen[bytes]) -> None:
        self.unit = unit
        self.process = process
        self.is_wanted = True


class Supervisor:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logs = folder / "logs"
        self._logs.mkdir()
        self._services: dict[str, Service] = {}
        self._active: set[str] = set()
        self._sockets: dict[str, list[socket.socket]] = {}
        self._wanted_by: dict[str, set[str]] = {}
        self._lock = threading.RLock()

    def serve(self) -> None:
        """Answer `systemctl` until killed, and with this process all others end."""
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(str(self._folder / "control"))
            control.listen()
            threading.Thread(target=self._keep_alive, daemon=True).start()
            while True:
                threading.Thread(target=self._answer, args=[control.accept()[0]], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rw") as stream:
            try:
                self._do(json.loads(stream.readline()))
                said = {"code": 0, "text": ""}
            except Failed as error:
                said = {"code": 1, "text": str(error)}
            except Exception as error:
                said = {"code": 1, "text": repr(error)}
            stream.write(json.dumps(said) + "\n")

    def _do(self, arguments: list[str]) -> None:
        verb, *rest = arguments
        names = [name if re.search(r"\.(service|socket|target)$", name) else f"{name}.service" for name in rest]
        if verb == "daemon-reload":
            return
        if verb == "enable" and rest[0] == "--now":
            for name in names[1:]:
                for target in Unit(name).words("WantedBy"):
                    self._wanted_by.setdefault(target, set()).add(name)
            verb, names = "start", names[1:]
        act = {"start": self._start, "stop": self._stop, "restart": self._restart, "reload": self._reload}.get(verb)
        if act is None:
            raise Failed(f"This systemctl cannot {verb}.")
        for name in names:
            act(name)

    # --- What `systemctl` can

    def _start(self, name: str) -> None:
        if name in self._active:
            return
        unit = Unit(name)
        needed = [*unit.words("Requires"), *unit.words("Wants"), *sorted(self._wanted_by.get(name, ()))]
        for other in needed:
            # The network and other services of the system are there.
            if other.startswith("esimshop"):
                self._start(other)
        self._active.add(name)
        try:
            if name.endswith(".socket"):
                self._listen(unit)
            elif name.endswith(".service"):
                self._run(unit)
        except BaseException:
            self._active.discard(name)
            raise

    def _stop(self, name: str) -> None:
        for other in sorted(self._active):
            if name in Unit(other).words("PartOf"):
                self._stop(other)
        self._active.discard(name)
        for listener in self._sockets.pop(name, []):
            listener.close()
        with self._lock:
            service = self._services.pop(name, None)
        if service is not None:
            service.is_wanted = False
            self._end(service)
        if name.endswith(".service"):
            for folder in Unit(name).words("RuntimeDirectory"):
                shutil.rmtree(f"/run/{folder}", ignore_errors=True)

    def _restart(self, name: str) -> None:
        if name == "postgresql.service":
            self._command(Unit("postgresql@15-main.service"), "ExecStop")
            self._command(Unit("postgresql@15-main.service"), "ExecStart")
            return
        parts = [other for other in sorted(self._active) if name in Unit(other).words("PartOf")]
        self._stop(name)
        for other in [name, *parts]:
            self._start(other)

    def _reload(self, name: str) -> None:
        service = self._services.get(name)
        if service is None:
            raise Failed(f"{name} is not active.")
        self._command(service.unit, "ExecReload", MAINPID=str(service.process.pid))

    # --- Processes

    def _listen(self, unit: Unit) -> None:
        listeners = self._sockets[unit.name] = []
        for address in unit.all("ListenStream"):
            host, _, port = address.rpartition(":")
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, int(port)))
            listener.listen(int(unit.get("Backlog", "4096")))
            listeners.append(listener)

    def _run(self, unit: Unit) -> None:
        for folder in unit.words("RuntimeDirectory"):
            Path("/run", folder).mkdir(mode=int(unit.get("RuntimeDirectoryMode", "0755"), 8))
            shutil.chown(f"/run/{folder}", unit.get("User"), unit.get("Group"))
        kind = unit.get("Type", "simple")
        if kind in {"oneshot", "forking"}:
            try:
                self._command(unit, "ExecStart")
            finally:
                if unit.get("RemainAfterExit", "no") == "no":
                    self._active.discard(unit.name)
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            address = f"\0esimshop-{unit.name}-{time.monotonic_ns()}"
            notices.bind(address)
            notices.settimeout(READY_SECONDS)
            process = self._popen(
                unit, unit.get("ExecStart"), NOTIFY_SOCKET=f"@{address[1:]}" if kind == "notify" else ""
            )
            with self._lock:
                self._services[unit.name] = Service(unit, process)
            try:
                while kind == "notify" and b"READY=1" not in notices.recv(4096).splitlines():
                    pass
            except TimeoutError:
                raise Failed(f"{unit.name} did not say that it is ready; see its log.") from None

    def _command(self, unit: Unit, key: str, **variables: str) -> None:
        for command in unit.all(key):
            code = self._popen(unit, command, **variables).wait()
            if code and not command.startswith("-"):
                raise Failed(f"Job for {unit.name} failed: {command} ended with {code}; see its log.")

    def _popen(self, unit: Unit, command: str, **variables: str) -> subprocess.Popen[bytes]:
        words = [word.replace("$MAINPID", variables.get("MAINPID", "")) for word in command.lstrip("-").split()]
        listeners = self._sockets.get(unit.name.replace(".service", ".socket"), [])
        environment = self._environment(unit) | {name: value for name, value in variables.items() if value}
        if listeners:
            # Only the process itself knows its number.
            words = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *words]
            environment["LISTEN_FDS"] = str(len(listeners))

        def pass_sockets() -> None:
            for number, listener in enumerate(listeners, FIRST_PASSED):
                os.dup2(listener.fileno(), number)

        with (self._logs / f"{unit.name}.log").open("ab") as log:
            return subprocess.Popen(
                words,
                cwd=unit.get("WorkingDirectory", "/"),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=unit.get("User") or None,
                group=unit.get("Group") or None,
                extra_groups=_groups_of(unit.get("User")),
                umask=int(unit.get("UMask", "0022"), 8),
                preexec_fn=pass_sockets if listeners else None,
                pass_fds=range(FIRST_PASSED, FIRST_PASSED + len(listeners)),
            )

    def _environment(self, unit: Unit) -> dict[str, str]:
        environment = {"PATH": PATH, "LANG": "C.UTF-8"}
        if unit.get("User"):
            user = pwd.getpwnam(unit.get("User"))
            environment |= {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": user.pw_shell}
        for assignment in unit.words("Environment"):
            name, _, value = assignment.partition("=")
            environment[name] = value
        for named in unit.all("EnvironmentFile"):
            file = Path(named.removeprefix("-"))
            if named.startswith("-") and not file.exists():
                continue
            environment |= dict(re.findall(r"^([A-Z_]+)=(.*)$", file.read_text(), re.MULTILINE))
        return environment

    def _end(self, service: Service) -> None:
        unit, process = service.unit, service.process
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(float(unit.get("TimeoutStopSec", "90").removesuffix("s")))
        except subprocess.TimeoutExpired:
            self._say(unit, "did not stop in time and is killed")
        _kill_group(process.pid)
        process.wait()

    def _keep_alive(self) -> None:
        """Start again what has ended by itself."""
        while True:
            time.sleep(0.1)
            with self._lock:
                ended = [each for each in self._services.values() if each.process.poll() is not None]
            for service in ended:
                _kill_group(service.process.pid)
                code = str(service.process.returncode)
                self._say(service.unit, f"ended with {code}")
                with self._lock:
                    if not service.is_wanted or self._services.get(service.unit.name) is not service:
                        continue
                    del self._services[service.unit.name]
                prevented = service.unit.words("RestartPreventExitStatus")
                if service.unit.get("Restart") == "always" and code not in prevented:
                    threading.Thread(target=self._start_again, args=[service], daemon=True).start()

    def _start_again(self, service: Service) -> None:
        time.sleep(float(service.unit.get("RestartSec", "0.1")))
        if service.is_wanted and service.unit.name in self._active:
            self._run(Unit(service.unit.name))

    def _say(self, unit: Unit, what: str) -> None:
        with (self._logs / f"{unit.name}.log").open("a") as log:
            log.write(f"supervisor: {unit.name} {what}\n")


def _groups_of(user: str) -> list[int] | None:
    return os.getgrouplist(user, pwd.getpwnam(user).pw_gid) if user else None


def _kill_group(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)


# --- The machine


def make_machine(folder: Path) -> None:
    """A file system in which everything may be changed and nothing is kept, and a network of its own."""
    run("mount", "--make-rprivate", "/")
    layers = folder / "layers"
    layers.mkdir()
    run("mount", "-t", "tmpfs", "layers", str(layers))
    for number, place in enumerate(("/etc", "/opt", "/srv", "/usr/local", "/var")):
        upper, work = layers / f"{number}-upper", layers / f"{number}-work"
        upper.mkdir()
        work.mkdir()
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={place},upperdir={upper},workdir={work}", place)
    for place in ("/run", "/var/lib/postgresql", "/etc/postgresql"):
        Path(place).mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "fresh", place)
    Path("/run/lock").mkdir()
    run("ip", "link", "set", "lo", "up")
    # A service of systemd may get the right to a low port; here everybody has it.
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
    # As their packages do when they are installed.
    shutil.chown("/var/lib/postgresql", "postgres", "postgres")
    Path("/run/postgresql").mkdir(mode=0o2775)
    shutil.chown("/run/postgresql", "postgres", "postgres")
    run("make-ssl-cert", "generate-default-snakeoil", "--force-overwrite")
    run("pg_createcluster", "15", "main")
    run("pg_ctlcluster", "--skip-systemctl-redirect", "15-main", "start")


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=ENVIRONMENT)


def main(folder: Path) -> None:
    assert grp.getgrnam("caddy"), "Debian's caddy has made its group"
    make_machine(folder)
    Supervisor(folder).serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
