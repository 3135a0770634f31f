import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import anndata
import numpy as np
import pytest

from tests.cells import fast, make_cells


def test_a_run_shows_its_clusters_and_can_be_scored(scrcl, cells, tmp_path):
    out = tmp_path / "out"
    code, shown, _ = scrcl("run", cells, "-o", out, *fast("--n-clusters", 4, "--memory", "3GB"))
    assert code == 0
    assert "report.html" in shown
    assert "train: done in" in shown
    assert "pseudotime" not in shown  # it was not asked for
    code, shown, _ = scrcl("evaluate", out, "--labels", "cell_type", "--json")
    assert code == 0
    scores = json.loads(shown)
    assert scores["n_cells"] == 240
    assert 0 < scores["ari"] <= 1
    code, shown, _ = scrcl("evaluate", out, "--labels", "cell_type")
    assert f"{scores['ari']:.3f}" in shown


def test_quiet_prints_only_the_result(scrcl, cells, tmp_path):
    _, shown, _ = scrcl("run", cells, "-o", tmp_path / "out", *fast("--quiet", "--n-clusters", 3))
    assert "done in" not in shown
    assert "report.html" in shown


def test_notes_come_last_and_a_finished_run_is_one_line(scrcl, cells, tmp_path):
    command = ["run", cells, "-o", tmp_path / "out", *fast("--n-clusters", 3)]
    command += ["--set", "cluster.algorithm=kmeans", "--set", "cluster.also=[9]"]
    _, shown, _ = scrcl(*command)
    assert "9 clusters of cluster.also" in shown.splitlines()[-1]
    assert shown.count("note: ") == 2
    assert "connected components" in shown.splitlines()[-2]
    _, again, _ = scrcl(*command)
    assert again.splitlines()[-1] == "note: 2 notes of earlier stages are in the report."
    assert again.count("found finished") == 1
    assert "peak memory" not in again
    first, second = (text[: text.index("note: ")] for text in (shown, again))
    assert second[second.index("\ncluster ") :] == first[first.index("\ncluster  cells") :]
    _, quiet, errors = scrcl(*command, "--quiet")
    assert quiet == again[again.index("\ncluster ") : again.index("note: ")]
    assert errors.startswith("note: ")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--resolution=1", "--n-clusters: number of clusters."),
        ("--n-pcs=9", "--set reduce.n_comps=...: number of principal components"),
    ],
)
def test_names_of_other_libraries_lead_to_the_option(scrcl, tmp_path, typed, meant):
    code, _, error = scrcl("run", "x.h5ad", "-o", tmp_path / "out", typed)
    assert code == 2
    assert f"In its place there is {meant}" in error
    assert "--preset" not in error
    _, _, error = scrcl("predict", "out", "x.h5ad", "-o", tmp_path / "out", typed)
    assert "No such option" in error
    assert "--n-clusters" not in error


def test_new_clusters_come_from_the_trained_model(scrcl, cells, tmp_path):
    out = tmp_path / "out"
    assert scrcl("run", cells, "-o", out, *fast("--quiet", "--n-clusters", 3))[0] == 0
    code, shown, _ = scrcl("run", cells, "-o", out, *fast("--n-clusters", 5, "--from", "cluster"))
    assert code == 0
    assert "read, stats, " in shown
    assert ": found finished" in shown
    assert json.loads((out / "run.json").read_text())["n_clusters"] == 5
    code, _, error = scrcl("run", cells, "-o", out, *fast("--from", "train"))
    assert code == 2
    assert "got 'train'" in error


def test_several_inputs_are_samples(scrcl, cells, tmp_path):
    other = tmp_path / "other.h5ad"
    make_cells(seed=1)[:, :120].copy().write_h5ad(other)
    code, shown, _ = scrcl("run", cells, other, "-o", tmp_path / "out", *fast("--n-clusters", 4))
    assert code == 0
    assert "2 samples of 120 to 150 genes on the genes in all samples: 120." in shown
    found = anndata.read_h5ad(tmp_path / "out" / "result.h5ad")
    assert found.shape == (480, 120)
    assert found.obs["sample"].value_counts().to_dict() == {"cells": 240, "other": 240}


def test_options_choose_slices(scrcl, tmp_path):
    adata = make_cells(spatial=True)
    adata.obs["slice"] = ["a" if i % 3 else "b" for i in range(240)]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    options = ["--spatial", "--sample-key", "slice", "--set", "graph.radius=3"]
    common = ["run", tmp_path / "cells.h5ad", "-o", tmp_path / "out", "--until", "graph"]
    assert scrcl(*common, *fast(*options))[0] == 0
    ids = np.load(tmp_path / "out" / "stages" / "graph" / "ids.npy")
    of_b = np.arange(240) % 3 == 0
    assert not ((of_b[ids] != of_b[:, None]) & (ids >= 0)).any()
    assert scrcl("plan", tmp_path / "cells.h5ad", *options)[0] == 0


