"""Models are loaded, replaced and unloaded while the server handles requests."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from baicai.artefact import read_json, write_json
from baicai.leaves.model import open_model
from baicai.serving.config import ServeRecipe
from baicai.serving.openai.preprocessing import PreparedRequest, prepare_chat
from tests.conftest import Workshop
from tests.serving.openai.test_chat import MESSAGES
from tests.serving.servers import until
from tests.serving.test_errors import CHAT, check
from tests.serving.test_server import Running

ASKED: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 20}


def engines(server: int = os.getpid()) -> set[int]:
    """Return the process ids of the engines."""
    processes = subprocess.run(
        ["pgrep", "-P", str(server), "-f", "serving.engine.process"], capture_output=True, text=True
    )
    return {int(line) for line in processes.stdout.split()}


def alive(processes: set[int]) -> bool:
    states = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(map(str, processes))], capture_output=True, text=True)
    return bool(set(states.stdout) & set("RSDT"))


class Shop:
    """A server of a trunk named `tiny`, with room for two models, and its clients."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.server = Running(
            ServeRecipe(model=workshop.path("trunk"), name="tiny", port=0, max_sequences=2, max_models=2)
        )
        self.web = httpx.Client(base_url=self.server.address, timeout=60)
        self.client = openai.OpenAI(base_url=f"{self.server.address}/v1", api_key="none", max_retries=0)
        self._threads = ThreadPoolExecutor(4)

    def load(self, model: str = "trunk", name: str = "tiny", **leaves: list[str]) -> httpx.Response:
        body = {"model": self.workshop.path(model), "name": name, **leaves}
        return self.web.post("/v1/models", json=body)

    def later(self, act: Any, *values: Any, **named: Any) -> Future[Any]:
        return self._threads.submit(act, *values, **named)

    def stream(self) -> Future[list[Any]]:
        """Start a request, and return once it is in progress."""
        response = self.later(lambda: list(self.client.chat.completions.create(**ASKED, stream=True)))
        until(lambda: "baicai_http_requests_in_progress 1.0" in self.web.get("/metrics").text)
        return response

    def loading(self) -> tuple[int, Future[httpx.Response]]:
        """Start to replace the model, and return the new engine, which is suspended."""
        before = engines()
        response = self.later(self.load, "model")
        until(lambda: engines() > before)
        (engine,) = engines() - before
        os.kill(engine, signal.SIGSTOP)
        return engine, response

    def close(self) -> None:
        self._threads.shutdown()
        self.client.close()
        self.web.close()
        self.server.stop()


@pytest.fixture(scope="module")
def opened(workshop: Workshop) -> Iterator[Shop]:
    created = Shop(workshop)
    yield created
    created.close()
    assert not engines()


@pytest.fixture
def shop(opened: Shop) -> Shop:
    """The server with the trunk as its only model."""
    kinds = [model["baicai"]["kind"] for model in opened.web.get("/v1/models").json()["data"]]
    if kinds != ["trunk"]:
        opened.load().raise_for_status()
    until(lambda: len(engines()) == 1)
    return opened


