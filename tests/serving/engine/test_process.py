"""What the engine's process makes of the server's messages."""

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
    """Opens a grammar when it is told to."""

    def __init__(self, model: SparseModel) -> None:
        super().__init__(model.tokenizer, model.network.config.vocab_size)
        self.go = threading.Semaphore(0)
        self.asked: list[str] = []

    def open(self, grammar: str) -> GrammarConstraint:
        self.asked.append(grammar)
        assert self.go.acquire(timeout=60), "nobody let it go on"
        return super().open(grammar)


class Asker:
    """A service in a thread, and what it says, line by line."""

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

    def told(self, number: int) -> list[Any]:
        """Wait for a text's end, and return how it is told of; nothing else is told of meanwhile."""
        while True:
            line = self._lines.get(timeout=60)
            self.status = line["status"]
            for one, news in line["events"]:
                assert one == number
                if news[0] not in ("prompt_started", "token"):
                    return news

    def close(self) -> None:
        self.messages.put(None)
        self._thread.join()
        self.grammars.go.release(9)
        self.opener.shutdown()


@pytest.fixture
def asker(sparse: SparseModel) -> Iterator[Asker]:
    made = Asker(sparse)
    yield made
    made.close()


def test_an_engine_ends_when_its_server_is_killed_before_it_has_read_all(workshop: Workshop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "baicai.serving.engine.process", str(theirs.fileno())]
        engine = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
        ours.sendall(orjson.dumps(asdict(EngineOptions(model=workshop.path("trunk")))) + b"\n")
        select.select([ours], [], [], 60)
    assert engine.communicate(timeout=60)[1] == b""
    assert engine.returncode == 0


def test_others_go_on_while_a_grammar_is_opened(asker: Asker) -> None:
    asker.ask(1, DIGITS)
    asker.ask(2)
    assert asker.told(2) == ["finished", "length"]
    assert asker.status == {"running": 0, "waiting": 1}
    asker.grammars.go.release()
    assert asker.told(1) == ["finished", "stop"]
    assert asker.status == {"running": 0, "waiting": 0}
    assert asker.grammars.asked == [DIGITS]


def test_a_text_can_be_cancelled_while_its_grammar_is_opened(asker: Asker) -> None:
    asker.ask(1, DIGITS)
    asker.ask(2, "start: /moss/")
    until(lambda: asker.grammars.asked)
    for number in (1, 2):
        asker.messages.put({"cancel": number})
        assert asker.told(number) == ["finished", "cancelled"]
    asker.ask(3, LETTER)
    asker.grammars.go.release(2)
    assert asker.told(3) == ["finished", "stop"]
    assert asker.grammars.asked == [DIGITS, LETTER], "one that waits is not opened any more"


def test_what_is_wrong_with_a_grammar_is_told_of_its_text(asker: Asker) -> None:
    asker.ask(1, "{")
    asker.ask(2)
    assert asker.told(2) == ["finished", "length"]
    asker.grammars.go.release()
    kind, message = asker.told(1)
    assert kind == "config"
    assert message.startswith("the grammar cannot be used")


def test_grammars_that_wait_have_an_end(asker: Asker) -> None:
    for number in (1, 2, 3):
        asker.ask(number, DIGITS)
    assert asker.told(3) == ["busy", "2 requests are already waiting: try again later"]
