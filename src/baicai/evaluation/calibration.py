"""Calibration: whether a model is right as often as it is sure. Shape suffixes: T tokens, N bins."""

import torch
from torch import Tensor

BINS = 15


class Calibration:
    """The expected calibration error of what was added so far; of its tokens only sums are kept.

    It is the gap between how sure and how often right, in bins of equal width of how sure, each as heavy as it has
    tokens. Source: Guo et al., On Calibration of Modern Neural Networks, 2017, equation 3.
    """

    def __init__(self) -> None:
        self._tokens = 0
        self._gap_N = torch.zeros(BINS, dtype=torch.float64)

    def add(self, confidence_T: Tensor, right_T: Tensor) -> None:
        """Add tokens: the probability in (0, 1] of what was predicted for each, and whether that came."""
        confidence_T = confidence_T.double().cpu()
        bin_T = ((confidence_T * BINS).ceil().long() - 1).clamp_(0, BINS - 1)  # each has its upper end
        self._gap_N.index_add_(0, bin_T, right_T.double().cpu() - confidence_T)
        self._tokens += len(confidence_T)

    def error(self) -> float:
        """Return the error, from 0 to 1."""
        return float(self._gap_N.abs().sum()) / self._tokens
