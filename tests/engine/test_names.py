"""Names of clusters in a run: by a table, by the user, and after stages are redone."""

import re

import anndata
import numpy as np
import pandas as pd
import pytest

import scrcl
from scrcl.cli.tables import clusters_table
from scrcl.cli.texts import as_typed
from scrcl.engine.config import RunConfig
from scrcl.engine.given_names import keep_names, lost_names, names_given, read_names
from scrcl.engine.load_config import load_config
from scrcl.engine.predict import predict_files, run_for_prediction
from scrcl.engine.rename import rename
from scrcl.engine.run import run_files
from scrcl.engine.stages.names import NamesStage
from scrcl.engine.stages.names_notes import notes_of_genes, notes_of_mixed
from scrcl.engine.words import Words
from scrcl.errors import InputError, ResumeError, StoreError
from scrcl.markers.artifacts import NAME_GENES
from scrcl.markers.names import SECOND_MEANING, Name, gene_names
from tests.cells import FAST, make_cells
from tests.engine.test_odd_results import data_in

CLUSTERS = ["T, old", "NK", "2"]
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    path = tmp_path_factory.mktemp("named") / "cells.h5ad"
    adata = make_cells()
    adata.var["symbol"] = [f"SYM{i}" for i in range(adata.n_vars)]
    adata.write_h5ad(path)
    means = np.log1p(adata.to_df()).groupby(adata.obs["cell_type"].to_numpy()).mean()
    above = means - means.mean()
    lines = [
        f"SYM{name.removeprefix('gene')},{kind}"
        for kind in means.index
        for name in above.loc[kind].nlargest(8).index
    ]
    table = path.with_name("markers.csv")
    table.write_text("\n".join(["gene,cell_type", *lines]))
    return path, table


def config_of(**more):
    return load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu", **more})


@pytest.fixture(scope="module")
def named(cells, tmp_path_factory):
    path, table = cells
    out = tmp_path_factory.mktemp("named") / "out"
    return run_files([path], out, config_of(names={"table": str(table), "min_score": 1}))


def obs_of(out):
    return anndata.read_h5ad(out / "result.h5ad", backed="r").obs


def test_clusters_have_the_names_of_the_table_in_result_report_and_record(named, cells):
    obs = obs_of(named.out)
    truth = anndata.read_h5ad(cells[0]).obs["cell_type"]
    known = (obs["scrcl_name"] != "unknown").to_numpy()
    assert known.mean() > 0.5
    assert (obs["scrcl_name"].astype(str) == truth.astype(str))[known].mean() > 0.8
    assert {row["cell_type"] for row in named.clusters} == set(obs["scrcl_name"])
    uns = anndata.read_h5ad(named.out / "result.h5ad").uns
    n_names = obs["scrcl_name"].cat.categories.size
    assert list(uns["scrcl_name_colors"]) == list(uns["scrcl_colors"])[:n_names]
    first = next(row for row in named.clusters if row["cell_type"] != "unknown")
    assert first["gap"] > 0
    drawn = "".join(str(cell) for cell in clusters_table(named.clusters, Words()).columns[1].cells)
    assert f"{first['cell_type']} (or {first['second_type']}, {first['gap']:.1f} lower)" in drawn
    report = named.report_path.read_text()
    assert f"{first['cell_type']} (or {first['second_type']}, {first['gap']:.1f} lower)" in report
    assert report.count(SECOND_MEANING) == 1
    assert all(name in report for name in set(obs["scrcl_name"]))
    tree = report[report.index("How clusters join") :]
    assert f'">0 {named.clusters[0]["cell_type"]}</text>' in tree[: tree.index("</svg>")]
    names = scrcl.open_run(named.out).record(NamesStage)
    assert names.gene_column == "symbol"
    assert names.n_genes_found == names.n_genes_table


def test_symbols_are_shown_and_names_of_var_stay_the_key(named, cells):
    adata, table = anndata.read_h5ad(named.result_path), pd.read_csv(named.out / "markers.csv")
    assert list(table)[:5] == ["cluster", "name", "rank", "gene", "symbol"]
    assert (table["symbol"] == adata.var["symbol"][table["gene"]].to_numpy()).all()
    assert adata.uns["rank_genes_groups"]["names"]["0"][0] == table["gene"][0]
    shown = {gene for row in named.clusters for gene in row["markers"]}
    assert shown <= set(adata.var["symbol"])
    assert re.findall(r'<text class="gene"[^>]*>(SYM)\d+<', named.report_path.read_text())
    assert pd.read_csv(named.out / "gene_associations.csv")["symbol"].str.startswith("SYM").all()


