"""The engine's process: `python -m baicai.serving.engine.process SOCKET`, started by `client.py`.

It reads lines of JSON: first the options, then {"id", "request"} and {"cancel"}. It writes one line that describes the
model, then one line per step with the events of all requests and the number of running and waiting sequences.
"""

import contextlib
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import orjson
import torch

from baicai.errors import BaicaiError, ConfigError, MachineError
from baicai.leaves.model import open_model
from baicai.serving.engine.describe_model import describe_model
from baicai.serving.engine.events import EngineEvent, Finished, PromptEmbedding, PromptStarted, Token
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.engine.grammar import GrammarConstraint, Grammars
from baicai.serving.engine.scheduler import Engine

Message = dict[str, Any]
"""A parsed line: {"id", "request"}, {"cancel"}, or {"grammar_ready"} from the thread that compiles grammars."""
Messages = queue.SimpleQueue[Message | None]
EVENT_NAMES: dict[type[EngineEvent], str] = {
    PromptStarted: "prompt_started",
    Token: "token",
    PromptEmbedding: "prompt_embedding",
    Finished: "finished",
}


def main(descriptor: str) -> None:
    """Serve one model until the server closes the connection."""
    with socket.socket(fileno=int(descriptor)) as connection, connection.makefile("rb") as lines:

        def write(value: object) -> None:
            connection.sendall(orjson.dumps(value, default=tuple, option=orjson.OPT_APPEND_NEWLINE))

        options = orjson.loads(lines.readline())
        try:
            if options["threads"]:
                torch.set_num_threads(options["threads"])
            model = open_model(options["model"], options["weights"], peel=options["peel"], join=options["join"])
            limits = {name: options[name] for name in ("max_sequences", "kv_cache_tokens", "max_waiting")}
            engine = Engine(model.network, **limits, int8=model.int8)
            engine.warm_up()
        except BaicaiError as error:
            write({"error": "config" if isinstance(error, ConfigError) else "machine", "message": str(error)})
            return
        messages: Messages = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(lines, messages), daemon=True).start()
        compiler = ThreadPoolExecutor(1)
        try:
            write(describe_model(model))
            EngineLoop(engine, Grammars(model.tokenizer, engine.vocab_size), compiler, messages).run(write)
        except ConnectionError:  # The server has gone.
            return
        finally:
            compiler.shutdown(cancel_futures=True)


def _receive(lines: Iterable[bytes], messages: Messages) -> None:
    with contextlib.suppress(ConnectionError):  # Raised if the server is killed before it has read all output.
        for line in lines:
            messages.put(orjson.loads(line))
    messages.put(None)


class EngineLoop:
    """Feeds messages to the engine and writes its events, step by step."""

    def __init__(self, engine: Engine, grammars: Grammars, compiler: ThreadPoolExecutor, messages: Messages) -> None:
        """Take an engine, and an executor that compiles grammars concurrently: a large one can take a second."""
        self._engine, self._grammars, self._compiler, self._messages = engine, grammars, compiler, messages
        self._compiling: dict[int, tuple[GenerationRequest, Future[GrammarConstraint]]] = {}
        """Requests whose grammars are being compiled, by the client's id."""
        self._engine_ids: dict[int, int] = {}
        """The engine's id of each request, by the client's id."""
        self._events: list[tuple[int, list[Any]]] = []
        """Events to write after this step, each with the client's id of its request."""

    def run(self, write: Callable[[object], None]) -> None:
        """Step the engine while it has work, and wait for messages while it has none, until a None arrives."""
        while True:
            while not self._engine.has_work or not self._messages.empty():
                message = self._messages.get()
                if message is None:
                    return
                self._handle(message)
                if self._events:
                    break
            self._engine.step()
            status = {"running": self._engine.num_running, "waiting": self._engine.num_waiting + len(self._compiling)}
            write({"status": status, "events": self._events})
            self._events = []

    def _handle(self, message: Message) -> None:
        if "cancel" in message:
            self._cancel(message["cancel"])
        elif "grammar_ready" in message:
            request_id = message["grammar_ready"]
            if request_id in self._compiling:  # It may have been cancelled.
                self._submit(request_id, *self._compiling.pop(request_id))
        else:
            request = GenerationRequest(**message["request"])
            if request.grammar:
                self._compile(message["id"], request)
            else:
                self._submit(message["id"], request)

    def _cancel(self, request_id: int) -> None:
        if request_id in self._compiling:
            self._compiling.pop(request_id)[1].cancel()
            self._emit(request_id, EVENT_NAMES[Finished], "cancelled")
        if request_id in self._engine_ids:
            self._engine.cancel(self._engine_ids[request_id])

    def _compile(self, request_id: int, request: GenerationRequest) -> None:
        """Compile a request's grammar while the engine continues; a message announces the end."""
        if len(self._compiling) >= self._engine.max_waiting:
            self._emit(request_id, "busy", f"{len(self._compiling)} requests are already waiting: try again later")
            return
        future = self._compiler.submit(self._grammars.open, request.grammar)
        self._compiling[request_id] = request, future
        future.add_done_callback(lambda _: self._messages.put({"grammar_ready": request_id}))

    def _submit(
        self, request_id: int, request: GenerationRequest, compiled: Future[GrammarConstraint] | None = None
    ) -> None:
        def on_event(event: EngineEvent) -> None:
            self._emit(request_id, EVENT_NAMES[type(event)], *event)
            if isinstance(event, Finished):
                del self._engine_ids[request_id]

        try:
            constraint = compiled.result() if compiled else None
            self._engine_ids[request_id] = self._engine.submit(request, on_event, constraint)
        except ConfigError as error:
            self._emit(request_id, "config", str(error))
        except MachineError as error:
            self._emit(request_id, "machine", str(error))
        except OverflowError as error:
            self._emit(request_id, "busy", str(error))

    def _emit(self, request_id: int, name: str, *fields: object) -> None:
        self._events.append((request_id, [name, *fields]))


if __name__ == "__main__":
    main(sys.argv[1])
