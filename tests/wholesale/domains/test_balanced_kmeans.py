"""Laws of balanced k-means, and its assignment beside the best one."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from baicai.wholesale.domains.balanced_kmeans import Floats, assign, cluster


def drawn(seed: int, points: int, axes: int = 4) -> Floats:
    found: Floats = np.random.default_rng(seed).normal(size=(points, axes)) ** 3
    return found


@pytest.mark.parametrize(("points", "count"), [(2, 2), (7, 7), (10, 3), (101, 2), (200, 16), (64, 60)])
def test_sizes_differ_by_one_at_most(points: int, count: int) -> None:
    sizes = np.bincount(cluster(drawn(points, points), count, 0).owners_N, minlength=count)
    assert sizes.sum() == points
    assert sizes.max() - sizes.min() == (points % count > 0)


def test_also_of_points_that_are_all_the_same() -> None:
    assert np.bincount(cluster(np.ones((10, 3)), 4, 0).owners_N).tolist() == [3, 3, 2, 2]


@pytest.mark.parametrize(("points", "count"), [(50, 3), (200, 7), (301, 16), (400, 5)])
def test_the_assignment_costs_hardly_more_than_the_best(points: int, count: int) -> None:
    points_NS = drawn(points, points)
    costs_KN = ((points_NS - points_NS[:count, None]) ** 2).sum(2)
    owners_N, _ = assign(costs_KN, np.zeros(count))
    seats = np.repeat(np.arange(count), np.bincount(owners_N))
    best = costs_KN[seats].T[linear_sum_assignment(costs_KN[seats].T)].sum()
    assert best <= costs_KN[owners_N, np.arange(points)].sum() * (1 + 1e-12) <= best * 1.01


def test_clusters_that_lie_apart_are_found() -> None:
    places_N = np.arange(90) % 3
    found = cluster(drawn(0, 90) / 50 + np.eye(3, 4)[places_N] * 9, 3, 0)
    assert all(len(set(found.owners_N[places_N == place])) == 1 for place in range(3))


def test_prices_lead_nearly_as_many_points_to_each() -> None:
    points_NS, others_NS = drawn(1, 2000), drawn(2, 2000)
    found = cluster(points_NS, 8, 0)
    for asked_NS, most in ((points_NS, 10), (others_NS, 100)):
        distances_KN = ((asked_NS - found.centres_KS[:, None]) ** 2).sum(2)
        priced = np.bincount((distances_KN + found.prices_K[:, None]).argmin(0), minlength=8)
        assert np.abs(priced - 250).max() < most
    assert np.abs(np.bincount(distances_KN.argmin(0), minlength=8) - 250).max() > 200, "nearest alone does not"


def test_a_seed_gives_one_outcome() -> None:
    first, second, other = (cluster(drawn(3, 150), 5, seed) for seed in (1, 1, 2))
    assert (first.owners_N == second.owners_N).all()
    assert (first.centres_KS == second.centres_KS).all()
    assert (first.owners_N != other.owners_N).any()