def test_describe_shows_the_input_and_info_is_the_same_command(scrcl, cells):
    code, shown, _ = scrcl("describe", cells, "--json")
    described = json.loads(shown)
    assert code == 0
    assert (described["n_cells"], described["n_genes"]) == (240, 150)
    assert described["values"] == "counts"
    assert described["stored_values"] == make_cells().X.nnz
    assert scrcl("info", cells, "--json")[1] == shown
    _, shown, _ = scrcl("describe", cells)
    assert "density" in shown


def test_options_win_over_the_file(scrcl, cells, tmp_path):
    (tmp_path / "run.toml").write_text("seed = 3\nn_clusters = 9\n")
    out = tmp_path / "out"
    arguments = ["--config", tmp_path / "run.toml", "--n-clusters", 4]
    assert scrcl("run", cells, "-o", out, *fast(*arguments))[0] == 0
    text = (out / "config.toml").read_text()
    assert "seed = 3" in text
    assert "n_clusters = 4" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "{tmp}/none.h5ad", "-o", "{tmp}/out"], "none.h5ad"),
        (
            ["run", "{cells}", "-o", "{tmp}/out", "--n-clusters", "999"],
            "--n-clusters must be at most",
        ),
        (["run", "{cells}", "-o", "{tmp}/out", "--n-clusters", "some"], "--n-clusters must"),
        (["run", "{cells}", "-o", "{tmp}/out", "--layer", "missing"], "--layer must"),
        (["run", "{cells}", "-o", "{tmp}/out", "--spatial"], "or leave out --spatial."),
        (["run", "{cells}", "-o", "{tmp}/out", "--sample-key", "slice"], "--sample-key must"),
        (["run", "{cells}", "-o", "{tmp}/out", "--set", "graph.radius=2"], "Add --spatial"),
        (["run", "{cells}", "-o", "{tmp}/out", "--set", "graph.balanced=true"], "correct.method"),
        (["plan", "{cells}", "--batch-key", "donor"], "--batch-key must"),
        (["run", "{cells}", "-o", "{tmp}/out", "--memory", "1MB"], "--memory must be at least"),
        (["run", "{cells}", "-o", "{tmp}/out", "--set", "train.nothing=1"], "train.nothing"),
        (["run", "{cells}", "-o", "{tmp}/out", "--set", "train.lr=0"], "train.lr"),
        (
            ["run", "{cells}", "-o", "{tmp}/out", "--set", "train.minibatch_cells=0"],
            "minibatch_cells",
        ),
        (["run", "{cells}", "-o", "{tmp}/out", "--n-clusters", "1"], "--n-clusters"),
        (["run", "{cells}", "-o", "{tmp}/out", "--config", "{tmp}/none.toml"], "none.toml"),
        (["run", "{cells}", "-o", "{tmp}/out", "--n-neighbors", "999"], "Lower --n-neighbors"),
        (
            ["run", "{cells}", "-o", "{tmp}/out", "--set", "graph.n_neighbors=999"],
            "graph.n_neighbors",
        ),
        (
            ["run", "{cells}", "-o", "{tmp}/out", "--markers-table", "{tmp}/none.csv"],
            "--markers-table must be a file that exists",
        ),
        (
            ["run", "{cells}", "-o", "{tmp}/out", "--set", "markers_table=x"],
            "names.table, in Python names={'table': ...}?",
        ),
        (
            ["run", "{cells}", "-o", "{tmp}/out", "--set", "trian.lr=3"],
            "trian.lr must be a known setting; got 3. Did you mean train.lr?",
        ),
        (["run", "{cells}", "-o", "{cells}"], "OUT"),
        (["run", "{cells}", "-o", "{cells}/out"], "OUT"),
        (["run", "{cells}", "-o", "{tmp}"], "cells.h5ad"),
        (["run", "{cells}", "-o", "{tmp}/out", "--nothing"], "--nothing"),
        (["run", "{cells}", "-o", "{tmp}/out", "--format", "csv"], "format"),
        (["run", "{cells}", "-o", "{tmp}/out", "--device", "tpu"], "device"),
        (
            ["evaluate", "{tmp}", "--labels", "cell_type"],
            "(no run.json in it). Name the one that `scrcl run` made.",
        ),
        (["describe", "{tmp}/none.h5ad"], "none.h5ad"),
        (["run", "{cells}"], "-o / --out must be given: output folder."),
        (["run"], "INPUTS must be given: each an AnnData"),
        (
            ["evaluate", "{tmp}", "--table", "x.csv"],
            "--labels must be given: column with the labels",
        ),
        (["rename", "{tmp}"], "NAMES must be given: CSV file"),
    ],
)
def test_bad_input_gives_one_line_and_code_2(scrcl, cells, tmp_path, arguments, message):
    filled = [text.format(cells=cells, tmp=tmp_path) for text in arguments]
    code, _, shown = scrcl(*filled)
    assert code == 2
    assert message in shown
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.h5ad"]


