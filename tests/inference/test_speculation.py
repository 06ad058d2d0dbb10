"""Speculative decoding changes only the number of steps."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from baicai.inference.decoder import CompiledDecoder, Decoder, DecoderOutput, open_decoder
from baicai.inference.generate import (
    DraftStats,
    SamplingConfig,
    decode_tokens,
    generate,
    sample,
    sampling_probabilities,
)
from baicai.model.transformer import Transformer
from tests.model.conftest import GQA, MLA, grown, tiny

VOCAB, NUM_TOKENS, TEXTS = 4, 3, 3000
SAMPLINGS = [
    SamplingConfig(temperature=1.0, top_p=1.0, speculate=1),
    SamplingConfig(temperature=0.7, top_p=1.0, speculate=2),
    SamplingConfig(temperature=1.3, top_k=3, top_p=0.9, speculate=3),
]


class Table:
    """A decoder whose next token depends on the last two through one table, its drafts on the last through another.

    It checks that it receives every token once and in order: a hidden state is its position.
    """

    can_draft, leaves = True, ()

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.model_VVV = 1.5 * torch.randn(VOCAB, VOCAB, VOCAB, generator=generator)
        self.draft_VV = 1.5 * torch.randn(VOCAB, VOCAB, generator=generator)
        self.tokens: list[int] = []
        self.read = 0

    def step(self, tokens: Sequence[int], last: int = 1) -> DecoderOutput:
        start = len(self.tokens)
        self.tokens += tokens
        rows = [self.model_VVV[left, right] for left, right in itertools.pairwise(self.tokens[-last - 1 :])]
        return DecoderOutput(
            torch.stack(rows), torch.arange(start, len(self.tokens))[:, None].float(), torch.zeros(last, 0)
        )

    @property
    def length(self) -> int:
        return len(self.tokens)

    @length.setter
    def length(self, tokens: int) -> None:
        del self.tokens[tokens:]

    def draft(self, hidden_SD: Tensor, tokens: Sequence[int], start: int) -> tuple[Tensor, Tensor]:
        assert hidden_SD[:, 0].tolist() == list(range(start, start + len(tokens)))
        if start < len(self.tokens):  # not yet reading its own drafts
            assert start == self.read
            assert [*tokens[:-1]] == self.tokens[start + 1 :]
            self.read = start + len(tokens)
        return self.draft_VV[tokens[-1]], torch.tensor([float(start + len(tokens))])


def chi_square(sampling: SamplingConfig) -> tuple[float, int]:
    """Return chi-square of texts sampled with drafts against their exact probabilities, and its degrees of freedom."""
    table, counts = Table(), Counter[tuple[int, ...]]()
    generator = torch.Generator().manual_seed(1)
    for _ in range(TEXTS):
        table.tokens, table.read = [], 0
        generated = decode_tokens(table, [0, 1], NUM_TOKENS, sampling, generator, DraftStats())
        counts[tuple(token.id for token in generated)] += 1
    next_VVV = sampling_probabilities(table.model_VVV.view(-1, VOCAB), sampling).view(VOCAB, VOCAB, VOCAB)
    statistic, cells = 0.0, 0
    for text in itertools.product(range(VOCAB), repeat=NUM_TOKENS):
        words = (0, 1, *text)
        expected = TEXTS * float(torch.stack([next_VVV[words[i : i + 3]] for i in range(NUM_TOKENS)]).prod())
        if expected == 0:
            assert not counts[text]
        else:
            statistic += (counts[text] - expected) ** 2 / expected
            cells += 1
    return statistic, cells - 1


def limit(degrees: int) -> float:
    """Return a bound that chi-square exceeds by chance once in many thousand runs."""
    return degrees + 5 * (2 * degrees) ** 0.5


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_texts_are_distributed_as_without_drafts(sampling: SamplingConfig) -> None:
    statistic, degrees = chi_square(sampling)
    assert degrees > 10
    assert statistic < limit(degrees)


def test_the_test_above_detects_drafts_accepted_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.zeros(()))
    statistic, degrees = chi_square(SAMPLINGS[0])
    assert statistic > limit(degrees)


def test_the_test_above_detects_a_replacement_from_a_wrong_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "clamp", lambda *_, **__: torch.zeros(VOCAB))
    statistic, degrees = chi_square(SAMPLINGS[0])
    assert statistic > limit(degrees)


def test_samples_have_the_stated_distribution() -> None:
    logits_BV = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    sampling = SamplingConfig(temperature=0.8, top_k=5, top_p=0.95)
    drawn = sample(logits_BV.expand(4000, -1), sampling, torch.Generator().manual_seed(0))
    stated_V = sampling_probabilities(logits_BV, sampling)[0]
    torch.testing.assert_close(drawn.bincount(minlength=6) / 4000, stated_V, atol=0.03, rtol=0)
    greedy = sampling_probabilities(logits_BV, SamplingConfig(temperature=0))[0]
    assert greedy.tolist() == [float(token == int(logits_BV.argmax())) for token in range(6)]


def model_with_mtp(attention: str, leaves: int) -> Transformer:
    model = tiny(GQA if attention == "gqa" else MLA, mtp=True)
    for seed in range(leaves):
        model.join(f"leaf-{seed}", grown(model, seed))
    return model


@pytest.mark.parametrize("kind", [Decoder, CompiledDecoder])
@pytest.mark.parametrize("leaves", [0, 2])
@pytest.mark.parametrize("attention", ["gqa", "mla"])
@torch.no_grad()
def test_dropped_generatedare_forgotten(attention: str, leaves: int, kind: type[Decoder]) -> None:
    model, tokens = model_with_mtp(attention, leaves), [5, 9, 2, 7, 1, 8]
    decoder = kind(model, list(model.leaves), 64)
    decoder.step(tokens[:3])
    decoder.step([11, 12, 13, 14], last=4)
    decoder.length = 3
    step = decoder.step(tokens[3:], last=3)
    torch.testing.assert_close(step.logits_NV, model(torch.tensor([tokens]))[0, 3:], atol=1e-5, rtol=0)
    torch.testing.assert_close(step.hidden_SD, model.hidden(torch.tensor([tokens]))[0, 3:], atol=1e-5, rtol=0)
    assert step.leaf_weights_NG.shape == (3, leaves)


@pytest.mark.parametrize("speculate", [1, 3])
@pytest.mark.parametrize("leaves", [0, 2])
@pytest.mark.parametrize("attention", ["gqa", "mla"])
def test_greedy_generatedand_their_metrics_do_not_change(attention: str, leaves: int, speculate: int) -> None:
    model = model_with_mtp(attention, leaves)
    for prompt in ([3], [5, 6, 7, 90], list(range(40))):
        plain, drafted = (
            list(generate(open_decoder(model), prompt, SamplingConfig(max_tokens=40, temperature=0, speculate=k)))
            for k in (0, speculate)
        )
        assert [token.id for token in drafted] == [token.id for token in plain]
        for left, right in zip(plain, drafted, strict=True):
            assert left.log_probability == pytest.approx(right.log_probability, abs=1e-4)
            assert left.leaf_weights == pytest.approx(right.leaf_weights, abs=1e-4)


@pytest.mark.parametrize("speculate", [0, 2])
def test_generation_continues_the_decoders_sequence(speculate: int) -> None:
    model, sampling = model_with_mtp("gqa", 2), SamplingConfig(max_tokens=20, temperature=0, speculate=speculate)
    decoder = open_decoder(model)
    decoder.step([9, 8, 7])
    generated = [token.id for token in generate(decoder, [5, 6], sampling)]
    assert generated == [token.id for token in generate(open_decoder(model), [9, 8, 7, 5, 6], sampling)]


def test_without_a_module_nothing_is_drafted() -> None:
    drafts, sampling = DraftStats(), SamplingConfig(max_tokens=20, temperature=0, speculate=2)
    generated = [token.id for token in generate(open_decoder(tiny()), [1], sampling, drafts=drafts)]
    assert generated == [
        token.id for token in generate(open_decoder(tiny()), [1], SamplingConfig(max_tokens=20, temperature=0))
    ]
    assert drafts.proposed == 0
