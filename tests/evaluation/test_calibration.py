"""The accumulator matches the definition, computed over all bins at once."""

import numpy as np
import pytest
import torch

from baicai.evaluation.calibration import BINS, Calibration


def defined(confidence: np.ndarray, right: np.ndarray) -> float:
    """Compute Guo et al., equation 3, bin by bin."""
    error = 0.0
    for number in range(BINS):
        inside = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def test_error_of_chunks_matches_the_definition() -> None:
    random = np.random.default_rng(0)
    confidence = random.random(2000) ** 0.5
    right = random.random(2000) < confidence**2
    calibration = Calibration()
    for chunk in np.array_split(np.arange(2000), [1, 700, 1500]):
        calibration.add(torch.from_numpy(confidence[chunk]), torch.from_numpy(right[chunk]))
    assert calibration.error() == pytest.approx(defined(confidence, right), abs=1e-12)
    assert calibration.error() > 0.1, "the model is overconfident"


def test_bins_include_their_upper_edge_and_accept_rounded_certainty() -> None:
    calibration = Calibration()
    calibration.add(torch.tensor([1 / 15, 1 / 15 + 1e-9], dtype=torch.float64), torch.tensor([True, False]))
    assert calibration.error() == pytest.approx((14 / 15 + 1 / 15) / 2), "errors of two bins do not cancel"
    calibration = Calibration()
    calibration.add(torch.tensor([1 + 1e-7, 0.0]), torch.tensor([True, False]))
    assert calibration.error() == pytest.approx(0, abs=1e-6)
