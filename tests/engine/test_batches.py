"""The stage `batches`: what it finds about named batches, and about columns that nobody named."""

import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from scrcl.engine.batch_columns import (
    batch_like_columns,
    condition_like_columns,
    confounded_levels,
    type_like_columns,
)
from scrcl.engine.groups import find_markers, pseudobulk
from scrcl.engine.load_config import load_config
from scrcl.engine.open_run import open_run
from scrcl.engine.run import run_files
from scrcl.engine.stages.batches import BatchesRecord, BatchesStage, ClusterBatches
from scrcl.engine.stages.batches_facts import batch_notes, clusters_table, suspicion_notes
from scrcl.engine.stages.batches_followed import FollowingCluster, following_clusters
from scrcl.engine.stages.batches_suspected import SuspectedColumn
from scrcl.engine.stages.cluster import ClusterStage
from scrcl.engine.stages.correct import CorrectRecord, CorrectStage, Mixing
from scrcl.engine.stages.correct_facts import correction_sentence
from scrcl.engine.stages.markers import MarkersStage
from scrcl.engine.words import Words
from scrcl.io.labels import CellLabels
from tests.cells import FAST
from tests.engine.test_correct import with_donors


def finished(adata, folder, **settings):
    path = folder / "cells.h5ad"
    adata.write_h5ad(path)
    config = load_config(
        overrides={**FAST, "cluster": {}, "device": "cpu", "n_clusters": 4, **settings}
    )
    run_files([path], folder / "out", config)
    return open_run(folder / "out")


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    adata = with_donors()
    adata.obs["condition"] = adata.obs["donor"].map(
        {"donor 0": "control", "donor 1": "control", "donor 2": "stimulated"}
    )
    return finished(adata, tmp_path_factory.mktemp("named"), batch_key="donor")


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory):
    adata = with_donors(effect=1.0)
    halves = np.random.default_rng(9).integers(2, size=adata.n_obs)
    pairs = np.where(
        adata.obs["donor"] == "donor 0", "ab", "cd"
    )  # plates mix in a pair, pairs lie apart
    adata.obs["plate"] = [pair[half] for pair, half in zip(pairs, halves, strict=True)]
    return finished(adata, tmp_path_factory.mktemp("unnamed"))


def test_mixing_of_each_cluster_grows_by_the_correction(corrected):
    clusters = corrected.record(BatchesStage).by_cluster
    pairs = [(c.before, c.after) for c in clusters if c.before is not None]
    assert len(pairs) > 1
    assert np.mean([after for _, after in pairs]) > np.mean([before for before, _ in pairs]) + 0.1


def test_the_cells_of_each_batch_are_counted_by_cluster(corrected):
    table = pd.read_csv(corrected.path / "batches.csv")
    obs = with_donors().obs
    expected = pd.crosstab(corrected.labels, obs["donor"])
    found = table.pivot_table("n_cells", "cluster", "batch", fill_value=0)
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
    assert table.groupby("cluster")["share_of_cluster"].sum().to_numpy() == pytest.approx(
        1, abs=1e-5
    )
    page = (corrected.path / "report.html").read_text()
    assert page.count("Mixing is the share") == 1
    assert f"<p>{correction_sentence(corrected.record(CorrectStage), Words())}</p>" in page


def test_a_correction_is_a_sentence_with_before_and_after():
    before, after = (Mixing(mixing=value, error=0.01, shared=0.08) for value in (0.12, 1.03))
    record = CorrectRecord(reason="slices lie apart", n_batches=2, before=before, after=after)
    assert correction_sentence(record, Words("spot", "domain", "slice")) == (
        "Corrected for slices by Harmony: slices lie apart. Before it, spots had 12% of the neighbours from other "
        "slices that chance gives; after it, 103%."
    )


