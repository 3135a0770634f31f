"""Small inputs of scGPCL: counts of a few types, written as the stages of a run write them."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scrcl.io.parts import write_index, write_part
from scrcl.prep.feature_store import FeatureStore
from scrcl.prep.normalize import log_normalize, size_factors
from scrcl.train.methods.scgpcl.draws import CellLists
from scrcl.train.methods.scgpcl.inputs import Inputs, drawn_context
from scrcl.train.methods.scgpcl.method import ScgpclMethod
from scrcl.train.methods.scgpcl.settings import ScgpclSettings
from scrcl.train.settings import TrainSettings
from scrcl.train.setup import Setup

METHOD = ScgpclMethod()
SMALL = {
    "dim": 5,
    "hidden_dim": 9,
    "gene_dim": 4,
    "context_cells": 12,
    "reconstructed_genes": 20,
    "refresh_every": 6,
}


def make_counts(n_cells=90, n_genes=30, n_types=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_types, size=n_cells)
    profiles = rng.gamma(0.5, 1.0, size=(n_types, n_genes)) + 0.02
    profiles /= profiles.sum(axis=1, keepdims=True)
    depth = rng.lognormal(4.5, 0.3, size=(n_cells, 1))
    return sparse.csr_matrix(rng.poisson(depth * profiles[labels]).astype(np.float32)), labels


def make_store(folder, counts, part_rows=37, n_selected=None):
    folder.mkdir(parents=True, exist_ok=True)
    logs = log_normalize(counts)[:, :n_selected]
    starts = range(0, counts.shape[0], part_rows)
    for number, start in enumerate(starts):
        write_part(folder, number, logs[start : start + part_rows])
    rows = [min(part_rows, counts.shape[0] - start) for start in starts]
    write_index(folder, rows, logs.shape[1])
    return FeatureStore(folder)


def make_inputs(folder, n_clusters=3, n_selected=None, **shape):
    counts, _ = make_counts(**shape)
    store = make_store(folder, counts, n_selected=n_selected)
    logs = store.rows(0, store.n_obs)
    lists = CellLists(store.n_vars, 16, 0)
    lists.add(0, logs)
    totals = size_factors(np.asarray(counts.sum(axis=1), np.float64).ravel())
    selected = counts[:, :n_selected].toarray().astype(np.float64)
    depths = selected.sum(axis=1, keepdims=True)
    usual = float(np.median(depths))
    dense = np.log1p(selected / depths * usual)
    deviation = dense.std(axis=0)
    return Inputs(
        store,
        np.random.default_rng(1).permutation(store.n_obs),
        totals,
        dense.mean(axis=0).astype(np.float32),
        np.where(deviation > 0, deviation, np.inf).astype(np.float32),
        np.expm1(dense).mean(axis=0).astype(np.float32),
        lists.lists(),
        drawn_context(lists.lists(), 40, np.random.default_rng(2)),
        usual,
        n_clusters,
    )


def setup(seed=0, ranks=None, **changes):
    """Settings of training and of the method, given together by name."""
    named = {"minibatch_cells": 30, "lr": 1e-2, "stop": "never", "fanout": 6, **SMALL, **changes}
    train = {name: value for name, value in named.items() if name in TrainSettings.model_fields}
    own = {name: value for name, value in named.items() if name not in train}
    how = {} if ranks is None else {"ranks": ranks}
    return Setup(ScgpclSettings(**own), TrainSettings(**train), seed=seed, **how)
