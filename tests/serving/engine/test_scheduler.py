"""Batched sequences get the same results as single ones."""

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baicai.errors import ConfigError
from baicai.inference.decoder import CompiledDecoder
from baicai.inference.generate import SamplingConfig, generate, sample
from baicai.model.transformer import Transformer
from baicai.serving.engine.events import EngineEvent, Finished, PromptEmbedding, PromptStarted, Token
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.engine.scheduler import BLOCK_TOKENS, Constraint, Engine
from tests.inference.test_decoder import TOKENS, joined


class Collector:
    """Collects the events of a request."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.ended: Finished | None = None
        self.cached = -1
        self.embedding: tuple[float, ...] = ()

    def __call__(self, event: EngineEvent) -> None:
        assert self.ended is None, "no event follows Finished"
        if isinstance(event, Finished):
            self.ended = event
        elif isinstance(event, PromptStarted):
            assert not self.tokens
            self.cached = event.cached_tokens
        elif isinstance(event, PromptEmbedding):
            self.embedding = event.values
        else:
            self.tokens.append(event)

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens if not token.in_prompt]


def ask(
    engine: Engine,
    prompt: list[int],
    leaves: list[str] | None = None,
    constraint: Constraint | None = None,
    **changes: Any,
) -> Collector:
    answer = Collector()
    leaves = engine.leaves if leaves is None else leaves
    request = GenerationRequest(prompt_token_ids=prompt, leaves=leaves, **({"max_tokens": 12} | changes))
    engine.submit(request, answer, constraint)
    return answer


def sampled(sampling: SamplingConfig) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "seed")}


def run(engine: Engine) -> None:
    while engine.has_work:
        engine.step()


def alone(
    model: Transformer, prompt: list[int], leaves: list[str], sampling: SamplingConfig, max_tokens: int
) -> list[tuple[int, float]]:
    decoder = CompiledDecoder(model, leaves)
    sampling = dataclasses.replace(sampling, max_tokens=max_tokens)
    return [(token.id, token.log_probability) for token in generate(decoder, prompt, sampling)]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return joined()


def test_batched_completions_match_single_ones(model: Transformer) -> None:
    sample, engine, submitted = random.Random(0), Engine(model, max_sequences=4), []
    names = list(model.leaves)
    for number in range(14):
        prompt = TOKENS[: sample.randrange(1, 30)]
        leaves = sample.sample(names, sample.randrange(len(names) + 1))
        leaves = [name for name in names if name in leaves]
        sampling = SamplingConfig(temperature=sample.choice([0, 0.9]), seed=number, top_p=0.9)
        max_tokens = sample.randrange(1, 20)
        collector = ask(engine, prompt, leaves, **sampled(sampling), max_tokens=max_tokens)
        submitted.append((prompt, leaves, sampling, max_tokens, collector))
        for _ in range(sample.randrange(4)):
            engine.step()
    run(engine)
    for prompt, leaves, sampling, max_tokens, answer in submitted:
        expected = alone(model, prompt, leaves, sampling, max_tokens)
        assert answer.ids == [token for token, _ in expected]
        event = [token.log_probability for token in answer.tokens]
        assert np.allclose(event, [chance for _, chance in expected], atol=1e-6)
        assert answer.ended == Finished("length")


def test_warm_up_leaves_no_trace(model: Transformer) -> None:
    engine, warm = Engine(model), Engine(model)
    warm.warm_up()
    assert (warm.has_work, warm.num_running, warm.num_waiting) == (False, 0, 0)
    cold, answer = (ask(item, TOKENS[:20], max_tokens=4) for item in (engine, warm))
    run(engine)
    run(warm)
    assert (answer.cached, answer.ids) == (0, cold.ids)


def test_a_cached_prefix_is_reused(model: Transformer) -> None:
    engine = Engine(model, max_sequences=2)
    first = ask(engine, TOKENS[:33])
    run(engine)
    second, other = ask(engine, TOKENS[:33]), ask(engine, TOKENS[:33], ["leaf-0"])
    run(engine)
    assert first.cached == 0
    assert second.cached == 2 * BLOCK_TOKENS
    assert other.cached == 0, "other leaves share nothing"
    assert second.ids == first.ids
    assert [item.log_probability for item in second.tokens] == [item.log_probability for item in first.tokens]


def test_a_stop_token_ends_a_completion_and_is_left_out(model: Transformer) -> None:
    engine = Engine(model, max_sequences=1)
    full = ask(engine, TOKENS[:9])
    run(engine)
    cut = ask(engine, TOKENS[:9], stop_token_ids=[full.ids[5]])
    run(engine)
    position = full.ids.index(full.ids[5])
    assert cut.ids == full.ids[:position]
    assert cut.ended is not None
    assert cut.ended.reason == "stop"


def test_a_prompt_is_echoed_with_its_log_probabilities(model: Transformer) -> None:
    engine = Engine(model, max_sequences=2)
    ask(engine, TOKENS[:30])
    run(engine)
    answer = ask(engine, TOKENS[:30], echo=True, max_tokens=0, top_logprobs=3)
    run(engine)
    with torch.no_grad():
        chances = model(torch.tensor([TOKENS[:30]]))[0].log_softmax(-1)
    assert [token.id for token in answer.tokens] == TOKENS[:30]
    assert answer.tokens[0].log_probability is None
    for position, token in enumerate(answer.tokens[1:], 1):
        assert token.in_prompt
        assert token.log_probability == pytest.approx(float(chances[position - 1, token.id]), abs=1e-4)
        assert [item.token for item in token.alternatives] == chances[position - 1].topk(3).indices.tolist()


def test_an_embedding_does_not_depend_on_the_batch(model: Transformer) -> None:
    prompt, engine = TOKENS[:40], Engine(model, max_sequences=4)
    for leaves in ([], ["leaf-1"], list(model.leaves)):
        alone = ask(engine, prompt, leaves, embed=True, max_tokens=0)
        run(engine)
        others = [ask(engine, TOKENS[first : first + 20], max_tokens=30) for first in (0, 5)]
        batched = ask(engine, prompt, leaves, embed=True, max_tokens=0)  # read in two pieces
        run(engine)
        with torch.no_grad():
            mean_D = model.hidden(torch.tensor([prompt]), on_BG=model.leaf_mask(leaves))[0].mean(0)
        assert alone.embedding == pytest.approx((mean_D / mean_D.norm()).tolist(), abs=1e-5)
        assert batched.embedding == alone.embedding
        assert (batched.cached, batched.tokens, batched.ended) == (0, [], Finished("length"))
        assert all(len(item.ids) == 30 and not item.embedding for item in others)


def test_an_embedding_of_zeros_is_zero() -> None:
    model = joined()
    with torch.no_grad():
        model.norm.weight.zero_()
    engine = Engine(model, max_sequences=1)
    answer = ask(engine, TOKENS[:3], embed=True, max_tokens=0)
    run(engine)
    assert answer.embedding == (0.0,) * model.config.dim


def test_a_cancelled_request_emits_nothing_more(model: Transformer) -> None:
    engine = Engine(model, max_sequences=1)
    running, waiting = Collector(), Collector()
    request = GenerationRequest(prompt_token_ids=TOKENS[:5], leaves=[], max_tokens=50)
    numbers = [engine.submit(request, answer) for answer in (running, waiting)]
    for _ in range(3):
        engine.step()
    for number in numbers:
        engine.cancel(number)
    assert not engine.has_work
    assert [item.ended.reason for item in (running, waiting) if item.ended] == ["cancelled"] * 2
    assert len(running.ids) == 3
    last = ask(engine, TOKENS[:5], [])
    run(engine)
    assert last.ids[:3] == running.ids


def test_clients_take_turns(model: Transformer) -> None:
    engine, order = Engine(model, max_sequences=1), list[str]()

    def submit(client: str) -> None:
        request = GenerationRequest(prompt_token_ids=TOKENS[:3], leaves=[], max_tokens=1, client=client)
        engine.submit(request, lambda event: order.append(client) if isinstance(event, Finished) else None)

    for client in ("greedy",) * 4 + ("modest",) * 2:
        submit(client)
    run(engine)
    assert order == ["greedy", "modest", "greedy", "modest", "greedy", "greedy"]


def test_a_small_kv_cache_serves_every_request(model: Transformer) -> None:
    engine = Engine(model, max_sequences=8, kv_cache_tokens=64)
    answers = [ask(engine, TOKENS[:20], max_tokens=20) for _ in range(6)]
    max_tokens = 0
    while engine.has_work:
        engine.step()
        max_tokens = max(max_tokens, engine.num_running)
    assert max_tokens == 1 if model.config.max_tokens > 64 else max_tokens >= 1
    assert len({tuple(answer.ids) for answer in answers}) == 1


def test_the_queue_is_limited(model: Transformer) -> None:
    engine = Engine(model, max_sequences=1, max_waiting=2)
    ask(engine, TOKENS[:3])
    ask(engine, TOKENS[:3])
    with pytest.raises(OverflowError, match="2 requests are already waiting"):
        ask(engine, TOKENS[:3])


class EvenTokens:
    """Only even tokens."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def allowed(self) -> NDArray[np.bool_]:
        return np.arange(97) % 2 == 0

    def accept(self, token: int) -> None:
        self.taken.append(token)