def test_the_report_has_the_shares_of_each_batch_or_with_many_batches_the_largest():
    clusters = [
        ClusterBatches(largest="b", share=0.75, before=0.4, after=None),
        ClusterBatches(largest="a", share=1.0, before=None, after=None),
    ]
    table = clusters_table(clusters, ["0 T", "1"], ["a", "b"], np.array([[1, 3], [4, 0]]), Words())
    assert [column.name for column in table.columns] == [
        "cluster",
        "a (5 cells)",
        "b (3 cells)",
        "mixing",
    ]
    assert table.rows == [["0 T", 0.2, 1.0, 0.4], ["1", 0.8, 0.0, None]]
    counts = np.zeros((2, 13), int)
    counts[0, :2], counts[1, 0] = (1, 3), 4
    many = clusters_table(clusters, ["0 T", "1"], list("abcdefghijklm"), counts, Words())
    assert many.rows[0] == ["0 T", "b", 0.75, 3 / 8, 0.4]


def test_markers_are_those_within_donors_and_cells_are_no_replicates(corrected, unnamed):
    record = corrected.record(MarkersStage)
    assert record.is_within
    (note,) = record.notes
    assert note.endswith("test pseudobulk.h5ad.")
    assert note in (corrected.path / "report.html").read_text()
    found, before = find_markers(corrected.path), pd.read_csv(corrected.path / "markers.csv")
    assert found["gene"].tolist() == before["gene"].tolist()
    assert found["score"].to_numpy() == pytest.approx(before["score"])
    assert not unnamed.record(MarkersStage).is_within
    assert not unnamed.record(MarkersStage).notes


def test_sums_of_counts_by_batch_and_cluster_come_with_the_markers(corrected):
    found = anndata.read_h5ad(corrected.path / "pseudobulk.h5ad")
    again = pseudobulk(corrected.path, donors="donor")
    assert list(found.obs.columns) == ["donor", "scrcl", "n_cells", "condition"]
    rows = (again.obs["donor"].astype(str) + "_" + again.obs["scrcl"].astype(str)).tolist()
    assert sorted(rows) == sorted(found.obs_names)
    np.testing.assert_array_equal(found[rows].X, again.X)
    for name in ("n_cells", "condition"):
        np.testing.assert_array_equal(found[rows].obs[name], again.obs[name])
    assert found.var_names.equals(again.var_names)


def test_sums_of_an_earlier_run_do_not_stay(corrected, tmp_path):
    out = shutil.copytree(corrected.path, tmp_path / "out")
    config = load_config(overrides={"markers": {"within_batches": False}})
    run_files([corrected.path.parent / "cells.h5ad"], out, config, start="markers")
    assert not open_run(out).record(MarkersStage).is_within
    assert not (out / "pseudobulk.h5ad").exists()


def test_corrected_cells_vote(corrected):
    assert corrected.record(ClusterStage).algorithm == "vote"
    assert adjusted_rand_score(with_donors().obs["cell_type"], corrected.labels) > 0.95


def test_corrected_log_values_vote_and_cannot_be_summed(tmp_path):
    adata = with_donors()
    totals = np.asarray(adata.X.sum(axis=1))
    adata.X = sparse.csr_matrix(np.log1p(adata.X.toarray() / totals * 1e4))
    opened = finished(adata, tmp_path, batch_key="donor")
    assert opened.record(ClusterStage).algorithm == "vote"
    (note,) = opened.record(MarkersStage).notes
    assert "the values here are logarithms" in note
    assert "scrcl.pseudobulk" not in note


def test_a_condition_of_one_donor_is_named(corrected):
    record = corrected.record(BatchesStage)
    assert record.confounded == {"condition": ("stimulated",)}
    (note,) = [note for note in record.notes if "stimulated" in note]
    assert note.endswith("A real difference between such conditions may be removed.")


@pytest.fixture(scope="module")
def stimulated():
    adata = with_donors(effect=1.5, n_donors=2)
    adata.obs["stim"] = adata.obs["donor"].map({"donor 0": "ctrl", "donor 1": "stim"})
    adata.obs["donor"] = np.random.default_rng(9).integers(2, size=adata.n_obs).astype(str)
    adata.obs["sex"] = adata.obs["donor"].map({"0": "F", "1": "M"})
    return adata


