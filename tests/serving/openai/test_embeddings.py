"""Texts as vectors, as OpenAI's client asks for them."""

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
ASK: dict[str, Any] = {"model": "tiny", "input": TEXT, "encoding_format": "float"}
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


def mean(model: SparseModel, ids: list[int], leaves: list[str] | None = None) -> list[float]:
    on = None if leaves is None else model.network.leaf_mask(leaves)
    with torch.no_grad():
        mean_D = model.network.hidden(torch.tensor([ids]), on_BG=on)[0].mean(0)
    return (mean_D / mean_D.norm()).tolist()


def test_an_embedding_is_the_mean_of_what_the_head_reads(client: openai.OpenAI, sparse: SparseModel) -> None:
    ids = text_prompt(sparse, TEXT)
    for given in (TEXT, ids, [ids], [TEXT]):
        told = client.embeddings.create(**ASK | {"input": given})
        assert (told.object, told.model, len(told.data)) == ("list", "tiny", 1)
        assert (told.data[0].object, told.data[0].index) == ("embedding", 0)
        assert told.data[0].embedding == pytest.approx(mean(sparse, ids), abs=1e-5)


def test_both_forms_say_the_same_and_the_client_asks_for_base64(client: openai.OpenAI, web: httpx.Client) -> None:
    values = client.embeddings.create(**ASK).data[0].embedding
    assert client.embeddings.create(model="tiny", input=TEXT).data[0].embedding == values
    told = web.post("/v1/embeddings", json=ASK | {"encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert np.frombuffer(b64decode(told), "<f4").tolist() == values


def test_many_texts_are_embedded_in_their_order(client: openai.OpenAI) -> None:
    texts = ["iron zinc copper nickel cobalt silver gold", "apple", TEXT]
    together = client.embeddings.create(**ASK | {"input": texts})
    assert [one.index for one in together.data] == [0, 1, 2]
    for text, one in zip(texts, together.data, strict=True):
        assert one.embedding == client.embeddings.create(**ASK | {"input": text}).data[0].embedding


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
def test_the_leaves_that_are_on_speak(
    client: openai.OpenAI, sparse: SparseModel, name: str, extra: dict[str, Any], leaves: list[str]
) -> None:
    ids = text_prompt(sparse, TEXT)
    told = client.embeddings.create(**ASK | {"model": name}, extra_body=extra)
    assert told.model == name
    assert told.data[0].embedding == pytest.approx(mean(sparse, ids, leaves), abs=1e-5)
    others = [one for one in ([], ["fruit"], ["metal"], ["fruit", "metal"]) if one != leaves]
    assert all(told.data[0].embedding != pytest.approx(mean(sparse, ids, one), abs=1e-3) for one in others)


def test_what_it_took_is_told_and_counted(client: openai.OpenAI, web: httpx.Client, sparse: SparseModel) -> None:
    before, texts = read_metrics(web), [TEXT, "iron"]
    usage = client.embeddings.create(**ASK | {"model": "tiny:fruit", "input": texts}).usage
    after = read_metrics(web)
    read, cost = sum(len(text_prompt(sparse, text)) for text in texts), count_cost(sparse.network, on=1)
    assert usage.prompt_tokens == usage.total_tokens == read
    assert usage.baicai["active_parameters"] == cost.active_parameters
    assert usage.baicai["total_parameters"] == cost.total_parameters
    assert usage.baicai["flops"] == read * cost.flops_per_token
    assert usage.baicai["flops"] < usage.baicai["dense_flops"]
    counted = {"prompt": read, "cached_prompt": 0, "generation": 0}
    for kind, count in counted.items():
        name = f'baicai_{kind}_tokens_total{{model="tiny"}}'
        assert after[name] - before.get(name, 0) == count
    latency = "baicai_e2e_request_latency_seconds_count"
    assert after[latency] - before[latency] == 1


def test_a_text_may_fill_the_context_and_is_never_cut(client: openai.OpenAI) -> None:
    assert client.embeddings.create(**ASK | {"input": [5] * 64}).usage.prompt_tokens == 64
    with pytest.raises(
        openai.BadRequestError, match=r"context length is 64 .* requested 65 tokens in the input\[1\]: "
    ):
        client.embeddings.create(**ASK | {"input": [[5], [5] * 65]})


def test_what_changes_nothing_is_taken(client: openai.OpenAI) -> None:
    plain = client.embeddings.create(**ASK)
    assert client.embeddings.create(**ASK, dimensions=32, user="me") == plain
    with pytest.raises(openai.BadRequestError, match=r"'dimensions' must be 32, this model's width"):
        client.embeddings.create(**ASK, dimensions=31)


@pytest.mark.parametrize("name", ["moss", "tiny:moss"])
def test_an_unknown_model_is_not_found(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as told:
        client.embeddings.create(**ASK | {"model": name})
    assert (told.value.param, told.value.code) == ("model", "model_not_found")


def test_who_waits_is_told_when_the_engine_dies(client: openai.OpenAI, engine: ThreadEngine) -> None:
    engine.dead = True
    try:
        with pytest.raises(openai.InternalServerError, match="the engine has stopped: ask again"):
            client.embeddings.create(**ASK | {"input": [TEXT] * 3})
    finally:
        engine.dead = False


@pytest.mark.parametrize(("change", "param", "code"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_field_is_named(web: httpx.Client, change: dict[str, Any], param: str, code: str) -> None:
    check(web.post("/v1/embeddings", json=ASK | change), param, code)
