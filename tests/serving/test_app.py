"""Routes that describe the server, and errors when an engine dies."""

import re
from typing import Any

import httpx
import openai
import pytest

from baicai.data.document import Message
from baicai.leaves.model import SparseModel
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.routes.web_page import FILES, FOLDER
from tests.serving.openai.test_chat import MESSAGES
from tests.serving.servers import ThreadEngine, read_metrics
from tests.serving.test_errors import CHAT, check


def test_texts_and_conversations_are_tokenized(web: httpx.Client, sparse: SparseModel) -> None:
    response = web.post("/tokenize", json={"model": "tiny", "prompt": "apple 白菜"}).json()
    ids = sparse.tokenizer.encode("apple 白菜")
    assert response["tokens"] == [sparse.tokenizer.end_id, *ids]
    assert (response["count"], response["max_model_len"]) == (len(ids) + 1, 64)
    assert "bytes:" in "".join(response["token_strs"])
    response = web.post("/tokenize", json={"model": "tiny:trunk", "messages": MESSAGES}).json()
    assert response["tokens"] == sparse.tokenizer.encode_chat([Message("user", "apple pear")])
    assert response["token_strs"][0] == "<|user|>"
    check(web.post("/tokenize", json={"model": "tiny"}), "prompt", "invalid_value")


def test_tokenize_rejects_what_exceeds_the_context(web: httpx.Client) -> None:
    fitting = web.post("/tokenize", json={"model": "tiny", "prompt": " apple" * 63}).json()
    assert fitting["count"] == fitting["max_model_len"] == 64
    response = web.post("/tokenize", json={"model": "tiny", "prompt": " apple" * 64})
    check(response, "prompt", "context_length_exceeded")
    assert (
        "is 64 tokens. However, you requested 65 tokens in the prompt: shorten" in response.json()["error"]["message"]
    )
    long = [{"role": "user", "content": " apple" * 64}]
    check(web.post("/tokenize", json={"model": "tiny", "messages": long}), "messages", "context_length_exceeded")


def test_health_reports_restarting_engines(web: httpx.Client, engine: ThreadEngine) -> None:
    engine.dead = True
    try:
        response = web.get("/health")
        assert (response.status_code, response.json()) == (503, {"status": "starting", "models": ["tiny"]})
    finally:
        engine.dead = False
    response = web.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_metrics_show_the_queue(web: httpx.Client, engine: ThreadEngine) -> None:
    core, request = engine.core, GenerationRequest(prompt_token_ids=[5], leaves=[], max_tokens=9)
    with engine.condition:  # keeps the engine from stepping
        numbers = [core.submit(request, lambda response: None) for _ in range(6)]
        core.step()
        values = read_metrics(web)
        for number in numbers:
            core.cancel(number)
    shown = [values[f'baicai_num_requests{{model="tiny",state="{state}"}}'] for state in ("running", "waiting")]
    assert shown == [4, 2]
    assert read_metrics(web)['baicai_num_requests{model="tiny",state="running"}'] == 0


def test_metrics_count_requests_and_tokens(web: httpx.Client) -> None:
    before, usage = read_metrics(web), web.post("/v1/chat/completions", json=CHAT).json()["usage"]
    web.post("/v1/chat/completions", json=CHAT | {"n": 0})
    after = read_metrics(web)

    def increase(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert increase('baicai_http_requests_total{route="/v1/chat/completions",status="200"}') == 1
    assert increase('baicai_http_requests_total{route="/v1/chat/completions",status="400"}') == 1
    assert increase('baicai_prompt_tokens_total{model="tiny"}') == usage["prompt_tokens"]
    assert increase('baicai_generation_tokens_total{model="tiny"}') == usage["completion_tokens"]
    assert (
        increase("baicai_e2e_request_latency_seconds_count")
        == increase("baicai_time_to_first_token_seconds_count")
        == 1
    )
    assert after["baicai_http_requests_in_progress"] == 0


def check_references(document: dict[str, Any], value: object) -> None:
    if isinstance(value, dict):
        if "$ref" in value:
            assert value["$ref"].rpartition("/")[2] in document["components"]["schemas"]
        for item in value.values():
            check_references(document, item)
    elif isinstance(value, list):
        for item in value:
            check_references(document, item)


def test_the_openapi_document_is_complete(web: httpx.Client) -> None:
    document = web.get("/openapi.json").json()
    assert {"/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize"} <= set(
        document["paths"]
    )
    check_references(document, document)
    load = document["paths"]["/v1/models"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert load == {"$ref": "#/components/schemas/LoadRequest"}
    assert set(document["components"]["schemas"]["LoadRequest"]["properties"]) == {"model", "name", "peel", "join"}
    assert all(about["description"] for path in document["paths"].values() for about in path.values())
    shown = web.get("/docs")
    assert shown.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert "//" not in shown.text.replace("://", ""), "nothing is loaded from other sites"
    assert "POST /v1/chat/completions" in shown.text
    links, response = re.findall(r'<a href="#(\w+)">', shown.text), re.findall(r'<h2 id="(\w+)">', shown.text)
    assert {"LeafChoice", "Tool", "Function"} <= set(links) <= set(response), "nested objects are described"
    assert len(response) == len(set(response))
    assert all(f"<code>{name}</code><td>" in shown.text for name in ("only", "on", "off"))


def test_the_page_is_served_unchanged(web: httpx.Client) -> None:
    for path, name in FILES.items():
        response = web.get(path)
        assert response.content == (FOLDER / name).read_bytes()
        assert "default-src 'none'" in response.headers["content-security-policy"]
    assert set(re.findall(r'(?:src|href)="\./([^"]+)"', web.get("/").text)) == {"page.js", "page.css"}


def test_pending_requests_fail_when_the_engine_dies(client: openai.OpenAI, engine: ThreadEngine) -> None:
    arguments: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 30}
    engine.dead = True
    try:
        with pytest.raises(openai.InternalServerError, match="the engine has stopped: ask again") as response:
            client.chat.completions.create(**arguments)
        assert (response.value.status_code, response.value.code) == (503, "engine_stopped")
        assert response.value.response.headers["Retry-After"] == "1"
        engine.dead, engine.step_seconds = False, 0.05
        stream = client.chat.completions.create(**arguments, stream=True)
        next(stream)
        engine.dead = True
        with pytest.raises(openai.APIError, match="the engine has stopped: ask again"):
            list(stream)
    finally:
        engine.dead, engine.step_seconds = False, 0.0


def test_internal_errors_have_the_same_format(web: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("baicai.serving.app.prepare_chat", fail)
    response = web.post("/v1/chat/completions", json=CHAT)
    check(response, None, "internal_error", 500)
    assert response.headers["Connection"] == "close"