def test_a_table_with_other_content_is_another_run_and_names_can_be_redone(named, cells, tmp_path):
    path, table = cells
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("type 0", "a <b>new</b> name"))
    with pytest.raises(ResumeError, match=r"tables\.names\.table changed"):
        run_files([path], named.out, config_of(names={"table": str(other), "min_score": 1}))
    copy = tmp_path / "copy.csv"
    copy.write_text(table.read_text())
    again = run_files([path], named.out, config_of(names={"table": str(copy), "min_score": 1}))
    assert again.stages == named.stages  # the same content elsewhere
    redone = run_files(
        [path], named.out, RunConfig(names={"table": str(other), "min_score": 1}), start="names"
    )
    assert "a <b>new</b> name" in set(obs_of(redone.out)["scrcl_name"])
    assert "<b>new</b>" not in redone.report_path.read_text()
    run_files(
        [path], named.out, RunConfig(names={"table": str(table), "min_score": 1}), start="names"
    )


def test_names_of_the_user_stay_when_stages_are_redone(named, cells, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("cluster,name\n0,=mine & yours\n")
    rename(named.out, names)
    obs = obs_of(named.out)
    assert set(obs["scrcl_name"][obs["scrcl"] == "0"]) == {"=mine & yours"}
    run_files([cells[0]], named.out, RunConfig(), start="markers")
    obs = obs_of(named.out)
    assert set(obs["scrcl_name"][obs["scrcl"] == "0"]) == {"=mine & yours"}
    run_files([cells[0]], named.out, RunConfig(n_clusters=3), start="cluster")
    kept = obs_of(named.out)["scrcl_name"] == "=mine & yours"
    before = (obs["scrcl"] == "0").to_numpy()
    assert (kept.to_numpy() & before).sum() > 0.8 * before.sum()


def test_names_are_not_kept_where_they_are_refused(named, cells, tmp_path):
    before = names_given(named.out, scrcl.open_run(named.out).labels)
    (tmp_path / "names.csv").write_text("cluster,name\n1,not kept\n")
    make_cells(seed=3).write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(InputError, match="must list genes of the input"):
        rename(named.out, tmp_path / "names.csv", inputs=[tmp_path / "other.h5ad"])
    assert names_given(named.out, scrcl.open_run(named.out).labels) == before


def test_an_anndata_has_the_names_too(cells, tmp_path):
    adata = anndata.read_h5ad(cells[0])
    settings = {**FAST, "names": {"table": str(cells[1])}}
    scrcl.fit(adata, n_clusters=4, device="cpu", out=tmp_path / "out", **settings)
    assert adata.obs["scrcl_name"].notna().all()
    (tmp_path / "names.csv").write_text("cluster,name\n1,mine\n")
    with pytest.raises(InputError, match="an AnnData in memory"):
        scrcl.rename(tmp_path / "out", {1: "mine"})
    scrcl.rename(tmp_path / "out", tmp_path / "names.csv", data=adata)
    assert ((adata.obs["scrcl_name"] == "mine") == (adata.obs["scrcl"] == "1")).all()


def test_a_note_lists_the_clusters_that_may_be_mixed_unless_the_user_named_them():
    clear = Name("B cell", "B cell", 9.0, "T cell", 2.0, 0, 0, ())
    mixed = clear._replace(second_score=8.0)
    (note,) = notes_of_mixed([clear, mixed, mixed._replace(name="mast cell")], {2: "mine"})
    assert "by other genes: 1 B cell (9.0; T cell 8.0). Look closer" in note
    assert "scrcl subcluster" in as_typed(note)
    assert not [*notes_of_mixed([clear, mixed._replace(shared=0.5)], {})]
    assert "; and 2 others." in next(notes_of_mixed([mixed] * 7, {}))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("gene,cell_type\nENSG1,B\n", "must list genes of the input; .* lists ENSG1"),
        ("gene\nA\n", "column of cell types"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_out_is_made(cells, tmp_path, text, match):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        run_files([cells[0]], tmp_path / "out", config_of(names={"table": str(tmp_path / "t.csv")}))
    assert not (tmp_path / "out").exists()


def test_a_tissue_without_a_table_is_refused(cells, tmp_path):
    with pytest.raises(InputError, match=r"must go with names\.table"):
        run_files([cells[0]], tmp_path / "out", config_of(names={"tissues": "Blood"}))
    assert not (tmp_path / "out").exists()


def test_a_run_that_chose_rows_of_its_table_can_be_opened(named, cells, tmp_path):
    table = tmp_path / "t.csv"
    rows = cells[1].read_text().splitlines()
    lines = [f"{rows[0]},tissue,species"]
    lines += [f"{row},{('Blood', 'Lung')[i % 2]},human" for i, row in enumerate(rows[1:])]
    table.write_text("\n".join(lines))
    for tissues in (None, "Blood"):
        choice = {"table": str(table), "species": "human", "tissues": tissues, "min_score": 1}
        run_files([cells[0]], named.out, RunConfig(names=choice), start="names")
        run = scrcl.open_run(named.out)
        notes = " ".join(run.record(NamesStage).notes)
        assert ("all 2 tissues of the table of markers (" in notes) == (tissues is None)
        assert set(obs_of(named.out)["scrcl_name"]) > {"type 0"}
    redone = RunConfig(
        names={"table": str(cells[1]), "tissues": None, "species": None, "min_score": 1}
    )
    run_files([cells[0]], named.out, redone, start="names")


def test_a_table_of_two_species_names_the_one_whose_genes_are_written_as_those_of_the_cells(
    named, cells, tmp_path
):
    table = tmp_path / "t.csv"
    rows = cells[1].read_text().splitlines()[1:]
    mouse = [f"{row.replace('SYM', 'Sym')},mouse" for row in rows]
    human = [f"{row},human" for i, row in enumerate(rows) if i % 3 == 0]
    table.write_text("\n".join(["gene,cell_type,species", *mouse, *human]))
    for species in (None, "human"):
        choice = {"table": str(table), "species": species, "min_score": 1}
        run_files([cells[0]], named.out, RunConfig(names=choice), start="names")
        notes = " ".join(scrcl.open_run(named.out).record(NamesStage).notes)
        advice = "rows for human and mouse: give `names.species='human'`"
        assert (advice in notes) == (species is None)
    before = RunConfig(names={"table": str(cells[1]), "species": None, "min_score": 1})
    run_files([cells[0]], named.out, before, start="names")


def test_new_cells_have_the_names_of_the_run_and_names_that_were_given_later(
    named, cells, tmp_path
):
    def predicted():
        predict_files(run_for_prediction(named.out, {}), [cells[0]], tmp_path / "new")
        return obs_of(tmp_path / "new"), (tmp_path / "new" / "report.html").read_text()

    (tmp_path / "names.csv").write_text("cluster,name\n1,given before\n")
    rename(named.out, tmp_path / "names.csv")
    obs, report = predicted()
    there = obs_of(named.out)
    of_cluster = dict(zip(there["scrcl"], there["scrcl_name"], strict=True))
    assert obs["scrcl_name"].tolist() == [of_cluster[cluster] for cluster in obs["scrcl"]]
    assert all(name in report for name in of_cluster.values())
    assert "confidence (median)" in report
    assert predicted()[1] == report  # found finished
    (tmp_path / "names.csv").write_text("cluster,name\n1,given after\n")
    rename(named.out, tmp_path / "names.csv")
    obs, report = predicted()
    assert set(obs["scrcl_name"][obs["scrcl"] == "1"]) == {"given after"}
    assert "given after" in report


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("cluster,label\n0,a\n", "cluster .or domain. and name; got .* with cluster, label"),
        ("cluster,name\n7,a\n", "a cluster of the run, 0 to 2, or a name: T, old; NK; got '7'"),
        ("cluster,name\nx,a\n", "got 'x'"),
        ("cluster,name\n1,a\n1,b\n", "once; got 1 twice"),
        ("cluster,name\n1,a\nNK,b\n", "once; got 1 twice"),
        ("cluster,name\n0,1,a\n", "3 fields, line 2"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path, text, match):
    (tmp_path / "n.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        read_names(tmp_path / "n.csv", CLUSTERS)
    with pytest.raises(InputError, match="file that exists"):
        read_names(tmp_path / "none.csv", CLUSTERS)


def test_a_table_of_domains_names_clusters(tmp_path):
    (tmp_path / "n.csv").write_text("domain,name\n2,layer\n")
    assert read_names(tmp_path / "n.csv", CLUSTERS).clusters == {2: "layer"}


def test_clusters_are_renamed_by_number_or_name_from_a_table_or_a_mapping(tmp_path):
    (tmp_path / "n.csv").write_text('cluster,name\n"T, old",T\n2,\n')
    assert read_names(tmp_path / "n.csv", CLUSTERS).clusters == {0: "T", 2: ""}
    assert read_names({0: "T", "2": ""}, CLUSTERS).clusters == {0: "T", 2: ""}
    assert read_names({"NK": "a"}, ["NK", "B", "NK"]).clusters == {0: "a", 2: "a"}
    with pytest.raises(InputError, match="texts; got None for cluster 0"):
        read_names({0: None}, CLUSTERS)
    with pytest.raises(InputError, match=r"NAMES must name a cluster of the run, .* got '99'"):
        read_names({"99": "x"}, CLUSTERS)


def test_damaged_names_are_named(tmp_path):
    (tmp_path / "names.npz").write_bytes(b"junk")
    with pytest.raises(StoreError, match=r"names\.npz must hold the names .* Delete it"):
        names_given(tmp_path, LABELS)


def test_names_follow_the_cells_and_an_empty_name_takes_one_away(tmp_path):
    assert names_given(tmp_path, LABELS) == {}
    keep_names(tmp_path, {0: "a", 2: "b"}, LABELS)
    assert names_given(tmp_path, LABELS) == {0: "a", 2: "b"}
    assert names_given(tmp_path, np.array([2, 2, 2, 1, 1, 1, 1, 0, 0])) == {0: "b", 2: "a"}
    assert names_given(tmp_path, LABELS[:-1]) == {}  # other cells
    keep_names(tmp_path, {0: "", 1: "c"}, LABELS)
    assert names_given(tmp_path, LABELS) == {1: "c", 2: "b"}


def test_of_the_parts_of_a_divided_cluster_one_at_most_keeps_its_name(tmp_path):
    before = np.repeat([0, 1, 2], 10)
    keep_names(tmp_path, {0: "a", 1: "b", 2: "a"}, before)
    assert names_given(tmp_path, before) == {0: "a", 1: "b", 2: "a"}  # two clusters of one name
    parts = np.repeat([0, 3, 1, 4, 2], [7, 3, 5, 5, 10])
    assert names_given(tmp_path, parts) == {0: "a", 2: "a"}  # 1 and 4 are halves
    assert names_given(tmp_path, np.repeat([0, 1, 2], [2, 18, 10])) == {1: "b", 2: "a"}
    assert names_given(tmp_path, np.repeat([0, 1], [10, 20])) == {0: "a"}  # 1 is half "a", half "b"
    assert lost_names(tmp_path, np.repeat([0, 1], [10, 20])) == ["b"]
    assert lost_names(tmp_path, before) == lost_names(tmp_path / "none", before) == []


def test_maps_have_the_genes_that_speak_for_names_and_those_that_are_asked_for(cells, tmp_path):
    path, table = cells
    adata = anndata.read_h5ad(path)
    names = {"table": str(table), "min_score": 1}
    drawn_of = {"umap_cells": 50, "map_genes": 6, "genes": "gene7, SYM9"}
    run = run_files([path], tmp_path / "out", config_of(names=names, report=drawn_of))
    speaking = scrcl.open_run(run.out).open(NAME_GENES)
    types = pd.read_csv(table).groupby("gene")["cell_type"].first()
    name_of = dict(enumerate(row["cell_type"] for row in run.clusters))
    assert (types[speaking["symbol"]].to_numpy() == speaking["cluster"].map(name_of)).all()
    columns = data_in(run.report_path.read_text())["columns"]
    drawn = {column["name"]: column["also"] for column in columns if column["group"] == "Genes"}
    assert drawn.items() <= dict(zip(adata.var["symbol"], adata.var_names, strict=True)).items()
    assert len(drawn) == 6
    assert {"gene7", "gene9"} < set(drawn.values())
    assert set(speaking["gene"][speaking["rank"] == 0]) & set(drawn.values())
    with pytest.raises(
        InputError, match=r"report\.genes must name genes of the input; got no gene\."
    ):
        run_files([path], run.out, RunConfig(report={"genes": "SYM1,no gene"}), start="report")


def notes_on_genes(genes, table):
    config = load_config(overrides={"names": {"table": str(table)}})
    var, sets = pd.DataFrame(index=genes), config.names.sets()
    return list(notes_of_genes(config, var, sets, gene_names(var, sets)))


def test_a_note_says_why_few_genes_of_the_table_are_there(tmp_path):
    human, mouse = [f"CD{i}A" for i in range(60)], [f"Cd{i}a" for i in range(20)]
    rows = [f"{gene},T cell,human" for gene in human] + [f"{gene},T cell,mouse" for gene in mouse]
    both = tmp_path / "both.csv"
    both.write_text("\n".join(["gene,cell_type,species", *rows]))
    others = [f"OTHER{i}" for i in range(6_000)]
    # All genes of the species of the cells are there, though a quarter of the table.
    assert notes_on_genes(mouse + others, both) == []
    (note,) = notes_on_genes(human[:9] + others, both)
    assert note.startswith(
        "Only 15% of the genes of both.csv are in the data, so names may be wrong."
    )
    (note,) = notes_on_genes(human[:9] + others[:91], both)
    assert "which has 100 genes, so types can look alike" in note
    assert "species" not in note
