"""Compiled token sampling on a CPU: a few passes over the vocabulary, without sorting."""

import numpy as np
from numpy.typing import NDArray

from baicai.inference.cpu.kernels import Floats, exponential, float_of_bits, njit_fast

ONE_BITS = 0x3F800000
"""Bits of the float32 1.0. Non-negative floats are ordered like their bits."""
MIN_POSITIVE = 1e-30
"""Lower bound of temperature and `top_p`: anything smaller vanishes in float32, and no token would be left."""
STRIDE = 64
"""Tokens whose probabilities are summed before the sum is compared with the target."""


@njit_fast
def logsumexp(logits_V: Floats) -> float:
    """Return log(sum(exp(logits))), the difference between a token's logit and its log-probability."""
    largest, total = np.max(logits_V), np.float32(0)
    for i in range(len(logits_V)):
        total += exponential(logits_V[i] - largest)
    return largest + np.log(total)


@njit_fast
def sample_token(logits_V: Floats, temperature: float, top_k: int, top_p: float, point: float) -> int:
    """Sample a token by inverting the cumulative distribution at `point` in [0, 1).

    Probabilities are those of `baicai.inference.generate.sampling_probabilities`, in the order of token ids.
    """
    if temperature == 0:
        return np.argmax(logits_V)
    largest, inverse = np.max(logits_V), np.float32(1 / max(temperature, MIN_POSITIVE))
    shares_V = np.empty(len(logits_V), np.float32)
    for i in range(len(logits_V)):
        shares_V[i] = exponential((logits_V[i] - largest) * inverse)
    for i in range(len(logits_V)):  # `exponential` of minus infinity is above 0
        if logits_V[i] == -np.inf:
            shares_V[i] = np.float32(0)
    if 0 < top_k < len(shares_V):
        keep_largest(shares_V, np.float32(0), top_k)
    if top_p < 1:
        keep_largest(shares_V, np.float32(max(top_p, MIN_POSITIVE)) * mass_at_least(shares_V, np.float32(0)), 0)
    return search_cumulative(shares_V, np.float32(point) * mass_at_least(shares_V, np.float32(0)))


@njit_fast
def mass_at_least(shares_V: Floats, least: float) -> float:
    """Return the sum of the shares that are at least `least`."""
    total = np.float32(0)
    for i in range(len(shares_V)):
        total += shares_V[i] if shares_V[i] >= least else np.float32(0)
    return total


@njit_fast
def count_at_least(shares_V: Floats, least: float) -> int:
    """Return the number of shares that are at least `least`."""
    total = np.int32(0)
    for i in range(len(shares_V)):
        total += np.int32(shares_V[i] >= least)
    return total


@njit_fast
def keep_largest(shares_V: Floats, mass: float, count: int) -> None:
    """Set all but the largest shares to 0, keeping `count` of them or, if 0, a total of `mass`; the first win ties."""
    low, high = 0, ONE_BITS + 1  # the largest share is 1
    while high - low > 1:
        middle = (low + high) // 2
        least = float_of_bits(np.uint32(middle))
        enough = count_at_least(shares_V, least) >= count if count else mass_at_least(shares_V, least) >= mass
        low, high = (middle, high) if enough else (low, middle)
    least, above = float_of_bits(np.uint32(low)), float_of_bits(np.uint32(high))
    if count:
        ties = count - count_at_least(shares_V, above)
    else:
        ties = int(np.ceil((mass - mass_at_least(shares_V, above)) / least)) if least > 0 else len(shares_V)
    for i in range(len(shares_V)):
        if shares_V[i] == least:
            ties -= 1
        if shares_V[i] < least or (shares_V[i] == least and ties < 0):
            shares_V[i] = np.float32(0)


@njit_fast
def search_cumulative(shares_V: NDArray[np.float32], target: float) -> int:
    """Return the first index whose cumulative share exceeds `target`, or else the last with a share above 0."""
    total, last = np.float32(0), 0
    for begin in range(0, len(shares_V), STRIDE):
        end, block_sum = min(begin + STRIDE, len(shares_V)), np.float32(0)
        for i in range(begin, end):
            block_sum += shares_V[i]
        if total + block_sum > target:
            for i in range(begin, end):
                total += shares_V[i]
                if shares_V[i] > 0:
                    last = i
                    if total > target:
                        break
            return last
        if block_sum > 0:
            last = end - 1
        total += block_sum
    while shares_V[last] == 0 and last > 0:
        last -= 1
    return last
