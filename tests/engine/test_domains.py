"""Spatial domains: smoothed labels, coherence, and samples that share domains."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

import scrcl
from bench.spatial.layers import layered
from scrcl.cli.render import Quiet, show_run
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import ClusterSettings
from scrcl.engine.evaluate import evaluate
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_matrix
from scrcl.engine.stages.cluster_facts import estimate_notes, estimates_in_words, estimates_range
from scrcl.engine.words import Words, of_look, words_from
from scrcl.errors import InputError
from scrcl.graph.domains import coherence, majority_labels
from scrcl.io.labels import CellLabels
from scrcl.io.open import from_anndata
from tests.cells import FAST, make_cells
from tests.engine.test_neighbours import Heard, slices


def run(adata, out, *, reporter=None, refine=10, overrides=None, **settings):
    config = load_config(
        overrides={
            **FAST,
            "n_clusters": 4,
            "device": "cpu",
            "spatial": True,
            "cluster": {"refine_labels": refine},
            **settings,
            **(overrides or {}),
        }
    )
    result = run_matrix(lambda _: from_anndata(adata), out, config, reporter=reporter or Heard())
    record = next(r for r in result.stages if r["name"] == "cluster")
    return result, record


def test_smoothed_labels_are_the_majority_around_a_cell_and_both_are_kept(tmp_path):
    adata, codes = slices((150, 84, 5, 1))
    # Averages over the tissue leave little to smooth, so here cells are clustered as they are.
    alone = {"tissue": {"steps": 0}}
    result, record = run(adata, tmp_path / "out", sample_key="slice", overrides=alone)
    found = anndata.read_h5ad(result.result_path)
    before = found.obs["scrcl_unrefined"].astype(int).to_numpy()
    after = found.obs["scrcl"].astype(int).to_numpy()
    samples = CellLabels(codes.astype(np.int32), ("a", "b", "c", "d"))
    expected = majority_labels(before, adata.obsm["spatial"], 10, samples=samples)
    # Ties go to the lowest of the names before they are sorted by size: equal but for these.
    assert np.mean(after == expected) > 0.98
    assert record["n_smoothed"] == (after != before).sum() > 0
    assert (np.diff(np.bincount(after)) <= 0).all()
    assert [row["n_cells"] for row in result.clusters] == np.bincount(after).tolist()


def test_labels_before_smoothing_are_those_of_a_run_without_smoothing(tmp_path):
    adata = make_cells(spatial=True)
    refined, _ = run(adata, tmp_path / "refined")
    plain, record = run(adata, tmp_path / "plain", refine=0)
    before = anndata.read_h5ad(refined.result_path).obs["scrcl_unrefined"]
    obs = anndata.read_h5ad(plain.result_path).obs
    assert adjusted_rand_score(before, obs["scrcl"]) == 1
    assert "scrcl_unrefined" not in obs
    assert record["n_smoothed"] is None
    clusters = np.load(tmp_path / "refined" / "stages" / "cluster" / "cluster_of_micro.npy")
    assert set(clusters) == set(before.astype(int))


def test_coherence_is_recorded_reported_and_evaluated_for_labels_too(tmp_path, capsys):
    adata = make_cells(spatial=True)
    out = tmp_path / "out"
    result, record = run(adata, out)
    labels, ids = np.load(out / "stages/cluster/labels.npy"), np.load(out / "stages/graph/ids.npy")
    found = coherence(labels, ids)
    before = coherence(np.load(out / "stages/cluster/before_smoothing.npy"), ids)
    assert record["coherence"] == {**found._asdict(), "before_smoothing": before.share}
    assert found.share >= before.share > found.by_chance
    page = result.report_path.read_text()
    assert "240 cells in 4 domains, as asked." in page
    assert "<h2>Domains</h2>" in page
    show_run(result, Quiet(), timed=False)
    assert capsys.readouterr().out.split()[:2] == ["domain", "cells"]
    assert f"{found.share:.1%} of neighbours in the tissue" in page
    assert f"{record['n_smoothed'] / 240:.1%} of the cells" in page
    scores = evaluate(out, "cell_type")
    truth = coherence(adata.obs["cell_type"].cat.codes.to_numpy(), ids)
    assert (scores.coherence, scores.coherence_by_chance) == found
    assert (scores.label_coherence, scores.label_coherence_by_chance) == truth
    stages = json.loads((out / "run.json").read_text())["stages"]
    assert next(s for s in stages if s["name"] == "cluster")["coherence"] == record["coherence"]


def test_a_run_that_is_not_spatial_has_no_coherence(tmp_path):
    out = tmp_path / "out"
    result, record = run(make_cells(spatial=True), out, refine=0, spatial=False)
    assert record["coherence"] is None
    assert "of neighbours in the tissue" not in result.report_path.read_text()
    scores = evaluate(out, "cell_type")
    assert scores.coherence is scores.label_coherence is None


def test_clusters_that_smoothing_removes_are_noted(tmp_path):
    adata = make_cells(spatial=True)
    rng = np.random.default_rng(0)
    adata.obsm["spatial"] = rng.random((240, 2))  # no domains at all: a few clusters take all spots
    heard = Heard()
    result, record = run(adata, tmp_path / "out", refine=239, reporter=heard)
    n_lost = record["n_clusters_before_smoothing"] - record["n_clusters"]
    assert n_lost > 0
    (note,) = [note for note in heard.notes if f"{n_lost} domain" in note]
    assert "scrcl_unrefined" in note
    assert f"{n_lost} domain" in result.report_path.read_text()
    obs = anndata.read_h5ad(result.result_path).obs
    assert obs["scrcl"].nunique() == record["n_clusters"] == len(result.clusters)
    assert obs["scrcl_unrefined"].nunique() == record["n_clusters_before_smoothing"]


def test_smoothing_of_labels_is_refused_without_coordinates():
    with pytest.raises(InputError, match=r"cluster\.refine_labels .*spatial; got 5"):
        load_config(overrides={"cluster": {"refine_labels": 5}})


def test_fit_writes_both_and_a_later_fit_leaves_none_of_an_earlier_one():
    adata = make_cells(spatial=True)
    keep = np.ones((240, 1), np.float32)
    keep[7] = 0
    adata.X = adata.X.multiply(keep).tocsr()
    quick = {**FAST, "device": "cpu", "n_clusters": 4, "spatial": True}
    scrcl.fit(adata, **{**quick, "cluster": {"refine_labels": 10, "also": [6]}})
    assert adata.obs["scrcl_k6"].isna().sum() == 1
    assert adata.obs["scrcl_unrefined"].isna().to_numpy().nonzero()[0].tolist() == [7]
    assert (adata.obs["scrcl_unrefined"] != adata.obs["scrcl"]).any()
    scrcl.fit(adata, **{**quick, "cluster": {"refine_labels": 0}})
    assert not {"scrcl_unrefined", "scrcl_k6"} & set(adata.obs)


def two_copies(adata):
    """One slice twice, at the same coordinates: cells of both in turn."""
    both = anndata.concat([adata, adata], index_unique="-", keys=["a", "b"], label="slice")
    order = np.arange(2 * len(adata.obs)).reshape(2, -1).T.ravel()
    return both[order].copy()


def test_two_copies_of_a_slice_have_the_same_domains(tmp_path):
    adata = make_cells(spatial=True, seed=3)
    both = two_copies(adata)
    result, _ = run(
        both,
        tmp_path / "out",
        sample_key="slice",
        overrides={
            "train": {**FAST["train"], "steps": 60},
        },
    )
    obs = anndata.read_h5ad(result.result_path).obs
    one, other = (obs.loc[obs["slice"] == name, "scrcl"].to_numpy() for name in "ab")
    assert adjusted_rand_score(one, other) > 0.9
    assert np.mean(one == other) > 0.9
    assert adjusted_rand_score(one, adata.obs["cell_type"]) > 0.8
    across = next(r for r in result.stages if r["name"] == "graph")["cross_sample_share"]
    assert across == 0


def test_copies_in_one_sample_vote_on_each_other(tmp_path):
    adata = make_cells(spatial=True, seed=3)
    both = two_copies(adata)
    both.obs["slice"] = pd.Categorical(["one"] * 480)
    _, together = run(both, tmp_path / "together", sample_key="slice")
    both.obs["slice"] = pd.Categorical(["a", "b"] * 240)
    _, apart = run(both, tmp_path / "apart", sample_key="slice")
    assert together["coherence"] != apart["coherence"]


@pytest.mark.parametrize(("on", "first", "last"), [("auto", 16, 32), ("embedding", 0, 32)])
def test_domains_are_those_of_averages_over_the_tissue_unless_an_embedding_is_asked_for(
    tmp_path, on, first, last
):
    adata = make_cells(spatial=True)
    overrides = {"cluster": {"on": on, "refine_labels": 0}}
    result, _ = run(adata, tmp_path / "out", overrides=overrides)
    embedding = np.load(tmp_path / "out" / "stages" / "embed" / "embedding.npy")
    written = anndata.read_h5ad(result.result_path)
    np.testing.assert_array_equal(written.obsm["X_scrcl"], embedding[:, first:last])
    points, algorithm, how = np.ascontiguousarray(embedding[:, first:last]), "auto", {}
    if on == "auto":
        points, algorithm = written.obsm["X_tissue"], "mixture"
        how["overlap"] = next(r for r in result.stages if r["name"] == "tissue")["overlap"]
        how["around"] = np.load(tmp_path / "out" / "stages" / "graph" / "ids.npy")
    settings = ClusterSettings(algorithm=algorithm)
    own = cluster(points, 4, settings=settings, seed=0, **how)
    np.testing.assert_array_equal(written.obs["scrcl"].cat.codes, own)


def test_cuts_are_smoothed_too_and_only_coarser_ones_hold_the_clusters(tmp_path):
    adata = make_cells(spatial=True)
    also = {"refine_labels": 10, "also": [2, 4, 9]}
    result, record = run(adata, tmp_path / "out", overrides={"cluster": also})
    found = anndata.read_h5ad(result.result_path).obs
    assert {one["asked"]: one["nested"] for one in record["extra_cuts"]} == {
        2: True,
        4: True,
        9: False,
    }
    for coarser in ("scrcl_k2", "scrcl_k4"):
        assert len(found.groupby(["scrcl", coarser], observed=True)) == found["scrcl"].nunique()
    fine = found["scrcl_k9"].astype(int).to_numpy()
    again = majority_labels(fine, adata.obsm["spatial"], 10)
    assert np.mean(again == fine) > 0.9
    assert (np.diff(np.bincount(fine)) <= 0).all()
    assert any("9 domains of cluster.also" in note for note in record["notes"])


def test_a_column_with_a_value_for_each_cell_is_no_labels(tmp_path):
    adata = make_cells(spatial=True)
    adata.obs["depth"] = np.arange(240.0)
    run(adata, tmp_path / "out", overrides={"cluster": {"also": [2]}})
    with pytest.raises(InputError, match=r"'depth'.* 240 cells"):
        evaluate(tmp_path / "out", "depth")
    for own in ("scrcl", "scrcl_k2", "scrcl_unrefined", "scrcl_confidence"):
        with pytest.raises(InputError, match=rf"labels .*got '{own}'"):
            evaluate(tmp_path / "out", own)
    with pytest.raises(InputError, match=r"There are: (?!.*scrcl)"):
        evaluate(tmp_path / "out", "none")


def test_without_cells_to_draw_there_are_no_empty_pictures(tmp_path):
    result, _ = run(make_cells(spatial=True), tmp_path / "out")
    drawn, _ = run(make_cells(spatial=True), tmp_path / "drawn", report={"umap_cells": 3})
    texts = [one.report_path.read_text() for one in (result, drawn)]
    assert ["Cells in space" in text for text in texts] == [False, True]
    shown = [re.search(r"The maps show (\d+) of 240 cells", text) for text in texts]
    assert shown[0] is None
    assert 3 < int(shown[1][1]) < 240  # three at random, and more of each cluster


def test_coherence_without_pairs_is_none(tmp_path):
    adata = make_cells(spatial=True)
    adata.obs["one"] = pd.Series(["known", *[None] * 239], index=adata.obs_names)
    run(adata, tmp_path / "out")
    assert evaluate(tmp_path / "out", "one").label_coherence is None


@pytest.mark.slow
def test_domains_that_lie_together_and_are_alike_are_counted(tmp_path):
    adata = layered("layers_thick")
    # Domains are counted on averages over the tissue, so training may be short.
    quick = {name: FAST[name] for name in ("train", "scrcl", "umap", "report")}
    quick["cluster"] = {"restarts": 2}
    config = {**quick, "n_clusters": "auto", "spatial": True, "device": "cpu"}
    found = scrcl.fit(adata, out=tmp_path / "out", **config)
    assert found.obs["scrcl"].nunique() == 5
    slices = layered("layers_thick")  # the same sheet twice, in the same place: two slices
    slices.obs["slice"] = np.where(np.arange(slices.n_obs) % 2, "odd", "even")
    found = scrcl.fit(slices, sample_key="slice", **config)
    assert abs(found.obs["scrcl"].nunique() - 5) <= 1


def test_estimates_of_the_number_of_domains_are_in_words_with_the_option():
    (note,) = estimate_notes([(4, 5, 7)])
    assert "rough one (estimates range from 4 to 7)" in note
    assert estimates_range([(4, 4, 4)]) == "all estimates are 4"
    assert "`n_clusters`" in note
    assert estimates_in_words([(4, 5, 7), (3, 3, 4)]).endswith("for each slice: 4, 5, 7; 3, 3, 4")
    assert not list(estimate_notes([]))


def test_spots_are_rows_on_a_grid():
    assert Words("spot", "domain").cells(1) == "1 spot"
    assert Words("spot", "domain").clusters(1_200) == "1,200 domains"


def test_batches_of_a_tissue_are_slices_unless_others_are_named():
    def words(layout=None, **settings):
        return words_from(load_config(overrides=settings), layout)

    assert words() == words(batch_key="donor") == Words()
    slices = {"spatial": True, "sample_key": "slice"}
    assert words("square", **slices) == Words("spot", "domain", "slice")
    assert words("irregular", batch_key="donor", **slices) == Words("cell", "domain", "batch")
    assert (Words().batches, Words(batch="slice").batches) == ("batches", "slices")


@pytest.mark.parametrize(
    ("text", "put"),
    [
        ("Found 3 clusters instead of 5, because too few cells differ.",
         "Found 3 domains instead of 5, because too few spots differ."),
        ("The data supports 2 clusters by cluster.least_support. Give `cluster.also=[4]`: 1 cluster, a cell.",
         "The data supports 2 domains by cluster.least_support. Give `cluster.also=[4]`: 1 domain, a spot."),
        ("n_clusters of micro-clusters in the cell graph, by cell type",) * 2,
    ],
)  # fmt: skip
def test_texts_of_lower_layers_are_put_in_the_words_of_the_run(text, put):
    assert Words("spot", "domain").put_in(text) == put
    assert Words().put_in(text) == text


def test_a_closer_look_is_not_told_of_settings_that_it_does_not_take():
    words = of_look(Words(), "3_")
    note = "2 clusters are rare types. Look at them. With `cluster.rare_cells=0` such cells stay in larger clusters."
    assert words.put_in(note) == "2 subclusters are rare types. Look at them."
    note = "The data supports 2 clusters by cluster.least_support. Give `n_clusters=2` or auto for what is supported."
    assert words.put_in(note) == note.replace("clusters by", "subclusters by")


def spots():
    """Cells of four types in four parts of a square grid; one has no counts."""
    adata = make_cells(256)
    order = np.argsort(adata.obs["cell_type"].cat.codes.to_numpy(), kind="stable")
    adata = adata[order].copy()
    adata.obsm["spatial"] = np.array([[i, j] for i in range(16) for j in range(16)], float)
    values = adata.X.toarray()
    values[100] = 0
    adata.X = sparse.csr_matrix(values)
    return adata


def test_a_report_of_spots_says_spots(tmp_path):
    adata = spots()
    result, _ = run(adata, tmp_path / "out", n_clusters=3)
    page = re.sub(
        r"<(script|style|details).*?</\1>", "", result.report_path.read_text(), flags=re.DOTALL
    )
    assert "<h2>Quality of the spots</h2>" in page
    assert "1 spot was left out, 1 without counts." in page
    assert "% of spots" in page
    texts = re.findall(r">([^<>]+)<", page)
    named = [text for text in texts if re.search(r"\bcells?\b|\bclusters?\b", text, re.IGNORECASE)]
    named = [
        text for text in named if not re.search("cell graph|cell-gene|single-cell|cell type", text)
    ]
    assert named == []
    looks = scrcl.subcluster(tmp_path / "out", 0, n_clusters=9, data=adata)
    assert "9 were asked for" in " ".join(looks[0].notes)
    for note in looks[0].notes:
        assert not re.search(r"\bclusters?\b(?!\.)|\bcells?\b", note), note
