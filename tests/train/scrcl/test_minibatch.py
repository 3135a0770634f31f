from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from itertools import islice

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scrcl.errors import InputError, MissingDependencyError
from scrcl.graph.csr import Graph, normalized_adjacency
from scrcl.train.methods.scrcl.blocks import propagated
from scrcl.train.methods.scrcl.inputs import Inputs, smooth_genes
from scrcl.train.methods.scrcl.minibatch import ScrclMinibatches
from tests.train.data import dense, make_graph, make_inputs, minibatches, setup


def tensors(part):
    """Every tensor of a batch, in one order."""
    if isinstance(part, torch.Tensor):
        yield part
    elif hasattr(part, "__dict__"):
        for each in vars(part).values():
            yield from tensors(each)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))


def numbered(n=90, k=3):
    """Inputs whose rows are the cells' own numbers."""
    graph = make_graph(n, k)
    rows = np.arange(n, dtype=np.float32)[:, None]
    return Inputs(rows, -rows, np.ones((4, 2), np.float32), graph)


def seeds_of(batch):
    return batch.cells.x[: batch.n_seeds, 0].long().numpy()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fanout": 2},
        {"negatives": "sampled", "n_negatives": 20},
        {"minibatches": "partitions", "piece_cells": 4},
        {"minibatches": "partitions", "piece_cells": 8, "fanout": 2, "negatives": "sampled"},
    ],
)
def test_a_batch_is_a_function_of_the_seed_and_its_number(changes):
    inputs, settings = make_inputs(), setup(**changes)
    source = ScrclMinibatches(inputs, replace(settings, seed=1))
    run = list(islice(source.starting_at(0), 15))
    resumed = list(islice(ScrclMinibatches(inputs, replace(settings, seed=1)).starting_at(9), 6))
    assert all(same(a, b) for a, b in zip(run[9:], resumed, strict=True))
    assert same(source.batch(2), run[2])
    assert not same(ScrclMinibatches(inputs, replace(settings, seed=2)).batch(2), run[2])


def test_an_epoch_visits_each_cell_once_in_batches_of_one_size():
    source = minibatches(numbered(), minibatch_cells=16)
    epoch = [seeds_of(b) for b in islice(source.starting_at(source.n_batches), source.n_batches)]
    assert sorted(np.concatenate(epoch)) == list(range(90))
    assert {len(seeds) for seeds in epoch} == {15}
    assert all((np.diff(seeds) > 0).all() for seeds in epoch)
    assert not np.array_equal(epoch[0], seeds_of(source.batch(0)))


def test_batches_join_runs_of_rows_and_visit_each_once():
    settings = setup(minibatch_cells=30, minibatches="partitions", piece_cells=10)
    source = ScrclMinibatches(numbered(), settings)
    epoch = [seeds_of(b) for b in islice(source.starting_at(0), source.n_batches)]
    assert sorted(np.concatenate(epoch)) == list(range(90))
    stretches = [(np.diff(seeds) > 1).sum() + 1 for seeds in epoch]
    assert max(stretches) <= 5
    uniform = minibatches(numbered(), minibatch_cells=30)
    assert (np.diff(seeds_of(uniform.batch(0))) > 1).sum() > 10


def test_negatives_stay_uniform_where_batches_are_pieces():
    changes = {"negatives": "sampled", "n_negatives": 30}
    pieces = setup(minibatches="partitions", piece_cells=15, **changes)
    ours, theirs = (
        ScrclMinibatches(numbered(), settings).batch(2).negatives
        for settings in (pieces, setup(**changes))
    )
    assert same(ours, theirs)


@pytest.mark.skipif(find_spec("torch_sparse") is None, reason="torch-sparse is not installed")
@pytest.mark.parametrize("changes", [{}, {"fanout": 2, "negatives": "sampled", "n_negatives": 20}])
def test_batches_by_torch_sparse_are_the_same_to_the_last_bit(changes):
    ours, theirs = (
        minibatches(make_inputs(), sampler=name, **changes).batch(3)
        for name in ("auto", "torch-sparse")
    )
    assert same(ours, theirs)


@pytest.mark.skipif(find_spec("torch_sparse") is not None, reason="torch-sparse is installed")
def test_torch_sparse_is_asked_for_by_its_extra_before_the_first_batch():
    with pytest.raises(MissingDependencyError, match="torch-sparse must be installed"):
        minibatches(make_inputs(), sampler="torch-sparse")


