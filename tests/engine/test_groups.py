"""Markers of any groups of cells, and sums of counts by donor, of a finished run."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scrcl
from scrcl.engine.evaluate import score
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.errors import InputError, ResumeError
from scrcl.markers.pseudobulk import columns_of_donors
from scrcl.markers.ranking import for_spreadsheets
from tests.cells import FAST, make_cells

CONDITION = {"d0": "healthy", "d1": "ill"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    adata = make_cells()
    has_counts = np.arange(240) != 5
    adata.X = sparse.csr_matrix(sparse.diags(has_counts.astype(np.float32)) @ adata.X)
    adata.obs["donor"] = pd.Categorical(np.where(np.arange(240) % 3, "d1", "d0"))
    adata.obs["n_cells"] = ["many", "few"] * 120
    adata.obs["depth"] = np.linspace(0, 1, 240)
    adata.obs["barcode"] = [f"b{i}" for i in range(240)]
    adata.obs["condition"] = adata.obs["donor"].map(CONDITION)
    adata.obs["age"] = np.where(adata.obs["donor"] == "d0", 40.5, 60)
    adata.write_h5ad(folder / "cells.h5ad")
    config = load_config(
        overrides={**FAST, "n_clusters": 4, "device": "cpu", "cluster": {"also": [2]}}
    )
    run_files([folder / "cells.h5ad"], folder / "out", config)
    return folder, adata


def test_markers_of_the_clusters_are_those_of_the_run(done):
    out = done[0] / "out"
    table = scrcl.find_markers(out)
    before = pd.read_csv(out / "markers.csv")
    assert table["cluster"].tolist() == before["cluster"].astype(str).tolist()
    assert table["gene"].tolist() == before["gene"].tolist()
    assert table["auc"].to_numpy() == pytest.approx(before["auc"])
    assert table["next_cluster"].tolist() == before["next_cluster"].astype(str).tolist()
    assert (before["next_cluster"] != before["cluster"]).all()
    pair = scrcl.find_markers(out, pair=(1, 3))  # the only other one is next
    assert set(zip(pair["cluster"], pair["next_cluster"], strict=True)) == {("1", "3"), ("3", "1")}
    assert pair["next_fold_change"].to_numpy() == pytest.approx(pair["log_fold_change"], abs=1e-2)
    assert pair["share_next"].to_numpy() == pytest.approx(pair["share_out"])


def test_a_pair_is_compared_alone_as_scanpy_does(done):
    import scanpy as sc

    folder, adata = done
    table = scrcl.find_markers(
        folder / "out", by="cell_type", pair=("type 1", "type 3"), n_genes=200
    )
    logs = adata[adata.X.sum(axis=1).A1 > 0].copy()
    sc.pp.normalize_total(logs, target_sum=1e4)
    sc.pp.log1p(logs)
    sc.tl.rank_genes_groups(
        logs, "cell_type", groups=["type 1"], reference="type 3", method="wilcoxon"
    )
    theirs = sc.get.rank_genes_groups_df(logs, "type 1").set_index("names")["scores"]
    mine = table[table["cluster"] == "type 1"].set_index("gene")["score"]
    assert set(table["cluster"]) == {"type 1", "type 3"}
    assert mine.to_numpy() == pytest.approx(theirs[mine.index], abs=0.1)


def test_a_run_made_from_an_object_is_read_from_it(done, tmp_path):
    folder, adata = done
    mine = adata.copy()
    scrcl.fit(mine, out=tmp_path / "out", **{**FAST, "n_clusters": 4, "device": "cpu"})
    table = scrcl.find_markers(tmp_path / "out", pair=(0, 1), data=mine)
    assert set(table["cluster"]) == {"0", "1"}
    bulk = scrcl.pseudobulk(tmp_path / "out", donors="donor", data=mine)
    assert bulk.obs["n_cells"].sum() == 239
    scrcl.export(tmp_path / "out", tmp_path / "x.h5ad", to="h5ad", data=mine)
    assert anndata.read_h5ad(tmp_path / "x.h5ad").X.nnz == adata.X.nnz
    mine.layers["counts"] = mine.X.copy()
    mine.X = mine.X * 2
    again = scrcl.find_markers(tmp_path / "out", pair=(0, 1), data=mine)
    pd.testing.assert_frame_equal(table, again)
    scrcl.rename(tmp_path / "out", {0: "first"}, data=mine)
    assert (mine.obs["scrcl_name"] == "first").any()
    with pytest.raises(InputError, match="In Python, give that AnnData by `data`"):
        scrcl.find_markers(tmp_path / "out")
    with pytest.raises(ResumeError, match=r"made of an AnnData in memory.*by `data`"):
        scrcl.find_markers(tmp_path / "out", inputs=[folder / "cells.h5ad"])
    with pytest.raises(ResumeError, match=r"other values, cells or genes. Give it as it was"):
        scrcl.find_markers(tmp_path / "out", data=make_cells(seed=9))
    with pytest.raises(ResumeError, match=r"the run was made of files. Leave out `data`"):
        scrcl.find_markers(folder / "out", data=mine)


def test_two_runs_are_compared_by_the_names_of_their_cells(done, tmp_path):
    out = done[0] / "out"
    other = make_cells()[::-1][:200].copy()
    scrcl.fit(other, out=tmp_path / "other", **{**FAST, "n_clusters": 3, "device": "cpu"})
    found = scrcl.evaluate(out, tmp_path / "other")
    assert scrcl.evaluate(out, out).ari == 1
    here = anndata.read_h5ad(out / "result.h5ad").obs["scrcl"]
    assert (found.n_cells, found.n_labels) == (len(here.index.intersection(other.obs_names)), 3)
    assert found.ari == score(here, other.obs["scrcl"].astype(object).reindex(here.index))["ari"]
    other.obs_names = [f"x{name}" for name in other.obs_names]
    scrcl.fit(other, out=tmp_path / "renamed", **{**FAST, "n_clusters": 3, "device": "cpu"})
    with pytest.raises(InputError, match="no cell with the same name"):
        scrcl.evaluate(out, tmp_path / "renamed")


def test_other_cuts_can_be_compared(done):
    assert set(scrcl.find_markers(done[0] / "out", by="scrcl_k2")["cluster"]) == {"0", "1"}


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"by": "none"}, "column of obs; got 'none'. There are: .*cell_type"),
        ({"by": "depth"}, "'depth', which has numbers"),
        ({"by": "cell_type", "pair": ("type 1", "type 9")}, "got 'type 9'. There are: type 0"),
        ({"by": "cell_type", "pair": ("type 1", "type 1")}, "'type 1' twice"),
        ({"pair": (0, 99)}, "got '99'. There are: 0; 1; 2"),
        ({"pair": 5}, "two groups, as in .3, 5.; got 5."),
        ({"inputs": 5}, "inputs must be a path"),
        ({"data": "cells.h5ad"}, "data must be the AnnData"),
        ({"pair": (0, 1, 2)}, "two groups, as in .3, 5.; got .0, 1, 2."),
        ({"inputs": ["nowhere.h5ad"]}, "must be where it was; got nowhere"),
    ],
)
def test_groups_that_are_none_are_refused(done, asked, match):
    with pytest.raises(InputError, match=match):
        scrcl.find_markers(done[0] / "out", **asked)


def test_a_column_with_a_name_for_each_cell_and_another_input_are_refused(
    done, tmp_path, monkeypatch
):
    monkeypatch.setattr("scrcl.engine.named_groups.MOST_GROUPS", 100)
    with pytest.raises(InputError, match="at most 100 groups; got 'barcode' with 239"):
        scrcl.find_markers(done[0] / "out", by="barcode")
    make_cells(seed=9).write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(ResumeError, match="content is another"):
        scrcl.find_markers(done[0] / "out", inputs=[tmp_path / "other.h5ad"])


def test_sums_are_those_of_the_counts_of_each_donor_and_cluster(done):
    folder, adata = done
    bulk = scrcl.pseudobulk(folder / "out", donors="donor")
    labels = anndata.read_h5ad(folder / "out" / "result.h5ad").obs["scrcl"]
    counts = adata[labels.index]
    for i, row in enumerate(bulk.obs.itertuples()):
        cells = ((counts.obs["donor"] == row.donor) & (labels == row.scrcl)).to_numpy()
        assert cells.sum() == row.n_cells > 0
        assert bulk.X[i] == pytest.approx(counts.X[cells].sum(axis=0).A1)
    assert bulk.n_obs == 8
    assert bulk.obs["n_cells"].sum() == 239
    assert bulk.var_names.equals(adata.var_names)


def test_what_is_the_same_in_all_cells_of_a_donor_comes_with_the_sums(done):
    # Barcodes and types differ within a donor, and clusters are of the run.
    bulk = scrcl.pseudobulk(done[0] / "out", donors="donor")
    assert list(bulk.obs.columns) == ["donor", "scrcl", "n_cells", "condition", "age"]
    assert bulk.obs["condition"].astype(str).tolist() == bulk.obs["donor"].map(CONDITION).tolist()
    assert set(bulk.obs["age"]) == {40.5, 60.0}


def test_columns_of_donors_have_a_row_for_each_that_has_cells():
    obs = pd.DataFrame(
        {
            "flag": [True, True, False, False],
            "text": pd.Categorical(["x", "x", None, None]),
            "both": list("abab"),
            "same": "same",
            "scrcl_coarse": [0, 0, 1, 1],
            "day": pd.to_datetime(["2020-01-01"] * 2 + ["2020-01-02"] * 2),
        }
    )
    found = columns_of_donors(obs, np.array([2, 2, 0, 0]))
    assert found["flag"].to_dict() == {0: False, 2: True}
    assert found["text"].isna().to_dict() == {0: True, 2: False}
    assert list(found) == ["flag", "text"]


def test_a_column_of_the_name_of_the_numbers_of_cells_stays(done):
    found = scrcl.pseudobulk(done[0] / "out", donors="n_cells")
    assert set(found.obs["n_cells"]) == {"many", "few"}
    assert found.obs["n_cells_in_sum"].sum() == 239


def test_texts_that_begin_like_formulas_get_a_quote():
    table = pd.DataFrame({"gene": ["=1+1", "@x", "-a", "CD3D"], "score": [-1.0, 2, 3, 4]})
    safe = for_spreadsheets(table)
    assert safe["gene"].tolist() == ["'=1+1", "'@x", "'-a", "CD3D"]
    assert safe["score"].tolist() == [-1, 2, 3, 4]
    assert table["gene"][0] == "=1+1"
    missing = pd.DataFrame({"name": ["=1+1", None, np.nan]})
    assert for_spreadsheets(missing)["name"][0] == "'=1+1"


def test_columns_made_after_the_run_are_found_in_the_data(done, tmp_path):
    mine = done[1].copy()
    scrcl.fit(mine, out=tmp_path / "out", **{**FAST, "n_clusters": 4, "device": "cpu"})
    given = {"data": mine}
    with pytest.raises(InputError, match="made after the run, give the AnnData by `data`"):
        scrcl.evaluate(tmp_path / "out", "later")
    mine.obs["later"] = mine.obs["cell_type"]
    mine.obs["donor"] = mine.obs["donor"].map({"d0": "first", "d1": "second"})  # no more as copied
    scores = scrcl.evaluate(tmp_path / "out", "later", **given)
    assert scores.ari == scrcl.evaluate(tmp_path / "out", "cell_type").ari
    assert scores.n_cells == 239
    table = scrcl.find_markers(tmp_path / "out", by="later", **given)
    assert set(table["cluster"]) == set(mine.obs["later"])
    sums = scrcl.pseudobulk(tmp_path / "out", donors="donor", by="later", **given)
    assert set(sums.obs["donor"]) == {"first", "second"}
    assert sums.obs["n_cells"].sum() == 239


def test_clusters_are_those_of_the_run_whatever_the_data_has(done, tmp_path):
    mine = done[1].copy()
    scrcl.fit(mine, out=tmp_path / "out", **{**FAST, "n_clusters": 4, "device": "cpu"})
    before = scrcl.find_markers(tmp_path / "out", data=mine)
    mine.obs["scrcl"] = "0"
    pd.testing.assert_frame_equal(scrcl.find_markers(tmp_path / "out", data=mine), before)


def test_labels_of_other_cells_are_refused(done):
    other = make_cells()
    other.obs_names = [f"other{i}" for i in range(other.n_obs)]
    with pytest.raises(
        InputError, match=r"data must hold the cells of .* no cell with the same name"
    ):
        scrcl.evaluate(done[0] / "out", "cell_type", data=other)
    with pytest.raises(InputError, match="data must be the AnnData that the run was made of; got"):
        scrcl.evaluate(done[0] / "out", "cell_type", data=other.obs)


@pytest.fixture
def labels_csv(done, tmp_path):
    """Path of a table of labels in another order, without the first cells, and its lines."""
    adata, path = done[1], tmp_path / "labels.csv"
    labels = adata.obs["cell_type"].astype(str)[::-1]
    labels.iloc[0], labels.iloc[1] = "NA", ""
    here = anndata.read_h5ad(done[0] / "out" / "result.h5ad").obs_names
    labels = labels[labels.index.isin(here[9:])]
    lines = ["cell,type,sure", *(f"{cell},{label},yes" for cell, label in labels.items())]
    path.write_text("\n".join(lines))
    return path, lines


def test_labels_of_a_table_are_matched_by_the_names_of_cells(done, labels_csv):
    out, adata = done[0] / "out", done[1]
    known = adata.obs["cell_type"].astype(object)
    known.iloc[[-1, -2]] = None
    here = anndata.read_h5ad(out / "result.h5ad").obs["scrcl"]
    known[here.index[:9]] = None
    scores = scrcl.evaluate(out, "type", table=labels_csv[0])
    assert scores.n_labels == 4
    assert scores.n_cells == (known.notna() & here.notna()).sum()
    assert scores.n_unlabelled == len(here) - scores.n_cells > 0
    assert scores.ari == score(here, known.reindex(here.index))["ari"]


def test_a_table_of_labels_may_have_the_cells_that_the_run_left_out(done, tmp_path):
    out, labels = done[0] / "out", done[1].obs["cell_type"]
    assert len(labels) == len(anndata.read_h5ad(out / "result.h5ad")) + 1
    labels.to_csv(tmp_path / "all.csv")
    found = scrcl.evaluate(out, "cell_type", table=tmp_path / "all.csv")
    assert found == scrcl.evaluate(out, "cell_type")
    labels.rename({labels.index[-1]: "other"}).to_csv(tmp_path / "all.csv")
    with pytest.raises(InputError, match="the first of 2"):
        scrcl.evaluate(out, "cell_type", table=tmp_path / "all.csv")


def test_an_error_names_the_argument_of_the_column(done):
    with pytest.raises(InputError, match="donors must be a column of obs; got 'nobody'"):
        scrcl.pseudobulk(done[0] / "out", donors="nobody")


@pytest.mark.parametrize(
    ("at", "line", "match"),
    [
        (4, "x7,type 1,yes\nx8,type 1,yes", r"names of cells of .*; got 'x7' in .* \(line 5, the first of 2\)"),
        (4, None, r"each cell once; got .* again in .* \(line 5\)"),
        (0, "cell,types,sure", r"one column 'type' .* with none of this name. There are: types, sure"),
        (0, "cell,type,type", r"one column 'type' .* with 2 columns of this name"),
        (4, "x7,type 1", r"3 fields on each line.*2 fields, line 5"),
    ],
)  # fmt: skip
def test_a_table_of_labels_is_read_strictly(done, labels_csv, at, line, match):
    path, lines = labels_csv
    lines[at] = lines[at - 1] if line is None else line
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"table must have {match}"):
        scrcl.evaluate(done[0] / "out", "type", table=path)


def test_a_table_has_its_own_argument_and_goes_alone(done, labels_csv):
    with pytest.raises(InputError, match="Give a file by `table`"):
        scrcl.evaluate(done[0] / "out", labels_csv[0])
    with pytest.raises(InputError, match="table must not be given with data"):
        scrcl.evaluate(done[0] / "out", "type", data=done[1], table=labels_csv[0])
    path, lines = labels_csv
    path.write_text("\n".join(f"{line.split(',')[0]},{line}" for line in lines))
    with pytest.raises(InputError, match="labels must be shared by cells; got 'cell'"):
        scrcl.evaluate(done[0] / "out", "cell", table=path)
