"""How good teachers and students are at each ability, on text that nobody trained on. Shape suffixes: B sequences,
S positions."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from baicai.data.shards import TokenShards
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.measuring.metrics import HeldOutMetrics, LanguageModel, measure_quality
from baicai.errors import DataError
from baicai.evaluation.bits_per_byte import held_out_windows

PROBE_PART, PROBE_WINDOWS = 4, 8
BATCH_SEQUENCES = 16


@dataclass(frozen=True)
class HeldOut:
    """Held-out text of each ability, in one tokenizer's tokens."""

    tokenizer: Tokenizer
    windows: Mapping[str, Tensor]
    """What a report is made from, [B, S + 1]."""
    probes: Mapping[str, Tensor]
    """What a training may look at on its way, [B, S + 1]: no window of these is in the report."""

    def measure(self, reader: LanguageModel, device: torch.device) -> dict[str, HeldOutMetrics]:
        """Return how good a reader that is on this device is at each ability."""
        return {name: self._metrics(reader, windows_BS1, device) for name, windows_BS1 in self.windows.items()}

    def probe_bits_per_byte(self, reader: LanguageModel, name: str, device: torch.device) -> float:
        """Return a reader's bits per byte on the probe of an ability."""
        return self._metrics(reader, self.probes[name], device).bits_per_byte

    def _metrics(self, reader: LanguageModel, windows_BS1: Tensor, device: torch.device) -> HeldOutMetrics:
        return measure_quality(reader, torch.split(windows_BS1, BATCH_SEQUENCES), self.tokenizer, device)


def build_held_out(
    held_out: Mapping[str, TokenShards], tokenizer: Tokenizer, sequence_tokens: int, max_tokens: int
) -> HeldOut:
    """Return an exam on up to `max_tokens` of each text.

    Raises: DataError if a text is shorter than two windows.
    """
    windows, probes = {}, {}
    for name, shards in held_out.items():
        if min(shards.num_windows(sequence_tokens), max_tokens // sequence_tokens) < 2:
            raise DataError(
                f"held-out text of '{name}' has {shards.num_tokens} tokens, two windows need "
                f"{2 * sequence_tokens + 1}: add text, or raise max_tokens"
            )
        every = torch.cat(list(held_out_windows(shards, sequence_tokens, max_tokens)))
        chosen = torch.arange(len(every)) % PROBE_PART == 0
        probes[name], windows[name] = every[chosen][:PROBE_WINDOWS], every[~chosen]
    return HeldOut(tokenizer, windows, probes)