def text(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_a_leaf_is_joined_during_a_request(shop: Shop, workshop: Workshop) -> None:
    before = shop.client.chat.completions.create(**ASKED)
    (old,) = engines()
    os.kill(old, signal.SIGSTOP)  # or it would finish before the other model is loaded
    answer = shop.stream()
    loaded = shop.load("model", peel=["fruit", "metal"], join=[workshop.path("fruit")])
    assert loaded.status_code == 200, loaded.text
    assert loaded.json()["baicai"]["hash"] == open_model(workshop.path("trunk"), join=[workshop.path("fruit")]).hash
    assert [model.to_dict() for model in shop.client.models.list()] == [loaded.json()]
    after = shop.client.chat.completions.create(**ASKED)
    assert after.system_fingerprint == loaded.json()["baicai"]["hash"][:16] != before.system_fingerprint
    assert list(after.usage.baicai["leaves"]) == ["fruit"]
    assert old in engines()
    os.kill(old, signal.SIGCONT)
    chunks = answer.result(10)
    assert text(chunks) == before.choices[0].message.content != after.choices[0].message.content
    assert {chunk.system_fingerprint for chunk in chunks} == {before.system_fingerprint}
    until(lambda: old not in engines())
    assert shop.client.chat.completions.create(**ASKED).choices == after.choices


def test_an_unloaded_model_completes_its_requests(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.client.chat.completions.create(**ASKED)
    planned, go_on = threading.Event(), threading.Event()

    async def plan(*values: Any) -> PreparedRequest:
        planned.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return await prepare_chat(*values)

    monkeypatch.setattr("baicai.serving.app.prepare_chat", plan)
    answer = shop.later(shop.client.chat.completions.create, **ASKED)
    assert planned.wait(10)
    assert shop.client.models.delete("tiny").to_dict() == {"id": "tiny", "object": "model", "deleted": True}
    check(shop.web.post("/v1/chat/completions", json=CHAT), "model", "model_not_found", 404)
    check(shop.web.delete("/v1/models/tiny"), "model", "model_not_found", 404)
    assert shop.web.get("/v1/models").json()["data"] == []
    assert len(engines()) == 1
    go_on.set()
    assert answer.result(10).choices == before.choices
    until(lambda: not engines())


def test_conflicting_changes_are_rejected_during_a_load(shop: Shop) -> None:
    before, serving = shop.web.get("/v1/models").json(), engines()
    engine, response = shop.loading()
    check(shop.load(), None, "model_loading", 409)
    check(shop.web.delete("/v1/models/tiny"), None, "model_loading", 409)
    check(shop.load(name="other"), None, "too_many_models", 409)
    os.kill(engine, signal.SIGKILL)
    check(response.result(10), None, "engine_stopped", 503)
    assert shop.web.get("/v1/models").json() == before
    assert engines() == serving
    assert shop.web.post("/v1/chat/completions", json=CHAT).status_code == 200


def test_a_draining_engine_is_not_restarted(shop: Shop) -> None:
    (engine,) = engines()
    os.kill(engine, signal.SIGSTOP)
    answer = shop.stream()
    assert shop.web.delete("/v1/models/tiny").status_code == 200
    os.kill(engine, signal.SIGKILL)
    with pytest.raises(openai.InternalServerError, match="the engine stopped while generating"):
        answer.result(10)
    until(lambda: not engines())


def test_a_failed_load_changes_nothing(shop: Shop, workshop: Workshop, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    shutil.copytree(workshop.path("fruit"), strange)
    write_json(strange / "leaf.json", read_json(strange / "leaf.json") | {"trunk": "0" * 64})
    before, serving = shop.web.get("/v1/models").json(), engines()
    response = shop.load(join=[str(strange)])
    check(response, None, "invalid_value")
    assert "leaf 'fruit' was grown on trunk 00000000, this trunk is" in response.json()["error"]["message"]
    assert shop.web.get("/v1/models").json() == before
    assert engines() == serving
    assert shop.web.post("/v1/chat/completions", json=CHAT).status_code == 200


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "missing_required_parameter"),
        ({"model": ""}, "model", "invalid_value"),
        ({"model": "a" * 4097}, "model", "invalid_value"),
        ({"model": "moss"}, "model", "artefact_not_found"),
        ({"model": "https://example.org/moss"}, "model", "artefact_not_found"),
        ({"model": "0" * 64}, "model", "artefact_not_found"),
        ({"model": "a" * 4000}, "model", "artefact_not_found"),
        ({"model": "\0"}, "model", "artefact_not_found"),
        ({"model": "/"}, "name", "invalid_value"),
        ({"name": "a:b"}, "name", "invalid_value"),
        ({"name": "a\n"}, "name", "invalid_value"),
        ({"name": "a" * 257}, "name", "invalid_value"),
        ({"join": "moss"}, "join", "invalid_type"),
        ({"join": ["/", "moss"]}, "join[1]", "artefact_not_found"),
        ({"join": ["moss"] * 257}, "join", "invalid_value"),
        ({"peel": [1]}, "peel[0]", "invalid_type"),
        ({"leaves": []}, "leaves", "invalid_value"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_invalid_field_is_named(
    web: httpx.Client, workshop: Workshop, change: dict[str, Any], param: str, code: str
) -> None:
    check(web.post("/v1/models", json={"model": workshop.path("trunk")} | change), param, code)


def test_disconnecting_cancels_a_load(shop: Shop, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.toml")  # an engine would block on reading it
    before = engines()
    with pytest.raises(httpx.ReadTimeout):
        shop.web.post("/v1/models", json={"model": str(tmp_path), "name": "tiny"}, timeout=1)
    until(lambda: engines() == before)
    assert shop.load().status_code == 200


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_server_that_exits_during_a_load_leaves_no_engine(workshop: Workshop, end: signal.Signals) -> None:
    words = [sys.executable, "-m", "baicai", "serve", workshop.path("trunk"), "port=0"]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server,
        ThreadPoolExecutor() as threads,
    ):
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        body = {"model": workshop.path("model")}
        ready = engines(server.pid)
        response = threads.submit(httpx.post, f"{address}/v1/models", json=body, timeout=60)
        until(lambda: engines(server.pid) > ready)
        (loading,) = engines(server.pid) - ready
        os.kill(loading, signal.SIGSTOP)
        server.send_signal(end)
        assert response.exception(10) or response.result().status_code == 500
    if end == signal.SIGKILL:
        os.kill(loading, signal.SIGCONT)  # it has to notice by itself that its server is gone
    until(lambda: not alive(ready | {loading}), 60)
