"""Embeddings through OpenAI's own client."""

from base64 import b64decode
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch

from baicai.leaves.generation import text_prompt
from baicai.leaves.model import SparseModel
from baicai.model.cost import count_cost
from tests.serving.servers import ThreadEngine, read_metrics
from tests.serving.test_errors import check

TEXT = "apple pear plum cherry the of"
REQUEST: dict[str, Any] = {"model": "tiny", "input": TEXT, "encoding_format": "float"}
WRONG = [
    ({"input": None}, "input", "missing_required_parameter"),
    ({"model": None}, "model", "missing_required_parameter"),
    ({"input": 5}, "input", "invalid_type"),
    ({"input": ""}, "input", "invalid_value"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": [[]]}, "input", "invalid_value"),
    ({"input": ["apple", ""]}, "input", "invalid_value"),
    ({"input": [5, "a"]}, "input[0]", "invalid_type"),
    ({"input": [[5], [-1]]}, "input[1][0]", "integer_below_min_value"),
    ({"input": [320]}, "input", "invalid_value"),
    ({"input": ["apple"] * 17}, "input", "invalid_value"),
    ({"input": ["apple", "apple " * 100]}, "input[1]", "context_length_exceeded"),
    ({"encoding_format": "int8"}, "encoding_format", "invalid_value"),
    ({"dimensions": 16}, "dimensions", "unsupported_value"),
    ({"dimensions": "32"}, "dimensions", "invalid_type"),
    ({"leaves": {"only": ["moss"]}}, "leaves.only", "leaf_not_found"),
]


def expected_embedding(model: SparseModel, ids: list[int], leaves: list[str] | None = None) -> list[float]:
    on = None if leaves is None else model.network.leaf_mask(leaves)
    with torch.no_grad():
        mean_D = model.network.hidden(torch.tensor([ids]), on_BG=on)[0].mean(0)
    return (mean_D / mean_D.norm()).tolist()


def test_an_embedding_is_the_mean_of_the_last_hidden_states(client: openai.OpenAI, sparse: SparseModel) -> None:
    ids = text_prompt(sparse, TEXT)
    for value in (TEXT, ids, [ids], [TEXT]):
        response = client.embeddings.create(**REQUEST | {"input": value})
        assert (response.object, response.model, len(response.data)) == ("list", "tiny", 1)
        assert (response.data[0].object, response.data[0].index) == ("embedding", 0)
        assert response.data[0].embedding == pytest.approx(expected_embedding(sparse, ids), abs=1e-5)


def test_float_and_base64_embeddings_are_equal(client: openai.OpenAI, web: httpx.Client) -> None:
    values = client.embeddings.create(**REQUEST).data[0].embedding
    assert client.embeddings.create(model="tiny", input=TEXT).data[0].embedding == values
    response = web.post("/v1/embeddings", json=REQUEST | {"encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert np.frombuffer(b64decode(response), "<f4").tolist() == values


def test_embeddings_follow_the_order_of_the_texts(client: openai.OpenAI) -> None:
    texts = ["iron zinc copper nickel cobalt silver gold", "apple", TEXT]
    together = client.embeddings.create(**REQUEST | {"input": texts})
    assert [embedding.index for embedding in together.data] == [0, 1, 2]
    for text, embedding in zip(texts, together.data, strict=True):
        assert embedding.embedding == client.embeddings.create(**REQUEST | {"input": text}).data[0].embedding


@pytest.mark.parametrize(
    ("name", "extra", "leaves"),
    [
        ("tiny:trunk", {}, []),
        ("tiny:fruit", {}, ["fruit"]),
        ("tiny:metal,fruit", {}, ["fruit", "metal"]),
        ("tiny", {"leaves": {"off": ["fruit"]}}, ["metal"]),
        ("tiny:trunk", {"leaves": {"on": ["fruit"]}}, ["fruit"]),
    ],
)
def test_only_active_leaves_contribute(
    client: openai.OpenAI, sparse: SparseModel, name: str, extra: dict[str, Any], leaves: list[str]
) -> None:
    ids = text_prompt(sparse, TEXT)
    response = client.embeddings.create(**REQUEST | {"model": name}, extra_body=extra)
    assert response.model == name
    assert response.data[0].embedding == pytest.approx(expected_embedding(sparse, ids, leaves), abs=1e-5)
    other_selections = [
        selection for selection in ([], ["fruit"], ["metal"], ["fruit", "metal"]) if selection != leaves
    ]
    assert all(
        response.data[0].embedding != pytest.approx(expected_embedding(sparse, ids, selection), abs=1e-3)
        for selection in other_selections
    )


def test_usage_is_reported_and_counted(client: openai.OpenAI, web: httpx.Client, sparse: SparseModel) -> None:
    before, texts = read_metrics(web), [TEXT, "iron"]
    usage = client.embeddings.create(**REQUEST | {"model": "tiny:fruit", "input": texts}).usage
    after = read_metrics(web)
    num_tokens = sum(len(text_prompt(sparse, text)) for text in texts)
    cost = count_cost(sparse.network, active_leaves=1)
    assert usage.prompt_tokens == usage.total_tokens == num_tokens
    assert usage.baicai["active_parameters"] == cost.active_parameters
    assert usage.baicai["total_parameters"] == cost.total_parameters
    assert usage.baicai["flops"] == num_tokens * cost.flops_per_token
    assert usage.baicai["flops"] < usage.baicai["dense_flops"]
    counts = {"prompt": num_tokens, "cached_prompt": 0, "generation": 0}
    for kind, count in counts.items():
        name = f'baicai_{kind}_tokens_total{{model="tiny"}}'
        assert after[name] - before.get(name, 0) == count
    latency = "baicai_e2e_request_latency_seconds_count"
    assert after[latency] - before[latency] == 1


def test_a_text_may_fill_the_context_but_is_never_truncated(client: openai.OpenAI) -> None:
    assert client.embeddings.create(**REQUEST | {"input": [5] * 64}).usage.prompt_tokens == 64
    with pytest.raises(
        openai.BadRequestError, match=r"context length is 64 .* requested 65 tokens in the input\[1\]: "
    ):
        client.embeddings.create(**REQUEST | {"input": [[5], [5] * 65]})


def test_fields_without_effect_are_accepted(client: openai.OpenAI) -> None:
    plain = client.embeddings.create(**REQUEST)
    assert client.embeddings.create(**REQUEST, dimensions=32, user="me") == plain
    with pytest.raises(openai.BadRequestError, match=r"'dimensions' must be 32, this model's width"):
        client.embeddings.create(**REQUEST, dimensions=31)


@pytest.mark.parametrize("name", ["moss", "tiny:moss"])
def test_an_unknown_model_is_not_found(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.embeddings.create(**REQUEST | {"model": name})
    assert (raised.value.param, raised.value.code) == ("model", "model_not_found")


def test_a_dead_engine_fails_waiting_requests(client: openai.OpenAI, engine: ThreadEngine) -> None:
    engine.dead = True
    try:
        with pytest.raises(openai.InternalServerError, match="the engine has stopped: ask again"):
            client.embeddings.create(**REQUEST | {"input": [TEXT] * 3})
    finally:
        engine.dead = False


@pytest.mark.parametrize(("change", "param", "code"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_field_is_named(web: httpx.Client, change: dict[str, Any], param: str, code: str) -> None:
    check(web.post("/v1/embeddings", json=REQUEST | change), param, code)
