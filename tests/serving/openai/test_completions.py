"""Texts that are continued, and log-likelihoods as lm-evaluation-harness asks for them."""

import httpx
import openai
import pytest
import torch

from baicai.leaves.generation import text_prompt
from baicai.leaves.model import SparseModel
from tests.serving.servers import ThreadEngine

TEXT = "apple pear plum cherry the of"


def chances(model: SparseModel, ids: list[int], leaves: list[str] | None = None) -> list[float]:
    on = None if leaves is None else model.network.leaf_mask(leaves)
    with torch.no_grad():
        logits = model.network(torch.tensor([ids]), on_BG=on)[0].log_softmax(-1)
    return [float(logits[place, token]) for place, token in enumerate(ids[1:])]


def test_an_echoed_text_has_the_log_likelihoods_of_the_model(client: openai.OpenAI, sparse: SparseModel) -> None:
    ids = text_prompt(sparse, TEXT)
    asked = {"model": "tiny", "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0}
    for prompt in (TEXT, ids, [ids], [TEXT]):
        told = client.completions.create(prompt=prompt, **asked).choices[0]
        assert told.text.startswith(TEXT)
        logprobs = told.logprobs
        assert len(logprobs.tokens) == len(logprobs.text_offset) == len(ids) + 1
        assert logprobs.token_logprobs[0] is None
        assert logprobs.top_logprobs[0] is None
        assert logprobs.token_logprobs[1:-1] == pytest.approx(chances(sparse, ids), abs=1e-4)
        for place, (token, offset) in enumerate(zip(logprobs.tokens[1:], logprobs.text_offset[1:], strict=True), 1):
            assert told.text[offset:].startswith(token) or token.startswith(("bytes:", "<|"))
            assert logprobs.token_logprobs[place] == logprobs.top_logprobs[place][token]
        assert logprobs.token_logprobs[-1] == max(logprobs.top_logprobs[-1].values())


def test_a_text_is_only_read_when_no_token_is_wanted(client: openai.OpenAI, sparse: SparseModel) -> None:
    told = client.completions.create(model="tiny", prompt=TEXT, max_tokens=0, echo=True, logprobs=2)
    assert told.choices[0].text == TEXT
    assert told.usage.completion_tokens == 0
    assert told.choices[0].finish_reason == "length"
    likely = chances(sparse, text_prompt(sparse, TEXT))
    assert told.choices[0].logprobs.token_logprobs[1:] == pytest.approx(likely, abs=1e-4)
    assert client.completions.create(model="tiny", prompt=TEXT, max_tokens=0, echo=True).choices[0].logprobs is None


def test_many_prompts_are_answered_in_their_order(client: openai.OpenAI, sparse: SparseModel) -> None:
    prompts = [sparse.tokenizer.encode(text) for text in ("apple pear", "iron zinc copper", "the of")]
    asked = {"model": "tiny", "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0}
    together = client.completions.create(prompt=prompts, n=2, seed=1, **asked)
    assert [choice.index for choice in together.choices] == list(range(6))
    assert together.usage.prompt_tokens == sum(map(len, prompts))
    for number, prompt in enumerate(prompts):
        alone = client.completions.create(prompt=prompt, **asked)
        for choice in together.choices[2 * number : 2 * number + 2]:
            assert choice.text == alone.choices[0].text
            assert choice.logprobs == alone.choices[0].logprobs


def test_where_one_token_is_wanted_there_is_one_even_if_it_ends_the_text(
    client: openai.OpenAI, sparse: SparseModel, engine: ThreadEngine
) -> None:
    """lm-evaluation-harness leaves out the last token of an echo, whatever it is."""
    client.completions.create(model="tiny", prompt=TEXT, max_tokens=1, echo=True)
    assert not engine.requests[-1].stop_token_ids
    client.completions.create(model="tiny", prompt=TEXT, max_tokens=1)
    assert set(sparse.tokenizer.stop_ids) <= set(engine.requests[-1].stop_token_ids)


def test_a_stream_of_completions_says_the_same_as_the_whole(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "prompt": TEXT, "seed": 3, "max_tokens": 12, "logprobs": 2, "echo": True}
    whole = client.completions.create(**asked).choices[0]
    text, tokens, offsets = "", [], []
    for chunk in client.completions.create(**asked, stream=True):
        choice = chunk.choices[0]
        text += choice.text
        tokens += choice.logprobs.tokens if choice.logprobs else []
        offsets += choice.logprobs.text_offset if choice.logprobs else []
    assert (text, tokens, offsets) == (whole.text, whole.logprobs.tokens, whole.logprobs.text_offset)


def test_the_default_is_sixteen_tokens(client: openai.OpenAI, engine: ThreadEngine) -> None:
    client.completions.create(model="tiny", prompt="apple")
    assert engine.requests[-1].max_tokens == 16


def test_the_harness_reads_its_likelihoods(web: httpx.Client, sparse: SparseModel) -> None:
    """What `local-completions` sends and reads, word by word: openai_completions.py, parse_logprobs."""
    context, continuation = sparse.tokenizer.encode("apple pear"), sparse.tokenizer.encode(" plum cherry")
    rows = [context + continuation, context + continuation[:2]]
    asked = {
        "model": "tiny",
        "prompt": rows,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }
    told = web.post("/v1/completions", json=asked).json()
    for row, choice in zip(rows, sorted(told["choices"], key=lambda one: one["index"]), strict=True):
        likely = choice["logprobs"]["token_logprobs"][len(context) : -1]
        tops = choice["logprobs"]["top_logprobs"][len(context) : -1]
        expected = chances(sparse, row)[len(context) - 1 :]
        assert sum(likely) == pytest.approx(sum(expected), abs=1e-4)
        greedy = all(one == max(top.values()) for one, top in zip(likely, tops, strict=True))
        with torch.no_grad():
            best = sparse.network(torch.tensor([row]))[0].argmax(-1).tolist()
        assert greedy == (best[len(context) - 1 : -1] == row[len(context) :])
