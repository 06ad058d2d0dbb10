"""A server on a free port, with its engine in a thread."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence

import httpx

from baicai.errors import ConfigError
from baicai.leaves.model import SparseModel
from baicai.serving.app import make_app
from baicai.serving.config import ServeRecipe
from baicai.serving.engine.client import EngineStoppedError, QueueFullError
from baicai.serving.engine.events import EngineEvent, Finished
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.engine.grammar import Grammars
from baicai.serving.engine.scheduler import Engine
from baicai.serving.registry import ModelRegistry
from baicai.serving.routes.dashboard import Catalog
from baicai.serving.routes.models import add_model_routes
from baicai.serving.served_model import ServedModel
from baicai.serving.server import make_server


class ThreadEngine:
    """An engine that runs in a thread instead of a process."""

    def __init__(self, model: SparseModel, max_sequences: int = 4, max_waiting: int = 64) -> None:
        self.core = Engine(model.network, max_sequences=max_sequences, max_waiting=max_waiting)
        self._grammars = Grammars(model.tokenizer, self.core.vocab_size)
        self.requests: list[GenerationRequest] = []
        self.steps = 0
        self.step_seconds = 0.0
        self.dead = False
        self.condition, self._ended = threading.Condition(), False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def ready(self) -> bool:
        return not self.dead

    @property
    def status(self) -> dict[str, int]:
        return {"running": self.core.num_running, "waiting": self.core.num_waiting}

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Sequence[EngineEvent], None]:
        self.requests.append(request)
        loop, events = asyncio.get_running_loop(), asyncio.Queue[EngineEvent]()
        constraint = self._grammars.open(request.grammar) if request.grammar else None
        with self.condition:
            try:
                number = self.core.submit(
                    request, lambda event: loop.call_soon_threadsafe(events.put_nowait, event) and None, constraint
                )
            except OverflowError as error:
                raise QueueFullError(str(error)) from None
            self.condition.notify()
        try:
            while not isinstance(event := await events.get(), Finished):
                if self.dead:
                    raise EngineStoppedError("the engine has stopped: ask again")
                yield [event]
            yield [event]
        finally:
            with self.condition:
                self.core.cancel(number)

    def close(self) -> None:
        with self.condition:
            self._ended = True
            self.condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self.condition:
                self.condition.wait_for(lambda: self._ended or self.core.has_work)
                if self._ended:
                    return
                self.core.step()
                self.steps += 1
            time.sleep(self.step_seconds)


@contextlib.contextmanager
def serving(config: ServeRecipe, models: Sequence[ServedModel], catalog: Catalog | None = None) -> Iterator[str]:
    """Run a server and yield its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = make_app(config, models, catalog)
        add_model_routes(app, config, ModelRegistry(config))
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


def read_metrics(web: httpx.Client) -> dict[str, float]:
    """Read the metrics of a server by name and labels."""
    lines = [line.rpartition(" ") for line in web.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def until(condition: object, seconds: float = 10) -> None:
    """Wait until a condition holds."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not hold in time"
        time.sleep(0.005)
