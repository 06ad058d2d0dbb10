"""The engine's process, and the hand of the server that asks it.

They speak in lines of JSON over a pair of sockets. If the process dies, whoever waits for an answer is told so, and
another one is started.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from baicai.errors import BaicaiError, ConfigError, MachineError
from baicai.serving.engine.events import Alternative, EngineEvent, Finished, PromptEmbedding, PromptStarted, Token
from baicai.serving.engine.generation_request import GenerationRequest

LINE_BYTES = 2**26
RESTART_SECONDS = 1.0
"""Between a death and the next start."""


class QueueFullError(BaicaiError):
    """Too many requests wait already."""


class EngineStoppedError(BaicaiError):
    """The engine's process has died."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine runs."""

    model: str
    """Path or hash of a model or a trunk."""
    peel: Sequence[str] = ()
    """Leaves, by name or hash, without which it runs."""
    join: Sequence[str] = ()
    """Paths or hashes of leaves that are joined to it."""
    weights: Literal["stored", "int8"] = "stored"
    threads: int = 0
    """0: as many as there are cores."""
    max_sequences: int = 16
    kv_cache_tokens: int = 0
    max_waiting: int = 256


ERRORS: Mapping[str, type[BaicaiError]] = {
    "config": ConfigError,
    "machine": MachineError,
    "busy": QueueFullError,
    "stopped": EngineStoppedError,
}
NO_TEXTS: Mapping[str, int] = {"running": 0, "waiting": 0}
_Told = EngineEvent | BaicaiError


class EngineClient:
    """An engine in a process of its own."""

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.info: dict[str, Any] = {}
        """What the engine says of itself when it is ready: running and waiting texts are in `status`."""
        self.status: Mapping[str, int] = NO_TEXTS
        self._answers: dict[int, asyncio.Queue[_Told]] = {}
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the process is there and takes texts."""
        return self._ready.is_set()

    async def start(self) -> None:
        """Start the process, wait until it is ready, and keep it up from then on.

        Raises: BaicaiError with what the process says if the model cannot be opened.
        """
        reader = await self._spawn()
        self._keeper = asyncio.create_task(self._keep_up(reader))

    async def close(self) -> None:
        """Stop the process; answers that are not over are."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        self._stop()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Sequence[EngineEvent], None]:
        """Yield an answer's tokens, and how it ended: whatever has come meanwhile, so that who is slow gets several.

        Whoever stops listening stops it.

        Raises: ConfigError if it does not fit, BusyError if too many wait, StoppedError if the engine dies meanwhile.
        """
        if not self.ready:
            raise EngineStoppedError("the engine is being started again: try again in a moment")
        self._number += 1
        number, told = self._number, asyncio.Queue[_Told]()
        self._answers[number] = told
        self._send({"id": number, "request": request})
        over = False
        try:
            while not over:
                found = [await told.get(), *(told.get_nowait() for _ in range(told.qsize()))]
                over = isinstance(found[-1], Finished | BaicaiError)
                news = [one for one in found if not isinstance(one, BaicaiError)]
                if news:
                    yield news
                if isinstance(found[-1], BaicaiError):
                    raise found[-1]
        finally:
            del self._answers[number]
            if not over:
                self._send({"cancel": number})

    async def _spawn(self) -> asyncio.StreamReader:
        try:
            self._process, ours = _start_process()
        except OSError as error:
            raise MachineError(
                f"no engine can be started ({error.strerror}): free what the machine is short of"
            ) from None
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
        self._writer.write(_line(self.options))
        found = {"error": "stopped", "message": "the engine's process died at its start"}
        with contextlib.suppress(ConnectionError):
            if line := await reader.readline():
                found = orjson.loads(line)
        if "error" in found:
            self._stop()
            raise ERRORS[found["error"]](found["message"])
        self.info = found
        self._ready.set()
        return reader

    async def _keep_up(self, reader: asyncio.StreamReader) -> None:
        while True:
            await self._listen(reader)
            self._ready.clear()
            self._stop()
            self.status = NO_TEXTS
            for told in self._answers.values():
                told.put_nowait(EngineStoppedError("the engine stopped in the middle of the answer: ask again"))
            while not self.ready:
                await asyncio.sleep(RESTART_SECONDS)
                with contextlib.suppress(BaicaiError):
                    reader = await self._spawn()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Hand on what the engine says, until it says nothing any more."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                found = orjson.loads(line)
                self.status = found["status"]
                for number, told in found["told"]:
                    if number in self._answers:
                        self._answers[number].put_nowait(_read(told))

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._writer is not None and self.ready:
            self._writer.write(_line(message))

    def _stop(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _start_process() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "baicai.serving.engine.process", str(theirs.fileno())]
    with theirs:
        try:
            return subprocess.Popen(command, pass_fds=[theirs.fileno()], env=dict(os.environ)), ours
        except OSError:
            ours.close()
            raise


def _line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def _read(told: Sequence[Any]) -> _Told:
    kind, *rest = told
    if kind == "token":
        number, chance, others, weights, in_prompt = rest
        return Token(number, chance, tuple(Alternative(*one) for one in others), tuple(weights), in_prompt)
    if kind == "prompt_embedding":
        return PromptEmbedding(tuple(*rest))
    if kind in ERRORS:
        return ERRORS[kind](*rest)
    return PromptStarted(*rest) if kind == "prompt_started" else Finished(*rest)