def test_a_condition_that_the_batch_key_leaves_out_is_named_with_a_key_that_has_both(
    stimulated, tmp_path
):
    record = finished(stimulated, tmp_path, batch_key="donor", n_clusters=8).record(BatchesStage)
    (found,) = record.suspected
    assert (found.column, found.is_condition, len(found.clusters)) == ("stim", True, 8)
    (note,) = record.notes
    assert note.startswith(
        "8 of 8 clusters hold nearly only cells of one value of obs['stim'] (0, 1, 2, 3, 4, 5, 6, 7). The batch key "
        "does not name it, so one cell type may be several clusters."
    )
    assert note.endswith(
        "in all of its 2 values, run again into another folder with `batch_key='donor,stim'`."
    )


def test_samples_that_are_parts_of_batches_take_the_place_of_the_batch_key(stimulated, tmp_path):
    adata = stimulated.copy()
    adata.obs["sample"] = adata.obs["stim"].astype(str) + adata.obs["donor"].astype(str)
    record = finished(adata, tmp_path, batch_key="donor", n_clusters=8).record(BatchesStage)
    (found,) = record.suspected  # the condition divides the cells as groups of samples do
    assert (found.column, found.key) == ("sample", "sample")
    assert found.groups == ("ctrl0, ctrl1", "stim0, stim1")


def test_a_batch_key_that_has_the_condition_leaves_nothing_to_say(stimulated, tmp_path):
    record = finished(stimulated, tmp_path, batch_key="stim").record(BatchesStage)
    assert record.suspected == ()


def test_a_condition_is_named_without_a_batch_key(stimulated, tmp_path):
    adata = stimulated.copy()
    del adata.obs["donor"]
    record = finished(adata, tmp_path, n_clusters=8).record(BatchesStage)
    assert record.checked == ("lane", "stim")
    (note,) = record.notes
    assert note.endswith(
        "If its 2 values are conditions, and cell types should have one cluster in all of them, run again into "
        "another folder with `batch_key='stim'`."
    )


def test_a_column_that_neighbours_follow_is_named_with_the_option(unnamed):
    record = unnamed.record(BatchesStage)
    # Lanes were drawn at random, so they mix.
    assert set(record.checked) == {"donor", "lane", "plate"}
    found = {each.column: each for each in record.suspected}
    assert set(found) == {"donor", "plate"}
    assert (found["donor"].by_group, found["donor"].groups) == (False, ())
    assert (found["plate"].by_group, found["plate"].groups) == (True, ("a, b", "c, d"))
    (note,) = record.notes
    assert "`batch_key='donor'`" in note or "`batch_key='plate'`" in note
    assert not (unnamed.path / "batches.csv").exists()


def test_columns_that_clusters_alone_follow_are_named_after_those_that_neighbours_follow():
    mixing = Mixing(mixing=0.97, error=0.01, shared=1.0)

    def column(name, *clusters, is_followed=False):
        return SuspectedColumn(
            column=name, n_batches=4, mixing=mixing, clusters=clusters, is_followed=is_followed
        )

    apart = [column("donor", "3_1"), column("lane", "3_0")]
    (note,) = suspicion_notes(apart, "2 clusters")
    assert note.startswith(
        "1 of 2 clusters holds nearly only cells of one value of obs['donor'] (3_1)"
    )
    assert note.endswith("`batch_key='donor'`. obs columns with such clusters, too: lane.")
    (note,) = suspicion_notes([column("study", "1", "4", is_followed=True), *apart], "9 clusters")
    assert note.startswith(
        "Cells lie among cells of the same obs['study'] more than by chance: they have 97% of the neighbours from "
        "other values that chance gives, and 2 of 9 clusters hold nearly only cells of one value (1, 4). If"
    )
    assert "donor" not in note
    (note,) = suspicion_notes(apart, "2 clusters", may_be_slices=True)
    assert "values are slices, run again into another folder with `sample_key='donor'`" in note
    assert "if they are other batches, with `batch_key='donor'`." in note


