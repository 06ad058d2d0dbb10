"""Balanced k-means: clusters whose sizes differ by at most one.

Source of the problem: Malinen and Fränti, Balanced K-Means for Clustering, 2014, which solves each assignment with the
Hungarian algorithm, in cubic time. Here every cluster has a price, the dual variable of the transportation problem: a
point goes where its squared distance plus the price is smallest. Prices are adjusted one cluster at a time until the
sizes are nearly right, and the few surplus points are moved. Prices also assign points that are added later.

Shape suffixes: N points, K clusters, S dimensions.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RESTARTS, ITERATIONS, SWEEPS = 8, 50, 20
TOLERANCE = 0.01
"""Share of surplus points at which the prices are good enough."""


class Clusters(NamedTuple):
    """Centres, prices, and the cluster of each point."""

    centres_KS: Floats
    prices_K: Floats
    owners_N: Ints
    loss: float
    """Sum of squared distances of the points to their centres."""


def cluster(points_NS: NDArray[Any], count: int, seed: int) -> Clusters:
    """Return the best of several balanced clusterings into `count` clusters, at most as many as points."""
    assert 2 <= count <= len(points_NS)
    points = points_NS.astype(np.float64)
    rngs = (np.random.default_rng([seed, restart]) for restart in range(RESTARTS))
    results = (_lloyd(points, _init_centres(points, count, rng)) for rng in rngs)
    return min(results, key=lambda result: result.loss)


def assign(costs_KN: Floats, prices_K: Floats) -> tuple[Ints, Floats]:
    """Assign points to clusters of equal size at a nearly minimal total cost.

    Args:
        costs_KN: cost of each point in each cluster.
        prices_K: initial prices, for instance zeros.

    Returns: owners_N, the cluster of each point; prices_K, the prices that lead to it.
    """
    num_clusters, num_points = costs_KN.shape
    sizes_K = np.full(num_clusters, num_points // num_clusters)
    sizes_K[: num_points % num_clusters] += 1
    prices_K = prices_K.copy()
    for _ in range(SWEEPS):
        owners_N = (costs_KN + prices_K[:, None]).argmin(0)
        if np.abs(np.bincount(owners_N, minlength=num_clusters) - sizes_K).sum() <= TOLERANCE * num_points:
            break
        _sweep(costs_KN, prices_K, sizes_K)
    return _fill_exactly(costs_KN + prices_K[:, None], sizes_K), prices_K


def _init_centres(points_NS: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Choose initial centres far apart. Source: k-means++, Arthur and Vassilvitskii, 2007."""
    indices = [int(rng.integers(len(points_NS)))]
    nearest_N = np.full(len(points_NS), np.inf)
    while len(indices) < count:
        nearest_N = np.minimum(nearest_N, ((points_NS - points_NS[indices[-1]]) ** 2).sum(1))
        total = nearest_N.sum()
        indices.append(int(rng.choice(len(points_NS), p=nearest_N / total if total else None)))
    return points_NS[indices]


def _lloyd(points_NS: Floats, centres_KS: Floats) -> Clusters:
    prices_K, owners_N = np.zeros(len(centres_KS)), np.full(len(points_NS), -1)
    for _ in range(ITERATIONS):
        costs_KN = (centres_KS**2).sum(1)[:, None] - 2 * centres_KS @ points_NS.T
        before_N = owners_N
        owners_N, prices_K = assign(costs_KN, prices_K)
        if (owners_N == before_N).all():
            break
        centres_KS = np.stack([points_NS[owners_N == number].mean(0) for number in range(len(centres_KS))])
    loss = float(((points_NS - centres_KS[owners_N]) ** 2).sum())
    return Clusters(centres_KS, prices_K, owners_N, loss)


def _sweep(costs_KN: Floats, prices_K: Floats, sizes_K: Ints) -> None:
    """Set each price in turn so that its cluster attracts exactly the intended number of points."""
    priced_KN = costs_KN + prices_K[:, None]
    owners_N, least_N = priced_KN.argmin(0), priced_KN.min(0)
    for number, size in enumerate(sizes_K):
        members_N = owners_N == number
        priced_KN[number] = np.inf
        owners_N[members_N], least_N[members_N] = priced_KN[:, members_N].argmin(0), priced_KN[:, members_N].min(0)
        limits_N = np.sort(least_N - costs_KN[number])[::-1]  # price above which each point prefers another cluster
        prices_K[number] = (limits_N[size - 1] + limits_N[size]) / 2
        priced_KN[number] = costs_KN[number] + prices_K[number]
        members_N = priced_KN[number] < least_N
        owners_N[members_N], least_N[members_N] = number, priced_KN[number][members_N]


def _fill_exactly(priced_KN: Floats, sizes_K: Ints) -> Ints:
    """Assign each point to the cheapest cluster with room, starting with the points that lose most elsewhere."""
    ranked_NK = priced_KN.argsort(0, kind="stable").T
    first_N, second_N = np.partition(priced_KN, 1, axis=0)[:2]
    room, owners_N = sizes_K.tolist(), np.empty(priced_KN.shape[1], np.int64)
    for point in np.argsort(first_N - second_N, kind="stable"):
        owner = next(number for number in ranked_NK[point] if room[number])
        owners_N[point] = owner
        room[owner] -= 1
    return owners_N
