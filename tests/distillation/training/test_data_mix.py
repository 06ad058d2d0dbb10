"""Important domains with large gaps are sampled more, and resuming anywhere changes no batch."""

import dataclasses
import json
from typing import Any

import pytest
import torch

from baicai.data.batches import Batch
from baicai.data.shards import TokenShards
from baicai.distillation.training.data_mix import MIN_GAP, GapWeightedBatches, MeasureGaps, domain_weight
from baicai.errors import ArtefactError
from tests.data.test_batches import MakeShards

EVERY = 5


@pytest.fixture
def sources(make_shards: MakeShards) -> list[TokenShards]:
    return [make_shards("a", 0, 8), make_shards("b", 20, 5)]


@dataclasses.dataclass
class FakeStudent:
    """A student whose gaps change with the number of batches."""

    counts: list[int] = dataclasses.field(default_factory=list)

    def measure(self, count: int) -> tuple[list[float], list[float]]:
        self.counts.append(count)
        gaps = [1.0 - count / 10, -0.5 + count / 40]
        return gaps, [
            domain_weight(importance, 2.0, 2.0 + gap) for importance, gap in zip((1.0, 3.0), gaps, strict=True)
        ]


def batches(sources: list[TokenShards], measure: MeasureGaps) -> GapWeightedBatches:
    return GapWeightedBatches(sources, [1, 3], measure, EVERY, batch_sequences=8, sequence_tokens=16, seed=1)


def share_of_first(batches: list[Batch]) -> float:
    return float(torch.cat([batch.source_B for batch in batches]).eq(0).double().mean())


def test_weight_is_importance_times_gap() -> None:
    assert domain_weight(1, 2.0, 2.5) == 0.5
    assert domain_weight(3, 2.0, 2.5) == 1.5
    assert domain_weight(0, 2.0, 9.0) == 0
    for student_bits in (2.01, 2.0, 1.0):
        assert domain_weight(3, 2.0, student_bits) == pytest.approx(3 * MIN_GAP * 2.0)


def test_batches_measure_on_schedule_and_follow_the_gaps(sources: list[TokenShards]) -> None:
    student = FakeStudent()
    stream = batches(sources, student.measure)
    assert (student.counts, stream.gaps) == ([], [])
    parts = []
    for period in range(4):
        parts.append([stream.next() for _ in range(EVERY)])
        assert student.counts == [EVERY * n for n in range(period + 1)]
        assert stream.count == EVERY * (period + 1)
        assert stream.gaps == FakeStudent().measure(EVERY * period)[0]
    for period, part in enumerate(parts):
        first, second = FakeStudent().measure(EVERY * period)[1]
        assert share_of_first(part) == pytest.approx(first / (first + second), abs=1 / 40)
    assert share_of_first(parts[0]) > 0.8 > 0.3 > share_of_first(parts[3])


def test_resumed_equals_uninterrupted(sources: list[TokenShards]) -> None:
    stream = batches(sources, FakeStudent().measure)
    states, expected = [], []
    for _ in range(3 * EVERY):
        states.append(json.dumps(stream.state()))
        expected.append((stream.next(), list(stream.gaps)))
    for position, state in enumerate(states):
        student = FakeStudent()
        resumed = batches(sources, student.measure)
        resumed.next()
        student.counts.clear()
        resumed.restore(json.loads(state))
        for batch, gaps in expected[position:]:
            assert torch.equal(resumed.next().tokens_BS1, batch.tokens_BS1)
            assert resumed.gaps == gaps
        assert student.counts == [count for count in range(0, 3 * EVERY, EVERY) if count >= position], (
            "and no more often"
        )


@pytest.mark.parametrize(
    "damage", [{"count": None}, {"count": "x"}, {"gaps": 1}, {"gaps": ["x"]}, {"gaps": None}, {"shares_since": "x"}]
)
def test_damaged_position_is_one_line(sources: list[TokenShards], damage: dict[str, Any]) -> None:
    stream = batches(sources, FakeStudent().measure)
    stream.next()
    state = stream.state()
    line = r"^the data position is damaged \(.+\): resume from another checkpoint$"
    for broken in ({**state, **damage}, {key: value for key, value in state.items() if key not in damage}):
        with pytest.raises(ArtefactError, match=line):
            batches(sources, FakeStudent().measure).restore(broken)
