"""A server on a free port, and the engine in a thread beside it."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence

import httpx

from baicai.errors import ConfigError
from baicai.inference.generate import SamplingConfig
from baicai.leaves.model import SparseModel
from baicai.serving.app import make_app
from baicai.serving.config import ServeRecipe
from baicai.serving.engine.client import Ask, BusyError, StoppedError
from baicai.serving.engine.events import Ended, EngineEvent
from baicai.serving.engine.grammar import Grammars
from baicai.serving.engine.scheduler import Engine, Request
from baicai.serving.registry import ModelRegistry
from baicai.serving.routes.dashboard import Catalog
from baicai.serving.routes.models import add_loading
from baicai.serving.served_model import ServedModel
from baicai.serving.server import make_server


class ThreadWorker:
    """What answers, as the engine's process does, but in a thread of this one."""

    def __init__(self, model: SparseModel, texts: int = 4, queue: int = 64) -> None:
        self.engine = Engine(model.network, texts=texts, queue=queue)
        self._grammars = Grammars(model.tokenizer, self.engine.vocab)
        self.asked: list[Ask] = []
        self.steps = 0
        self.step_seconds = 0.0
        self.dead = False
        self.turn, self._ended = threading.Condition(), False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def ready(self) -> bool:
        return not self.dead

    @property
    def status(self) -> dict[str, int]:
        return {"running": self.engine.running, "waiting": self.engine.waiting}

    async def answer(self, ask: Ask) -> AsyncGenerator[Sequence[EngineEvent], None]:
        self.asked.append(ask)
        loop, told = asyncio.get_running_loop(), asyncio.Queue[EngineEvent]()
        sampling = SamplingConfig(
            temperature=ask.temperature, top_p=ask.top_p, top_k=ask.top_k, seed=ask.seed, max_tokens=1
        )
        request = Request(
            prompt=ask.prompt,
            leaves=ask.leaves,
            max_tokens=ask.max_tokens,
            sampling=sampling,
            bias=ask.bias,
            frequency_penalty=ask.frequency_penalty,
            presence_penalty=ask.presence_penalty,
            end_ids=ask.end_ids,
            top_logprobs=ask.top_logprobs,
            echo=ask.echo,
            embed=ask.embed,
            client=ask.client,
            constraint=self._grammars.open(ask.grammar) if ask.grammar else None,
        )
        with self.turn:
            try:
                number = self.engine.submit(
                    request, lambda one: loop.call_soon_threadsafe(told.put_nowait, one) and None
                )
            except OverflowError as error:
                raise BusyError(str(error)) from None
            self.turn.notify()
        try:
            while not isinstance(one := await told.get(), Ended):
                if self.dead:
                    raise StoppedError("the engine has stopped: ask again")
                yield [one]
            yield [one]
        finally:
            with self.turn:
                self.engine.cancel(number)

    def close(self) -> None:
        with self.turn:
            self._ended = True
            self.turn.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self.turn:
                self.turn.wait_for(lambda: self._ended or self.engine.work)
                if self._ended:
                    return
                self.engine.step()
                self.steps += 1
            time.sleep(self.step_seconds)


@contextlib.contextmanager
def serving(config: ServeRecipe, models: Sequence[ServedModel], catalog: Catalog | None = None) -> Iterator[str]:
    """Yield the address of a server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = make_app(config, models, catalog)
        add_loading(app, config, ModelRegistry(config))
        server = make_server(app, config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            if not server.started:
                raise ConfigError("the server did not start")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def figures(web: httpx.Client) -> dict[str, float]:
    """Return what a server counts."""
    lines = [line.rpartition(" ") for line in web.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def until(condition: object, seconds: float = 10) -> None:
    """Wait for something."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
