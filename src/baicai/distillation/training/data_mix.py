"""Which text a student reads next: more of what is wanted, and of what it still lacks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from baicai.data.batches import Batch, Batches
from baicai.data.shards import TokenShards
from baicai.errors import ArtefactError

MIN_GAP = 0.02
"""Of a teacher's bits per byte: an ability that lacks less than this counts as if it lacked this much, since real text
has more to teach than the teacher has."""

MeasureGaps = Callable[[int], tuple[list[float], list[float]]]
"""From the number of batches so far to what the student lacks of each source's ability, and to each source's weight."""


def domain_weight(wanted: float, teacher_bits: float, student_bits: float) -> float:
    """Return the weight of an ability: how much it is wanted times what the student lacks, in bits per byte."""
    return wanted * max(student_bits - teacher_bits, MIN_GAP * teacher_bits)


class GapWeightedBatches(Batches):
    """Batches for which is measured, before the first and every so many, what the student lacks of each ability."""

    def __init__(
        self,
        sources: Sequence[TokenShards],
        wanted: Sequence[float],
        measure: MeasureGaps,
        every: int,
        *,
        batch_sequences: int,
        sequence_tokens: int,
        seed: int,
    ) -> None:
        """Draw from `sources`; errors are those of `Batches`."""
        sizes = {"batch_sequences": batch_sequences, "sequence_tokens": sequence_tokens}
        super().__init__(sources, wanted, **sizes, seed=seed)
        self._measure, self._every = measure, every
        self.count = 0
        """Batches drawn so far."""
        self.gaps: list[float] = []
        """What the student lacks, in bits per byte of each source's ability; negative where it is ahead."""

    def next(self) -> Batch:
        """Return the next batch, measuring first where that is due."""
        if self.count % self._every == 0:
            self.gaps, weights = self._measure(self.count)
            self.reweigh(weights)
        self.count += 1
        return super().next()

    def state(self) -> dict[str, Any]:
        """Return the position, with the gaps."""
        return {**super().state(), "count": self.count, "gaps": self.gaps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a position; errors are those of `Batches`."""
        super().restore(state)
        try:
            self.count, self.gaps = int(state["count"]), [float(gap) for gap in state["gaps"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"the data position is damaged ({error}): resume from another checkpoint") from None
