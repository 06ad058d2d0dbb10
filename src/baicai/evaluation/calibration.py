"""Calibration: does a model's confidence match its accuracy? Shape suffixes: T tokens, N bins."""

import torch
from torch import Tensor

BINS = 15


class Calibration:
    """Accumulates the expected calibration error; only sums per bin are stored.

    The error is the gap between confidence and accuracy in bins of equal confidence width, averaged over the bins with
    their numbers of tokens as weights. Source: Guo et al., On Calibration of Modern Neural Networks, 2017, equation 3.
    """

    def __init__(self) -> None:
        self._tokens = 0
        self._gap_N = torch.zeros(BINS, dtype=torch.float64)

    def add(self, confidence_T: Tensor, right_T: Tensor) -> None:
        """Add predictions: the probability in (0, 1] of the most likely token, and whether it was right."""
        confidence_T = confidence_T.double().cpu()
        bin_T = ((confidence_T * BINS).ceil().long() - 1).clamp_(0, BINS - 1)  # a bin includes its upper edge
        self._gap_N.index_add_(0, bin_T, right_T.double().cpu() - confidence_T)
        self._tokens += len(confidence_T)

    def error(self) -> float:
        """Compute the error of all added tokens, from 0 to 1."""
        return float(self._gap_N.abs().sum()) / self._tokens
