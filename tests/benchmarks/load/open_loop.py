"""Requests that are sent when they are due, however the ones before them go.

Latency counts from the moment when a request was due: what waits behind a slow server, or behind this generator,
waits on the record.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

LONGEST_SECONDS = 30.0
#: An older idle connection may be closed by the server at the moment when it is used.
IDLE_SECONDS = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        found = re.search(rb"\r\n%s: *([^\r]*)" % name.encode(), self.head, re.IGNORECASE)
        return found[1].decode() if found else ""


@dataclass
class Record:
    """What was asked in a phase, by kind.

    latencies: seconds from when a request was due to the end of its answer. lateness: from then to its sending.
    errors:    answers that were not expected, and none at all, by kind and what came.
    turned_away: how often "try again in a moment" (503) was the answer.
    """

    latencies: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lateness: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    turned_away: int = 0
    counts_from: float = 0.0

    def note(self, kind: str, due: float, sent: float) -> None:
        if due >= self.counts_from:
            self.latencies[kind].append(time.monotonic() - due)
            self.lateness.append(sent - due)


class Client:
    """Connections to one server, a new one whenever all are busy, as a reverse proxy has them; kept, or not."""

    def __init__(self, port: int, *, keeps_connections: bool = True) -> None:
        self._port = port
        self._keeps_connections = keeps_connections
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes) -> Answer:
        """Raises: OSError, EOFError, TimeoutError."""
        async with asyncio.timeout(LONGEST_SECONDS):
            reader, writer = await self._connection()
            is_done = False
            try:
                writer.write(request)
                answer, is_kept = await _read(reader)
                is_done = is_kept and self._keeps_connections
                return answer
            finally:
                if is_done:
                    self._idle.append((time.monotonic(), reader, writer))
                else:
                    writer.close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            since, reader, writer = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)

    def close(self) -> None:
        for _, _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def _read(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    """The answer, and whether its connection stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    lower = head.lower()
    is_kept = b"\r\nconnection: close" not in lower
    if status in {204, 304}:
        body = b""
    elif length := _LENGTH.search(head):
        body = await reader.readexactly(int(length[1]))
    elif b"\r\ntransfer-encoding: chunked" in lower:
        body = await _read_chunks(reader)
    else:
        body, is_kept = await reader.read(), False
    return Answer(status, head, body), is_kept


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)


async def ask(
    client: Client, record: Record, kind: str, due: float, request: bytes, *, expected: Collection[int] = (200,)
) -> Answer | None:
    """Send a request that was due at `due` (of time.monotonic); None where something else came than was expected."""
    sent = time.monotonic()
    try:
        answer = await client.send(request)
    except (OSError, EOFError) as error:
        record.errors[f"{kind}: {type(error).__name__}"] += 1
        record.note(kind, due, sent)
        return None
    record.note(kind, due, sent)
    if answer.status in expected:
        return answer
    record.errors[f"{kind}: {answer.status}"] += 1
    return None


async def later(seconds: float) -> float:
    """Wait, and return the moment at which the next request is due."""
    due = time.monotonic() + seconds
    await asyncio.sleep(seconds)
    return due
