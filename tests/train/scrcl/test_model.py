from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from scrcl._random import torch_stream
from scrcl.train.methods.scrcl.loss import TERMS
from scrcl.train.methods.scrcl.objective import objective
from scrcl.train.methods.scrcl.settings import ScrclSettings
from scrcl.train.settings import TrainSettings
from scrcl.train.unit_rows import unit_rows
from tests import reference_train as reference
from tests.train.data import METHOD, dense, fresh, make_inputs, setup


def terms_of(inputs, settings, dtype=torch.float64):
    learner = fresh(inputs, settings).learner.to(dtype)
    batch = METHOD.batches(inputs, settings).batch(0)
    return learner, objective(learner.model, batch, learner.moments, settings.settings)


def test_a_step_over_all_cells_equals_the_dense_model_and_losses_in_value_and_gradient():
    inputs = make_inputs(40, dtype="float64")
    settings = setup(minibatch_cells=64, temperature=0.5, cvc_negatives=9)
    learner, found = terms_of(inputs, settings)
    names, parameters = zip(*learner.model.named_parameters(), strict=True)
    tensors = (torch.from_numpy(a) for a in (inputs.x, inputs.ax, inputs.genes))
    adjacency = dense(inputs.graph)
    cells = reference.embed(learner.model, *tensors, adjacency)
    expected = reference.terms(*cells, adjacency, settings.settings)
    for name in TERMS:
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-9)
    ours, dense_ones = (
        torch.autograd.grad(torch.stack(list(t.values())).sum(), parameters)
        for t in (found, expected)
    )
    for name, mine, theirs in zip(names, ours, dense_ones, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-8, atol=1e-9), name


@pytest.mark.parametrize("minibatch_cells", [16, 64])
def test_gene_encoder_and_refinement_learn_from_cvc_alone(minibatch_cells):
    inputs = make_inputs(40)
    learner, found = terms_of(inputs, setup(minibatch_cells=minibatch_cells), dtype=torch.float32)
    model = learner.model
    genes = (model.W, model.varphi.weight, model.varphi.bias)
    encoders = (model.phi.weight, model.psi_1.weight, model.psi_2.weight, model.psi_out.weight)
    for name in TERMS:
        grads = torch.autograd.grad(
            found[name], (*genes, *encoders), allow_unused=True, retain_graph=True
        )
        for grad in grads[:3]:
            assert (grad is not None and grad.any()) == (name == "cvc"), name
        for grad in grads[3:]:
            assert grad is not None
            assert grad.any(), name


def test_embeddings_have_rows_of_unit_length_and_refinement_never_forms_cells_by_genes():
    inputs = make_inputs(40)
    settings = setup(minibatch_cells=64)
    learner = fresh(inputs, settings).learner
    batch = METHOD.batches(inputs, settings).batch(0)
    association = learner.model.association(batch.genes)
    assert association.shape == (6, 3)
    views = learner.model(batch.cells, association)
    for rows in (views.em_bd, views.eg_bd, views.zm_bc, views.zg_bc):
        assert torch.allclose(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-5)


def test_unit_rows_have_the_right_gradients():
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(unit_rows, x.requires_grad_())


def test_a_cell_without_any_gene_does_not_drown_the_others_gradients():
    inputs = make_inputs(40)
    settings = setup(minibatch_cells=64)
    norms = []
    for empty in (False, True):
        if empty:
            inputs.x[0] = 0
        learner, found = terms_of(inputs, settings, dtype=torch.float32)
        torch.stack(list(found.values())).sum().backward()
        norms.append(learner.model.phi.bias.grad.norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=0.5)


def test_dropout_is_a_function_of_its_generator_and_off_in_evaluation():
    inputs = make_inputs(40)
    settings = setup(minibatch_cells=64, dropout=0.5)
    learner = fresh(inputs, settings).learner
    batch = METHOD.batches(inputs, settings).batch(0)
    association = learner.model.association(batch.genes)

    def refined(step):
        generator = torch_stream(0, "test", step)
        return learner.model(batch.cells, association, generator).zm_bc.detach()

    assert torch.equal(refined(1), refined(1))
    assert not torch.equal(refined(1), refined(2))
    learner.model.eval()
    assert torch.equal(refined(1), refined(2))


def test_initial_weights_depend_on_the_seed_alone():
    inputs = make_inputs(40)
    first, again, other = (fresh(inputs, setup(seed)).learner.model.W for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_settings_are_frozen_described_and_take_no_unknown_name():
    for settings in (TrainSettings, ScrclSettings):
        assert all(field.description for field in settings.model_fields.values())
        with pytest.raises(ValidationError):
            settings(learning_rate=1)
    with pytest.raises(ValidationError):
        TrainSettings().steps = 3


def test_products_in_bfloat16_come_close_in_value_and_gradient_and_leave_inference_alone():
    inputs = make_inputs(60)
    found = {}
    for name in ("float32", "bfloat16"):
        learner, terms = terms_of(
            inputs, setup(minibatch_cells=64, precision=name), dtype=torch.float32
        )
        total = torch.stack(list(terms.values())).sum()
        assert all(term.dtype == torch.float32 for term in terms.values())
        grads = torch.autograd.grad(total, tuple(learner.model.parameters()))
        assert all(grad.dtype == torch.float32 for grad in grads)
        learner.model.eval()
        encoded = learner.model.encode_mlp(torch.from_numpy(inputs.x))
        found[name] = total, torch.cat([grad.flatten() for grad in grads]), encoded
    (wide, wide_grad, wide_em), (narrow, narrow_grad, narrow_em) = found.values()
    assert narrow.item() == pytest.approx(wide.item(), rel=0.02)
    assert narrow.item() != wide.item()
    assert (narrow_grad - wide_grad).norm() < 0.05 * wide_grad.norm()
    assert torch.equal(wide_em, narrow_em)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_number_of_anchors_in_a_block_changes_nothing_but_rounding(monkeypatch, dropout):
    found = []
    for rows in (5, 8_192):
        monkeypatch.setattr("scrcl.train.pairs.CPU_BLOCK_ROWS", rows)
        inputs, settings = make_inputs(dtype="float64"), setup(minibatch_cells=30, dropout=dropout)
        learner = fresh(inputs, settings).learner.to(torch.float64)
        batch = METHOD.batches(inputs, settings).batch(1)
        assert len(batch.edges.pattern.blocks) == -(-batch.edges.pattern.shape[1] // rows)
        terms = objective(
            learner.model,
            batch,
            learner.moments,
            settings.settings,
            generator=torch_stream(0, "test", 1),
        )
        total = torch.stack(list(terms.values())).sum()
        found.append([total, *torch.autograd.grad(total, tuple(learner.model.parameters()))])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
