"""Draws against the distribution that they are from."""

import torch

from baicai.distillation.teacher.logit_sampling import sample_tokens

LOGITS = 2 * torch.randn(1, 30, generator=torch.Generator().manual_seed(0))
DRAWS, SAMPLES = 4000, 12


def counts(ids_TN: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(ids_TN, LOGITS.shape[1]).sum(1).double()


def test_each_token_is_drawn_as_often_as_it_is_likely_and_steadier_than_alone() -> None:
    chance = torch.rand(DRAWS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids = sample_tokens(LOGITS.expand(DRAWS, -1), chance, SAMPLES)
    assert ids.shape == (DRAWS, SAMPLES)
    assert (ids.diff(dim=1) >= 0).all(), "ascending"
    found, wanted = counts(ids), SAMPLES * LOGITS[0].double().softmax(-1)
    assert ((found - wanted).abs() < 1).all(), "never a whole draw off"
    error = (found.mean(0) - wanted) / (found.std(0) / DRAWS**0.5).clamp(min=1e-9)
    assert error.abs().max() < 4.5
    alone = counts(torch.multinomial(LOGITS[0].softmax(-1), DRAWS * SAMPLES, True).view(DRAWS, SAMPLES))
    assert found.var(0).sum() < 0.7 * alone.var(0).sum()


def test_the_ends_of_the_comb_stay_inside_and_the_impossible_is_not_drawn() -> None:
    logits = torch.full((2, 8), -1e4)
    logits[0, 0] = logits[1, 7] = logits[0, 1] = logits[1, 6] = 0
    ids = sample_tokens(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), SAMPLES)
    assert set(ids[0].tolist()) == {0, 1}
    assert set(ids[1].tolist()) == {6, 7}


def test_a_certain_teacher_is_drawn_alone() -> None:
    logits = torch.zeros(1, 8)
    logits[0, 3] = 100
    assert set(sample_tokens(logits, torch.tensor([0.5]), SAMPLES)[0].tolist()) == {3}
    assert sample_tokens(logits, torch.tensor([0.5]), 0).shape == (1, 0)
