"""Answers: what is streamed, where it stops, and which leaf is named."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest

from baicai.data.document import Message
from baicai.errors import ConfigError
from baicai.inference.generate import GeneratedToken, SamplingConfig
from baicai.leaves import generation as module
from baicai.leaves.generation import MIN_LEAF_WEIGHT, TextChunk, chat_prompt, stream_text, text_prompt
from baicai.leaves.model import SparseModel, open_model
from tests.conftest import Workshop

Speak = Callable[..., Iterator[TextChunk]]


@pytest.fixture(scope="module")
def model(workshop: Workshop) -> SparseModel:
    return open_model(workshop.path("model"))


@pytest.fixture
def speak(model: SparseModel, monkeypatch: pytest.MonkeyPatch) -> Speak:
    """Answer with a given text, token by token, and given weights of the leaves."""

    def start(text: str, *, stop: Sequence[str] = (), weights: dict[str, float] | None = None) -> Iterator[TextChunk]:
        def tokens(*_: object, **__: object) -> Iterator[GeneratedToken]:
            for token in model.tokenizer.encode(text):
                yield GeneratedToken(token, -1.0, weights or {})

        monkeypatch.setattr(module, "generate", tokens)
        return stream_text(model, [1], SamplingConfig(stop=tuple(stop)))

    return start


def joined_text(chunks: Iterator[TextChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


TEXT = "apple plum, 白菜多少钱? the end of it."


def test_without_stop_strings_all_text_is_streamed(speak: Speak) -> None:
    assert joined_text(speak(TEXT)) == TEXT


@pytest.mark.parametrize("stop", sorted({TEXT[i:j] for i, j in itertools.combinations(range(0, len(TEXT) + 1, 3), 2)}))
def test_text_ends_before_a_stop_string(speak: Speak, stop: str) -> None:
    assert joined_text(speak(TEXT, stop=[stop])) == TEXT[: TEXT.index(stop)]


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("a plum or a pear", ["pear", "plum"], "a "),
        ("a plum or a pear", ["plum or", "lum"], "a p"),
        ("an aab", ["ab"], "an a"),
        ("aaab", ["aab"], "a"),
        ("the plu", ["plum"], "the plu"),
        ("no stop here", ["STOP"], "no stop here"),
        ("stop", ["stop"], ""),
        ("ends\n\nhere", ["\n\n"], "ends"),
    ],
)
def test_stop_strings(speak: Speak, text: str, stop: list[str], expected: str) -> None:
    assert joined_text(speak(text, stop=stop)) == expected


def test_only_the_possible_start_of_a_stop_string_is_held_back(
    model: SparseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, stop, generated = "of zinc it zi", "zinc!", ""

    def tokens(*_: object, **__: object) -> Iterator[GeneratedToken]:
        nonlocal generated
        for token in model.tokenizer.encode(words):
            generated += model.tokenizer.decode([token])
            yield GeneratedToken(token, -1.0, {})
        generated += "."

    monkeypatch.setattr(module, "generate", tokens)
    received, waits = "", set()
    for chunk in stream_text(model, [1], SamplingConfig(stop=(stop,))):
        received += chunk.text
        doubtful = max((n for n in range(len(stop)) if generated.endswith(stop[:n])), default=0)
        assert len(received) <= len(generated) - doubtful
        waits.add(len(generated) - len(received))
    assert received == words
    assert 0 in waits, "what cannot be part of a stop text is not held back"


def test_incomplete_characters_are_held_back(speak: Speak) -> None:
    chunks = list(speak("白菜"))
    assert [chunk.text for chunk in chunks] == ["白", "菜"]


def test_incomplete_bytes_become_a_replacement_character(model: SparseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = model.tokenizer.encode("白")[0]
    monkeypatch.setattr(module, "generate", lambda *_, **__: iter([GeneratedToken(first, -1.0, {})]))
    assert joined_text(stream_text(model, [1], SamplingConfig())) == "\ufffd"


@pytest.mark.parametrize(
    ("weights", "leaf"),
    [
        ({"fruit": 0.6, "metal": 0.1}, "fruit"),  # of at most 2, as two experts are chosen
        ({"fruit": 0.4, "metal": 0.5}, "metal"),
        ({"fruit": 0.39, "metal": 0.1}, None),
        ({"fruit": 0.40, "metal": 0.1}, "fruit"),
        ({}, None),
    ],
)
def test_a_leaf_is_named_from_a_fifth_of_the_weight(speak: Speak, weights: dict[str, float], leaf: str | None) -> None:
    for chunk in speak("the", weights=weights):
        assert chunk.leaf == leaf
        assert chunk.weights == pytest.approx({name: weight / 2 for name, weight in weights.items()})


@pytest.mark.parametrize(
    ("text", "leaf"), [("iron copper zinc nickel", "metal"), ("apple pear plum cherry quince", "fruit")]
)
def test_each_chunk_names_the_leaf_with_the_largest_weight(model: SparseModel, text: str, leaf: str) -> None:
    chunks = list(stream_text(model, text_prompt(model, text), SamplingConfig(max_tokens=30, temperature=0)))
    assert len(chunks) > 10
    assert {chunk.leaf for chunk in chunks} == {leaf}
    for chunk in chunks:
        assert set(chunk.weights) == {"fruit", "metal"}
        best = max(chunk.weights, key=lambda name: chunk.weights[name])
        assert chunk.leaf == (best if chunk.weights[best] >= MIN_LEAF_WEIGHT else None)
        assert all(0 <= weight <= 1 for weight in chunk.weights.values())


def test_seeds_and_temperature(model: SparseModel) -> None:
    def text(seed: int, temperature: float) -> str:
        sampling = SamplingConfig(max_tokens=20, temperature=temperature, seed=seed)
        return joined_text(stream_text(model, text_prompt(model, "the"), sampling))

    assert text(1, 1.0) == text(1, 1.0) != text(2, 1.0)
    assert text(1, 0.0) == text(2, 0.0)


def test_inactive_leaves_do_not_affect_the_text(workshop: Workshop, model: SparseModel) -> None:
    sampling, prompt = SamplingConfig(max_tokens=20, temperature=0), text_prompt(model, "apple pear cherry grape")
    without = list(stream_text(model, prompt, sampling, ["metal"]))
    assert all(set(chunk.weights) == {"metal"} and chunk.leaf != "fruit" for chunk in without)
    trunk = open_model(workshop.path("trunk"))
    bare = list(stream_text(trunk, prompt, sampling))
    assert list(stream_text(model, prompt, sampling, [])) == bare
    assert all(chunk.leaf is None and chunk.weights == {} for chunk in bare)
    assert joined_text(stream_text(model, prompt, sampling)) != joined_text(iter(bare))
    with pytest.raises(ConfigError, match="unknown leaf 'law': this model has"):
        next(stream_text(model, prompt, sampling, ["law"]))


def test_text_prompt_begins_a_document(model: SparseModel) -> None:
    assert text_prompt(model, "apple") == [model.tokenizer.end_id, *model.tokenizer.encode("apple")]


def test_chat_prompt_keeps_the_newest_messages_that_fit(model: SparseModel) -> None:
    tokenizer = model.tokenizer
    messages = [Message("user", f"apple {n}") for n in range(30)]
    end, _, user, assistant = tokenizer.stop_ids
    assert chat_prompt(model, messages[:1]) == [user, *tokenizer.encode("apple 0"), end, assistant]
    ids = chat_prompt(model, messages)
    assert len(ids) <= 48, "a quarter of the model's 64 tokens is room for the answer"
    assert tokenizer.decode(ids).endswith("apple 28apple 29")
    num_messages = tokenizer.decode(ids).count("apple")
    assert 1 < num_messages < 30
    assert len(tokenizer.encode_chat(messages[-num_messages - 1 :])) > 48, "no more than needed was left out"


def test_system_messages_outlast_the_oldest_turns(model: SparseModel) -> None:
    messages = [Message("system", "plum"), *(Message("user", f"apple {n}") for n in range(30))]
    received = model.tokenizer.decode(chat_prompt(model, messages))
    assert received.startswith("plum")
    assert received.endswith("apple 29")
    assert "apple 0" not in received


def test_a_question_longer_than_the_context_is_a_one_line_error(model: SparseModel) -> None:
    prompt = chat_prompt(model, [Message("user", "apple " * 100)])
    with pytest.raises(ConfigError, match=r"a prompt of .* tokens does not fit"):
        next(stream_text(model, prompt, SamplingConfig()))
