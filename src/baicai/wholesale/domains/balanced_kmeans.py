"""Balanced k-means: clusters whose sizes differ by at most one.

Source of the problem: Malinen and Fränti, Balanced K-Means for Clustering, 2014, which solves each assignment with the
Hungarian algorithm, in cubic time. Here every cluster has a price, the dual variable of the transportation problem: a
point goes where its squared distance plus the price is least. Prices are raised and lowered one cluster at a time until
the sizes are nearly right, and the few points too many are moved. Prices also say where points go that come later.

Shape suffixes: N points, K clusters, S dimensions.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STARTS, ROUNDS, SWEEPS = 8, 50, 20
NEARLY = 0.01
"""Share of the points that may be in the wrong cluster when prices are good enough."""


class Clusters(NamedTuple):
    """Where clusters lie, what they cost, and who is in which."""

    centres_KS: Floats
    prices_K: Floats
    owners_N: Ints
    loss: float
    """Sum of the squared distances of the points to their centres."""


def cluster(points_NS: NDArray[Any], count: int, seed: int) -> Clusters:
    """Return the best of some balanced clusterings into `count` clusters, of which there are no more than points."""
    assert 2 <= count <= len(points_NS)
    points = points_NS.astype(np.float64)
    found = (_cluster(points, _begin(points, count, np.random.default_rng([seed, start]))) for start in range(STARTS))
    return min(found, key=lambda one: one.loss)


def assign(costs_KN: Floats, prices_K: Floats) -> tuple[Ints, Floats]:
    """Return the cluster of each point, as many points in each, and the prices that lead to it, begun at those given.

    The sum of the costs is nearly the least that there is.
    """
    num_clusters, num_points = costs_KN.shape
    sizes_K = np.full(num_clusters, num_points // num_clusters)
    sizes_K[: num_points % num_clusters] += 1
    prices_K = prices_K.copy()
    for _ in range(SWEEPS):
        owners_N = (costs_KN + prices_K[:, None]).argmin(0)
        if np.abs(np.bincount(owners_N, minlength=num_clusters) - sizes_K).sum() <= NEARLY * num_points:
            break
        _sweep(costs_KN, prices_K, sizes_K)
    return _fill(costs_KN + prices_K[:, None], sizes_K), prices_K


def _begin(points_NS: Floats, count: int, draw: np.random.Generator) -> Floats:
    """Return centres that lie apart. Source: k-means++, Arthur and Vassilvitskii, 2007."""
    chosen = [int(draw.integers(len(points_NS)))]
    nearest_N = np.full(len(points_NS), np.inf)
    while len(chosen) < count:
        nearest_N = np.minimum(nearest_N, ((points_NS - points_NS[chosen[-1]]) ** 2).sum(1))
        total = nearest_N.sum()
        chosen.append(int(draw.choice(len(points_NS), p=nearest_N / total if total else None)))
    return points_NS[chosen]


def _cluster(points_NS: Floats, centres_KS: Floats) -> Clusters:
    prices_K, owners_N = np.zeros(len(centres_KS)), np.full(len(points_NS), -1)
    for _ in range(ROUNDS):
        costs_KN = (centres_KS**2).sum(1)[:, None] - 2 * centres_KS @ points_NS.T
        before_N = owners_N
        owners_N, prices_K = assign(costs_KN, prices_K)
        if (owners_N == before_N).all():
            break
        centres_KS = np.stack([points_NS[owners_N == number].mean(0) for number in range(len(centres_KS))])
    loss = float(((points_NS - centres_KS[owners_N]) ** 2).sum())
    return Clusters(centres_KS, prices_K, owners_N, loss)


def _sweep(costs_KN: Floats, prices_K: Floats, sizes_K: Ints) -> None:
    """Change the prices in turn, each so that its cluster is wanted by as many points as it is to have."""
    asked_KN = costs_KN + prices_K[:, None]
    owners_N, least_N = asked_KN.argmin(0), asked_KN.min(0)
    for number, size in enumerate(sizes_K):
        own_N = owners_N == number
        asked_KN[number] = np.inf
        owners_N[own_N], least_N[own_N] = asked_KN[:, own_N].argmin(0), asked_KN[:, own_N].min(0)
        limits_N = np.sort(least_N - costs_KN[number])[::-1]  # the price above which each point goes elsewhere
        prices_K[number] = (limits_N[size - 1] + limits_N[size]) / 2
        asked_KN[number] = costs_KN[number] + prices_K[number]
        own_N = asked_KN[number] < least_N
        owners_N[own_N], least_N[own_N] = number, asked_KN[number][own_N]


def _fill(asked_KN: Floats, sizes_K: Ints) -> Ints:
    """Give each point the cheapest cluster that has room, first those to which another would cost most."""
    ranked_NK = asked_KN.argsort(0, kind="stable").T
    first_N, second_N = np.partition(asked_KN, 1, axis=0)[:2]
    room, owners_N = sizes_K.tolist(), np.empty(asked_KN.shape[1], np.int64)
    for point in np.argsort(first_N - second_N, kind="stable"):
        owner = next(number for number in ranked_NK[point] if room[number])
        owners_N[point] = owner
        room[owner] -= 1
    return owners_N