class FailingConstraint(EvenTokens):
    """Fails after two tokens."""

    def allowed(self) -> NDArray[np.bool_]:
        if len(self.taken) == 2:
            raise ConfigError("lost")
        return super().allowed()


def test_a_failing_constraint_ends_only_its_own_request(model: Transformer) -> None:
    engine = Engine(model, max_sequences=2)
    free, failing = ask(engine, TOKENS[:7]), ask(engine, TOKENS[:7], constraint=FailingConstraint())
    run(engine)
    assert (len(failing.ids), failing.ended) == (2, Finished("grammar_error"))
    assert free.ended == Finished("length")


def test_a_completion_follows_its_constraint(model: Transformer) -> None:
    engine, even = Engine(model, max_sequences=2), EvenTokens()
    free, bound = ask(engine, TOKENS[:7]), ask(engine, TOKENS[:7], constraint=even)
    run(engine)
    assert all(token % 2 == 0 for token in bound.ids)
    assert any(token % 2 for token in free.ids)
    assert even.taken == bound.ids


WEIGHTS: list[dict[str, Any]] = [
    {"logit_bias": [(5, 3.0), (9, -100.0), (11, 2.5)]},
    {"frequency_penalty": 1.5},
    {"presence_penalty": 2.0},
    {"presence_penalty": -2.0, "frequency_penalty": -0.5, "logit_bias": [(3, -4.0)]},
]


