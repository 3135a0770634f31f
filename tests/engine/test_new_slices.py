"""New slices of a tissue get the domains of a finished run."""

import anndata
import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from bench.spatial.patients import PATIENT, patients
from scrcl.cluster.assign import nearness
from scrcl.engine.load_config import load_config
from scrcl.engine.predict import predict_files, run_for_prediction
from scrcl.engine.run import run_files
from scrcl.engine.stages.new_batches import numbered
from scrcl.errors import InputError
from tests.cells import FAST

QUICK = {
    **FAST,
    "device": "cpu",
    "spatial": True,
    "sample_key": PATIENT,
    "n_clusters": 6,
    "report": {"umap_cells": 500},
}


@pytest.fixture(scope="module")
def sections():
    """Sections of four patients that share domains and overlap in their coordinates."""
    return patients(4, effect=0.6, seed=1, n_genes=300)


def without(sections, *names):
    return sections[~sections.obs[PATIENT].isin(names)].copy()


def only(sections, name):
    return sections[sections.obs[PATIENT] == name].copy()


def run_on(cells, folder, **settings):
    cells.write_h5ad(folder / "run.h5ad")
    config = load_config(overrides={**QUICK, **settings})
    return run_files([folder / "run.h5ad"], folder / "run", config).out


@pytest.fixture(scope="module")
def run(sections, tmp_path_factory):
    """Output folder of a run on three of the sections."""
    return run_on(without(sections, "section 3"), tmp_path_factory.mktemp("three"))


def predict(run, cells, folder, **given):
    cells.write_h5ad(folder / "new.h5ad")
    opened = run_for_prediction(run, given)
    found = predict_files(opened, [folder / "new.h5ad"], folder / "predicted")
    return anndata.read_h5ad(found.result_path), {one["name"]: one for one in found.stages}


def agreement(a, b):
    return adjusted_rand_score(np.asarray(a), np.asarray(b))


def test_a_new_section_gets_the_domains_of_the_run(run, sections, tmp_path):
    new, stages = predict(run, only(sections, "section 3"), tmp_path)
    in_run = anndata.read_h5ad(run / "result.h5ad")
    types = sections.obs["cell_type"]
    assert agreement(types[new.obs_names], new.obs["scrcl"]) > 0.4
    assert new.obsm["X_tissue"].shape[1] == in_run.obsm["X_tissue"].shape[1]
    assert "X_scrcl" not in new.obsm
    assert new.obs["scrcl"].cat.categories.tolist() == in_run.obs["scrcl"].cat.categories.tolist()
    assert stages["correct"]["n_new"] == 1
    page = (tmp_path / "predicted/report.html").read_text()
    assert "new spots" in page
    assert "Spots in space" in page


def test_a_section_of_the_run_gets_nearly_the_domains_that_it_has(run, sections, tmp_path):
    new, stages = predict(run, only(sections, "section 1"), tmp_path)
    assert stages["correct"]["n_known"] == 1
    in_run = anndata.read_h5ad(run / "result.h5ad")[new.obs_names]
    assert agreement(in_run.obs["scrcl"], new.obs["scrcl"]) > 0.85


def test_a_region_unlike_those_of_the_run_has_a_lower_confidence(run, sections, tmp_path):
    new = only(sections, "section 3")
    x, y = new.obsm["spatial"].T
    strange = (x < np.quantile(x, 0.4)) & (y < np.quantile(y, 0.4))
    counts = new.X.toarray()
    counts[strange] = counts[strange][:, np.random.default_rng(0).permutation(new.n_vars)]
    new.X = sparse.csr_matrix(counts)
    found, _ = predict(run, new, tmp_path)
    familiar = found.obs["scrcl_familiarity"].to_numpy()
    assert np.median(familiar[strange]) < np.median(familiar[~strange]) / 4


def test_slices_are_those_of_the_column_of_the_run_or_one(run, sections, tmp_path):
    new = only(sections, "section 3")
    new.obs = new.obs.drop(columns=[PATIENT])
    _, stages = predict(run, new, tmp_path)
    assert any("taken as one slice" in note for note in stages["read"]["notes"])
    assert stages["graph"]["n_slices"] == 1
    both = sections[sections.obs[PATIENT].isin(["section 2", "section 3"])].copy()
    both.obs = both.obs.rename(columns={PATIENT: "slide"})
    folder = tmp_path / "both"
    folder.mkdir()
    _, stages = predict(run, both, folder, sample_key="slide")
    assert stages["graph"]["n_slices"] == 2


def test_a_run_on_one_slice_says_what_limits_its_predictions(run, sections, tmp_path):
    one = run_on(only(sections, "section 0"), tmp_path)
    _, stages = predict(one, only(sections, "section 3"), tmp_path)
    (note,) = stages["tissue"]["notes"]
    assert note.startswith("The run has one slice")
    assert note in (tmp_path / "predicted/report.html").read_text()
    folder = tmp_path / "several"
    folder.mkdir()
    assert predict(run, only(sections, "section 3"), folder)[1]["tissue"]["notes"] == []


def test_slices_far_from_those_of_the_run_are_moved_to_its_mean_first(sections, tmp_path):
    # Factors of genes this large part sections so far that Harmony alone joins none of them.
    apart = patients(4, effect=1.5, seed=2, n_genes=300)
    run = run_on(without(apart, "section 3"), tmp_path)
    new, _ = predict(run, only(apart, "section 3"), tmp_path)
    types = apart.obs["cell_type"]
    assert agreement(types[new.obs_names], new.obs["scrcl"]) > 0.3


def test_new_cells_without_coordinates_are_refused(run, sections, tmp_path):
    new = only(sections, "section 3")
    del new.obsm["spatial"]
    with pytest.raises(InputError, match="spatial"):
        predict(run, new, tmp_path)


def test_a_run_whose_embedding_was_clustered_is_refused(sections, tmp_path):
    run = run_on(without(sections, "section 3"), tmp_path, cluster={"on": "refined"})
    with pytest.raises(InputError, match=r"cluster\.on = auto"):
        predict(run, only(sections, "section 3"), tmp_path)


def test_nearness_is_a_rank_among_the_cells_of_the_run():
    means = np.array([[0, 0], [10, 0]], np.float32)
    there = np.array([[1, 0], [2, 0], [3, 0], [4, 0], [10, 5]], np.float32)
    new = np.array([[0, 0], [2.5, 0], [4.9, 0], [10, 4]], np.float32)
    labels = np.array([0, 0, 0, 1])
    found = nearness(new, labels, means, there, np.array([0, 0, 0, 0, 1]))
    assert found.tolist() == [1.0, 0.5, 0.0, 1.0]
    assert nearness(new, labels, means, there[:4], np.zeros(4, int))[3] == 0


def test_batches_of_new_cells_have_numbers_after_those_of_the_run():
    found = numbered(["new", "b", "new", "other"], {"a": 0, "b": 1})
    assert found.codes.tolist() == [2, 1, 2, 3]
    assert (found.n_in_run, found.n_known, found.n_new) == (2, 1, 2)
