"""Compiled sampling against its reference distribution."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baicai.inference.cpu.sampling import STRIDE, logsumexp, sample_token
from baicai.inference.generate import SamplingConfig, sampling_probabilities

VOCAB = 3 * STRIDE + 5
CUTS = [(1.0, 0, 1.0), (0.7, 0, 0.9), (1.3, 7, 1.0), (1.0, 7, 0.6), (1.0, VOCAB, 1.0), (1.0, 1, 1.0), (2.0, 0, 1e-9)]


def logits(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 2, VOCAB).astype(np.float32)


def reference(logits_V: NDArray[np.float32], temperature: float, top_k: int, top_p: float) -> NDArray[np.float32]:
    sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    return sampling_probabilities(torch.from_numpy(logits_V)[None], sampling)[0].numpy()


@pytest.mark.parametrize("cuts", CUTS)
def test_each_token_covers_its_share_of_the_unit_interval(cuts: tuple[float, int, float]) -> None:
    logits_V = logits()
    ends_V = reference(logits_V, *cuts).astype(np.float64).cumsum()
    for token, (begin, end) in enumerate(zip(np.r_[0, ends_V], ends_V, strict=False)):
        if end - begin > 1e-5:
            assert sample_token(logits_V, *cuts, begin + 1e-6) == token
            assert sample_token(logits_V, *cuts, end - 2e-6) == token


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("point", [0.0, 1 - 2**-53])
def test_the_ends_of_the_interval_are_possible_tokens(cuts: tuple[float, int, float], point: float) -> None:
    logits_V = logits(1)
    logits_V[[0, -1]] = -np.inf
    assert reference(logits_V, *cuts)[sample_token(logits_V, *cuts, point)] > 0


def test_masked_tokens_are_never_sampled() -> None:
    logits_V = np.full(VOCAB, -np.inf, np.float32)
    logits_V[[40, 150]] = 3, -90
    points = np.linspace(0, 1, 200, endpoint=False)
    assert {sample_token(logits_V, 1.0, 0, 1.0, point) for point in points} == {40}
    assert {sample_token(logits_V, 1.0, 5, 1.0, point) for point in points} == {40}


def test_ties_go_to_the_first_tokens() -> None:
    logits_V = np.zeros(VOCAB, np.float32)
    points = np.linspace(0, 1, 500, endpoint=False)
    assert {sample_token(logits_V, 1.0, 3, 1.0, point) for point in points} == {0, 1, 2}
    assert {sample_token(logits_V, 1.0, 0, 2.5 / VOCAB, point) for point in points} == {0, 1, 2}


def test_temperature_0_is_greedy() -> None:
    logits_V = logits(2)
    assert sample_token(logits_V, 0.0, 0, 0.5, 0.99) == logits_V.argmax()


@pytest.mark.parametrize("scale", [1, 30])
def test_logsumexp_matches_pytorch(scale: float) -> None:
    logits_V = logits(3) * np.float32(scale)
    assert logsumexp(logits_V) == pytest.approx(torch.from_numpy(logits_V).logsumexp(0).item(), abs=1e-5)