def generate_alone(model: Transformer, sampling: SamplingConfig, weights: dict[str, Any]) -> list[int]:
    tokens, generator, bias = (
        TOKENS[:9],
        torch.Generator().manual_seed(sampling.seed),
        dict(weights.get("logit_bias", ())),
    )
    for _ in range(20):
        with torch.no_grad():
            logits = model(torch.tensor([tokens]))[0, -1]
        for token in range(len(logits)):
            count = tokens[9:].count(token)
            logits[token] += bias.get(token, 0.0) - weights.get("frequency_penalty", 0.0) * count
            logits[token] -= weights.get("presence_penalty", 0.0) if count else 0.0
        tokens.append(int(sample(logits[None], sampling, generator)))
    return tokens[9:]


@pytest.mark.parametrize("temperature", [0, 0.9])
def test_biases_and_penalties_affect_only_their_own_request(model: Transformer, temperature: float) -> None:
    engine, sampling = Engine(model, max_sequences=8), SamplingConfig(temperature=temperature, seed=3)
    submitted = [ask(engine, TOKENS[:9], **sampled(sampling), max_tokens=20, **weights) for weights in ({}, *WEIGHTS)]
    run(engine)
    expected = [generate_alone(model, sampling, weights) for weights in ({}, *WEIGHTS)]
    assert [answer.ids for answer in submitted] == expected
    assert expected[0] not in expected[1:]


def test_log_probabilities_are_the_models_own(model: Transformer) -> None:
    engine = Engine(model, max_sequences=2)
    free, steered = ask(engine, TOKENS[:9]), ask(engine, TOKENS[:9], logit_bias=[(5, 100.0)], top_logprobs=2)
    run(engine)
    assert steered.ids == [5] * 12
    assert steered.tokens[0].alternatives[0] == (free.ids[0], free.tokens[0].log_probability)
    assert steered.tokens[0].log_probability is not None
    assert steered.tokens[0].log_probability < free.tokens[0].log_probability < 0
    with pytest.raises(ConfigError, match="token ids must be between 0 and 96"):
        ask(engine, TOKENS[:9], logit_bias=[(97, 1.0)])


@pytest.mark.parametrize(
    ("prompt", "leaves", "message"),
    [
        ([], [], "the prompt has 0 tokens"),
        ([1] * 5000, [], "the prompt has 5000 tokens, this model takes 1 to"),
        ([97], [], "token ids must be between 0 and 96"),
        ([1], ["law"], "unknown leaf 'law': this model has leaf-0, leaf-1, leaf-2"),
    ],
)
def test_invalid_requests_are_rejected(model: Transformer, prompt: list[int], leaves: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(Engine(model, max_sequences=1), prompt, leaves)
