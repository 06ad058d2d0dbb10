"""What the server says of itself, and what it says when its engine dies."""

import re
from typing import Any

import httpx
import openai
import pytest

from baicai.data.document import Message
from baicai.leaves.join import SparseModel
from baicai.serving.pages import FILES, FOLDER
from tests.serving.servers import ThreadWorker
from tests.serving.test_chat import ASK
from tests.serving.test_refusals import CHAT, check


def test_tokens_of_a_text_and_of_a_conversation(web: httpx.Client, sparse: SparseModel) -> None:
    told = web.post("/tokenize", json={"model": "tiny", "prompt": "apple 白菜"}).json()
    ids = sparse.tokenizer.encode("apple 白菜")
    assert told["tokens"] == [sparse.tokenizer.end_id, *ids]
    assert (told["count"], told["max_model_len"]) == (len(ids) + 1, 64)
    assert "bytes:" in "".join(told["token_strs"])
    told = web.post("/tokenize", json={"model": "tiny:trunk", "messages": ASK}).json()
    assert told["tokens"] == sparse.tokenizer.encode_chat([Message("user", "apple pear")])
    assert told["token_strs"][0] == "<|user|>"
    check(web.post("/tokenize", json={"model": "tiny"}), "prompt", "invalid_value")


def test_the_server_says_that_it_is_there(web: httpx.Client) -> None:
    assert web.get("/health").json() == {"status": "ok"}


def test_figures_count_what_is_answered(web: httpx.Client) -> None:
    def figures() -> dict[str, float]:
        lines = [line.rpartition(" ") for line in web.get("/metrics").text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    before, usage = figures(), web.post("/v1/chat/completions", json=CHAT).json()["usage"]
    web.post("/v1/chat/completions", json=CHAT | {"n": 0})
    after = figures()

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown('baicai_requests_total{route="/v1/chat/completions",status="200"}') == 1
    assert grown('baicai_requests_total{route="/v1/chat/completions",status="400"}') == 1
    assert grown('baicai_tokens_total{kind="prompt",model="tiny"}') == usage["prompt_tokens"]
    assert grown('baicai_tokens_total{kind="answer",model="tiny"}') == usage["completion_tokens"]
    assert grown("baicai_answer_seconds_count") == grown("baicai_first_seconds_count") == 1
    assert after["baicai_requests_running"] == 0


def resolved(document: dict[str, Any], value: object) -> None:
    if isinstance(value, dict):
        if "$ref" in value:
            assert value["$ref"].rpartition("/")[2] in document["components"]["schemas"]
        for one in value.values():
            resolved(document, one)
    elif isinstance(value, list):
        for one in value:
            resolved(document, one)


def test_the_api_is_described(web: httpx.Client) -> None:
    document = web.get("/openapi.json").json()
    assert {"/v1/models", "/v1/chat/completions", "/v1/completions", "/tokenize"} <= set(document["paths"])
    resolved(document, document)
    assert all(about["description"] for path in document["paths"].values() for about in path.values())
    shown = web.get("/docs")
    assert shown.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert "//" not in shown.text.replace("://", ""), "nothing is loaded from elsewhere"
    assert "POST /v1/chat/completions" in shown.text


def test_the_page_is_served_as_it_is(web: httpx.Client) -> None:
    for path, name in FILES.items():
        told = web.get(path)
        assert told.content == (FOLDER / name).read_bytes()
        assert "default-src 'none'" in told.headers["content-security-policy"]
    assert set(re.findall(r'(?:src|href)="\./([^"]+)"', web.get("/").text)) == {"page.js", "page.css"}


def test_who_waits_is_told_when_the_engine_dies(client: openai.OpenAI, worker: ThreadWorker) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": ASK, "max_tokens": 30}
    worker.dead = True
    try:
        with pytest.raises(openai.InternalServerError, match="the engine has stopped: ask again") as told:
            client.chat.completions.create(**asked)
        assert (told.value.status_code, told.value.code) == (503, "engine_stopped")
        assert told.value.response.headers["Retry-After"] == "1"
        worker.dead, worker.step_seconds = False, 0.05
        stream = client.chat.completions.create(**asked, stream=True)
        next(stream)
        worker.dead = True
        with pytest.raises(openai.APIError, match="the engine has stopped: ask again"):
            list(stream)
    finally:
        worker.dead, worker.step_seconds = False, 0.0


def test_a_failure_of_ours_is_told_in_the_same_form(web: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("baicai.serving.api.plan_chat", fail)
    told = web.post("/v1/chat/completions", json=CHAT)
    check(told, None, "internal_error", 500)
    assert told.headers["Connection"] == "close"
