"""The engine's process: its loop, and the messages of the server."""

import queue
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import orjson
import pytest

from baicai.leaves.model import SparseModel
from baicai.serving.engine.client import EngineOptions
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.engine.grammar import GrammarConstraint, Grammars
from baicai.serving.engine.process import EngineLoop, Messages
from baicai.serving.engine.scheduler import Engine
from tests.conftest import Workshop
from tests.serving.servers import until

DIGITS, LETTER = "start: /[0-9]{3}/", "start: /[a-z]/"


class SlowGrammars(Grammars):
    """Compiles a grammar when `go` is released."""

    def __init__(self, model: SparseModel) -> None:
        super().__init__(model.tokenizer, model.network.config.vocab_size)
        self.go = threading.Semaphore(0)
        self.opened: list[str] = []

    def open(self, grammar: str) -> GrammarConstraint:
        self.opened.append(grammar)
        assert self.go.acquire(timeout=60), "`go` was not released"
        return super().open(grammar)


class LoopClient:
    """An engine loop in a thread, and its output line by line."""

    def __init__(self, model: SparseModel) -> None:
        self.grammars, self.opener, self._ends = SlowGrammars(model), ThreadPoolExecutor(1), model.tokenizer.stop_ids
        self.messages: Messages = queue.SimpleQueue()
        self._lines = queue.SimpleQueue[dict[str, Any]]()
        engine = Engine(model.network, max_sequences=2, max_waiting=2)
        service = EngineLoop(engine, self.grammars, self.opener, self.messages)
        self._thread = threading.Thread(target=service.run, args=(self._lines.put,))
        self._thread.start()

    def ask(self, number: int, grammar: str = "") -> None:
        ask = GenerationRequest(
            prompt_token_ids=[5, 6], leaves=[], max_tokens=9, stop_token_ids=self._ends, grammar=grammar
        )
        self.messages.put({"id": number, "request": asdict(ask)})

    def last_event(self, number: int) -> list[Any]:
        """Wait for the last event of a request; no other request may emit an event before."""
        while True:
            line = self._lines.get(timeout=60)
            self.status = line["status"]
            for event_id, event in line["events"]:
                assert event_id == number
                if event[0] not in ("prompt_started", "token"):
                    return event

    def close(self) -> None:
        self.messages.put(None)
        self._thread.join()
        self.grammars.go.release(9)
        self.opener.shutdown()


@pytest.fixture
def client(sparse: SparseModel) -> Iterator[LoopClient]:
    created = LoopClient(sparse)
    yield created
    created.close()


def test_the_engine_exits_if_the_server_dies_while_it_starts(workshop: Workshop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "baicai.serving.engine.process", str(theirs.fileno())]
        engine = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
        ours.sendall(orjson.dumps(asdict(EngineOptions(model=workshop.path("trunk")))) + b"\n")
        select.select([ours], [], [], 60)
    assert engine.communicate(timeout=60)[1] == b""
    assert engine.returncode == 0


def test_other_requests_continue_while_a_grammar_compiles(client: LoopClient) -> None:
    client.ask(1, DIGITS)
    client.ask(2)
    assert client.last_event(2) == ["finished", "length"]
    assert client.status == {"running": 0, "waiting": 1}
    client.grammars.go.release()
    assert client.last_event(1) == ["finished", "stop"]
    assert client.status == {"running": 0, "waiting": 0}
    assert client.grammars.opened == [DIGITS]


def test_a_request_can_be_cancelled_while_its_grammar_compiles(client: LoopClient) -> None:
    client.ask(1, DIGITS)
    client.ask(2, "start: /moss/")
    until(lambda: client.grammars.opened)
    for number in (1, 2):
        client.messages.put({"cancel": number})
        assert client.last_event(number) == ["finished", "cancelled"]
    client.ask(3, LETTER)
    client.grammars.go.release(2)
    assert client.last_event(3) == ["finished", "stop"]
    assert client.grammars.opened == [DIGITS, LETTER], "a cancelled request's grammar is not compiled"


def test_an_invalid_grammar_fails_only_its_own_request(client: LoopClient) -> None:
    client.ask(1, "{")
    client.ask(2)
    assert client.last_event(2) == ["finished", "length"]
    client.grammars.go.release()
    kind, message = client.last_event(1)
    assert kind == "config"
    assert message.startswith("the grammar cannot be used")


def test_the_queue_of_grammars_is_limited(client: LoopClient) -> None:
    for number in (1, 2, 3):
        client.ask(number, DIGITS)
    assert client.last_event(3) == ["busy", "2 requests are already waiting: try again later"]
