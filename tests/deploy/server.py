"""A Debian server of its own, for a test: namespaces in which all may be changed, and units run as they say."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = 60
BLOCK_SECONDS = 420
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

# systemd is not the first process here: see supervisor.py.
SYSTEMCTL = """#!/usr/bin/python3
import json, socket, sys
with socket.socket(socket.AF_UNIX) as control:
    control.connect("{folder}/control")
    with control.makefile("rw") as stream:
        stream.write(json.dumps(sys.argv[1:]) + "\\n")
        stream.flush()
        said = json.loads(stream.readline())
if said["text"]:
    print(said["text"], file=sys.stderr)
sys.exit(said["code"])
"""
# Nothing is installed in a test: the packages that a page names have to be there.
APT_GET = """#!/bin/sh
[ "$1" = update ] && exit
shift
for package; do
    case $package in -*) continue ;; esac
    [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package")" = installed ] || exit 100
done
"""


class BlockFailed(Exception):
    """A block of commands ended with an error; the text has its output, and the ends of the units' logs."""


class Server:
    """A context: on leaving it every process has ended and nothing is left of its files.

    folder: seen by both sides under the same path. pid: of its first process. root: its files, as seen from here.
    """

    def __enter__(self) -> Server:
        self._folder = tempfile.TemporaryDirectory(prefix="server-")
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o755)
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run(self, commands: str, *, has_internet: bool = False) -> str:
        """Let root type a block of commands; the first that fails ends it.

        has_internet: in the network of this machine in place of the server's own, which leads nowhere.
        Returns: what was written. Raises: BlockFailed.
        """
        namespaces = ["--mount", "--pid", *([] if has_internet else ["--net"])]
        try:
            result = subprocess.run(
                ["nsenter", f"--target={self.pid}", *namespaces, "--", "sh", "-eu"],
                input=commands,
                env=_environment(has_internet=has_internet),
                cwd="/",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=BLOCK_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BlockFailed(f"{commands}\nno end of:\n{error.stdout!r}\n{self.logs()}") from None
        if result.returncode:
            raise BlockFailed(f"{commands}\nended with {result.returncode}:\n{result.stdout}\n{self.logs()}")
        return result.stdout

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def spawn(self, command: list[str], environment: dict[str, str], *, log: str) -> subprocess.Popen[bytes]:
        """Start a process of this machine in the server's network; it ends with the server."""
        with (self.folder / "logs" / f"{log}.log").open("wb") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "nsenter", f"--net=/proc/{self.pid}/ns/net", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._spawned.append(process)
        return process

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Let what this thread connects to meanwhile be the server's own addresses."""
        with open("/proc/thread-self/ns/net") as ours, open(f"/proc/{self.pid}/ns/net") as theirs:
            _enter(theirs.fileno())
            try:
                yield
            finally:
                _enter(ours.fileno())

    def log(self, unit: str) -> str:
        file = self.folder / "logs" / f"{unit}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def logs(self, *, lines: int = 15) -> str:
        ends = (f"{file.stem}:\n" + "\n".join(self.log(file.stem).splitlines()[-lines:]) for file in self._log_files())
        return "\n".join(ends)

    def processes_of(self, command: str) -> list[int]:
        """The processes whose command line has these words, by their numbers here."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if command in line and os.readlink(folder / "ns/pid") == self._pid_namespace:
                    found.append(int(folder.name))
        return found

    def _log_files(self) -> list[Path]:
        return sorted((self.folder / "logs").glob("*.log"))

    def _start(self) -> None:
        self._spawned: list[subprocess.Popen[bytes]] = []
        self._first = subprocess.Popen(
            [
                # However this process ends, all of theirs end too.
                *(
                    "setpriv",
                    "--pdeathsig=KILL",
                    "unshare",
                    "--mount",
                    "--net",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                ),
                *("/usr/bin/python3", str(Path(__file__).with_name("supervisor.py")), str(self.folder)),
            ],
            env={"PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "boot").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / "control").exists():
            if self._first.poll() is not None or time.monotonic() > deadline:
                raise BlockFailed((self.folder / "boot").read_text(errors="replace"))
            time.sleep(0.05)
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children").read_text().split()
        self.pid = int(children[0])
        self.root = Path(f"/proc/{self.pid}/root")
        self._pid_namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        self.write("/usr/local/bin/systemctl", SYSTEMCTL.replace("{folder}", str(self.folder)), mode=0o755)
        self.write("/usr/local/bin/apt-get", APT_GET, mode=0o755)
        self.run("systemctl start caddy")  # as its package does

    def _stop(self) -> None:
        self._first.kill()  # and with it, --kill-child, the first process of the namespace and all others in it
        self._first.wait()
        for process in self._spawned:
            process.kill()
            process.wait()
        for _ in range(50):  # until the kernel has let go of the mounts
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                break
            time.sleep(0.1)
        with contextlib.suppress(OSError):
            self._folder.cleanup()


def _environment(*, has_internet: bool) -> dict[str, str]:
    environment = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}
    if has_internet:
        # How this machine gets its packages is none of the page's business.
        wanted = re.compile(r"(PIP_|SSL_CERT|REQUESTS_CA|GIT_SSL|https?_proxy|no_proxy)", re.IGNORECASE)
        environment |= {name: value for name, value in os.environ.items() if wanted.match(name)}
    return environment


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def blocks_of(section: str, page: str) -> list[str]:
    """The `sh` blocks of a section of a page, in their order."""
    text = re.split(rf"^#+ {re.escape(section)}$", page, maxsplit=1, flags=re.MULTILINE)[1]
    text = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]
