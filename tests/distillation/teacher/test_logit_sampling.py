"""Samples against the distribution that they come from."""

import torch

from baicai.distillation.teacher.logit_sampling import sample_tokens

LOGITS = 2 * torch.randn(1, 30, generator=torch.Generator().manual_seed(0))
DRAWS, SAMPLES = 4000, 12


def counts(ids_TN: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(ids_TN, LOGITS.shape[1]).sum(1).double()


def test_samples_are_unbiased_with_less_variance_than_independent_ones() -> None:
    uniform = torch.rand(DRAWS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids = sample_tokens(LOGITS.expand(DRAWS, -1), uniform, SAMPLES)
    assert ids.shape == (DRAWS, SAMPLES)
    assert (ids.diff(dim=1) >= 0).all(), "ascending"
    observed, expected = counts(ids), SAMPLES * LOGITS[0].double().softmax(-1)
    assert ((observed - expected).abs() < 1).all(), "off by less than one sample"
    error = (observed.mean(0) - expected) / (observed.std(0) / DRAWS**0.5).clamp(min=1e-9)
    assert error.abs().max() < 4.5
    independent = counts(torch.multinomial(LOGITS[0].softmax(-1), DRAWS * SAMPLES, True).view(DRAWS, SAMPLES))
    assert observed.var(0).sum() < 0.7 * independent.var(0).sum()


def test_extreme_points_stay_in_range_and_never_select_impossible_tokens() -> None:
    logits = torch.full((2, 8), -1e4)
    logits[0, 0] = logits[1, 7] = logits[0, 1] = logits[1, 6] = 0
    ids = sample_tokens(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), SAMPLES)
    assert set(ids[0].tolist()) == {0, 1}
    assert set(ids[1].tolist()) == {6, 7}


def test_certain_teacher_yields_one_token() -> None:
    logits = torch.zeros(1, 8)
    logits[0, 3] = 100
    assert set(sample_tokens(logits, torch.tensor([0.5]), SAMPLES)[0].tolist()) == {3}
    assert sample_tokens(logits, torch.tensor([0.5]), 0).shape == (1, 0)
