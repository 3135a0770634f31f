from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scrcl.errors import InputError
from scrcl.graph.renumber import renumbered
from scrcl.train.methods.scrcl.embed import embed_all
from scrcl.train.methods.scrcl.inputs import Inputs
from tests import reference_train as reference
from tests.train.data import dense, fresh, make_inputs, setup


def embedded(inputs, folder, **changes):
    model = fresh(inputs, setup(dropout=0.5)).learner.model
    embed_all(model, inputs, folder, **changes)
    return model, np.load(folder / "embedding.npy"), np.load(folder / "refined.npy")


@pytest.mark.parametrize("block_rows", [7, 90, 1000])
def test_every_cells_embedding_equals_the_dense_forward_pass(tmp_path, block_rows):
    inputs = make_inputs()
    model, embedding, refined = embedded(inputs, tmp_path, block_rows=block_rows)
    tensors = [torch.from_numpy(a).double() for a in (inputs.x, inputs.ax, inputs.genes)]
    em, eg, zm, zg = reference.embed(model.double(), *tensors, dense(inputs.graph))
    assert embedding.dtype == refined.dtype == np.float32
    assert np.allclose(embedding, torch.cat([em, eg], 1).detach(), atol=1e-5)
    assert np.allclose(refined, torch.cat([zm, zg], 1).detach(), atol=1e-5)


def test_results_come_in_the_order_of_the_cells_whatever_that_of_the_rows(tmp_path):
    inputs, order = make_inputs(), np.random.default_rng(1).permutation(90)
    graph = renumbered(inputs.graph, order)
    shuffled = Inputs(inputs.x[order], inputs.ax[order], inputs.genes, graph, order)
    _, *plain = embedded(inputs, tmp_path / "plain", block_rows=20)
    _, *found = embedded(shuffled, tmp_path / "found", block_rows=20)
    for one, other in zip(plain, found, strict=True):
        assert np.allclose(one, other, atol=1e-6)


def test_cells_that_are_not_each_there_once_are_refused(tmp_path):
    wrong = replace(make_inputs(), cells=np.zeros(90, int))
    with pytest.raises(InputError, match="order must hold each of its 90 rows once"):
        embedded(wrong, tmp_path)


def test_nothing_else_is_left_beside_the_results_and_every_row_is_reported(tmp_path):
    rows = []
    embedded(make_inputs(), tmp_path / "new", block_rows=20, on_rows=rows.append)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["embedding.npy", "refined.npy"]
    assert sum(rows) == 90
