"""Rotary frequencies, optionally scaled for contexts longer than those in training."""

import math

import torch
from torch import Tensor

from baicai.model.config import RopeScaling


def rotary_frequencies(size: int, theta: float, scaling: RopeScaling | None = None) -> tuple[Tensor, float]:
    """Return the angle per position of each pair of features, [size / 2], and the factor of cosines and sines.

    Source: Su et al., 2021; linear: Chen et al., 2023; yarn: Peng et al., 2023; llama3: the code of Llama 3.1. The
    rounding is that of transformers.
    """
    powers = theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    if scaling is None:
        return 1.0 / powers, 1.0
    if scaling.kind == "linear":
        return 1.0 / powers / scaling.factor, 1.0
    if scaling.kind == "llama3":
        return _llama3(1.0 / powers, scaling), 1.0
    attention = scaling.attention_factor
    return _yarn(powers, theta, scaling), 0.1 * math.log(scaling.factor) + 1.0 if attention is None else attention


def _llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Scale long waves, keep short ones, and interpolate between."""
    assert scaling.original_max_tokens is not None
    wavelength = 2 * math.pi / frequencies
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    smooth = (scaling.original_max_tokens / wavelength - low) / (high - low)
    stretched = torch.where(wavelength > scaling.original_max_tokens / low, frequencies / scaling.factor, frequencies)
    between = (1 - smooth) * frequencies / scaling.factor + smooth * frequencies
    return torch.where((smooth >= 0) & (smooth <= 1), between, stretched)


def _yarn(powers: Tensor, theta: float, scaling: RopeScaling) -> Tensor:
    """Scale features with few rotations, keep those with many, with a linear ramp between."""
    assert scaling.original_max_tokens is not None
    pairs = len(powers)

    def feature(rotations: float) -> float:
        assert scaling.original_max_tokens is not None
        return pairs * math.log(scaling.original_max_tokens / (rotations * 2 * math.pi)) / math.log(theta)

    first, last = feature(scaling.beta_fast), feature(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * pairs - 1)
    ramp = ((torch.arange(pairs, dtype=torch.float32) - first) / max(last - first, 0.001)).clamp(0, 1)
    return 1.0 / (scaling.factor * powers) * ramp + 1.0 / powers * (1 - ramp)
