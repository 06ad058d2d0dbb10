"""Clients of a server: they stream completions over plain connections, and some disconnect early."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

START_SECONDS = 120
Body = Mapping[str, Any]


@dataclass(frozen=True)
class Heard:
    """The part of a completion that a client received."""

    text: str
    tokens: int
    first_seconds: float
    whole: bool
    """Whether the completion is complete."""


async def ask(port: int, body: Body, hang_up_after: int | None = None) -> Heard:
    """Stream a completion; optionally disconnect after a number of chunks."""
    begun, first, content = time.perf_counter(), 0.0, bytearray()
    data = json.dumps({"stream": True, "stream_options": {"include_usage": True}, **body}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
    try:
        while part := await reader.read(65536):
            content += part
            first = first or (time.perf_counter() - begun if b'"text"' in content else 0.0)
            if hang_up_after is not None and content.count(b"data: {") >= hang_up_after:
                break
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return _heard(bytes(content), first)


def _heard(content: bytes, first_seconds: float) -> Heard:
    """Parse events, skipping the chunk lengths of the transfer encoding between them."""
    lines = [line.removeprefix(b"data: ") for line in content.splitlines() if line.startswith(b"data: ")]
    chunks = [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]
    text = "".join(choice.get("text", "") for chunk in chunks for choice in chunk.get("choices", ()))
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    tokens = usage[-1]["completion_tokens"] if usage else 0
    return Heard(text, tokens, first_seconds, b"[DONE]" in lines and not any("error" in chunk for chunk in chunks))


async def load(port: int, bodies: Sequence[Body], clients: int) -> tuple[float, float]:
    """Measure tokens per second of concurrent clients, and the median time to the first token in seconds."""
    left, heard = list(bodies), list[Heard]()

    async def client() -> None:
        while left:
            heard.append(await ask(port, left.pop()))

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - begun
    assert all(one.whole for one in heard), "a completion is incomplete"
    firsts = sorted(one.first_seconds for one in heard)
    return sum(one.tokens for one in heard) / seconds, firsts[len(firsts) // 2]


@contextlib.contextmanager
def server(command: Sequence[str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server without API keys; yield its port, passed as the last argument, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home = tempfile.TemporaryDirectory()
    process = subprocess.Popen(
        [*command[:-1], command[-1].format(port=port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"BAICAI_HOME": home.name},
    )
    try:
        end = time.monotonic() + START_SECONDS
        while not _healthy(port):
            assert process.poll() is None, f"{command[0]} has ended"
            assert time.monotonic() < end, f"{command[0]} does not start"
            time.sleep(0.2)
        yield port, process
    finally:
        process.terminate()
        process.wait()
        home.cleanup()


def _healthy(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(ConnectionError, TimeoutError):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False
