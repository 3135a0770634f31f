import numpy as np
import pytest
import torch
from torch import nn

from scrcl.train.methods.scgpcl.embed import CellEmbedder
from scrcl.train.methods.scgpcl.learner import ScgpclLearner
from scrcl.train.methods.scgpcl.loss import soft_assignment
from scrcl.train.methods.scgpcl.method import _clusters, _target
from scrcl.train.methods.scgpcl.model import View
from scrcl.train.methods.scgpcl.norm import BatchNorm
from scrcl.train.ranks import Ranks
from tests.train.scgpcl.data import METHOD, make_inputs, setup


@pytest.fixture
def inputs(tmp_path):
    return make_inputs(tmp_path / "store")


def norm(layer, rows):
    mean, var = rows.mean(0), rows.var(0, unbiased=False)
    return (rows - mean) / (var + 1e-5).sqrt() * layer.weight + layer.bias


def loop_encoder(encoder, batch):
    """Each node from itself and the mean of its neighbours, node by node, in float64."""
    before, genes_before = [], []
    for view in batch.views:
        x, near = batch.x_bm.double() * view.kept_m, view.surroundings
        table, context = encoder.table * view.kept_d, near.context_cm.double() * view.kept_m
        cells, genes = [], []
        for b in range(len(x)):
            has = (view.neighbors_bm[b] > 0).nonzero()[:, 0]
            mean = table[has].mean(0) if len(has) else torch.zeros_like(table[0])
            cells.append(encoder.cell_own(x[b]) + encoder.cell_genes(mean))
        for m in range(len(table)):
            has = (near.members_mc[m] > 0).nonzero()[:, 0]
            mean = context[has].mean(0) if len(has) else torch.zeros_like(context[0])
            genes.append(encoder.gene_own(table[m]) + encoder.gene_cells(mean))
        before.append(torch.stack(cells))
        genes_before.append(torch.stack(genes))
    last = []
    for cells, genes, view in zip(before, genes_before, batch.views, strict=True):
        h, g = norm(encoder.cell_norm, cells), norm(encoder.gene_norm, genes)
        made = []
        for b in range(len(h)):
            has = (view.neighbors_bm[b] > 0).nonzero()[:, 0]
            mean = g[has].mean(0) if len(has) else torch.zeros_like(g[0])
            made.append(encoder.out_own(h[b]) + encoder.out_genes(mean))
        last.append(norm(encoder.out_norm, torch.stack(made)))
    return last


def test_the_encoder_is_that_of_a_loop_over_nodes(inputs):
    how = setup()
    batch, learner = METHOD.batches(inputs, how).batch(0), ScgpclLearner(inputs, how)
    found = learner.encoder(batch.x_bm, batch.views, batch.n_seeds, Ranks.alone())
    expected = loop_encoder(learner.encoder.double(), batch)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def test_batch_norm_is_that_of_torch_one_view_after_the_other():
    mine, theirs = BatchNorm(4), nn.BatchNorm1d(4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        views = [at + 2 * torch.randn(20, 4, generator=generator) for at in (5, -3)]
        torch.testing.assert_close(mine(views, 20, Ranks.alone()), [theirs(x) for x in views])
    torch.testing.assert_close(mine.running_mean, theirs.running_mean)
    torch.testing.assert_close(mine.running_var, theirs.running_var)
    mine.eval(), theirs.eval()
    torch.testing.assert_close(mine(views, 20, Ranks.alone()), [theirs(x) for x in views])


def test_the_decoder_is_a_layer_with_batch_norm_and_heads(inputs):
    decoder = ScgpclLearner(inputs, setup()).decoder
    views = torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(0))
    made = decoder(views, 20, Ranks.alone())
    for one, rows in zip(made, views, strict=True):
        torch.testing.assert_close(one, torch.relu(norm(decoder.norm, decoder.hidden(rows))))
    some = decoder.counts(made[0], torch.tensor([2, 7])).dropout
    torch.testing.assert_close(some, decoder.dropout(made[0])[:, [2, 7]])