def test_groups_of_values_that_lie_apart_are_named():
    column = SuspectedColumn(
        column="batch",
        n_batches=4,
        mixing=Mixing(mixing=0.6, error=0.2, shared=0.006),
        clusters=("0", "1"),
        by_group=True,
        groups=("s1, s2", "s3, s4"),
    )
    (note,) = suspicion_notes([column], "2 clusters")
    assert note.startswith(
        "Cells lie apart by group of values of obs['batch'] (s1, s2; s3, s4): 1% of the cells outside of the largest "
        "group have cells of another group around them, and 2 of 2 clusters hold nearly only cells of one group of "
        "values (0, 1). If its 4 values are batches"
    )


def test_clusters_of_one_batch_or_of_one_group_are_found_with_their_cells():
    table = np.array([[40, 1, 0, 0], [20, 21, 1, 0], [0, 0, 30, 30], [10, 10, 10, 10]])
    found = following_clusters(
        table, ["a", "b", "c", "d"], np.array([0, 0, 1, 1]), Words(prefix="5_")
    )
    assert [(f.cluster, f.of, f.is_group, f.n_of, f.n_cells) for f in found] == [
        ("5_0", "a", False, 40, 41),
        ("5_1", "a, b", True, 41, 42),
        ("5_2", "c, d", True, 60, 60),
    ]
    alone = following_clusters(table[:, [0, 2]], ["a", "c"], np.array([0, 1]), Words())
    assert [(f.cluster, f.of, f.is_group) for f in alone] == [
        ("0", "a", False),
        ("1", "a", False),
        ("2", "c", False),
    ]


def test_clusters_of_one_batch_are_noted_with_the_batch_its_cells_and_what_to_do():
    def following(cluster, of, n_of, *, is_group=False):
        return FollowingCluster(cluster=cluster, of=of, is_group=is_group, n_of=n_of, n_cells=141)

    (note,) = batch_notes(BatchesRecord(following=(following("3", "mouse2", 139),)), Words())
    assert note == (
        "Cluster 3 holds nearly only cells of mouse2 (139 of 141 cells; batches.csv): a type that one batch alone has, "
        "or cells that were not joined to the same type of other batches. Compare the markers."
    )
    groups = [
        following("0", "s1, s2", 140, is_group=True),
        following("1", "s3, s4", 141, is_group=True),
        following("2", "s1, s2", 141, is_group=True),
    ]
    (note,) = batch_notes(BatchesRecord(following=tuple(groups)), Words(), "Correct them.")
    assert note.startswith(
        "Clusters 0, 1, 2 hold nearly only cells of one group of batches (0, 2: 281 of 282 cells from s1, s2; 1: 141 "
        "of 141 cells from s3, s4; batches.csv): types that one group alone has, or"
    )
    assert note.endswith("of other groups. Correct them.")


def test_batches_that_lie_apart_in_groups_are_noted_where_nothing_was_corrected(tmp_path):
    adata = with_donors(effect=1.5, n_donors=2)
    halves = np.random.default_rng(9).integers(2, size=adata.n_obs)
    adata.obs["sex"] = adata.obs["donor"].map({"donor 0": "F", "donor 1": "M"})
    adata.obs["batch"] = [
        f"{sex}{half}" for sex, half in zip(adata.obs["sex"], halves, strict=True)
    ]
    del adata.obs["donor"]
    opened = finished(adata, tmp_path, batch_key="batch", n_clusters=8, correct={"method": "none"})
    record = opened.record(BatchesStage)
    assert len(record.of_one_batch) == 8
    assert {each.of for each in record.following} == {"F0, F1", "M0, M1"}
    of_clusters, of_conditions = record.notes
    assert of_clusters.startswith("All 8 clusters hold nearly only cells of one group of batches")
    assert of_clusters.endswith('into another folder with `correct.method="auto"`.')
    assert of_conditions.startswith(
        "Correction cannot separate obs['sex'] (F, M) from the groups: each of these values is one group"
    )
    assert of_conditions.endswith("between such conditions would be removed, too.")


