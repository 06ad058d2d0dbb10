"""The learning rate: up in a line, down in a cosine."""

import itertools
import math

import pytest

from baicai.training.schedule import rate_share

CURVE = [rate_share(step, 100, warmup_share=0.1, final_share=0.05) for step in range(101)]


def test_warmup_is_linear_and_never_zero() -> None:
    assert CURVE[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])


def test_rate_falls_as_a_cosine_to_the_final_share() -> None:
    assert CURVE[10] == 1.0
    assert CURVE[55] == pytest.approx(0.525)
    assert CURVE[100] == pytest.approx(0.05)
    assert CURVE[32] == pytest.approx(0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * 22 / 90)))
    assert all(later < earlier for earlier, later in itertools.pairwise(CURVE[10:]))


@pytest.mark.parametrize(("warmup_share", "final_share"), [(0.0, 0.0), (0.02, 1.0), (1.0, 0.1), (0.5, 0.5)])
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_rate_stays_between_zero_and_the_peak(steps: int, warmup_share: float, final_share: float) -> None:
    shares = [rate_share(step, steps, warmup_share=warmup_share, final_share=final_share) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    assert max(shares) == 1.0


def test_one_step_trains_at_the_peak() -> None:
    assert rate_share(0, 1, warmup_share=0.02, final_share=0.05) == 1.0
