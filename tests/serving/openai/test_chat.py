"""Conversations through OpenAI's own client."""

from typing import Any

import openai
import pytest

from baicai.data.document import Message
from baicai.inference.generate import SamplingConfig
from baicai.leaves.generation import stream_text
from baicai.leaves.model import SparseModel
from tests.serving.servers import ThreadEngine, until

ASK = [{"role": "user", "content": "apple pear"}]


def test_a_chat_answer_is_the_one_given_without_a_server(client: openai.OpenAI, sparse: SparseModel) -> None:
    told = client.chat.completions.create(model="tiny", messages=ASK, temperature=0, max_tokens=20)
    prompt = sparse.tokenizer.encode_chat([Message("user", "apple pear")])
    pieces = stream_text(sparse, prompt, SamplingConfig(temperature=0, max_tokens=20))
    assert told.choices[0].message.content == "".join(piece.text for piece in pieces)
    assert told.choices[0].message.role == "assistant"
    assert told.object == "chat.completion"
    assert told.usage is not None
    assert told.usage.prompt_tokens == len(prompt)
    assert told.usage.total_tokens == told.usage.prompt_tokens + told.usage.completion_tokens


def test_an_answer_that_was_begun_goes_on(client: openai.OpenAI, sparse: SparseModel) -> None:
    whole = client.chat.completions.create(model="tiny", messages=ASK, temperature=0, max_tokens=20)
    text = whole.choices[0].message.content or ""
    begun = text[: text.index(" ", len(text) // 2)]
    assert sparse.tokenizer.encode(begun) == sparse.tokenizer.encode(text)[: len(sparse.tokenizer.encode(begun))]
    messages = [*ASK, {"role": "assistant", "content": begun}]
    rest = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=20)
    assert (begun + (rest.choices[0].message.content or "")).startswith(text)


def test_a_stream_says_the_same_as_the_whole(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "messages": ASK, "n": 3, "seed": 7, "max_tokens": 12, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked)
    texts, tokens, reasons, usages = ["", "", ""], [[], [], []], [None] * 3, []
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        assert chunk.object == "chat.completion.chunk"
        usages.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            tokens[choice.index] += choice.logprobs.content if choice.logprobs else []
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert tokens == [choice.logprobs.content for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert usages[:-1] == [None] * (len(usages) - 1)
    assert usages[-1].completion_tokens == whole.usage.completion_tokens == sum(map(len, tokens))
    assert len(set(texts)) > 1, "each of n answers has a seed of its own"


def test_a_stream_says_nothing_of_usage_unless_asked(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="tiny", messages=ASK, max_tokens=4, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_log_probabilities_spell_the_answer(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(
        model="tiny", messages=ASK, temperature=0, max_tokens=8, logprobs=True, top_logprobs=3
    )
    choice = told.choices[0]
    spelt = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
    assert spelt.decode() == choice.message.content
    for token in choice.logprobs.content:
        assert token.logprob == max(other.logprob for other in token.top_logprobs)
        assert token.top_logprobs[0].token == token.token
        assert len(token.top_logprobs) == 3


def test_a_seed_gives_the_same_answer_whatever_else_runs(client: openai.OpenAI) -> None:
    def notify(**more: object) -> list[str]:
        told = client.chat.completions.create(model="tiny", messages=ASK, seed=11, max_tokens=16, **more)
        return [choice.message.content for choice in told.choices]

    alone = notify()
    others = [client.chat.completions.create(model="tiny", messages=ASK, max_tokens=30, stream=True) for _ in range(3)]
    assert notify() == alone
    assert notify(n=4)[:1] == alone
    for other in others:
        other.close()
    unseeded = {
        client.chat.completions.create(model="tiny", messages=ASK, max_tokens=16).choices[0].message.content
        for _ in range(6)
    }
    assert len(unseeded) > 1


def test_a_stop_text_ends_an_answer_before_it(client: openai.OpenAI, engine: ThreadEngine) -> None:
    asked = {"model": "tiny", "messages": ASK, "temperature": 0, "max_tokens": 40}
    whole = client.chat.completions.create(**asked).choices[0]
    text = whole.message.content
    for stop in (text[5:8], ["never", text[9:11]]):
        first = min(text.find(one) for one in ([stop] if isinstance(stop, str) else stop) if one in text)
        steps = engine.steps
        told = client.chat.completions.create(**asked, stop=stop)
        assert told.choices[0].message.content == text[:first]
        assert told.choices[0].finish_reason == "stop"
        assert engine.steps - steps < 30
        stream = client.chat.completions.create(**asked, stop=stop, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == text[:first]
    assert client.chat.completions.create(**asked, stop="never").choices[0].message.content == text


def test_the_length_is_told(client: openai.OpenAI) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        told = client.chat.completions.create(model="tiny", messages=ASK, temperature=0, **{name: 3})
        assert told.choices[0].finish_reason == "length"
        assert told.usage.completion_tokens == 3


def test_what_was_read_before_is_said_to_be_cached(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "iron copper zinc " * 3}], "max_tokens": 2}
    client.chat.completions.create(**asked, temperature=0)
    usage = client.chat.completions.create(**asked, temperature=0).usage
    assert usage.prompt_tokens_details.cached_tokens == (usage.prompt_tokens - 1) // 16 * 16 > 0
    told = client.chat.completions.create(**asked | {"max_tokens": 20}, temperature=0)
    stopped = client.chat.completions.create(
        **asked | {"max_tokens": 20}, temperature=0, stop=told.choices[0].message.content[3:5]
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.usage.prompt_tokens_details == usage.prompt_tokens_details


def test_tokens_are_wanted_more_or_less(client: openai.OpenAI, sparse: SparseModel) -> None:
    def notify(**more: Any) -> str:
        told = client.chat.completions.create(model="tiny", messages=ASK, temperature=0, max_tokens=20, **more)
        return told.choices[0].message.content or ""

    plain, token = notify(), sparse.tokenizer.encode("z")[0]
    assert notify(logit_bias={str(token): 100}) == "z" * 20
    assert notify(logit_bias={str(token): 0}, frequency_penalty=0, presence_penalty=0) == plain
    unwanted = sparse.tokenizer.encode(plain)[0]
    assert sparse.tokenizer.encode(notify(logit_bias={str(unwanted): -100}))[0] != unwanted
    assert plain not in (notify(frequency_penalty=2), notify(presence_penalty=2), notify(presence_penalty=-2))
    text = client.completions.create(model="tiny", prompt="z", max_tokens=3, logit_bias={str(token): 100})
    assert text.choices[0].text == "zzz"


@pytest.mark.parametrize("stream", [True, False])
def test_who_goes_away_is_not_answered_further(client: openai.OpenAI, engine: ThreadEngine, stream: bool) -> None:
    engine.step_seconds, before = 0.1, engine.steps
    try:
        if stream:
            answers = client.chat.completions.create(model="tiny", messages=ASK, n=2, stream=True)
            next(iter(answers))
            answers.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(model="tiny", messages=ASK, n=2, timeout=0.3)
        until(lambda: not engine.core.work)
    finally:
        engine.step_seconds = 0.0
    assert engine.steps - before < 8
