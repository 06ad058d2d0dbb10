"""The accumulator against the definition, computed in one go over all bins."""

import numpy as np
import pytest
import torch

from baicai.evaluation.calibration import BINS, Calibration


def defined(confidence: np.ndarray, right: np.ndarray) -> float:
    """Guo et al., equation 3, bin by bin."""
    error = 0.0
    for number in range(BINS):
        inside = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def test_fed_in_pieces_it_is_what_the_definition_says_of_all() -> None:
    draw = np.random.default_rng(0)
    confidence = draw.random(2000) ** 0.5
    right = draw.random(2000) < confidence**2
    calibration = Calibration()
    for piece in np.array_split(np.arange(2000), [1, 700, 1500]):
        calibration.add(torch.from_numpy(confidence[piece]), torch.from_numpy(right[piece]))
    assert calibration.error() == pytest.approx(defined(confidence, right), abs=1e-12)
    assert calibration.error() > 0.1, "it is too sure"


def test_a_bin_has_its_upper_end_and_certainty_may_be_rounded_up() -> None:
    calibration = Calibration()
    calibration.add(torch.tensor([1 / 15, 1 / 15 + 1e-9], dtype=torch.float64), torch.tensor([True, False]))
    assert calibration.error() == pytest.approx((14 / 15 + 1 / 15) / 2), (
        "of two bins, which do not make up for each other"
    )
    calibration = Calibration()
    calibration.add(torch.tensor([1 + 1e-7, 0.0]), torch.tensor([True, False]))
    assert calibration.error() == pytest.approx(0, abs=1e-6)
