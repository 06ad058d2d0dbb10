"""What the engine's process does: `python -m baicai.serving.process SOCKET OPTIONS`, started by `worker.py`.

Lines of JSON come in: {"number", "ask"} and {"cancel"}. A line goes out for each step: what it told, and how many texts
there are.
"""

import json
import queue
import socket
import sys
import threading
from typing import Any

import torch

from baicai.errors import BaicaiError, ConfigError, MachineError
from baicai.inference.generate import SamplingConfig
from baicai.leaves.join import open_model
from baicai.serving.about import describe
from baicai.serving.constraint import Grammars
from baicai.serving.engine import Begun, Ended, Engine, News, Request, Token

Messages = queue.SimpleQueue[dict[str, Any] | None]
KINDS: dict[type[News], str] = {Begun: "begun", Token: "token", Ended: "ended"}


def main(descriptor: str, options: str) -> None:
    """Serve one model until the other side hangs up."""
    told = json.loads(options)
    with socket.socket(fileno=int(descriptor)) as line, line.makefile("rb") as reads, line.makefile("wb") as writes:

        def write(value: dict[str, Any]) -> None:
            writes.write(json.dumps(value).encode() + b"\n")
            writes.flush()

        try:
            if told["threads"]:
                torch.set_num_threads(told["threads"])
            model = open_model(told["model"], told["weights"])
            room = {name: told[name] for name in ("texts", "memory_tokens", "queue")}
            engine = Engine(model.model, **room, int8=model.int8)
        except BaicaiError as error:
            write({"error": "config" if isinstance(error, ConfigError) else "machine", "message": str(error)})
            return
        write(describe(model))
        messages: Messages = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(reads, messages), daemon=True).start()
        try:
            Service(engine, Grammars(model.tokenizer, engine.vocab)).serve(messages, write)
        except BrokenPipeError:  # the server is gone
            return


def _listen(reads: Any, messages: Messages) -> None:
    for line in reads:
        messages.put(json.loads(line))
    messages.put(None)


class Service:
    """Turns messages into requests, and what the engine tells into lines."""

    def __init__(self, engine: Engine, grammars: Grammars) -> None:
        self._engine, self._grammars = engine, grammars
        self._numbers: dict[int, int] = {}
        """Number of each request here, by its number there."""
        self._told: list[tuple[int, list[Any]]] = []

    def serve(self, messages: Messages, write: Any) -> None:
        """Work as long as there is something to do, and wait where there is not, until a None comes."""
        while True:
            while not self._engine.work or not messages.empty():
                message = messages.get()
                if message is None:
                    return
                self._take(message)
                if self._told:
                    break
            self._engine.step()
            status = {"running": self._engine.running, "waiting": self._engine.waiting}
            write({"status": status, "told": self._told})
            self._told = []

    def _take(self, message: dict[str, Any]) -> None:
        if "cancel" in message:
            if message["cancel"] in self._numbers:
                self._engine.cancel(self._numbers[message["cancel"]])
            return
        number, ask = message["number"], message["ask"]

        def tell(told: News) -> None:
            self._told.append((number, [KINDS[type(told)], *told]))
            if isinstance(told, Ended):
                del self._numbers[number]

        try:
            sampling = SamplingConfig(**{name: ask.pop(name) for name in ("temperature", "top_p", "top_k", "seed")})
            grammar = ask.pop("grammar")
            constraint = self._grammars.open(grammar) if grammar else None
            self._numbers[number] = self._engine.submit(Request(**ask, sampling=sampling, constraint=constraint), tell)
        except ConfigError as error:
            self._told.append((number, ["config", str(error)]))
        except MachineError as error:
            self._told.append((number, ["machine", str(error)]))
        except OverflowError as error:
            self._told.append((number, ["busy", str(error)]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