def test_columns_are_known_by_words_of_their_names():
    n = 100
    obs = pd.DataFrame(
        {
            "donorID": np.arange(n) % 4,
            "orig.ident": [f"run{i % 5}" for i in range(n)],
            "sample_id": [str(i % 4) for i in range(n)],  # divides the cells as donorID does
            "batchelor": [str(i % 3) for i in range(n)],
            "cell_type": [str(i % 2) for i in range(n)],
            "celltype_orig": [str(i % 3) for i in range(n)],
            "sample_cluster": [str(i % 6) for i in range(n)],
            "library_size": np.linspace(0, 1, n),
            "barcode_of_run": [str(i) for i in range(n)],
            "study": "one",
        }
    )
    assert list(batch_like_columns(obs)) == ["donorID", "orig.ident"]
    assert list(batch_like_columns(obs, first="sample_id")) == ["sample_id", "orig.ident"]


def test_a_column_of_names_of_sections_may_be_batches_and_one_of_names_of_types_may_not():
    values = np.repeat(["a", "b"], 20)
    names = ["brain_section_label", "sample_cell_type_label", "library_cluster", "class_label"]
    obs = pd.DataFrame(dict.fromkeys(names, values))
    assert list(batch_like_columns(obs)) == ["brain_section_label"]


def test_conditions_are_known_by_words_of_their_names_unless_they_hold_types():
    n = 100
    half = [i % 2 for i in range(n)]
    obs = pd.DataFrame(
        {
            "stim": [("ctrl", "stim")[i] for i in half],
            "treatment": [("a", "b")[i] for i in half],  # divides the cells as stim does
            "time_group": [str(i % 5) for i in range(n)],
            "phenotype": [("T", "B")[i] for i in half],
            "disease_status": [("CD4 T cells", "Hepatocyte")[i] for i in half],
            "drug": "none",
            "sample_treatment": [str(i % 4) for i in range(n)],
        }
    )
    assert list(condition_like_columns(obs)) == ["stim"]


def test_cell_types_are_known_by_the_name_of_a_column_or_by_most_of_its_values():
    obs = pd.DataFrame(
        {
            "cell_type": ["a", "b", "c"],
            "sample_label": ["a", "b", "c"],
            "majority": ["CD4 T cells", "Hepatocyte", "beta"],
            "suspension": ["cell", "nucleus", "cell"],
            "donor": ["d1", "d2", "d3"],
        }
    )
    assert type_like_columns(obs, obs.columns) == ("cell_type", "majority")


def test_conditions_that_share_batches_are_not_confounded():
    batches = CellLabels(np.array([0, 0, 1, 1, 2, 2]), ("a", "b", "c"))
    nested = pd.DataFrame({"disease": ["x", "x", "x", "x", "y", "y"]})
    crossed = pd.DataFrame({"disease": ["x", "y", "x", "y", "x", "y"]})
    assert confounded_levels(nested, batches, but=()) == {"disease": ["y"]}
    assert confounded_levels(crossed, batches, but=()) == {}
    assert confounded_levels(nested, batches, but=["disease"]) == {}


def test_columns_of_any_name_are_conditions_if_few_values_divide_the_cells_as_batches_do():
    batches = CellLabels(np.array([0, 0, 1, 1]), ("a", "b"))
    obs = pd.DataFrame(
        {
            "sex": ["F", "F", "M", "M"],
            "same": ["a", "a", "b", "b"],  # names of the batches
            "library": ["l1", "l1", "l2", "l2"],
            "cell_type": ["x", "x", "y", "y"],
            "score": [1.5, 1.5, 2.5, 2.5],
            "tomato": [True, False, True, True],
        }
    )
    assert confounded_levels(obs, batches, but=(), any_name=True) == {"sex": ["F", "M"]}
    assert confounded_levels(obs, batches, but=()) == {}
