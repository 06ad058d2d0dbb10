"""Chat completions through OpenAI's own client."""

from typing import Any

import openai
import pytest

from baicai.data.document import Message
from baicai.inference.generate import SamplingConfig
from baicai.leaves.generation import stream_text
from baicai.leaves.model import SparseModel
from tests.serving.servers import ThreadEngine, until

MESSAGES = [{"role": "user", "content": "apple pear"}]


def test_a_chat_completion_matches_local_generation(client: openai.OpenAI, sparse: SparseModel) -> None:
    response = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, max_tokens=20)
    prompt = sparse.tokenizer.encode_chat([Message("user", "apple pear")])
    pieces = stream_text(sparse, prompt, SamplingConfig(temperature=0, max_tokens=20))
    assert response.choices[0].message.content == "".join(piece.text for piece in pieces)
    assert response.choices[0].message.role == "assistant"
    assert response.object == "chat.completion"
    assert response.usage is not None
    assert response.usage.prompt_tokens == len(prompt)
    assert response.usage.total_tokens == response.usage.prompt_tokens + response.usage.completion_tokens


def test_a_trailing_assistant_message_is_continued(client: openai.OpenAI, sparse: SparseModel) -> None:
    completion = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, max_tokens=20)
    text = completion.choices[0].message.content or ""
    prefix = text[: text.index(" ", len(text) // 2)]
    assert sparse.tokenizer.encode(prefix) == sparse.tokenizer.encode(text)[: len(sparse.tokenizer.encode(prefix))]
    messages = [*MESSAGES, {"role": "assistant", "content": prefix}]
    rest = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=20)
    assert (prefix + (rest.choices[0].message.content or "")).startswith(text)


def test_a_stream_matches_the_whole_response(client: openai.OpenAI) -> None:
    params = {
        "model": "tiny",
        "messages": MESSAGES,
        "n": 3,
        "seed": 7,
        "max_tokens": 12,
        "logprobs": True,
        "top_logprobs": 2,
    }
    completion = client.chat.completions.create(**params)
    texts, tokens, reasons, usages = ["", "", ""], [[], [], []], [None] * 3, []
    for chunk in client.chat.completions.create(**params, stream=True, stream_options={"include_usage": True}):
        assert chunk.object == "chat.completion.chunk"
        usages.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            tokens[choice.index] += choice.logprobs.content if choice.logprobs else []
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.message.content for choice in completion.choices]
    assert tokens == [choice.logprobs.content for choice in completion.choices]
    assert reasons == [choice.finish_reason for choice in completion.choices]
    assert usages[:-1] == [None] * (len(usages) - 1)
    assert usages[-1].completion_tokens == completion.usage.completion_tokens == sum(map(len, tokens))
    assert len(set(texts)) > 1, "each of n completions has its own seed"


def test_a_stream_has_usage_only_on_request(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=4, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_logprob_bytes_spell_the_completion(client: openai.OpenAI) -> None:
    response = client.chat.completions.create(
        model="tiny", messages=MESSAGES, temperature=0, max_tokens=8, logprobs=True, top_logprobs=3
    )
    choice = response.choices[0]
    spelt = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
    assert spelt.decode() == choice.message.content
    for token in choice.logprobs.content:
        assert token.logprob == max(top.logprob for top in token.top_logprobs)
        assert token.top_logprobs[0].token == token.token
        assert len(token.top_logprobs) == 3


def test_a_seeded_completion_does_not_depend_on_other_requests(client: openai.OpenAI) -> None:
    def complete(**options: object) -> list[str]:
        response = client.chat.completions.create(model="tiny", messages=MESSAGES, seed=11, max_tokens=16, **options)
        return [choice.message.content for choice in response.choices]

    baseline = complete()
    streams = [
        client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=30, stream=True) for _ in range(3)
    ]
    assert complete() == baseline
    assert complete(n=4)[:1] == baseline
    for stream in streams:
        stream.close()
    unseeded = {
        client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=16).choices[0].message.content
        for _ in range(6)
    }
    assert len(unseeded) > 1


def test_a_completion_ends_before_a_stop_string(client: openai.OpenAI, engine: ThreadEngine) -> None:
    params = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 40}
    completion = client.chat.completions.create(**params).choices[0]
    text = completion.message.content
    for stop in (text[5:8], ["never", text[9:11]]):
        first = min(
            text.find(text_stop) for text_stop in ([stop] if isinstance(stop, str) else stop) if text_stop in text
        )
        steps = engine.steps
        response = client.chat.completions.create(**params, stop=stop)
        assert response.choices[0].message.content == text[:first]
        assert response.choices[0].finish_reason == "stop"
        assert engine.steps - steps < 30
        stream = client.chat.completions.create(**params, stop=stop, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == text[:first]
    assert client.chat.completions.create(**params, stop="never").choices[0].message.content == text


def test_a_token_limit_sets_the_finish_reason(client: openai.OpenAI) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        response = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, **{name: 3})
        assert response.choices[0].finish_reason == "length"
        assert response.usage.completion_tokens == 3


def test_cached_prompt_tokens_are_reported(client: openai.OpenAI) -> None:
    params = {"model": "tiny", "messages": [{"role": "user", "content": "iron copper zinc " * 3}], "max_tokens": 2}
    client.chat.completions.create(**params, temperature=0)
    usage = client.chat.completions.create(**params, temperature=0).usage
    assert usage.prompt_tokens_details.cached_tokens == (usage.prompt_tokens - 1) // 16 * 16 > 0
    response = client.chat.completions.create(**params | {"max_tokens": 20}, temperature=0)
    stopped = client.chat.completions.create(
        **params | {"max_tokens": 20}, temperature=0, stop=response.choices[0].message.content[3:5]
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.usage.prompt_tokens_details == usage.prompt_tokens_details


def test_biases_and_penalties_change_the_tokens(client: openai.OpenAI, sparse: SparseModel) -> None:
    def complete(**options: Any) -> str:
        response = client.chat.completions.create(
            model="tiny", messages=MESSAGES, temperature=0, max_tokens=20, **options
        )
        return response.choices[0].message.content or ""

    plain, token = complete(), sparse.tokenizer.encode("z")[0]
    assert complete(logit_bias={str(token): 100}) == "z" * 20
    assert complete(logit_bias={str(token): 0}, frequency_penalty=0, presence_penalty=0) == plain
    banned = sparse.tokenizer.encode(plain)[0]
    assert sparse.tokenizer.encode(complete(logit_bias={str(banned): -100}))[0] != banned
    assert plain not in (complete(frequency_penalty=2), complete(presence_penalty=2), complete(presence_penalty=-2))
    text = client.completions.create(model="tiny", prompt="z", max_tokens=3, logit_bias={str(token): 100})
    assert text.choices[0].text == "zzz"


@pytest.mark.parametrize("stream", [True, False])
def test_generation_stops_when_the_client_disconnects(
    client: openai.OpenAI, engine: ThreadEngine, stream: bool
) -> None:
    engine.step_seconds, before = 0.1, engine.steps
    try:
        if stream:
            answers = client.chat.completions.create(model="tiny", messages=MESSAGES, n=2, stream=True)
            next(iter(answers))
            answers.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(model="tiny", messages=MESSAGES, n=2, timeout=0.3)
        until(lambda: not engine.core.has_work)
    finally:
        engine.step_seconds = 0.0
    assert engine.steps - before < 8
