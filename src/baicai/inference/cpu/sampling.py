"""Drawing a token on a CPU, compiled: a few passes over the vocabulary, and no sorting."""

import numpy as np
from numpy.typing import NDArray

from baicai.inference.cpu.kernels import Floats, compiled, exponential, float_of_bits

ONE_BITS = 0x3F800000
"""Of the float32 1.0; floats from 0 on are in the order of their bits."""
LEAST = 1e-30
"""Temperature and `top_p` count as at least this: less is nothing in float32, and nothing could be drawn."""
STRIDE = 64
"""Places that are added up before one looks whether the token is among them."""


@compiled
def logsumexp(logits_V: Floats) -> float:
    """Return the logarithm of the sum of e to each logit: what a token's logit is above its log-probability."""
    largest, total = np.max(logits_V), np.float32(0)
    for place in range(len(logits_V)):
        total += exponential(logits_V[place] - largest)
    return largest + np.log(total)


@compiled
def sample_token(logits_V: Floats, temperature: float, top_k: int, top_p: float, point: float) -> int:
    """Return the token that a point in [0, 1) falls on, where each has its share of the line.

    Shares are those of `baicai.inference.generate.distribution`; they lie in the order of the tokens.
    """
    if temperature == 0:
        return np.argmax(logits_V)
    largest, inverse = np.max(logits_V), np.float32(1 / max(temperature, LEAST))
    shares_V = np.empty(len(logits_V), np.float32)
    for place in range(len(logits_V)):
        shares_V[place] = exponential((logits_V[place] - largest) * inverse)
    for place in range(len(logits_V)):  # e to minus infinity comes out above 0
        if logits_V[place] == -np.inf:
            shares_V[place] = np.float32(0)
    if 0 < top_k < len(shares_V):
        keep_largest(shares_V, np.float32(0), top_k)
    if top_p < 1:
        keep_largest(shares_V, np.float32(max(top_p, LEAST)) * mass_from(shares_V, np.float32(0)), 0)
    return find(shares_V, np.float32(point) * mass_from(shares_V, np.float32(0)))


@compiled
def mass_from(shares_V: Floats, least: float) -> float:
    """Return the sum of the shares that are not below `least`."""
    total = np.float32(0)
    for place in range(len(shares_V)):
        total += shares_V[place] if shares_V[place] >= least else np.float32(0)
    return total


@compiled
def count_from(shares_V: Floats, least: float) -> int:
    """Return how many shares are not below `least`."""
    total = np.int32(0)
    for place in range(len(shares_V)):
        total += np.int32(shares_V[place] >= least)
    return total


@compiled
def keep_largest(shares_V: Floats, mass: float, count: int) -> None:
    """Set to 0 all but the largest shares, of which together so much or so many are kept; of equal ones the first."""
    low, high = 0, ONE_BITS + 1  # the largest share is 1
    while high - low > 1:
        middle = (low + high) // 2
        least = float_of_bits(np.uint32(middle))
        enough = count_from(shares_V, least) >= count if count else mass_from(shares_V, least) >= mass
        low, high = (middle, high) if enough else (low, middle)
    least, above = float_of_bits(np.uint32(low)), float_of_bits(np.uint32(high))
    if count:
        ties = count - count_from(shares_V, above)
    else:
        ties = int(np.ceil((mass - mass_from(shares_V, above)) / least)) if least > 0 else len(shares_V)
    for place in range(len(shares_V)):
        if shares_V[place] == least:
            ties -= 1
        if shares_V[place] < least or (shares_V[place] == least and ties < 0):
            shares_V[place] = np.float32(0)


@compiled
def find(shares_V: NDArray[np.float32], target: float) -> int:
    """Return the place at which the sum of the shares so far passes `target`, or else the last that has one."""
    total, last = np.float32(0), 0
    for begin in range(0, len(shares_V), STRIDE):
        end, part = min(begin + STRIDE, len(shares_V)), np.float32(0)
        for place in range(begin, end):
            part += shares_V[place]
        if total + part > target:
            for place in range(begin, end):
                total += shares_V[place]
                if shares_V[place] > 0:
                    last = place
                    if total > target:
                        break
            return last
        if part > 0:
            last = end - 1
        total += part
    while shares_V[last] == 0 and last > 0:
        last -= 1
    return last
