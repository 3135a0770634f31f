"""A closer look into clusters of a finished run."""

import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

import scrcl
from scrcl._progress import Silent
from scrcl.engine.config import RunConfig
from scrcl.engine.folder import read_manifest
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.engine.stages.batches import BatchesRecord
from scrcl.engine.stages.batches_facts import batch_notes
from scrcl.engine.stages.batches_followed import FollowingCluster
from scrcl.engine.stages.correct import CorrectStage
from scrcl.engine.stages.markers import MarkersStage
from scrcl.engine.stages.subclusters import SubclustersStage
from scrcl.engine.words import Words
from scrcl.errors import InputError, ResumeError
from scrcl.io.open import open_input
from scrcl.io.rows import as_csr
from scrcl.io.stream import iter_rows
from scrcl.io.subset import some_cells
from tests.cells import FAST, make_cells


def nested_cells(sizes=((70, 60), (90,), (14,)), n_genes=200, seed=3):
    """Types that differ in many genes, and subtypes that differ in a few others."""
    rng = np.random.default_rng(seed)
    types, subtypes, counts = [], [], []
    for kind, parts in enumerate(sizes):
        profile = rng.gamma(0.4, 1.0, n_genes) + 0.02
        for part, size in enumerate(parts):
            own = profile.copy()
            own[10 * part : 10 * part + 10] += 1.2
            own *= 900 / own.sum()
            counts.append(rng.poisson(own, (size, n_genes)))
            types += [f"type {kind}"] * size
            subtypes += [f"{kind}{'ab'[part]}"] * size
    order = rng.permutation(len(types))
    values = np.vstack(counts).astype(np.float32)[order]
    values[4] = 0  # a cell without counts is in no cluster
    kinds = np.array(types)[order]
    donors = np.where(kinds == "type 1", "c", np.where(order % 2, "a", "b"))
    donors[np.flatnonzero(kinds == "type 0")[0]] = "c"  # a batch with one cell of its type
    return anndata.AnnData(
        sparse.csr_matrix(values),
        obs=pd.DataFrame(
            {"kind": kinds, "part": np.array(subtypes)[order], "donor": donors},
            index=[f"cell{i}" for i in range(len(types))],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nested")
    nested_cells().write_h5ad(folder / "cells.h5ad")
    settings = {"n_clusters": 3, "device": "cpu", "cluster": {"algorithm": "linkage"}}
    batches = {"batch_key": "donor", "correct": {"method": "none"}}
    over_all = {"markers": {"within_batches": False}}  # as scanpy, with which they are compared
    config = load_config(overrides={**FAST, **settings, **batches, **over_all})
    run_files([folder / "cells.h5ad"], folder / "out", config)
    return folder


@pytest.fixture
def out(made, tmp_path):
    """A copy of the finished run, next to its input."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


@pytest.fixture(scope="module")
def looked(made, tmp_path_factory):
    """The run after looks into the cluster with two parts and the one with 13 cells."""
    folder = tmp_path_factory.mktemp("looked") / "out"
    shutil.copytree(made / "out", folder)
    stages = contents(folder / "stages", but=("names", "subclusters", "pseudotime", "report"))
    looks = scrcl.subcluster(folder, [0, "2"])
    assert (
        contents(folder / "stages", but=("names", "subclusters", "pseudotime", "report")) == stages
    )
    return folder, looks


def contents(folder, but=()):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in but
    }


def obs_of(out):
    return anndata.read_h5ad(out / "result.h5ad", backed="r").obs


def test_a_cluster_is_divided_into_its_parts(looked):
    first = looked[1][0]
    assert (first.cluster, first.n_cells, first.n_subclusters) == (0, 130, 2)
    cells = first.cells.set_index("cell")
    truth = nested_cells().obs.loc[cells.index, "part"]
    assert adjusted_rand_score(truth, cells["subcluster"]) > 0.9
    assert set(cells["subcluster"]) == {"0_0", "0_1"}
    assert cells["confidence"].between(0, 1).all()


def test_markers_compare_subclusters_with_the_rest_of_their_cluster(looked):
    import scanpy as sc

    _, (first, _) = looked
    adata = nested_cells()
    cells = first.cells.set_index("cell")
    logs = adata[cells.index].copy()
    logs.obs["sub"] = pd.Categorical(cells["subcluster"])
    sc.pp.normalize_total(logs, target_sum=1e4)
    sc.pp.log1p(logs)
    sc.tl.rank_genes_groups(logs, "sub", method="wilcoxon")
    theirs = sc.get.rank_genes_groups_df(logs, "0_1").set_index("names")["scores"]
    mine = first.markers[first.markers["cluster"] == "0_1"].set_index("gene")["score"]
    assert mine.to_numpy() == pytest.approx(theirs[mine.index], abs=0.1)
    part = adata.obs.loc[cells.index[cells["subcluster"] == "0_1"], "part"].mode()[0]
    own = {f"gene{i}" for i in (range(10) if part.endswith("a") else range(10, 20))}
    assert len(own & set(mine.index[:10])) >= 7


def test_the_text_for_a_methods_section_has_the_clusters_that_were_divided(looked):
    text = scrcl.open_run(looked[0]).methods_text
    assert "Cluster 0 was divided into 2 subclusters by the vote on genes" in text


def test_a_small_cluster_is_not_divided_and_the_reason_is_a_sentence(looked):
    _, (_, small) = looked
    assert small.n_subclusters == 1
    assert small.summary.startswith("Cluster 2 has 13 cells, fewer than 20")
    assert small.folder is None
    assert not len(small.cells)
    assert not len(small.markers)


def test_result_and_report_have_the_subclusters_in_the_place_of_their_cluster(looked):
    out, looks = looked
    obs = obs_of(out)
    assert list(obs["scrcl_sub"].cat.categories) == ["0_0", "0_1", "1", "2"]
    joined = obs["scrcl_sub"].astype(str).str.split("_").str[0]
    assert (joined == obs["scrcl"].astype(str)).all()
    cells = looks[0].cells.set_index("cell")["subcluster"]
    assert (obs.loc[cells.index, "scrcl_sub"] == cells).all()
    page = (out / "report.html").read_text()
    assert "Subclusters" in page
    assert "0_1" in page
    assert scrcl.open_run(out).record(SubclustersStage).rows[0].name == "0_0"
    table = scrcl.find_markers(out, by="scrcl_sub", pair=("0_0", "0_1"))
    assert set(table["cluster"]) == {"0_0", "0_1"}


def named_in(folder):
    table = pd.read_csv(folder / "markers.csv", keep_default_na=False, dtype=str)
    return dict(zip(table["cluster"], table["name"], strict=True)) if "name" in table else {}


def test_tables_of_markers_have_the_names_and_their_numbers_stay(looked, made, tmp_path):
    shutil.copytree(looked[0], tmp_path / "out")
    shutil.copy(made / "cells.h5ad", tmp_path)
    out = tmp_path / "out"
    before = (out / "markers.csv").read_bytes()
    scrcl.rename(out, {1: "others"})
    assert named_in(out) == {"0": "", "1": "others", "2": ""}
    scrcl.rename(out, {1: ""})
    assert (out / "markers.csv").read_bytes() == before


def test_subclusters_get_names_that_go_with_their_look(looked, made, tmp_path):
    shutil.copytree(looked[0], tmp_path / "out")
    shutil.copy(made / "cells.h5ad", tmp_path)
    out = tmp_path / "out"
    (tmp_path / "names.csv").write_text("cluster,name\n0_1,small part\n1,others\n")
    obs = scrcl.rename(out, tmp_path / "names.csv").obs
    named = dict(zip(obs["scrcl_sub"].astype(str), obs["scrcl_sub_name"].astype(str), strict=True))
    assert named == {"0_0": "0_0", "0_1": "small part", "1": "others", "2": "2"}
    page = (out / "report.html").read_text()
    assert "small part" in page[page.index("<h2>Subclusters</h2>") :]
    table = scrcl.find_markers(out, by="scrcl_sub_name")
    assert set(table["cluster"]) == {"0_0", "small part", "others", "2"}
    assert "name" not in table
    table = scrcl.find_markers(out, by="scrcl_sub")
    names = {"0_0": "", "0_1": "small part", "1": "others", "2": ""}
    assert dict(zip(table["cluster"], table["name"], strict=True)) == names
    pair = scrcl.find_markers(out, by="scrcl_sub", pair=("small part", "0_0"))
    np.testing.assert_array_equal(
        pair["score"], scrcl.find_markers(out, by="scrcl_sub", pair=("0_1", "0_0"))["score"]
    )
    kept = contents(out, but=("run.json",))
    with pytest.raises(
        InputError, match="0 to 2, or a name: others; or a subcluster: 0_0; 0_1; got '0_7'"
    ):
        scrcl.rename(out, {"0_7": "x"})
    with pytest.raises(InputError, match="NAMES must name each cluster once; got 0_1 twice"):
        scrcl.rename(out, {"0_1": "x", " 0_1": "y"})
    assert contents(out, but=("run.json",)) == kept
    assert "scrcl_sub_name" not in scrcl.rename(out, {"0_1": ""}).obs
    assert not named_in(out / "subclusters" / "0")
    scrcl.rename(out, {"0_0": "large part"})
    assert named_in(out / "subclusters" / "0") == {"0_0": "large part", "0_1": ""}
    (again,) = scrcl.subcluster(out, 0)  # the same look, found again
    assert set(again.markers["name"]) == {"large part", ""}
    assert "large part" in set(obs_of(out)["scrcl_sub_name"])
    scrcl.subcluster(out, 0, n_clusters=3)
    assert "scrcl_sub_name" not in obs_of(out)


def test_names_of_subclusters_are_taken_back_where_the_input_is_another(looked, tmp_path):
    out = shutil.copytree(looked[0], tmp_path / "out")
    with pytest.raises(ResumeError):
        scrcl.rename(out, {"0_1": "part", 1: "others"}, data=nested_cells(seed=5))
    assert not list(out.glob("subclusters/*/names.json"))
    assert not (out / "names.npz").exists()


def test_a_look_is_left_out_where_its_cluster_has_other_cells(looked, made, tmp_path):
    shutil.copytree(looked[0], tmp_path / "out")
    for n, has_looks in ((2, True), (6, False)):  # type 0 is cut by the second number alone
        run_files([made / "cells.h5ad"], tmp_path / "out", RunConfig(n_clusters=n), start="cluster")
        assert ("scrcl_sub" in obs_of(tmp_path / "out")) == has_looks
    notes = scrcl.open_run(tmp_path / "out").record(SubclustersStage).notes
    assert "cluster 0 has other cells now" in notes[0]
    assert "cluster 0 has other cells now" in (tmp_path / "out" / "report.html").read_text()


def test_the_same_look_is_found_and_another_one_takes_its_place(out):
    cells = scrcl.subcluster(out, 0, write=False)[0].cells
    assert "scrcl_sub" not in obs_of(out)
    before = contents(out / "subclusters")
    scrcl.subcluster(out, 0, write=False)
    assert contents(out / "subclusters") == before
    three = scrcl.subcluster(out, 0, n_clusters=3)[0]
    assert three.n_subclusters == 3
    assert set(obs_of(out)["scrcl_sub"]) == {"0_0", "0_1", "0_2", "1", "2"}
    assert scrcl.subcluster(out, 0)[0].cells.equals(cells)
    assert "0_2" not in set(obs_of(out)["scrcl_sub"])


def test_one_group_is_not_divided_unless_a_number_is_given(out):
    look = scrcl.subcluster(out, 1)[0]
    assert look.n_subclusters == 1
    assert "is one group: there is no valley between its 90 cells" in look.summary
    assert "scrcl_sub" not in obs_of(out)
    look = scrcl.subcluster(out, 1, n_clusters=2)[0]
    assert look.n_subclusters == 2
    assert "1_1" in set(obs_of(out)["scrcl_sub"])
    (note,) = (each for each in look.notes if "2 were asked for" in each)
    assert note.startswith("The data supports 1 subcluster by")
    assert f"Inside cluster 1: {note}" in scrcl.open_run(out).record(SubclustersStage).notes
    assert "The data supports 1 subcluster by" in (out / "report.html").read_text()


def test_what_is_not_divided_is_logged_where_nobody_else_hears_of_it(out, caplog):
    (look,) = scrcl.subcluster(out, 1)
    assert look.n_subclusters == 1
    assert look.summary in caplog.messages
    caplog.clear()
    scrcl.subcluster(out, 1, reporter=Silent())
    assert look.summary not in caplog.messages


def test_a_cluster_is_found_by_its_name(out, tmp_path):
    (tmp_path / "names.csv").write_text("cluster,name\n0,mine\n2,mine\n")
    scrcl.rename(out, tmp_path / "names.csv")
    assert [look.cluster for look in scrcl.subcluster(out, "mine", write=False)] == [0, 2]
    with pytest.raises(InputError, match="0 to 2, or a name: mine; got 'yours'"):
        scrcl.subcluster(out, "yours")


@pytest.mark.parametrize(
    ("clusters", "settings", "match"),
    [
        (3, {}, "0 to 2; got '3'"),
        (-1, {}, "got '-1'"),
        ([], {}, "at least one cluster .* got none"),
        (1, {"n_clusters": 91}, r"at most the number of cells \(90\); got 91"),
        (1, {"n_clusters": 1}, "n_clusters must be .* got 1"),
        (1, {"memory": "1MB"}, "memory must be at least"),
    ],
)
def test_what_cannot_be_looked_into_is_refused(out, clusters, settings, match):
    before = contents(out)
    with pytest.raises((InputError, MemoryError), match=match):
        scrcl.subcluster(out, clusters, **settings)
    assert contents(out) == before


def test_a_changed_input_is_refused(out, tmp_path):
    nested_cells(seed=4).write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(ResumeError, match="whose content is another"):
        scrcl.subcluster(out, 0, inputs=[tmp_path / "other.h5ad"])


def test_an_anndata_gets_the_column_too_and_a_subcluster_of_one_sample_is_named(tmp_path):
    adata = nested_cells()
    others = np.array(["y", "z"])[np.arange(adata.n_obs) % 2]
    adata.obs["sample"] = np.where(adata.obs["part"] == "0b", "x", others)
    settings = {**FAST, "cluster": {"algorithm": "linkage"}}
    scrcl.fit(adata, n_clusters=3, device="cpu", out=tmp_path / "out", **settings)
    with pytest.raises(InputError, match="an AnnData in memory"):
        scrcl.subcluster(tmp_path / "out", 0)
    (look,) = scrcl.subcluster(tmp_path / "out", 0, data=adata)
    (note,) = look.notes
    assert "2 of 2 subclusters hold nearly only cells of one group of values (0_0, 0_1)" in note
    assert "(x; y, z)" in note
    assert "`batch_key='sample'" in note
    assert set(adata.obs["scrcl_sub"].dropna()) == {"0_0", "0_1", "1", "2"}
    assert adata.obs["scrcl_sub"].isna().sum() == 1
    with pytest.raises(ResumeError, match="which has other values, cells or genes"):
        scrcl.subcluster(tmp_path / "out", 0, data=nested_cells(seed=5))


def donors_apart():
    """The types, and two donors that differ in half of the genes, by other factors in each type."""
    adata = nested_cells(sizes=((90, 80), (110,)))
    rng = np.random.default_rng(8)
    donor = rng.permutation(adata.n_obs) % 2
    is_one = (adata.obs["kind"] == "type 1").to_numpy()
    factors = np.exp(
        0.9 * rng.normal(size=(1, adata.n_vars)) + 0.2 * rng.normal(size=(2, adata.n_vars))
    )
    values = adata.X.toarray()
    values = np.where(
        donor[:, None] == 1, rng.poisson(values * factors[is_one.astype(int)]), values
    )
    adata.X = sparse.csr_matrix(values.astype(np.float32))
    adata.obs["donor"] = np.where(donor == 1, "a", "b")
    return adata


def test_subclusters_of_a_corrected_run_are_no_donors(tmp_path):
    adata = donors_apart()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    settings = {"n_clusters": 2, "device": "cpu", "cluster": {"algorithm": "linkage"}}
    config = load_config(overrides={**FAST, **settings, "batch_key": "donor"})
    run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config)
    run = scrcl.open_run(tmp_path / "out")
    assert not run.record(CorrectStage).left_as_is
    two, one = scrcl.subcluster(tmp_path / "out", [0, 1], n_clusters=2, write=False)
    of = adata.obs.loc[two.cells["cell"]]
    assert adjusted_rand_score(of["part"], two.cells["subcluster"]) > 0.9
    for look in (two, one):  # Harmony on one type alone cut it into its donors
        donors = adata.obs.loc[look.cells["cell"], "donor"]
        assert abs(adjusted_rand_score(donors, look.cells["subcluster"])) < 0.1
        assert look.notes[0].startswith("Corrected for batches by Harmony: as in the run")
    whole = scrcl.subcluster(tmp_path / "out", 1, write=False)[0]
    assert whole.n_subclusters > 1 or not any("Corrected" in note for note in whole.notes)


def test_subclusters_of_one_batch_are_named(out):
    found = FollowingCluster(cluster="3_0", of="b", is_group=False, n_of=9, n_cells=10)
    text = list(batch_notes(BatchesRecord(following=(found,)), Words(cluster="subcluster")))
    assert text[0].startswith("Subcluster 3_0 holds nearly only cells of b (9 of 10 cells;")
    look = scrcl.subcluster(out, 0, write=False)[0]
    assert look.notes == ("Not corrected for batches: as set.",)
    assert (look.folder / "batches.csv").exists()


def test_domains_of_a_tissue_are_looked_into_without_coordinates(tmp_path):
    make_cells(spatial=True).write_h5ad(tmp_path / "cells.h5ad")
    config = load_config(overrides={**FAST, "n_clusters": 2, "device": "cpu", "spatial": True})
    run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config)
    look = scrcl.subcluster(tmp_path / "out", 0)[0]
    assert look.summary.startswith("Domain 0: ")
    truth = make_cells(spatial=True).obs.loc[look.cells["cell"], "cell_type"]
    assert adjusted_rand_score(truth, look.cells["subcluster"]) > 0.9


def test_a_look_that_was_stopped_resumes_to_the_same_tables(looked, out, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MarkersStage, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            scrcl.subcluster(out, 0, write=False)
    assert not (out / "subclusters" / "0" / "cells.csv").exists()
    assert "n_subclusters" not in read_manifest(out / "subclusters" / "0")
    run_files([out.parent / "cells.h5ad"], out, RunConfig(), start="subclusters")
    assert "scrcl_sub" not in obs_of(out)  # a look that is not finished counts for nothing
    first = (out / "subclusters" / "0" / "stages" / "stats").stat().st_mtime_ns
    scrcl.subcluster(out, 0, write=False)
    assert (out / "subclusters" / "0" / "stages" / "stats").stat().st_mtime_ns == first
    for name in ("cells.csv", "markers.csv"):
        made_again = out / "subclusters" / "0" / name
        assert made_again.read_bytes() == (looked[0] / "subclusters" / "0" / name).read_bytes()


def test_some_cells_are_the_same_rows_in_any_blocks(made):
    matrix = open_input([made / "cells.h5ad"])
    rows = np.array([0, 1, 7, 8, 9, 100, 230])
    some = some_cells(matrix, rows, nnz=10, label="some", digest="d")
    whole = nested_cells()
    assert some.obs.index.tolist() == whole.obs_names[rows].tolist()
    for block_rows in (1, 3, 50, 1000):
        parts = [block.toarray() for _, block in iter_rows(some.x(block_rows))]
        assert (np.vstack(parts) == whole.X[rows].toarray()).all()
        stored = [as_csr(block).toarray() for _, block in iter_rows(some.rows(block_rows))]
        assert (np.vstack(stored) == whole.X[rows].toarray()).all()
