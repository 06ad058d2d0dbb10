"""How fast each pair of features turns from one position to the next, as trained and as stretched afterwards."""

import math

import torch
from torch import Tensor

from baicai.model.config import RopeScaling


def rotary_frequencies(size: int, theta: float, scaling: RopeScaling | None = None) -> tuple[Tensor, float]:
    """Return the angle that each pair of `size` features turns per position, and the scale of cosines and sines.

    Source: Su et al., 2021; linear: Chen et al., 2023; yarn: Peng et al., 2023; llama3: the code of Llama 3.1. Rounded
    as transformers rounds.
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
    """Stretch the long waves, leave the short ones alone, and go smoothly from one to the other between."""
    assert scaling.original_max_tokens is not None
    wavelength = 2 * math.pi / frequencies
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    smooth = (scaling.original_max_tokens / wavelength - low) / (high - low)
    stretched = torch.where(wavelength > scaling.original_max_tokens / low, frequencies / scaling.factor, frequencies)
    between = (1 - smooth) * frequencies / scaling.factor + smooth * frequencies
    return torch.where((smooth >= 0) & (smooth <= 1), between, stretched)


def _yarn(powers: Tensor, theta: float, scaling: RopeScaling) -> Tensor:
    """Stretch the features that turn seldom, leave those that turn often alone, with a ramp between."""
    assert scaling.original_max_tokens is not None
    pairs = len(powers)

    def feature(turns: float) -> float:
        assert scaling.original_max_tokens is not None
        return pairs * math.log(scaling.original_max_tokens / (turns * 2 * math.pi)) / math.log(theta)

    first, last = feature(scaling.beta_fast), feature(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * pairs - 1)
    ramp = ((torch.arange(pairs, dtype=torch.float32) - first) / max(last - first, 0.001)).clamp(0, 1)
    return 1.0 / (scaling.factor * powers) * ramp + 1.0 / powers * (1 - ramp)