def test_weights_depend_only_on_the_seed_and_means_begin_at_those_of_the_counts(inputs):
    one, same, other = (ScgpclLearner(inputs, setup(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(one.encoder.table, same.encoder.table)
    assert not torch.equal(one.encoder.table, other.encoder.table)
    rates = np.log(np.maximum(inputs.rates, 1e-4))
    np.testing.assert_allclose(one.decoder.mean.bias.detach().numpy(), rates, rtol=1e-6)


def test_an_embedded_cell_does_not_depend_on_its_block(inputs):
    learner = ScgpclLearner(inputs, setup())
    embedder = CellEmbedder(learner, inputs, "cpu")
    whole = embedder.embed(inputs.store.rows(0, 90))
    part = embedder.embed(inputs.store.rows(20, 31))
    np.testing.assert_allclose(part, whole[20:31], atol=1e-5)
    assert np.isfinite(whole).all()
    assert whole.std(axis=0).min() > 0


def test_embedded_cells_have_one_length_on_request_and_views_in_training_have_their_own(inputs):
    learner = ScgpclLearner(inputs, setup(one_length=True))
    batch = METHOD.batches(inputs, setup()).batch(0)
    view = learner.encoder(batch.x_bm, batch.views, batch.n_seeds, Ranks.alone())[0]
    lengths = torch.linalg.vector_norm(view, dim=1)
    assert lengths.std() > 0.1
    assert lengths.square().mean().item() == pytest.approx(view.shape[1], rel=0.1)
    rows, as_made = (
        CellEmbedder(ScgpclLearner(inputs, setup(one_length=one)), inputs, "cpu").embed(
            inputs.store.rows(0, 90)
        )
        for one in (True, False)
    )
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), rows.shape[1] ** 0.5, rtol=1e-5)
    lengths = np.linalg.norm(as_made, axis=1, keepdims=True)
    assert lengths.std() > 0.1
    np.testing.assert_allclose(as_made / lengths * rows.shape[1] ** 0.5, rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("one_length", [True, False])
def test_clusters_of_fine_tuning_see_the_length_of_a_row_unless_asked_not_to(inputs, one_length):
    learner = ScgpclLearner(inputs, setup(one_length=one_length))
    generator = torch.Generator().manual_seed(0)
    learner.centres.data.normal_(generator=generator)
    batch = METHOD.batches(inputs, setup()).batch(0)
    one, other = torch.randn(2, batch.n_seeds, learner.settings.dim, generator=generator)
    stretched = one * torch.linspace(0.5, 4, batch.n_seeds)[:, None]
    losses = [_clusters(learner, batch, (rows, other)) for rows in (one, stretched, one.flip(1))]
    assert torch.allclose(losses[1], losses[0], rtol=1e-4) == one_length
    assert abs(losses[2] - losses[0]) > 1e-4


def test_targets_are_those_of_cells_as_they_are_embedded(inputs):
    learner = ScgpclLearner(inputs, setup())
    learner.centres.data.normal_(generator=torch.Generator().manual_seed(0))
    batch = METHOD.batches(inputs, setup(fanout=30)).batch(0)
    found = _target(learner.train(), batch)
    assert learner.encoder.training
    whole = View(batch.views[0].neighbors_bm, batch.views[0].surroundings)
    embedded = learner.encoder.eval()(batch.x_bm, [whole], batch.n_seeds, Ranks.alone())[0]
    expected = soft_assignment(embedded, learner.centres).square() / learner.sizes
    torch.testing.assert_close(found, expected / expected.sum(1, keepdim=True))
    assert not found.requires_grad


def test_reduced_precision_is_close(inputs):
    exact, narrow = setup(), setup(precision="bfloat16")
    batch = METHOD.batches(inputs, exact).batch(0)
    made = [
        ScgpclLearner(inputs, how).encoder(batch.x_bm, batch.views, batch.n_seeds, Ranks.alone())[0]
        for how in (exact, narrow)
    ]
    assert made[1].dtype == torch.float32
    assert not torch.equal(*made)
    torch.testing.assert_close(made[1], made[0], rtol=0.2, atol=0.2)
