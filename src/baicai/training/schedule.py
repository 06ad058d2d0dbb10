"""Learning-rate schedule."""

import math


def rate_share(step: int, steps: int, *, warmup_share: float, final_share: float) -> float:
    """Return the share of the peak learning rate at a step (from 0): linear warm-up, then cosine to `final_share`."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))
