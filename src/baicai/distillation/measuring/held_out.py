"""Held-out text per domain, on which teachers and students are evaluated. Shape suffixes: B sequences, S positions."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from baicai.data.shards import TokenShards
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.measuring.metrics import HeldOutMetrics, LanguageModel, measure_quality
from baicai.errors import DataError
from baicai.evaluation.bits_per_byte import held_out_windows

PROBE_INTERVAL, PROBE_WINDOWS = 4, 8
"""Every fourth window, at most eight per domain, is a probe."""
BATCH_SEQUENCES = 16


@dataclass(frozen=True)
class HeldOut:
    """Held-out text of each domain, in one tokenizer's tokens."""

    tokenizer: Tokenizer
    windows: Mapping[str, Tensor]
    """Windows that the report is based on, by domain, each [B, S + 1]."""
    probes: Mapping[str, Tensor]
    """Windows that training may evaluate on, by domain, each [B, S + 1]; disjoint from `windows`."""

    def measure(self, model: LanguageModel, device: torch.device) -> dict[str, HeldOutMetrics]:
        """Measure a model, which must be on `device`, on each domain."""
        return {domain: self._metrics(model, windows_BS1, device) for domain, windows_BS1 in self.windows.items()}

    def probe_bits_per_byte(self, model: LanguageModel, domain: str, device: torch.device) -> float:
        """Return a model's bits per byte on the probe windows of a domain."""
        return self._metrics(model, self.probes[domain], device).bits_per_byte

    def _metrics(self, model: LanguageModel, windows_BS1: Tensor, device: torch.device) -> HeldOutMetrics:
        return measure_quality(model, torch.split(windows_BS1, BATCH_SEQUENCES), self.tokenizer, device)


def build_held_out(
    held_out: Mapping[str, TokenShards], tokenizer: Tokenizer, sequence_tokens: int, max_tokens: int
) -> HeldOut:
    """Split up to `max_tokens` of each domain's held-out text into report windows and probe windows.

    Raises: DataError if a domain has less than two windows of text.
    """
    windows, probes = {}, {}
    for domain, shards in held_out.items():
        if min(shards.num_windows(sequence_tokens), max_tokens // sequence_tokens) < 2:
            raise DataError(
                f"held-out text of '{domain}' has {shards.num_tokens} tokens, but two windows need "
                f"{2 * sequence_tokens + 1}: add text, or raise max_tokens"
            )
        windows_BS1 = torch.cat(list(held_out_windows(shards, sequence_tokens, max_tokens)))
        is_probe_B = torch.arange(len(windows_BS1)) % PROBE_INTERVAL == 0
        probes[domain], windows[domain] = windows_BS1[is_probe_B][:PROBE_WINDOWS], windows_BS1[~is_probe_B]
    return HeldOut(tokenizer, windows, probes)
