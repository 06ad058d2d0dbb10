"""What the engine's process does: `python -m baicai.serving.engine.process SOCKET`, started by `worker.py`.

Lines of JSON come in: the options, then {"id", "request"} and {"cancel"}. A line goes out that describes the model,
then one for each step: what it told, and how many texts there are.
"""

import contextlib
import queue
import socket
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import orjson
import torch

from baicai.errors import BaicaiError, ConfigError, MachineError
from baicai.leaves.model import open_model
from baicai.serving.engine.events import EngineEvent, Finished, PromptEmbedding, PromptStarted, Token
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.engine.grammar import GrammarConstraint, Grammars
from baicai.serving.engine.model_info import describe
from baicai.serving.engine.scheduler import Engine

Messages = queue.SimpleQueue[dict[str, Any] | None]
KINDS: dict[type[EngineEvent], str] = {
    PromptStarted: "prompt_started",
    Token: "token",
    PromptEmbedding: "prompt_embedding",
    Finished: "finished",
}


def main(descriptor: str) -> None:
    """Serve one model until the other side hangs up."""
    with socket.socket(fileno=int(descriptor)) as line, line.makefile("rb") as reads:

        def write(value: dict[str, Any]) -> None:
            line.sendall(orjson.dumps(value, default=tuple, option=orjson.OPT_APPEND_NEWLINE))

        told = orjson.loads(reads.readline())
        try:
            if told["threads"]:
                torch.set_num_threads(told["threads"])
            model = open_model(told["model"], told["weights"], peel=told["peel"], join=told["join"])
            room = {name: told[name] for name in ("max_sequences", "kv_cache_tokens", "max_waiting")}
            engine = Engine(model.network, **room, int8=model.int8)
            engine.warm_up()
        except BaicaiError as error:
            write({"error": "config" if isinstance(error, ConfigError) else "machine", "message": str(error)})
            return
        messages: Messages = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(reads, messages), daemon=True).start()
        opener = ThreadPoolExecutor(1)
        try:
            write(describe(model))
            Service(engine, Grammars(model.tokenizer, engine.vocab), opener, messages).serve(write)
        except ConnectionError:  # the server is gone
            return
        finally:
            opener.shutdown(cancel_futures=True)


def _listen(reads: Any, messages: Messages) -> None:
    with contextlib.suppress(ConnectionError):  # so it ends if the server was killed before it had read all
        for line in reads:
            messages.put(orjson.loads(line))
    messages.put(None)


class Service:
    """Turns messages into requests, and what the engine tells into lines."""

    def __init__(self, engine: Engine, grammars: Grammars, opener: ThreadPoolExecutor, messages: Messages) -> None:
        """Take an engine, and what opens grammars beside it: a large one can take a second."""
        self._engine, self._grammars, self._opener, self._messages = engine, grammars, opener, messages
        self._opening: dict[int, tuple[GenerationRequest, Future[GrammarConstraint]]] = {}
        """Requests whose grammars are being opened, by their numbers there."""
        self._numbers: dict[int, int] = {}
        """Number of each request here, by its number there."""
        self._told: list[tuple[int, list[Any]]] = []

    def serve(self, write: Any) -> None:
        """Work as long as there is something to do, and wait where there is not, until a None comes."""
        while True:
            while not self._engine.work or not self._messages.empty():
                message = self._messages.get()
                if message is None:
                    return
                self._take(message)
                if self._told:
                    break
            self._engine.step()
            status = {"running": self._engine.running, "waiting": self._engine.waiting + len(self._opening)}
            write({"status": status, "told": self._told})
            self._told = []

    def _take(self, message: dict[str, Any]) -> None:
        if "cancel" in message:
            self._cancel(message["cancel"])
        elif "opened" in message:
            if message["opened"] in self._opening:  # not cancelled meanwhile
                self._submit(message["opened"], *self._opening.pop(message["opened"]))
        elif message["request"]["grammar"]:
            self._open(message["id"], GenerationRequest(**message["request"]))
        else:
            self._submit(message["id"], GenerationRequest(**message["request"]))

    def _cancel(self, number: int) -> None:
        if number in self._opening:
            self._opening.pop(number)[1].cancel()
            self._told.append((number, ["finished", "cancelled"]))
        if number in self._numbers:
            self._engine.cancel(self._numbers[number])

    def _open(self, number: int, request: GenerationRequest) -> None:
        """Open a request's grammar while the others go on; a message says when it is."""
        if len(self._opening) >= self._engine.max_waiting:
            self._told.append((number, ["busy", f"{len(self._opening)} requests wait already: try again later"]))
            return
        opened = self._opener.submit(self._grammars.open, request.grammar)
        self._opening[number] = request, opened
        opened.add_done_callback(lambda _: self._messages.put({"opened": number}))

    def _submit(self, number: int, request: GenerationRequest, opened: Future[GrammarConstraint] | None = None) -> None:
        def tell(told: EngineEvent) -> None:
            self._told.append((number, [KINDS[type(told)], *told]))
            if isinstance(told, Finished):
                del self._numbers[number]

        try:
            constraint = opened.result() if opened else None
            self._numbers[number] = self._engine.submit(request, tell, constraint)
        except ConfigError as error:
            self._told.append((number, ["config", str(error)]))
        except MachineError as error:
            self._told.append((number, ["machine", str(error)]))
        except OverflowError as error:
            self._told.append((number, ["busy", str(error)]))


if __name__ == "__main__":
    main(sys.argv[1])
