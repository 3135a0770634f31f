"""A full evaluation of the objective, forward and backward: in linear time, and over all N x N pairs."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench._frame.training import SCRCL, fresh, setup
from scrcl._random import stream
from scrcl.graph.backends import Search
from scrcl.graph.csr import connectivities, normalized_adjacency, symmetric_graph
from scrcl.graph.knn import knn
from scrcl.train.methods.scrcl.inputs import Inputs
from scrcl.train.methods.scrcl.objective import objective

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.typing import FloatArray

__all__ = ["dense_terms", "ratio"]

N_NEIGHBORS = 15


def ratio(
    rows: FloatArray, genes: FloatArray, n_cells: int, *, repeats: int, device: torch.device
) -> dict[str, Any]:
    """Return the seconds of both, in turn, on cells drawn from ``rows`` with their own neighbour graph."""
    drawn = np.sort(stream(0, "bench.dense", n_cells).choice(len(rows), n_cells, replace=False))
    x = np.asarray(rows[drawn], np.float32)
    graph = symmetric_graph(
        knn(x, min(N_NEIGHBORS, n_cells - 1), seed=0, search=Search("exact")).ids
    )
    ax = (normalized_adjacency(graph) @ x).astype(np.float32)
    how = setup(device=device, minibatch_cells=max(n_cells, 16))
    inputs = Inputs(x, ax, genes, graph)
    learner = fresh(inputs, how).learner
    model, batch = learner.model, SCRCL.batches(inputs, how).batch(0)
    adjacency = torch.from_numpy(connectivities(graph).toarray()).to(device)
    cells = (batch.cells.x, batch.cells.ax, batch.genes, adjacency)
    sides: dict[str, Callable[[], dict[str, Tensor]]] = {
        "linear": partial(objective, model, batch, learner.moments, how.settings),
        "dense": partial(dense_terms, model, *cells, how.settings),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    values = {}
    for repeat in range(repeats + 1):
        for name, terms in sides.items():
            _wait(device)
            began = time.perf_counter()
            loss = torch.stack(list(terms().values())).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            _wait(device)
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
            values[name] = loss.item()
            model.zero_grad(set_to_none=True)
    pairs = zip(seconds["linear"], seconds["dense"], strict=True)
    return {
        "n_cells": n_cells,
        "linear_s": median(seconds["linear"]),
        "dense_s": median(seconds["dense"]),
        "dense_over_linear": median(dense / linear for linear, dense in pairs),
        "relative_difference": abs(values["linear"] / values["dense"] - 1),
    }


def dense_terms(
    model: ScRCL, x: Tensor, ax: Tensor, genes: Tensor, adjacency: Tensor, settings: ScrclSettings
) -> dict[str, Tensor]:
    """Return the loss terms with every divergence and similarity as an entry of an N x N matrix.

    The entries come from matrix products: the comparison is of N x N with N, and not of slow code.

    References
    ----------
    scRCL, eq. 3, 4 and 9.
    """
    n_cells = len(x)
    eye = torch.eye(n_cells, device=x.device)
    near = adjacency + eye
    scale = near.sum(1).rsqrt()
    em = model.encode_mlp(x)
    hidden = (scale[:, None] * near * scale[None, :]) @ model.encode_gcn_hidden(ax)
    eg = model.encode_gcn_output(hidden)
    association = model.association(genes)
    zm, zg = (torch.nn.functional.normalize(model.refine(e, association), dim=1) for e in (em, eg))
    log_m, log_g = em / settings.temperature, eg / settings.temperature
    p, q = torch.softmax(log_m, 1), torch.softmax(log_g, 1)
    own_m, own_g = (p * log_m).sum(1), (q * log_g).sum(1)
    kappa = own_m[:, None] + own_g[None, :] - p @ log_g.T - log_m @ q.T
    mean = (kappa * (1 - eye)).sum(1) / (n_cells - 1)
    ndc = ((kappa * near).sum(1) / near.sum(1) / mean).mean()
    similarity = zm @ zg.T
    n_far = n_cells - near.sum(1)
    weight = n_far.clamp_max(settings.cvc_negatives) / n_far.clamp_min(1)
    squares = near * (1 - similarity).square() + (1 - near) * weight[:, None] * similarity.square()
    return {
        "hea_global": _global_divergence(log_m, log_g),
        "hea_cell": settings.hea_cell_weight * kappa.diagonal().mean(),
        "ndc": settings.alpha * ndc,
        "cvc": settings.beta * squares.sum() / n_cells,
    }


def _global_divergence(log_m: Tensor, log_g: Tensor) -> Tensor:
    log_p, log_q = (log.flatten().log_softmax(0) for log in (log_m, log_g))
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
