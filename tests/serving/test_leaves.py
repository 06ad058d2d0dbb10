"""Requests select leaves; routing and cost are reported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from baicai.data.document import Message
from baicai.leaves.model import SparseModel
from baicai.model.cost import count_cost
from baicai.serving.engine.describe_model import describe_model
from baicai.serving.served_model import ServedModel, is_resident
from tests.serving.openai.test_chat import MESSAGES
from tests.serving.servers import ThreadEngine

CHOICES = [
    ("tiny", None, ["fruit", "metal"]),
    ("tiny:trunk", None, []),
    ("tiny:metal", None, ["metal"]),
    ("tiny:metal,fruit", None, ["fruit", "metal"]),
    ("tiny", {"only": ["fruit"]}, ["fruit"]),
    ("tiny", {"only": []}, []),
    ("tiny", {"off": ["fruit"]}, ["metal"]),
    ("tiny:trunk", {"on": ["fruit"]}, ["fruit"]),
    ("tiny:fruit", {"on": ["metal"], "off": ["fruit"]}, ["metal"]),
]


@pytest.mark.parametrize(("name", "choice", "on"), CHOICES)
def test_a_request_selects_its_leaves(
    client: openai.OpenAI, engine: ThreadEngine, sparse: SparseModel, name: str, choice: Any, on: list[str]
) -> None:
    response = client.chat.completions.create(
        model=name, messages=MESSAGES, temperature=0, max_tokens=8, extra_body={"leaves": choice, "routing": True}
    )
    on = [leaf for leaf in sparse.network.leaves if leaf in on]
    assert engine.requests[-1].leaves == on
    assert response.model == name
    costs, baicai = count_cost(sparse.network, active_leaves=len(on)), response.usage.baicai
    assert list(baicai["leaves"]) == on
    assert baicai["active_parameters"] == costs.active_parameters
    assert baicai["total_parameters"] == costs.total_parameters
    read = len(sparse.tokenizer.encode_chat([Message("user", "apple pear")])) + response.usage.completion_tokens - 1
    assert baicai["flops"] == read * costs.flops_per_token  # too short to reuse cached blocks
    assert baicai["flops"] < baicai["dense_flops"]
    assert all(list(token["leaves"]) == on for token in response.choices[0].routing)


def test_routing_lists_the_leaves_of_each_token(client: openai.OpenAI) -> None:
    arguments: dict[str, Any] = {
        "messages": MESSAGES,
        "temperature": 0,
        "max_tokens": 12,
        "extra_body": {"routing": True},
    }
    completion = client.chat.completions.create(model="tiny", **arguments)
    listing = completion.choices[0].routing
    assert "".join(token["token"] for token in listing) == completion.choices[0].message.content
    chunks = list(client.chat.completions.create(model="tiny", stream=True, **arguments))
    assert [token for chunk in chunks for token in getattr(chunk.choices[0], "routing", [])] == listing
    fruit = [token["leaves"]["fruit"] for token in listing]
    assert all(0 <= share <= 1 for token in listing for share in token["leaves"].values())
    assert all(sum(token["leaves"].values()) <= 1.001 for token in listing)
    assert max(fruit) > 0.2
    assert completion.usage.baicai["leaves"]["fruit"] == pytest.approx(sum(fruit) / len(fruit), abs=1e-3)
    plain = client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=3)
    assert not hasattr(plain.choices[0], "routing")


def test_completions_include_routing(client: openai.OpenAI) -> None:
    response = client.completions.create(
        model="tiny:metal", prompt="iron zinc", echo=True, max_tokens=4, extra_body={"routing": True}
    )
    assert all(list(token["leaves"]) == ["metal"] for token in response.choices[0].routing)
    assert len(response.choices[0].routing) == response.usage.total_tokens


def test_models_are_listed_with_their_parts(client: openai.OpenAI, sparse: SparseModel, served: ServedModel) -> None:
    listing = list(client.models.list())
    assert [model.id for model in listing] == ["tiny"]
    card, cost = listing[0].baicai, count_cost(sparse.network)
    assert card["kind"] == "model"
    assert (card["hash"], card["trunk"]) == (sparse.hash, sparse.trunk.hash)
    hashes = {name: leaf.hash for name, leaf in sparse.leaves.items()}
    assert {leaf["name"]: leaf["hash"] for leaf in card["leaves"]} == hashes
    assert [leaf["resident"] for leaf in card["leaves"]] == [True, True], "their weights have just been read"
    for leaf, grown in zip(card["leaves"], map(sparse.leaves.get, sparse.network.leaves), strict=True):
        assert leaf["data"] == grown.card["data"]
        assert leaf["bits_per_byte"] == {"public": grown.card["metrics"]["public"]}
        assert not leaf["signed"]
    assert [text["domain"] for text in card["data"]] == ["fruit", "metal", "public"]
    assert "serving" not in card
    assert sum(leaf["parameters"] for leaf in card["leaves"]) < card["total_parameters"] == cost.total_parameters
    assert card["active_parameters"] == cost.active_parameters
    assert card["flops_per_token"] == cost.flops_per_token
    assert (card["topk_group"], card["max_tokens"]) == (1, 64)
    assert client.models.retrieve("tiny").baicai == card
    assert client.models.retrieve("tiny:trunk").id == "tiny:trunk"


def test_files_outside_memory_are_not_resident(tmp_path: Path) -> None:
    file = tmp_path / "leaf"
    with file.open("wb") as hollow:
        hollow.truncate(1 << 20)
    assert is_resident(file) is False
    file.write_bytes(bytes(1 << 20))
    assert is_resident(file) is True
    assert is_resident(tmp_path / "moss") is None


def test_a_leaf_names_the_release_and_slice_of_its_data(sparse: SparseModel) -> None:
    leaf = sparse.leaves["fruit"]
    receipt = {"release": "ab" * 32, "slice": "domain=law", "shards": ["cd" * 32] * 1000}
    card = leaf.card | {"data": [leaf.card["data"][0] | {"receipt": receipt}]}
    response = describe_model(replace(sparse, leaves=sparse.leaves | {"fruit": replace(leaf, card=card)}))
    (text,) = next(one for one in response.card["leaves"] if one["name"] == "fruit")["data"]
    assert (text["release"], text["slice"]) == ("ab" * 32, "domain=law")
    assert "receipt" not in text, "the list of models leaves out the shards"
