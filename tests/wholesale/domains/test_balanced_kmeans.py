"""Tests of balanced k-means: laws, and its assignment compared with the optimal one."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from baicai.wholesale.domains.balanced_kmeans import Floats, assign, cluster


def random_points(seed: int, points: int, axes: int = 4) -> Floats:
    points_NS: Floats = np.random.default_rng(seed).normal(size=(points, axes)) ** 3
    return points_NS


@pytest.mark.parametrize(("points", "count"), [(2, 2), (7, 7), (10, 3), (101, 2), (200, 16), (64, 60)])
def test_sizes_differ_by_at_most_one(points: int, count: int) -> None:
    sizes = np.bincount(cluster(random_points(points, points), count, 0).owners_N, minlength=count)
    assert sizes.sum() == points
    assert sizes.max() - sizes.min() == (points % count > 0)


def test_identical_points_are_balanced() -> None:
    assert np.bincount(cluster(np.ones((10, 3)), 4, 0).owners_N).tolist() == [3, 3, 2, 2]


@pytest.mark.parametrize(("points", "count"), [(50, 3), (200, 7), (301, 16), (400, 5)])
def test_assignment_costs_at_most_one_percent_more_than_the_best(points: int, count: int) -> None:
    points_NS = random_points(points, points)
    costs_KN = ((points_NS - points_NS[:count, None]) ** 2).sum(2)
    owners_N, _ = assign(costs_KN, np.zeros(count))
    seats = np.repeat(np.arange(count), np.bincount(owners_N))
    best = costs_KN[seats].T[linear_sum_assignment(costs_KN[seats].T)].sum()
    assert best <= costs_KN[owners_N, np.arange(points)].sum() * (1 + 1e-12) <= best * 1.01


def test_separated_clusters_are_found() -> None:
    labels_N = np.arange(90) % 3
    clusters = cluster(random_points(0, 90) / 50 + np.eye(3, 4)[labels_N] * 9, 3, 0)
    assert all(len(set(clusters.owners_N[labels_N == label])) == 1 for label in range(3))


def test_prices_balance_new_points() -> None:
    points_NS, new_points_NS = random_points(1, 2000), random_points(2, 2000)
    clusters = cluster(points_NS, 8, 0)
    for query_NS, tolerance in ((points_NS, 10), (new_points_NS, 100)):
        distances_KN = ((query_NS - clusters.centres_KS[:, None]) ** 2).sum(2)
        priced = np.bincount((distances_KN + clusters.prices_K[:, None]).argmin(0), minlength=8)
        assert np.abs(priced - 250).max() < tolerance
    assert np.abs(np.bincount(distances_KN.argmin(0), minlength=8) - 250).max() > 200, "distances alone do not balance"


def test_same_seed_gives_the_same_clusters() -> None:
    first, second, other = (cluster(random_points(3, 150), 5, seed) for seed in (1, 1, 2))
    assert (first.owners_N == second.owners_N).all()
    assert (first.centres_KS == second.centres_KS).all()
    assert (first.owners_N != other.owners_N).any()