def test_a_batch_holds_its_seeds_rows_of_the_normalised_adjacency_and_their_degrees():
    inputs = numbered()
    full = normalized_adjacency(inputs.graph).toarray()
    batch = minibatches(inputs, minibatch_cells=16).batch(3)
    seeds, nodes = seeds_of(batch), batch.cells.x[:, 0].long().numpy()
    assert torch.equal(batch.cells.ax, -batch.cells.x)
    product = propagated(lambda rows: rows, batch.cells.adjacency, torch.eye(len(nodes)))
    assert np.allclose(product, full[np.ix_(seeds, nodes)], atol=1e-7)
    assert full[seeds].sum() == pytest.approx(product.sum().item(), rel=1e-5)
    assert np.array_equal(batch.edges.degrees_a, inputs.graph.degrees[nodes])
    assert batch.edges.weight_p is None
    assert np.array_equal(pairs(batch), dense(inputs.graph)[np.ix_(seeds, nodes)])


def test_a_batch_of_all_cells_is_built_once_and_keeps_their_order():
    source = minibatches(numbered(), minibatch_cells=90, negatives="sampled")
    first, second = islice(source.starting_at(4), 2)
    assert first is second
    assert np.array_equal(seeds_of(first), np.arange(90))
    assert first.negatives is None


def pairs(batch):
    """The pairs of a batch as a dense matrix."""
    pattern = batch.edges.pattern
    weights = (
        torch.ones(len(pattern.columns_p)) if batch.edges.weight_p is None else batch.edges.weight_p
    )
    return sp.csr_matrix((weights, pattern.columns_p, pattern.offsets_r), pattern.shape).toarray()


def test_drawn_neighbours_stand_in_for_those_left_out():
    inputs = numbered(40, 6)
    full, graph = normalized_adjacency(inputs.graph).toarray(), inputs.graph
    source = minibatches(inputs, minibatch_cells=40, fanout=3)
    total, visited = np.zeros((40, 40)), np.zeros((40, 40))
    for batch in islice(source.starting_at(0), 400):
        assert batch.edges.pattern.offsets_r.diff().max() == min(3, graph.degrees.max())
        assert np.allclose(pairs(batch).sum(1), graph.degrees)
        nodes = batch.cells.x[:, 0].long().numpy()
        total[:, nodes] += (
            propagated(lambda rows: rows, batch.cells.adjacency, torch.eye(len(nodes))).numpy()
            / 400
        )
        visited[:, nodes] += pairs(batch) / 400
    assert np.abs(total - full).max() < 0.05
    assert np.abs(visited - dense(graph).numpy()).max() < 0.5


def test_negatives_come_from_the_whole_atlas_each_once_with_their_own_halo():
    source = minibatches(numbered(), negatives="sampled", n_negatives=30)
    drawn = [source.batch(step).negatives for step in range(40)]
    assert all(len(set(cells.x[:, 0].tolist())) == len(cells.x) == 30 for cells in drawn)
    assert len(set(torch.cat([cells.x for cells in drawn])[:, 0].tolist())) == 90
    assert all(len(cells.ax) >= 30 for cells in drawn)
    everyone = minibatches(numbered(), negatives="sampled", n_negatives=500)
    assert len(everyone.batch(0).negatives.x) == 90


def test_batches_read_memory_maps(tmp_path):
    inputs = make_inputs()
    for name in ("x", "ax"):
        np.save(tmp_path / f"{name}.npy", getattr(inputs, name))
    x, ax = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "ax"))
    mapped = Inputs(x, ax, inputs.genes, inputs.graph)
    for cells in (16, 90):
        settings = setup(minibatch_cells=cells)
        first, second = (ScrclMinibatches(i, settings).batch(1) for i in (inputs, mapped))
        assert same(first, second)


def test_a_failure_ahead_reaches_the_reader():
    inputs = make_inputs()
    source = minibatches(inputs)
    source.inputs = Inputs(inputs.x, inputs.ax, inputs.genes, inputs.graph)
    inputs.graph.indices[0] = 10_000
    with pytest.raises(IndexError):
        list(islice(source.starting_at(0), 20))


def test_inputs_that_do_not_fit_are_refused():
    good = make_inputs()
    with pytest.raises(InputError, match="one row for each of the graph's 90 cells"):
        Inputs(good.x[:50], good.ax[:50], good.genes, good.graph)
    with pytest.raises(InputError, match=r"\(90, 7\) and \(90, 2\)"):
        Inputs(good.x, good.ax[:, :2], good.genes, good.graph)
    with pytest.raises(InputError, match="cells must name the graph's 90 rows; got shape"):
        replace(good, cells=np.arange(80))
    lone = Graph(np.zeros(2, np.int64), np.empty(0, np.int32))
    with pytest.raises(InputError, match="at least 2"):
        Inputs(good.x[:1], good.ax[:1], good.genes, lone)


def test_genes_are_propagated_once_over_their_graph():
    graph = make_graph(12, 2)
    sketch = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    expected = normalized_adjacency(graph).toarray() @ sketch
    assert np.allclose(smooth_genes(sketch, graph), expected, atol=1e-6)