def test_a_missing_label_column_is_named_with_the_existing_ones(scrcl, cells, tmp_path):
    out = tmp_path / "out"
    scrcl("run", cells, "-o", out, *fast("--quiet", "--n-clusters", 4))
    code, _, shown = scrcl("evaluate", out, "--labels", "celltype")
    assert code == 2
    assert "cell_type" in shown


def test_names_with_brackets_are_shown_unchanged(scrcl, tmp_path):
    adata = make_cells()
    adata.var_names = [f"[/red]{name}" for name in adata.var_names]
    adata.obs["[x]"] = 1
    adata.write_h5ad(tmp_path / "cells.h5ad")
    code, shown, _ = scrcl("info", tmp_path / "cells.h5ad")
    assert code == 0
    assert "[x]" in shown
    out = tmp_path / "out[v2]"
    code, shown, _ = scrcl(
        "run", tmp_path / "cells.h5ad", "-o", out, *fast("--quiet", "--n-clusters", 3)
    )
    assert code == 0
    assert "out[v2]" in shown
    assert "[/red]gene" in shown


def start(cells, out, *more):
    command = [sys.executable, "-m", "scrcl", "run", str(cells), "-o", str(out), *map(str, more)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(process, folder, pattern):
    while process.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.05)


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGUSR1, 75)])
def test_a_signal_in_training_saves_the_step_and_advises_how_to_resume(cells, tmp_path, by, code):
    out = tmp_path / "out"
    settings = [*fast("--n-clusters", 4), "--set", "train.steps=100000"]
    settings += ["--set", "train.checkpoint_every=50", "--set", "train.report_every=7"]
    process = start(cells, out, *settings)
    wait_for(process, out, "checkpoints/step-*.ckpt")
    process.send_signal(by)
    shown, errors = process.communicate(timeout=120)
    assert process.returncode == code
    assert (
        errors.strip().splitlines()[-1]
        == f"error: interrupted by {by.name}. Repeat the same command to resume."
    )
    last = max(path.name for path in (out / "checkpoints").glob("step-*.ckpt"))
    assert f"Training stops after step {int(last[5:13])}, which is saved" in shown


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
def test_a_signal_outside_of_training_leaves_only_whole_stages(cells, tmp_path):
    out = tmp_path / "out"
    process = start(cells, out, *fast("--n-clusters", 4))
    wait_for(process, out, "stages/stats")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert not list(out.rglob("*.partial"))
    finished = {record["name"] for record in json.loads((out / "run.json").read_text())["stages"]}
    assert "cluster" not in finished
    again = start(cells, out, *fast("--n-clusters", 4), "--until", "features")
    shown, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert re.search("read.*: found finished", shown)


def on_two_ranks(cells, out, *more):
    """Start the same command twice, with the variables that torchrun sets; returns what each ended with."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "scrcl", "run", cells, "-o", out, *more]
    processes = [
        subprocess.Popen(
            [*map(str, command)], env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    return [(*process.communicate(timeout=120), process.returncode) for process in processes]


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_two_processes_give_the_result_of_one(scrcl, cells, tmp_path):
    mini = ["--set", "train.minibatch_cells=64"]
    ended = on_two_ranks(cells, tmp_path / "two", *fast("--n-clusters", 4, *mini))
    assert [code for _, _, code in ended] == [0, 0], ended
    assert sum(shown.count("report.html") for shown, _, _ in ended) == 1
    assert scrcl("run", cells, "-o", tmp_path / "one", *fast("--n-clusters", 4, *mini))[0] == 0
    stages = {name: tmp_path / name / "stages" for name in ("one", "two")}
    embeddings = [np.load(each / "embed" / "embedding.npy") for each in stages.values()]
    assert np.allclose(*embeddings, atol=1e-5)
    labels = [np.load(each / "cluster" / "labels.npy") for each in stages.values()]
    assert np.array_equal(*labels)
    records = json.loads((tmp_path / "two" / "run.json").read_text())["stages"]
    train = next(record for record in records if record["name"] == "train")
    assert (train["n_ranks"], train["n_batches"]) == (2, 4)
    again = scrcl("run", cells, "-o", tmp_path / "two", *fast("--n-clusters", 4, *mini))
    assert "inputs, train, embed" in again[1]


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_bad_input_ends_all_processes(cells, tmp_path):
    ended = on_two_ranks(tmp_path / "none.h5ad", tmp_path / "out")
    assert [code for _, _, code in ended] == [2, 2]
    assert any("none.h5ad" in errors for _, errors, _ in ended)
    assert not (tmp_path / "out").exists()


def test_the_version_is_printed(scrcl):
    from scrcl import __version__

    assert scrcl("--version")[1].strip() == __version__


def test_the_command_line_starts_without_large_libraries():
    code = (
        "import sys, scrcl.cli.main; print(*({'dask', 'pandas', 'scipy', 'torch', 'anndata', 'zarr'}"
        " & {*sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not found.stdout.split()
