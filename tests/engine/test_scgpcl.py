"""A run of the second method by the public commands, and what no other package may name."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pytest

import scrcl as package
from scrcl.engine.folder import read_manifest
from scrcl.engine.learning import require_weights_of
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError, StoreError
from tests.cells import FAST, make_cells

NAME = "scgpcl"
GROUPS = {
    **{group: inner for group, inner in FAST.items() if group != "scrcl"},
    NAME: {"dim": 12, "hidden_dim": 24, "gene_dim": 8, "n_clusters": 4, "refresh_every": 10},
    "train": {"steps": 60, "minibatch_cells": 64, "checkpoint_every": 20, "report_every": 20},
}
QUICK = ["--method", NAME, "--quiet"]
QUICK += [
    part
    for group, inner in GROUPS.items()
    for name, value in inner.items()
    for part in ("--set", f"{group}.{name}={value}")
]


def test_a_run_finds_the_types_and_a_prediction_the_same_cells(scrcl, cells, tmp_path):
    from sklearn.metrics import adjusted_rand_score

    out, to = tmp_path / "out", tmp_path / "to"
    code, _, err = scrcl("run", cells, "-o", out, "--n-clusters", 4, *QUICK)
    assert not code, err
    result = anndata.read_h5ad(out / "result.h5ad")
    assert result.obsm["X_scrcl"].shape == (240, 12)
    assert adjusted_rand_score(result.obs["cell_type"], result.obs["scrcl"]) > 0.9
    assert set(result.uns["scrcl"]["history"]) >= {"reconstruction", "contrast", "clusters"}
    assert "Loss terms by step" in (out / "report.html").read_text()
    code, _, err = scrcl("predict", out, cells, "-o", to, "--quiet")
    assert not code, err
    predicted = anndata.read_h5ad(to / "result.h5ad")
    np.testing.assert_allclose(predicted.obsm["X_scrcl"], result.obsm["X_scrcl"], atol=1e-3)
    same = predicted.obs["scrcl"].astype(str) == result.obs["scrcl"].astype(str)
    assert same.mean() > 0.95
    fewer = anndata.read_h5ad(cells)[:60, 15:].copy()
    fewer.write_h5ad(tmp_path / "fewer.h5ad")
    code, _, err = scrcl("predict", out, tmp_path / "fewer.h5ad", "-o", tmp_path / "b", "--quiet")
    assert not code, err
    shorter = anndata.read_h5ad(tmp_path / "b" / "result.h5ad")
    assert adjusted_rand_score(shorter.obs["cell_type"], shorter.obs["scrcl"]) > 0.8
    of_another_version(out)
    code, _, err = scrcl("predict", out, cells, "-o", tmp_path / "c", "--quiet")
    assert code == 2
    assert "got none with the name centres" in err
    assert "--restart" in err
    assert not (tmp_path / "c").exists()
    shutil.rmtree(out / "stages" / "train")
    code, _, err = scrcl("run", cells, "-o", out, "--n-clusters", 4, *QUICK)
    assert code == 2
    assert f"{out / 'checkpoints'} must hold the weights of the model" in err
    assert "got none with the name centres" in err


def of_another_version(out):
    """Rename a tensor in the weights and in the checkpoints of a run."""
    import torch

    from scrcl.train.checkpoint import Checkpoints

    checkpoints = Checkpoints(out / "checkpoints", read_manifest(out)["fingerprint"])
    state = checkpoints.latest()
    state["learner"]["means"] = state["learner"].pop("centres")
    checkpoints.save(SimpleNamespace(step=state["step"], snapshot=lambda: state))
    torch.save(state["learner"], out / "stages" / "train" / "model.pt")


def test_weights_of_another_version_are_named():
    import torch

    learner = torch.nn.Linear(3, 2)
    weights = learner.state_dict()
    require_weights_of(learner, weights, Path("x"), "")
    more, narrow = {**weights, "old": weights["bias"]}, {**weights, "weight": torch.ones(2, 4)}
    for altered, message in (
        (more, "old, which the model does not have"),
        (narrow, r"weight of shape \(2, 4\), where the model has \(2, 3\)"),
    ):
        with pytest.raises(StoreError, match=message):
            require_weights_of(learner, altered, Path("x"), "")


@pytest.mark.parametrize("kind", ["log values", "not whole numbers"])
def test_values_that_are_no_counts_are_refused_before_anything_is_left(scrcl, tmp_path, kind):
    adata = make_cells()
    if kind == "log values":
        adata.X.data = np.log1p(adata.X.data)
    else:
        adata.X.data = adata.X.data * 7.3
    adata.write_h5ad(tmp_path / "cells.h5ad")
    given = ["run", tmp_path / "cells.h5ad", "-o", tmp_path / "out", *QUICK]
    code, _, err = scrcl(*given)
    assert code == 2
    assert kind in err
    assert "scgpcl.reconstruction=mse" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
    code, _, err = scrcl(*given, "--set", "scgpcl.reconstruction=mse", "--until", "embed")
    assert not code, err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "scgpcl.n_clusters=241"], "scgpcl.n_clusters must be at most"),
        (["--n-clusters", 241], "--n-clusters must be at most the number of cells (240); got 241"),
    ],
)
def test_more_clusters_than_cells_are_refused(scrcl, cells, tmp_path, more, message):
    code, _, err = scrcl("run", cells, "-o", tmp_path / "out", *QUICK, *more)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_genes_in_no_cell_are_left_out_and_cells_with_the_other_genes_are_embedded(scrcl, tmp_path):
    adata = make_cells()
    empty = np.arange(0, 150, 5)
    counts = adata.X.tolil()
    counts[:, empty] = 0
    adata.X = counts.tocsr()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    out, few = tmp_path / "out", ["--set", "train.steps=8", "--until", "embed"]
    code, _, err = scrcl("run", tmp_path / "cells.h5ad", "-o", out, *QUICK, *few)
    assert not code, err
    genes = np.load(out / "stages" / "features" / "genes.npy")
    assert len(genes) == 120
    assert not set(genes) & set(empty)
    assert np.isfinite(np.load(out / "stages" / "embed" / "embedding.npy")).all()


def test_without_a_number_clusters_are_counted_and_depth_is_that_of_the_selected_genes(tmp_path):
    import json

    from scrcl.engine.run import run_matrix
    from scrcl.io.open import from_anndata

    groups = {**GROUPS, NAME: {**GROUPS[NAME], "n_clusters": "auto"}}
    groups["features"] = {**groups.get("features", {}), "n_top_genes": 80}
    config = load_config(overrides={**groups, "method": NAME})
    adata = make_cells()
    run_matrix(lambda _: from_anndata(adata), tmp_path / "out", config, until="inputs")
    stages = tmp_path / "out" / "stages"
    facts = json.loads((stages / "inputs" / "facts.json").read_text())
    assert facts["n_clusters"] == 4
    genes = np.load(stages / "features" / "genes.npy")
    assert len(genes) == 80
    depths = adata.X[:, genes].toarray().sum(axis=1)
    assert facts["usual_depth"] == pytest.approx(np.median(depths), rel=1e-5)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"train\.sampler must be auto or native"):
        load_config(settings=["method=scgpcl", "train.sampler=torch-sparse"])


def test_a_subset_that_earlier_versions_call_a_sample_is_read():
    old = {"sample_cells": 500, "prototypes": "sample"}
    config = load_config(overrides={"method": NAME, NAME: old})
    found = config.method_settings
    assert (found.subset_cells, found.prototypes) == (500, "subset")
    assert load_config(overrides=config.model_dump(mode="json")) == config


def test_a_method_has_defaults_of_training_that_a_user_overrides():
    assert load_config().train.minibatch_cells == 4096
    config = load_config(settings=["method=scgpcl", "train.lr=0.5"])
    assert (config.train.minibatch_cells, config.train.lr) == (512, 0.5)
    assert load_config(overrides=config.model_dump(mode="json")) == config


def test_only_its_package_and_the_table_name_the_method():
    root = Path(package.__file__).parent
    allowed = root / "train" / "methods"
    naming = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if NAME in path.read_text(encoding="utf-8").lower() and not path.is_relative_to(allowed)
    ]
    assert naming == []
    elsewhere = [
        path.name
        for path in allowed.rglob("*.py")
        if NAME in path.read_text(encoding="utf-8").lower() and path.parent.name != NAME
    ]
    assert elsewhere == ["__init__.py"]
