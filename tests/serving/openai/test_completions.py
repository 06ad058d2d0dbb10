"""Text completions, and log-likelihoods as lm-evaluation-harness requests them."""

import httpx
import openai
import pytest
import torch

from baicai.leaves.generation import text_prompt
from baicai.leaves.model import SparseModel
from tests.serving.servers import ThreadEngine

TEXT = "apple pear plum cherry the of"


def logprobs_of(model: SparseModel, ids: list[int], leaves: list[str] | None = None) -> list[float]:
    on = None if leaves is None else model.network.leaf_mask(leaves)
    with torch.no_grad():
        logits = model.network(torch.tensor([ids]), on_BG=on)[0].log_softmax(-1)
    return [float(logits[index, token]) for index, token in enumerate(ids[1:])]


def test_an_echoed_prompt_has_the_logprobs_of_the_model(client: openai.OpenAI, sparse: SparseModel) -> None:
    ids = text_prompt(sparse, TEXT)
    params = {"model": "tiny", "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0}
    for prompt in (TEXT, ids, [ids], [TEXT]):
        response = client.completions.create(prompt=prompt, **params).choices[0]
        assert response.text.startswith(TEXT)
        logprobs = response.logprobs
        assert len(logprobs.tokens) == len(logprobs.text_offset) == len(ids) + 1
        assert logprobs.token_logprobs[0] is None
        assert logprobs.top_logprobs[0] is None
        assert logprobs.token_logprobs[1:-1] == pytest.approx(logprobs_of(sparse, ids), abs=1e-4)
        for index, (token, offset) in enumerate(zip(logprobs.tokens[1:], logprobs.text_offset[1:], strict=True), 1):
            assert response.text[offset:].startswith(token) or token.startswith(("bytes:", "<|"))
            assert logprobs.token_logprobs[index] == logprobs.top_logprobs[index][token]
        assert logprobs.token_logprobs[-1] == max(logprobs.top_logprobs[-1].values())


def test_zero_max_tokens_only_echoes_the_prompt(client: openai.OpenAI, sparse: SparseModel) -> None:
    response = client.completions.create(model="tiny", prompt=TEXT, max_tokens=0, echo=True, logprobs=2)
    assert response.choices[0].text == TEXT
    assert response.usage.completion_tokens == 0
    assert response.choices[0].finish_reason == "length"
    logprobs = logprobs_of(sparse, text_prompt(sparse, TEXT))
    assert response.choices[0].logprobs.token_logprobs[1:] == pytest.approx(logprobs, abs=1e-4)
    assert client.completions.create(model="tiny", prompt=TEXT, max_tokens=0, echo=True).choices[0].logprobs is None


def test_choices_follow_the_order_of_the_prompts(client: openai.OpenAI, sparse: SparseModel) -> None:
    prompts = [sparse.tokenizer.encode(text) for text in ("apple pear", "iron zinc copper", "the of")]
    params = {"model": "tiny", "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0}
    together = client.completions.create(prompt=prompts, n=2, seed=1, **params)
    assert [choice.index for choice in together.choices] == list(range(6))
    assert together.usage.prompt_tokens == sum(map(len, prompts))
    for number, prompt in enumerate(prompts):
        alone = client.completions.create(prompt=prompt, **params)
        for choice in together.choices[2 * number : 2 * number + 2]:
            assert choice.text == alone.choices[0].text
            assert choice.logprobs == alone.choices[0].logprobs


def test_single_token_echo_is_returned_even_if_it_is_an_end_token(
    client: openai.OpenAI, sparse: SparseModel, engine: ThreadEngine
) -> None:
    """lm-evaluation-harness always drops the last token of an echo."""
    client.completions.create(model="tiny", prompt=TEXT, max_tokens=1, echo=True)
    assert not engine.requests[-1].stop_token_ids
    client.completions.create(model="tiny", prompt=TEXT, max_tokens=1)
    assert set(sparse.tokenizer.stop_ids) <= set(engine.requests[-1].stop_token_ids)


def test_a_stream_matches_the_whole_response(client: openai.OpenAI) -> None:
    params = {"model": "tiny", "prompt": TEXT, "seed": 3, "max_tokens": 12, "logprobs": 2, "echo": True}
    completion = client.completions.create(**params).choices[0]
    text, tokens, offsets = "", [], []
    for chunk in client.completions.create(**params, stream=True):
        choice = chunk.choices[0]
        text += choice.text
        tokens += choice.logprobs.tokens if choice.logprobs else []
        offsets += choice.logprobs.text_offset if choice.logprobs else []
    assert (text, tokens, offsets) == (completion.text, completion.logprobs.tokens, completion.logprobs.text_offset)


def test_max_tokens_defaults_to_16(client: openai.OpenAI, engine: ThreadEngine) -> None:
    client.completions.create(model="tiny", prompt="apple")
    assert engine.requests[-1].max_tokens == 16


def test_the_harness_computes_its_loglikelihoods(web: httpx.Client, sparse: SparseModel) -> None:
    """Sends and reads exactly what `local-completions` does: openai_completions.py, parse_logprobs."""
    context, continuation = sparse.tokenizer.encode("apple pear"), sparse.tokenizer.encode(" plum cherry")
    rows = [context + continuation, context + continuation[:2]]
    params = {
        "model": "tiny",
        "prompt": rows,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }
    response = web.post("/v1/completions", json=params).json()
    for row, choice in zip(rows, sorted(response["choices"], key=lambda choice: choice["index"]), strict=True):
        logprobs = choice["logprobs"]["token_logprobs"][len(context) : -1]
        tops = choice["logprobs"]["top_logprobs"][len(context) : -1]
        expected = logprobs_of(sparse, row)[len(context) - 1 :]
        assert sum(logprobs) == pytest.approx(sum(expected), abs=1e-4)
        greedy = all(one == max(top.values()) for one, top in zip(logprobs, tops, strict=True))
        with torch.no_grad():
            best = sparse.network(torch.tensor([row]))[0].argmax(-1).tolist()
        assert greedy == (best[len(context) - 1 : -1] == row[len(context) :])
