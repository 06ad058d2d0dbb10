"""Data mix of a student: domains are sampled by their importance times the student's remaining gap to the teacher."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from baicai.data.batches import Batch, Batches
from baicai.data.shards import TokenShards
from baicai.errors import ArtefactError

MIN_GAP = 0.02
"""Lower bound of a gap, relative to the teacher's bits per byte: real text teaches more than the teacher knows."""

MeasureGaps = Callable[[int], tuple[list[float], list[float]]]
"""From the number of batches so far to the gap of each source's domain, and the sampling weight of each source."""


def domain_weight(importance: float, teacher_bits: float, student_bits: float) -> float:
    """Return a domain's sampling weight: its importance times the gap to the teacher, in bits per byte."""
    return importance * max(student_bits - teacher_bits, MIN_GAP * teacher_bits)


class GapWeightedBatches(Batches):
    """Batches whose sampling weights follow the gaps, which are measured before every `every`-th batch."""

    def __init__(
        self,
        sources: Sequence[TokenShards],
        weights: Sequence[float],
        measure: MeasureGaps,
        every: int,
        *,
        batch_sequences: int,
        sequence_tokens: int,
        seed: int,
    ) -> None:
        """Sample from `sources`, at first by `weights`.

        Raises: as `Batches`.
        """
        sizes = {"batch_sequences": batch_sequences, "sequence_tokens": sequence_tokens}
        super().__init__(sources, weights, **sizes, seed=seed)
        self._measure, self._every = measure, every
        self.count = 0
        """Number of batches so far."""
        self.gaps: list[float] = []
        """Gap of each source's domain in bits per byte; negative where the student is better than the teacher."""

    def next(self) -> Batch:
        """Return the next batch, after measuring the gaps if that is due."""
        if self.count % self._every == 0:
            self.gaps, weights = self._measure(self.count)
            self.reweigh(weights)
        self.count += 1
        return super().next()

    def state(self) -> dict[str, Any]:
        """Return the position in the data together with the gaps."""
        return {**super().state(), "count": self.count, "gaps": self.gaps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a position that `state` returned.

        Raises: as `Batches`.
        """
        super().restore(state)
        try:
            self.count, self.gaps = int(state["count"]), [float(gap) for gap in state["gaps"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"the data position is damaged ({error}): resume from another checkpoint") from None
