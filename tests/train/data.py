"""Small inputs for the tests of the train layer."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from scrcl.graph.csr import connectivities, normalized_adjacency, symmetric_graph
from scrcl.train.methods.scrcl.blocks import Anchors
from scrcl.train.methods.scrcl.inputs import Inputs
from scrcl.train.methods.scrcl.loss import Edges, losses, population, softened
from scrcl.train.methods.scrcl.method import ScrclMethod
from scrcl.train.methods.scrcl.minibatch import ScrclMinibatches
from scrcl.train.methods.scrcl.model import Views
from scrcl.train.methods.scrcl.settings import ScrclSettings
from scrcl.train.pairs import pattern_of
from scrcl.train.settings import TrainSettings
from scrcl.train.setup import Setup
from scrcl.train.state import TrainState

CPU = torch.device("cpu")
METHOD = ScrclMethod()
# Weights are set, so that no test depends on the defaults.
SMALL = {
    "dim": 6,
    "refined_dim": 3,
    "minibatch_cells": 16,
    "alpha": 100.0,
    "beta": 1.0,
    "lr": 1e-3,
    "stop": "never",
}


def make_graph(n, k, seed=0):
    rng = np.random.default_rng(seed)
    return symmetric_graph(rng.integers(0, n, (n, k)))


def dense(graph, dtype=torch.float64):
    return torch.from_numpy(connectivities(graph).toarray()).to(dtype)


def make_inputs(n=90, n_features=7, n_genes=11, k=3, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    graph = make_graph(n, k, seed)
    centres = rng.normal(size=(4, n_features))
    x = centres[rng.integers(0, 4, n)] + 0.5 * rng.normal(size=(n, n_features))
    ax = normalized_adjacency(graph).astype(np.float64) @ x
    genes = rng.normal(size=(n_genes, n_features))
    return Inputs(x.astype(dtype), ax.astype(dtype), genes.astype(dtype), graph)


def raw_views(n, dim=5, refined=3, seed=0, dtype=torch.float64):
    """Rows of no particular length, one tensor for each of em, eg, zm, zg, that want a gradient."""
    generator = torch.Generator().manual_seed(seed)
    widths = (dim, dim, refined, refined)
    return [torch.randn(n, w, generator=generator, dtype=dtype).requires_grad_() for w in widths]


def unit(raw):
    return [normalize(each, dim=1) for each in raw]


def batch_of(graph, halo, em, eg, zm, zg, share=None, block_rows=7):
    """Views and edges of a batch whose cells have these embeddings."""
    nodes, seeds = torch.from_numpy(halo.nodes), torch.from_numpy(halo.nodes[: halo.n_seeds])
    pattern = pattern_of(
        halo.indptr, halo.indices, n_columns=len(nodes), device=CPU, block_rows=block_rows
    )
    degrees = torch.from_numpy(graph.degrees[halo.nodes].astype(np.float64)).to(em.dtype)
    edges = Edges(pattern, share, degrees, graph.n)
    return views_of(em[seeds], eg[seeds], zm[seeds], zg[seeds], em[nodes], zm[nodes]), edges


def views_of(em, eg, zm, zg, em_ad=None, zm_ac=None):
    return Views(
        em, eg, zm, zg, Anchors.of(em if em_ad is None else em_ad, zm if zm_ac is None else zm_ac)
    )


def losses_of(views, edges, others, settings):
    return losses(views, *softened(views, settings.temperature), edges, others, settings)


def means_of(views, settings):
    return population(*softened(views, settings.temperature), views.zg_bc)


def setup(seed=0, ranks=None, **changes):
    """Settings of training and of scRCL, given together by name."""
    named = {**SMALL, **changes}
    train = {name: value for name, value in named.items() if name in TrainSettings.model_fields}
    own = {name: value for name, value in named.items() if name not in train}
    how = {} if ranks is None else {"ranks": ranks}
    return Setup(ScrclSettings(**own), TrainSettings(**train), seed=seed, **how)


def scrcl_settings(**changes):
    return setup(**changes).settings


def fresh(inputs, how):
    return TrainState.fresh(METHOD, inputs, how)


def minibatches(inputs, **changes):
    return ScrclMinibatches(inputs, setup(**changes))
