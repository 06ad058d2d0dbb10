"""The server with its engine in a process of its own."""

import asyncio
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from baicai.errors import BaicaiError
from baicai.serving.config import ServeRecipe
from baicai.serving.server import serve
from tests.conftest import Workshop
from tests.serving.openai.test_chat import MESSAGES
from tests.serving.servers import until
from tests.serving.test_errors import CHAT


class Running:
    """A server in a thread that can be stopped."""

    def __init__(self, config: ServeRecipe) -> None:
        self._told = queue.SimpleQueue[tuple[str, str] | BaseException]()
        self._config = config
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        responses = self._told.get(timeout=120)
        if isinstance(responses, BaseException):
            self._thread.join()
            raise responses
        self.address, self.name = responses

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def _run(self) -> None:
        async def run() -> None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.ensure_future(serve(self._config, lambda *responses: self._told.put(responses)))
            await asyncio.wait([self._task])
            if not self._task.cancelled() and self._task.exception():
                self._told.put(self._task.exception())

        asyncio.run(run())


@pytest.fixture(scope="module")
def running(workshop: Workshop) -> Iterator[Running]:
    running_server = Running(ServeRecipe(model=workshop.path("model"), port=0, max_sequences=4))
    yield running_server
    running_server.stop()


def test_a_model_is_served_under_the_name_of_its_folder(running: Running, client: openai.OpenAI) -> None:
    assert running.name == "model"
    with openai.OpenAI(base_url=f"{running.address}/v1", api_key="none", max_retries=0) as other_client:
        responses = other_client.chat.completions.create(model="model", messages=MESSAGES, temperature=0, max_tokens=12)
        reference = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, max_tokens=12)
        assert responses.choices[0].message.content == reference.choices[0].message.content
        assert other_client.models.retrieve("model").baicai == client.models.retrieve("tiny").baicai


def test_a_killed_engine_is_reported_and_restarts(running: Running) -> None:
    with httpx.Client(base_url=running.address, timeout=60) as web:
        ask = CHAT | {"model": "model"}
        assert web.post("/v1/chat/completions", json=ask).status_code == 200
        processes = subprocess.run(
            ["pgrep", "-P", str(os.getpid()), "-f", "serving.engine.process"], capture_output=True, text=True
        )
        (engine,) = processes.stdout.split()
        assert web.get("/health").json() == {"status": "ok"}
        os.kill(int(engine), signal.SIGKILL)
        until(lambda: web.get("/health").status_code == 503)
        assert web.get("/health").json() == {"status": "starting", "models": ["model"]}
        responses = []

        def again() -> bool:
            responses.append(web.post("/v1/chat/completions", json=ask))
            return responses[-1].status_code == 200

        until(again, 60)
        assert {one.status_code for one in responses} == {503, 200}
        assert responses[0].json()["error"]["code"] == "engine_stopped"
        assert web.get("/health").status_code == 200


def test_a_failed_start_is_one_line(running: Running, workshop: Workshop, tmp_path: Path) -> None:
    port = int(running.address.rpartition(":")[2])
    in_use = r"cannot listen on .* \(Address already in use\): choose another host or port"
    failures = [
        (ServeRecipe(model=workshop.path("model"), port=port), in_use),
        (ServeRecipe(model=str(tmp_path / "moss"), port=0), "moss"),
        (ServeRecipe(model="moss", host="0.0.0.0", port=0), "create a key with `baicai keys add NAME`"),
    ]
    for config, message in failures:
        with pytest.raises(BaicaiError, match=message) as responses:
            Running(config)
        assert "\n" not in str(responses.value)
