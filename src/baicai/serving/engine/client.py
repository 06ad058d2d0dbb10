"""Client of an engine that runs in a process of its own.

Client and engine exchange lines of JSON over a pair of sockets. If the process dies, all pending requests fail, and a
new process is started.
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
from baicai.model.cost import Cost
from baicai.serving.engine.events import Alternative, EngineEvent, Finished, PromptEmbedding, PromptStarted, Token
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.engine.model_info import ModelInfo

LINE_BYTES = 2**26
"""Maximum length of a line of JSON."""
RESTART_SECONDS = 1.0
"""Pause between attempts to start a new process."""


class QueueFullError(BaicaiError):
    """Too many requests are already waiting."""


class EngineStoppedError(BaicaiError):
    """The engine's process has died."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Options of an engine."""

    model: str
    """Path or hash of a model or a trunk."""
    peel: Sequence[str] = ()
    """Names or hashes of leaves to remove from it."""
    join: Sequence[str] = ()
    """Paths or hashes of leaves to join to it."""
    weights: Literal["stored", "int8"] = "stored"
    threads: int = 0
    """Number of threads; 0 uses all cores."""
    max_sequences: int = 16
    kv_cache_tokens: int = 0
    max_waiting: int = 256


ERRORS: Mapping[str, type[BaicaiError]] = {
    "config": ConfigError,
    "machine": MachineError,
    "busy": QueueFullError,
    "stopped": EngineStoppedError,
}
"""Error classes by their names in the protocol."""
NO_REQUESTS: Mapping[str, int] = {"running": 0, "waiting": 0}


class EngineClient:
    """Starts an engine in a process of its own, sends it requests, and restarts it if it dies."""

    info: ModelInfo
    """Metadata of the model; set by `start`."""

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.status: Mapping[str, int] = NO_REQUESTS
        """Number of running and waiting sequences."""
        self._queues: dict[int, asyncio.Queue[EngineEvent | BaicaiError]] = {}
        """Events of each pending request, by its id."""
        self._last_id = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the process is running and accepts requests."""
        return self._ready.is_set()

    async def start(self) -> None:
        """Start the process, wait until it is ready, and restart it whenever it dies from then on.

        Raises: BaicaiError with the process's own message if the model cannot be opened.
        """
        reader = await self._spawn()
        self._supervisor = asyncio.create_task(self._supervise(reader))

    async def close(self) -> None:
        """Stop the process, aborting all pending requests."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        self._stop()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Sequence[EngineEvent], None]:
        """Stream events in batches of everything received since the last read.

        Closing the generator cancels the request.

        Raises: ConfigError if the request does not fit, QueueFullError if too many requests are waiting,
            EngineStoppedError if the engine is not running or dies.
        """
        if not self.ready:
            raise EngineStoppedError("the engine is restarting: try again in a moment")
        self._last_id += 1
        request_id, queue = self._last_id, asyncio.Queue[EngineEvent | BaicaiError]()
        self._queues[request_id] = queue
        self._send({"id": request_id, "request": request})
        finished = False
        try:
            while not finished:
                received = [await queue.get(), *(queue.get_nowait() for _ in range(queue.qsize()))]
                finished = isinstance(received[-1], Finished | BaicaiError)
                events = [event for event in received if not isinstance(event, BaicaiError)]
                if events:
                    yield events
                if isinstance(received[-1], BaicaiError):
                    raise received[-1]
        finally:
            del self._queues[request_id]
            if not finished:
                self._send({"cancel": request_id})

    async def _spawn(self) -> asyncio.StreamReader:
        try:
            self._process, sock = _start_process()
        except OSError as error:
            raise MachineError(f"the engine's process cannot be started: {error.strerror}") from None
        reader, self._writer = await asyncio.open_connection(sock=sock, limit=LINE_BYTES)
        self._writer.write(_line(self.options))
        reply = {"error": "stopped", "message": "the engine's process died while starting"}
        with contextlib.suppress(ConnectionError):
            if line := await reader.readline():
                reply = orjson.loads(line)
        if "error" in reply:
            self._stop()
            raise ERRORS[reply["error"]](reply["message"])
        self.info = _read_info(reply)
        self._ready.set()
        return reader

    async def _supervise(self, reader: asyncio.StreamReader) -> None:
        while True:
            await self._dispatch(reader)
            self._ready.clear()
            self._stop()
            self.status = NO_REQUESTS
            for queue in self._queues.values():
                queue.put_nowait(EngineStoppedError("the engine stopped while generating: try again"))
            while not self.ready:
                await asyncio.sleep(RESTART_SECONDS)
                with contextlib.suppress(BaicaiError):
                    reader = await self._spawn()

    async def _dispatch(self, reader: asyncio.StreamReader) -> None:
        """Pass events on to their requests until the connection closes."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                message = orjson.loads(line)
                self.status = message["status"]
                for request_id, event in message["events"]:
                    if request_id in self._queues:
                        self._queues[request_id].put_nowait(_read_event(event))

    def _send(self, message: Mapping[str, object]) -> None:
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


def _line(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def _read_info(values: dict[str, Any]) -> ModelInfo:
    return ModelInfo(**(values | {"costs": [Cost(**cost) for cost in values["costs"]]}))


def _read_event(values: Sequence[Any]) -> EngineEvent | BaicaiError:
    kind, *fields = values
    if kind == "token":
        token, log_probability, alternatives, leaf_weights, in_prompt = fields
        alternatives = tuple(Alternative(*alternative) for alternative in alternatives)
        return Token(token, log_probability, alternatives, tuple(leaf_weights), in_prompt)
    if kind == "prompt_embedding":
        return PromptEmbedding(tuple(*fields))
    if kind in ERRORS:
        return ERRORS[kind](*fields)
    return PromptStarted(*fields) if kind == "prompt_started" else Finished(*fields)
