"""The benchmarks at toy size, so that they cannot rot."""

import json

import numpy as np
import pytest
import torch

from bench import batches as bench_batches
from bench import (
    confidence,
    equivalence,
    genes,
    knn,
    knn_peers,
    layers,
    order,
    predict,
    reduce,
    reduce_decode,
    reduce_peers,
    resampled,
    sample,
    sample_speed,
    scale,
    simulated,
    spatial,
    storage,
    train,
)
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.graph.domains import coherence
from scrcl.graph.relabel import relabel_compiled
from scrcl.graph.spatial import spatial_knn
from scrcl.io.matrix import StoredRows
from tests.cells import FAST_SETTINGS, make_cells


@pytest.fixture
def quick():
    return [part for setting in FAST_SETTINGS for part in ("--set", setting)]


@pytest.mark.slow
def test_the_spatial_table_has_a_row_a_method_and_refinement(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(layers, "N_ACROSS", 8)
    (tmp_path / "data").mkdir()
    make_cells().write_h5ad(tmp_path / "data" / "plain.h5ad")
    make_cells(spatial=True).write_h5ad(tmp_path / "data" / "tissue.h5ad")
    out = tmp_path / "table.md"
    arguments = ["--data", str(tmp_path / "data"), "--out", str(out), "--seeds", "0"]
    spatial.main([*arguments, "--graphs", "6,15+5", "--layers", "layers_thin", *quick])
    text = out.read_text()
    assert "### tissue: 240 spots, 4 classes" in text
    assert "### layers_thin: 328 spots, 6 classes" in text
    assert "plain" not in text
    rows = json.loads(out.with_suffix(".json").read_text())
    cases = [row for row in rows if "method" in row]
    methods = {"scrcl 6", "scrcl 15+5", "pca_kmeans", "pca_leiden"}
    assert {row["method"] for row in cases} == methods
    assert {row["refined_by"] for row in cases} == set(spatial.REFINED_BY)
    assert len(cases) == 2 * len(methods) * len(spatial.REFINED_BY)
    assert all(0 <= row["coherence"] <= 1 and row["smallest_f1"] <= 1 for row in cases)
    again = [row for row in rows if "view" in row]
    assert {(row["set"], row["view"]) for row in again} == {
        (name, view) for name in ("tissue", "layers_thin") for view in ("E", "E^m", "E^g")
    }
    assert all(row["least_ari"] <= row["ari"] <= row["most_ari"] for row in again)


def test_thin_layers_are_as_thin_as_they_are_said_to_be():
    for name, tissue in layers.LAYERED.items():
        cells = layers.layered(name)
        sizes = cells.obs["cell_type"].value_counts(sort=False)
        assert (sizes // layers.N_ACROSS).tolist() == list(tissue.widths)
        assert coherence_of_layers(cells) > 0.8


def coherence_of_layers(cells):
    near = spatial_knn(cells.obsm["spatial"], 6).ids
    return coherence(cells.obs["cell_type"].cat.codes.to_numpy(), near).share


@pytest.mark.slow
def test_the_scale_table_has_a_row_a_stage(tmp_path, quick):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / "scale.md"
    scale.main(
        ["--from", str(tmp_path / "cells.h5ad"), "--cells", "300", "--out", str(out), *quick]
    )
    text = out.read_text()
    for stage in ("read", "train", "report", "**whole process**"):
        assert f"| {stage} |" in text
    assert json.loads(out.with_suffix(".json").read_text())[0]["n_cells"] == 300


@pytest.fixture
def toy(tmp_path):
    def run(*sections, **extra):
        out = tmp_path / "reduce.md"
        options = {"sizes": "400,800", "genes": 300, "gzip-cells": 200, "repeats": 1, "workers": 2,
                   "scanpy": 400, "dask-rows": 100, "memory": "1GB"}  # fmt: skip
        options |= {"atlases": tmp_path / "atlases", "only": ",".join(sections), "out": out}
        arguments = [
            str(part) for key, value in (options | extra).items() for part in (f"--{key}", value)
        ]
        reduce.main(arguments)
        return out.read_text(), json.loads(out.with_suffix(".json").read_text())

    return run


@pytest.mark.slow
def test_the_way_to_components_is_measured_by_size_and_set_beside_its_plan(toy):
    text, found = toy("plan", "scale")
    for stage in ("read", "stats", "features", "reduce", "**whole process**"):
        assert f"| {stage} |" in text
    assert [size["n_cells"] for size in found["scale"]["sizes"]] == [400, 800]
    assert 1.5 < found["scale"]["largest_over_smallest"]["stored_values"] < 2.5
    assert [row["stage"] for row in found["plan"]] == ["read", "stats", "features", "reduce"] * 2
    stages = [stage for size in found["scale"]["sizes"] for stage in size["stages"]]
    assert [row["seconds"] for row in found["plan"]] == [stage["seconds"] for stage in stages]


@pytest.mark.slow
def test_decoding_alone_is_measured_on_the_same_blocks_for_each_kind_of_store(toy):
    text, found = toy("decode")
    rows = found["decode"]
    assert [(row["n_cells"], row["cached"]) for row in rows] == [
        (400, True), (400, False), (200, True), (200, False)
    ]  # fmt: skip
    assert "gzip.h5ad | 200 | cold | 2 |" in text
    for row, bytes_a_value in zip(rows, (4, 4, 8, 8), strict=True):
        assert row["decoded_bytes"] in {
            row["stored_values"] * bytes_a_value,
            row["stored_values"] * 3,
        }
        assert row["stats_seconds"] > 0 < row["decode_seconds"]


def test_the_sizes_of_a_block_are_those_of_its_stored_types():
    stored = StoredRows(
        np.ones(3, np.uint16), np.zeros(3, np.uint16), np.array([0, 2, 3]), n_vars=5
    )
    assert reduce_decode.block_sizes(7, stored).tolist() == [2, 3, 12]
    assert reduce_decode.block_sizes(7, np.zeros((4, 5), np.float32)).tolist() == [4, 20, 80]


@pytest.mark.slow
def test_scanpy_and_scrcl_find_the_same_on_the_store_they_share(toy, tmp_path):
    make_cells(n_cells=400, n_genes=300).write_h5ad(tmp_path / "cells.h5ad")
    text, found = toy("peers", atlas=tmp_path / "cells.h5ad")
    sides = found["peers"]["sides"]
    assert set(sides) == set(reduce_peers.SIDES)
    assert all(f"| {name} | 1 |" in text for name in reduce_peers.SIDES.values())
    assert all(side["genes_that_differ"] == 0 for side in sides.values())
    assert all(side["variance_off_by"] < 1e-4 for side in sides.values())
    assert all(side["seconds"] > side["without_imports"] > 0 for side in sides.values())


@pytest.mark.slow
def test_a_peer_that_its_memory_does_not_do_for_is_reported_and_the_others_go_on(toy):
    text, found = toy("peers", **{"limit-gb": 0.5})
    sides = found["peers"]["sides"]
    assert "failed" in sides["memory"]
    assert f"| {reduce_peers.SIDES['memory']} | {sides['memory']['failed']} |" in text
    assert sides["scrcl"]["runs"] == 1


@pytest.mark.slow
def test_genes_and_components_of_a_set_are_compared_with_those_of_scanpy(toy, tmp_path):
    (tmp_path / "data").mkdir()
    make_cells(n_cells=300, n_genes=400).write_h5ad(tmp_path / "data" / "plain.h5ad")
    text, found = toy("genes", data=tmp_path / "data")
    (row,) = found["genes"]
    assert "| plain | 300 | 400 | 200 |" in text
    assert len(row["genes_that_differ"]) == 6
    assert all(choice == {"differ": 0} for choice in row["genes_that_differ"].values())
    assert row["angle"] < 1e-3
    assert row["n_comps"] == 50
    assert "6 of 6 choices are the same." in text


def test_a_section_that_is_not_there_is_refused(toy, capsys):
    with pytest.raises(SystemExit):
        toy("scale", "speed")
    assert "--only must name sections; got 'speed'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_storage_table_has_a_row_a_layout(tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / "storage.md"
    storage.main(
        ["--from", str(tmp_path / "cells.h5ad"), "--cells", "300", "--chunk", "8192", "--shards",
         "8192", "--repeats", "1", "--out", str(out)]
    )  # fmt: skip
    text = out.read_text()
    for length in storage.CHUNKS:
        assert f"| {storage.CHOSEN}, chunks of {length:,} |" in text
    for layout in ("zstd 3, chunks of 8,192", "anndata v3 zarr, own shards", "h5ad gzip"):
        assert f"| {layout} |" in text
    assert "300 cells, 150 genes" in text


@pytest.fixture
def batches(tmp_path):
    def run(*sections, **extra):
        out = tmp_path / "batches.md"
        options = {"cells": 900, "large-cells": 1500, "dims": 8, "list-cells": 50, "batch": 200,
                   "pieces": 25, "repeats": 2, "steps": 2, "batches": 4, "batch-sizes": 200,
                   "study-pieces": 25, "accuracy-batch": 80, "accuracy-lists": 30,
                   "accuracy-pieces": 20, "accuracy-steps": 8, "seeds": 0}  # fmt: skip
        options |= {"work": tmp_path / "work", "only": ",".join(sections), "out": out}
        arguments = [
            str(part) for key, value in (options | extra).items() for part in (f"--{key}", value)
        ]
        sample.main(arguments)
        record = json.loads(out.with_suffix(".json").read_text())
        return out.read_text(), {name: section["found"] for name, section in record.items()}

    return run


@pytest.mark.slow
def test_batches_are_timed_by_size_composition_and_fanout(batches):
    text, found = batches("speed")
    rows = found["speed"]["sampling"]
    assert [(row["n_cells"], row["piece_cells"], row["fanout"]) for row in rows] == [
        (n_cells, piece, fanout)
        for n_cells in (900, 1500)
        for piece in (1, 25)
        for fanout in (None, 10)
    ]
    assert all(row["seeds_per_s"]["native"] > 0 < row["times_native"]["NumPy"] for row in rows)
    uniform, pieces = rows[0], rows[2]
    assert pieces["halo_rows_per_seed"] < 0.8 * uniform["halo_rows_per_seed"]
    assert [row["of_uniform"] > 0 for row in found["speed"]["stepping"]] == [True, True]
    assert "| 1,500 | 25 | 10 |" in text


@pytest.mark.slow
def test_the_means_of_batches_of_pieces_stray_further_and_drawn_cells_do_not(batches):
    text, found = batches("moments")
    uniform, pieces, one_piece = found["moments"]
    assert [row["piece_cells"] for row in found["moments"]] == [1, 25, 200]
    for row in found["moments"]:
        # every cell once, in batches of one size: their means are exact in the mean
        assert row["means"]["own target"]["bias"] < 1e-3
        assert row["means"]["sampled target"]["spread"] < 1e-3  # all cells are drawn
    spreads = [row["means"]["own target"]["spread"] for row in (uniform, pieces, one_piece)]
    assert spreads == sorted(spreads)
    assert "| 200 | uniform |" in text


@pytest.mark.slow
def test_clusters_of_both_compositions_are_scored(batches, tmp_path):
    (tmp_path / "data").mkdir()
    make_cells().write_h5ad(tmp_path / "data" / "plain.h5ad")
    text, found = batches("accuracy", data=tmp_path / "data")
    sides = [(row["piece_cells"], row["negatives"]) for row in found["accuracy"]]
    assert sides == [(1, "moments"), (1, "sampled"), (20, "moments"), (20, "sampled")]
    assert all(0 <= row["nmi"] <= 1 for row in found["accuracy"])
    assert "| plain | 240 |" in text
    with (tmp_path / "batches.md").open("a") as report:
        report.write(f"{sample.SAID}\n\nNo harm.\n")
    again, both = batches("moments")
    assert again.endswith(f"\n\n{sample.SAID}\n\nNo harm.\n")
    assert set(both) == {"accuracy", "moments"}
    assert text.split("## Agreement")[1] in again


def test_numbering_by_numpy_is_the_same_as_the_compiled_one():
    rng = np.random.default_rng(0)
    seeds, neighbours = rng.permutation(50)[:20], rng.integers(0, 50, 300)
    ours, theirs = (
        way(seeds, neighbours) for way in (relabel_compiled, sample_speed.relabel_numpy)
    )
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.slow
def test_neighbour_searches_are_tuned_to_one_recall_and_set_beside_scrcl(tmp_path):
    points = np.random.default_rng(0).normal(size=(2_000, 12)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    out = tmp_path / "knn.md"
    knn.main(
        ["--points", str(tmp_path / "points.npy"), "--n", "600,1200", "--dims", "8", "--k", "5",
         "--systems", "scrcl,scrcl:ivf,scrcl:none,ivf", "--queries", "200", "--repeats", "2",
         "--out", str(out)]
    )  # fmt: skip
    text, found = out.read_text(), json.loads(out.with_suffix(".json").read_text())
    assert [size["n"] for size in found["sizes"]] == [600, 1_200]
    for size in found["sizes"]:
        ours, named, failed, peer = size["systems"].values()
        assert (ours["backend"], ours["recall"], ours["over_first"]) == ("exact", 1.0, 1.0)
        assert (named["backend"], len(named["seconds_of_runs"])) == ("ivf", 2)
        assert "backend must be" in failed["failed"]
        assert peer["reached"]
        assert 0.95 <= peer["recall"] <= 1
        assert peer["seconds"] > 0 < peer["over_first"]
        assert peer["peak_rss_bytes"] > 20e6
        assert f"| {size['n']:,} | ivf |" in text
    assert "scrcl" in found["exponents"]


def test_the_recall_of_a_search_counts_true_neighbours_once_and_never_the_point_itself():
    points = np.array([[0.0], [1.0], [2.0], [4.0], [8.0]], np.float32)
    truth = {"queries": np.array([0, 3]), "squared": np.array([4.0, 9.0])}
    assert knn_peers.recall_of(np.array([[1, 2], [2, 1]]), points, truth) == 1
    assert knn_peers.recall_of(np.array([[1, 1], [3, 2]]), points, truth) == 0.5
    assert knn_peers.recall_of(np.array([[4, -1], [0, 4]]), points, truth) == 0


def test_the_exponent_is_the_slope_of_the_logarithms():
    assert knn.exponent([10, 100, 1_000], [2.0, 20 * 10**0.25, 200 * 10**0.5]) == pytest.approx(
        1.25
    )
    assert knn.exponent([10], [2.0]) is None


@pytest.mark.slow
def test_gene_graphs_are_compared_by_metric_with_all_cells_and_between_halves(tmp_path):
    (tmp_path / "data").mkdir()
    make_cells(n_cells=300).write_h5ad(tmp_path / "data" / "plain.h5ad")
    out = tmp_path / "genes.md"
    genes.main(["--data", str(tmp_path / "data"), "--comps", "8,150", "--out", str(out)])
    found = json.loads(out.with_suffix(".json").read_text())["sets"]["plain"]
    assert [row["metric"] for row in found["rows"]] == [m for m in genes.METRICS for _ in range(3)]
    for row in found["rows"]:
        assert 0 < row["agrees"] <= 1
        assert 0 < row["halves_agree"] < 1
        if row["by"] == "all cells" or (
            row["by"] == "sketch of 150" and row["metric"] != "euclidean"
        ):
            assert row["agrees"] > 0.99
    assert out.read_text().count("| plain | 300 | 150 |") == 3


def test_the_order_of_cells_is_measured_by_list_and_read(tmp_path):
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=5, size=(20, 6))
    np.save(
        tmp_path / "points.npy", centres[rng.integers(20, size=1_500)] + rng.normal(size=(1_500, 6))
    )
    out = tmp_path / "order.md"
    order.main(
        [
            *["--points", str(tmp_path / "points.npy"), "--n", "1000", "--dims", "6", "--k", "5"],
            *["--reads", "64", "--lists", "32,64", "--out", str(out)],
        ]
    )
    rows = {one["order"]: one for one in json.loads(out.with_suffix(".json").read_text())}
    assert list(rows) == ["as they came", "shuffled", "lists of 32", "lists of 64"]
    assert rows["lists of 64"]["inside"] > 2 * rows["shuffled"]["inside"]
    assert "| lists of 64 | 64 |" in out.read_text()


@pytest.fixture
def trained_run(tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    config = load_config(settings=[*FAST_SETTINGS, "device=cpu"])
    run_files([tmp_path / "cells.h5ad"], tmp_path / "run", config, until="train")
    return tmp_path / "run"


@pytest.mark.slow
def test_steps_are_measured_beside_ceilings_and_the_dense_form(trained_run, tmp_path):
    out = tmp_path / "table.md"
    arguments = ["--runs", str(trained_run), "--steps", "3", "--settings", '{"batch_cells": 60}']
    arguments += ["--variants", "uniform;uniform, bfloat16;pieces of 128", "--sizes", "50,200,9000"]
    (tmp_path / "before.md").write_text("## Before\n\nslower")
    train.main([*arguments, "--note", str(tmp_path / "before.md"), "--out", str(out)])
    record = json.loads(out.with_suffix(".json").read_text())
    assert [row["variant"] for row in record["steps"]] == list(train.VARIANTS)[:3]
    for row in record["steps"]:
        assert row["seeds"] == 60
        assert row["anchors"] >= 60
        assert 0 <= row["waiting"] < 1
        assert row["peak_rss_bytes"] > 10**8
        assert row["ceilings"]["copy_gbytes"] > 0
        assert row["operators"][-1]["name"] == "others"
    assert [row["n_cells"] for row in record["dense"]] == [50, 200]
    assert all(row["relative_difference"] < 1e-3 for row in record["dense"])
    text = out.read_text()
    assert "| 240 | pieces of 128 |" in text
    assert text.endswith("## Before\n\nslower\n")


def test_without_a_gpu_its_steps_are_skipped(capsys, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    train.main(["--runs", str(tmp_path), "--device", "cuda"])
    assert "skipped" in capsys.readouterr().out


@pytest.mark.slow
def test_predictions_are_set_beside_a_joint_run_and_a_type_held_out(tmp_path, quick):
    (tmp_path / "data").mkdir()
    make_cells(n_cells=400, n_types=6).write_h5ad(tmp_path / "data" / "plain.h5ad")
    make_cells(spatial=True).write_h5ad(tmp_path / "data" / "tissue.h5ad")
    out = tmp_path / "predict.md"
    arguments = ["--data", str(tmp_path / "data"), "--out", str(out), "--date", "today", *quick]
    predict.main(arguments)
    (row,) = json.loads(out.with_suffix(".json").read_text())
    assert (row["n_cells"], row["n_new"], row["k"]) == (400, 80, 6)
    assert row["same_cells"] > 0.9
    assert row["predicted"] > 0.3
    assert 0 <= row["novel_auc"] <= 1
    assert "| plain | 80 of 400 | 6 |" in out.read_text()
    assert "tissue" not in out.read_text()


@pytest.mark.slow
def test_figures_of_batches_move_with_the_shift_and_back_with_balance(tmp_path, quick):
    out = tmp_path / "batches.md"
    sizes = ["--cells", "400", "--genes", "300", "--types", "4", "--seeds", "0", "--date", "today"]
    bench_batches.main(["--out", str(out), "--shifts", "0,1", *sizes, *quick])
    rows = json.loads(out.with_suffix(".json").read_text())
    of = {(row["shift"], row["balanced"]): row for row in rows}
    mixed, apart, balanced = of[0, False], of[1, False], of[1, True]
    for name in ("across_graph", "effective_graph", "across_embedding", "effective_embedding"):
        assert apart[name] < mixed[name]
        assert apart[name] < balanced[name]
    assert apart["nmi"] > mixed["nmi"]
    assert apart["entropy"] < mixed["entropy"]
    assert "| 1 | balanced | 0 |" in out.read_text()


@pytest.mark.slow
def test_ways_of_confidence_are_set_beside_each_other(tmp_path, quick):
    (tmp_path / "data").mkdir()
    cells = make_cells(n_types=5)
    kinds = cells.obs["cell_type"].astype(str).to_numpy()
    kinds[:20] = np.random.default_rng(0).permutation(kinds[:20])
    cells.obs["cell_type"] = kinds
    cells.write_h5ad(tmp_path / "data" / "plain.h5ad")
    make_cells(spatial=True).write_h5ad(tmp_path / "data" / "tissue.h5ad")
    out = tmp_path / "confidence.md"
    given = ["--data", str(tmp_path / "data"), "--out", str(out), "--seeds", "0", "--date", "today"]
    confidence.main([*given, *quick])
    (row,) = json.loads(out.with_suffix(".json").read_text())
    assert (row["dataset"], row["n_cells"]) == ("plain", 240)
    assert len(row["auc"]) == 9
    assert all(0 <= value <= 1 for value in row["auc"].values())
    assert "| margin and share (written) |" in out.read_text()


def test_a_cell_is_right_where_it_has_the_label_matched_to_its_cluster():
    found = confidence.matched(np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0, 0]))
    assert found.tolist() == [True, True, False, True, True, False]


@pytest.fixture
def compared(tmp_path):
    (tmp_path / "data").mkdir()
    make_cells().write_h5ad(tmp_path / "data" / "plain.h5ad")

    def run(*sections):
        out = tmp_path / "equivalence.md"
        options = {"data": tmp_path / "data", "out": out, "only": ",".join(sections), "seeds": "0,1",
                   "stop-seeds": 0, "steps": 20, "long-steps": 70, "first": 20, "batch": 100,
                   "batch-sizes": "60,120", "pieces": 10, "points": "0,5", "copies-of": "plain",
                   "copies-cells": 200, "copies": "1,2", "copies-batch": 128}  # fmt: skip
        equivalence.main(
            [str(part) for key, value in options.items() for part in (f"--{key}", value)]
        )
        return out.read_text(), json.loads(out.with_suffix(".json").read_text())

    return run


@pytest.mark.slow
def test_clusters_of_mini_batches_are_set_beside_those_of_full_ones(compared):
    text, found = compared("accuracy")
    rows = found["accuracy"]["found"]
    assert [row["mode"] for row in rows] == ["full", "moments", "sampled"] * 2
    assert [row["batch_cells"] for row in rows[:3]] == [240, 100, 100]
    assert all(row["ari"] > 0.9 and sum(row["losses"].values()) > 0 for row in rows)
    assert "| plain | 240 | 100 |" in text
    assert "## Clusters after equal steps" in text


@pytest.mark.slow
def test_losses_along_training_are_set_beside_those_of_full_batches(compared):
    text, found = compared("curves")
    rows = found["curves"]["found"]
    assert [row["mode"] for row in rows] == ["full", "moments", "sampled"]
    assert all(len(row["losses"]) == 3 and row["losses"][-1] < row["losses"][0] for row in rows)
    assert "| 20 |" in text


@pytest.mark.slow
def test_the_stop_is_set_beside_fixed_steps_and_the_best_and_other_sections_stay(compared):
    compared("copies")
    text, found = compared("stopping")
    for row in found["stopping"]["found"]:
        assert [int(step) for step in row["ari"]] == list(range(20, 71, 10))
        assert [look["step"] for look in row["kept"]] == list(range(20, 71, 10))
        assert str(row["stopped_at"]) in row["ari"]
    assert "| plain | full | 1 |" in text
    assert [row["n_cells"] for row in found["copies"]["found"]] == [200, 400]
    assert all(row["ari"] > 0.9 for row in found["copies"]["found"])


@pytest.mark.slow
def test_gradients_of_larger_batches_are_nearer_to_the_full_one_and_sampled_ones_unbiased(compared):
    _, found = compared("gradients")
    rows = found["gradients"]["found"]
    cosine = {
        (row["after_steps"], row["batch_cells"], row["piece_cells"], row["negatives"]): row[
            "cosine"
        ]
        for row in rows
    }
    for steps in (0, 5):
        for means in ("moments", "sampled", "batch"):
            small, large = cosine[steps, 60, 1, means], cosine[steps, 120, 1, means]
            assert 0.8 < small < large <= 1
            assert cosine[steps, 60, 10, means] < small
    assert all(row["bias"] < 0.02 for row in rows if row["negatives"] == "sampled")


def test_resampled_versions_are_what_they_are_called():
    cells = make_cells()
    sizes = cells.obs["cell_type"].value_counts()
    found = dict(resampled.versions(cells, seed=0))
    assert set(found) == {"half", "flat", "steep", "thin"}  # of four types, none is left out
    assert 0.4 < found["half"].n_obs / cells.n_obs < 0.6
    assert 0.45 < found["thin"].X.sum() / cells.X.sum() < 0.55
    uneven = {name: one.obs["cell_type"].value_counts() for name, one in found.items()}
    assert uneven["steep"].std() / uneven["steep"].mean() > sizes.std() / sizes.mean()
    assert all((counts >= resampled.LEAST_CELLS).all() for counts in uneven.values())


def test_resampled_files_leave_tissues_out_and_can_be_read(tmp_path):
    (tmp_path / "data").mkdir()
    make_cells().write_h5ad(tmp_path / "data" / "plain.h5ad")
    make_cells(spatial=True).write_h5ad(tmp_path / "data" / "tissue.h5ad")
    resampled.main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "made")])
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert names == [f"plain__{name}.h5ad" for name in ("flat", "half", "steep", "thin")]


def test_simulated_files_hold_the_types_that_they_are_named_by(tmp_path):
    sizes = ["--cells", "300", "--genes", "200", "--types", "3,5", "--seeds", "2"]
    simulated.main(["--out", str(tmp_path), *sizes])
    import anndata

    made = {path.stem: anndata.read_h5ad(path) for path in tmp_path.glob("*.h5ad")}
    assert sorted(made) == ["sim03_0", "sim03_1", "sim05_0", "sim05_1"]
    assert {name: cells.obs["cell_type"].nunique() for name, cells in made.items()} == {
        "sim03_0": 3, "sim03_1": 3, "sim05_0": 5, "sim05_1": 5
    }  # fmt: skip
    one, other = (made[name].X.toarray() for name in ("sim03_0", "sim03_1"))
    assert not np.array_equal(one, other)
