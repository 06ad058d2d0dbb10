"""A model opened from Python generates what the command line generates, and scores text as the evaluation does."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

import baicai
from baicai.leaves.generation import text_prompt
from baicai.leaves.model import open_model
from tests.cli.conftest import Command, command
from tests.conftest import Workshop

__all__ = ["command"]


@pytest.fixture
def model(workshop: Workshop) -> baicai.Model:
    return baicai.open(workshop.path("model"))


def test_generate_returns_what_the_command_line_prints(
    workshop: Workshop, model: baicai.Model, command: Command
) -> None:
    words = ("chat=false", "sampling.max_tokens=12", "sampling.seed=3")
    printed = command("generate", f"model={workshop.path('model')}", "prompt=apple pear", *words).out
    assert model.generate("apple pear", max_tokens=12, seed=3) == printed.removesuffix("\n")


def test_stream_yields_the_same_text_in_chunks_with_their_leaf(model: baicai.Model) -> None:
    chunks = list(model.stream("apple pear", max_tokens=12, temperature=0))
    assert len(chunks) > 3
    assert "".join(chunk.text for chunk in chunks) == model.generate("apple pear", max_tokens=12, temperature=0)
    assert {chunk.leaf for chunk in chunks} & set(model.leaves)


def test_a_question_is_a_conversation_of_one_message(model: baicai.Model) -> None:
    messages = [{"role": "user", "content": "apple?"}]
    assert model.chat("apple?", max_tokens=8) == model.chat(messages, max_tokens=8)


def test_leaves_that_are_off_count_as_absent(workshop: Workshop, model: baicai.Model) -> None:
    text = "apple pear plum cherry."
    peeled = model.without("metal")
    assert model.leaves == sorted(model.leaves, key=model.leaves.index)
    assert set(model.leaves) == {"fruit", "metal"}
    assert peeled.leaves == ["fruit"]
    assert peeled.perplexity(text) == model.perplexity(text, leaves=["fruit"])
    assert peeled.generate("apple", max_tokens=8) == model.generate("apple", leaves=["fruit"], max_tokens=8)
    assert model.without("metal", "fruit").perplexity(text) == baicai.open(workshop.path("trunk")).perplexity(text)


def test_perplexity_is_the_exponential_of_the_mean_loss(workshop: Workshop, model: baicai.Model) -> None:
    opened = open_model(workshop.path("model"))
    text = (workshop.folder / "fruit.txt").read_text()[:1000]
    tokens, length = text_prompt(opened, text), opened.network.config.max_tokens
    assert len(tokens) > 2 * length, "several windows"
    losses = []
    for start in range(0, len(tokens) - 1, length):
        window = torch.tensor([tokens[start : start + length + 1]])
        with torch.inference_mode():
            logits = opened.network(window[:, :-1])[0]
        losses += F.cross_entropy(logits, window[0, 1:], reduction="none").tolist()
    assert model.perplexity(text) == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-4)
    assert model.perplexity(text) < model.perplexity(text, leaves=[])


def test_a_relative_path_still_opens_after_a_change_of_folder(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop.folder)
    model = baicai.open("model")
    monkeypatch.chdir(tmp_path)
    assert model.without("metal").leaves == ["fruit"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda model: model.generate("a", temprature=0), baicai.ConfigError, "the nearest is 'temperature'"),
        (lambda model: model.generate("a", leaves=["law"]), baicai.ConfigError, "'law'"),
        (lambda model: model.perplexity("a", leaves=["law"]), baicai.ConfigError, "'law'"),
        (lambda model: model.without("law"), baicai.ConfigError, "'law'"),
        (lambda model: model.chat([{"role": "usr", "content": "a"}]), baicai.DataError, "message 1"),
        (lambda model: model.chat([]), baicai.DataError, "must be a non-empty list"),
        (lambda model: model.perplexity(""), baicai.DataError, "the text is empty"),
    ],
)
def test_bad_arguments_are_one_clear_error(model: baicai.Model, call, error: type, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call(model)
