"""Naive twins of the graph layer: dense matrices and plain loops, slow and easy to check."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def nearest_others(points, k):
    """Ids and distances of the k nearest other points, by (distance, id), from all pairs."""
    points = np.asarray(points, np.float64)
    ids = np.empty((len(points), k), int)
    distances = np.empty((len(points), k))
    for i, point in enumerate(points):
        away = np.sqrt(((points - point) ** 2).sum(axis=1))
        order = sorted((j for j in range(len(points)) if j != i), key=lambda j: (away[j], j))[:k]
        ids[i], distances[i] = order, away[order]
    return ids, distances


def nearest_within(points, k, groups, radius=np.inf):
    """As `nearest_others`, from the same group and within a radius; -1 and infinity if there are fewer."""
    points = np.asarray(points, np.float64)
    ids, distances = np.full((len(points), k), -1), np.full((len(points), k), np.inf)
    for i, point in enumerate(points):
        away = np.sqrt(((points - point) ** 2).sum(axis=1)).astype(np.float32)
        near = [j for j in range(len(points)) if j != i and groups[j] == groups[i]]
        near = sorted(
            (j for j in near if away[j] <= np.float32(radius)), key=lambda j: (away[j], j)
        )
        ids[i, : len(near[:k])], distances[i, : len(near[:k])] = near[:k], away[near[:k]]
    return ids, distances


def adjacency(ids, mode="union"):
    """Dense symmetric union (or intersection) of a neighbour relation; -1 is no neighbour."""
    dense = np.zeros((len(ids), len(ids)), bool)
    for i, row in enumerate(ids):
        for j in row:
            if j not in (i, -1):
                dense[i, j] = True
    return dense | dense.T if mode == "union" else dense & dense.T


def assert_valid(graph):
    """Assert all that a graph promises, edge by edge."""
    indptr, indices = graph.indptr, graph.indices
    assert indptr.dtype == np.int64, "indptr must be int64"
    assert indices.dtype in (np.int32, np.int64), "ids must be int32 or int64"
    assert indptr[0] == 0, "indptr must start at 0"
    assert indptr[-1] == len(indices), "indptr must end at the number of ids"
    assert (np.diff(indptr) >= 0).all(), "indptr must not fall"
    rows = [indices[a:b].tolist() for a, b in pairwise(indptr)]
    assert all(0 <= other < len(rows) for row in rows for other in row), "ids must be nodes"
    for node, row in enumerate(rows):
        assert node not in row, "self loops must not occur"
        assert row == sorted(set(row)), "rows must be ascending and without repeats"
        assert all(node in rows[other] for other in row), "edges must be symmetric"


def normalized(dense):
    """D^-1/2 (A + I) D^-1/2, dense."""
    with_loops = dense + np.eye(len(dense))
    degrees = with_loops.sum(axis=1)
    return with_loops / np.sqrt(degrees[:, None] * degrees[None, :])


def halo(graph, seeds, fanout, rng):
    """Nodes and the local neighbours of each seed, one seed at a time."""
    rows = [graph.indices[graph.indptr[s] : graph.indptr[s + 1]] for s in seeds]
    if fanout is not None and any(len(row) > fanout for row in rows):
        for at, row in enumerate(rows):
            keys = rng.integers(0, 1 << 32, len(row))
            keep = sorted(sorted(range(len(row)), key=lambda e, keys=keys: keys[e])[:fanout])
            rows[at] = row[keep]
    others = sorted({int(j) for row in rows for j in row} - {int(s) for s in seeds})
    nodes = [int(s) for s in seeds] + others
    return nodes, [[nodes.index(int(j)) for j in row] for row in rows]


def inertia(points, centroids):
    """Sum of squared distances to the nearest centroid."""
    points, centroids = np.asarray(points, np.float64), np.asarray(centroids, np.float64)
    return ((points[:, None, :] - centroids[None]) ** 2).sum(axis=2).min(axis=1).sum()


def gene_distances(x, metric):
    """Distances between all pairs of columns, one pair at a time."""
    x = np.asarray(x, np.float64)
    away = np.zeros((x.shape[1], x.shape[1]))
    for i in range(x.shape[1]):
        for j in range(x.shape[1]):
            a, b = x[:, i], x[:, j]
            if metric == "correlation":
                a, b = a - a.mean(), b - b.mean()
            if metric == "euclidean":
                away[i, j] = np.linalg.norm(a - b)
            else:
                away[i, j] = 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return away


def majority_around(labels, points, n, groups):
    """The most frequent label of the n nearest in the same group; in a tie the own one, or the lowest."""
    ids, _ = nearest_within(points, n, groups)
    refined = []
    for own, near in zip(labels, ids, strict=True):
        votes = [int(labels[j]) for j in near if j >= 0]
        most = max((votes.count(label) for label in votes), default=0)
        tied = sorted({label for label in votes if votes.count(label) == most})
        refined.append(own if not tied or own in tied else tied[0])
    return np.array(refined)


def coherence_of_pairs(labels, ids):
    """Share of equal labels among neighbours, and among all pairs of cells; -1 is no label and no neighbour."""
    pairs = [(i, j) for i, near in enumerate(ids) for j in near if j >= 0]
    known = [labels[i] == labels[j] for i, j in pairs if labels[i] >= 0 and labels[j] >= 0]
    there = [label for label in labels if label >= 0]
    equal = [a == b for i, a in enumerate(there) for j, b in enumerate(there) if i != j]
    return np.mean(known) if known else np.nan, np.mean(equal) if equal else 0.0
