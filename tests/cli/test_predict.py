import sys

import anndata
import pytest

from scrcl.cli.main import main
from tests.cells import FAST_SETTINGS, make_cells


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Output folder of a finished run on 240 cells."""
    from scrcl.engine.load_config import load_config
    from scrcl.engine.run import run_files

    folder = tmp_path_factory.mktemp("atlas")
    make_cells().write_h5ad(folder / "atlas.h5ad")
    config = load_config(settings=[*FAST_SETTINGS, "n_clusters=4", "device=cpu"])
    return run_files([folder / "atlas.h5ad"], folder / "run", config).out


@pytest.fixture
def scrcl(monkeypatch, capsys):
    """Run the command line; returns exit code, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["scrcl", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_prediction_shows_clusters_and_confidence_and_can_be_scored(
    scrcl, finished, cells, tmp_path
):
    to = tmp_path / "predicted"
    code, said, _ = scrcl("predict", finished, cells, "-o", to, "--format", "zarr")
    assert code == 0
    assert "embed: done in" in said
    assert "confidence" in said
    assert "result.zarr" in said
    found = anndata.read_zarr(to / "result.zarr")
    assert found.obs["scrcl_confidence"].between(0, 1).all()
    code, said, _ = scrcl("evaluate", to, "--labels", "cell_type", "--json")
    assert code == 0
    assert '"n_cells": 240' in said


def test_quiet_prints_the_result_alone(scrcl, finished, cells, tmp_path):
    code, said, _ = scrcl("predict", finished, cells, "-o", tmp_path / "to", "--quiet")
    assert code == 0
    assert "done in" not in said
    assert "report.html" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "{tmp}/none.h5ad", "-o", "{tmp}/to"], "none.h5ad"),
        (["{tmp}", "{cells}", "-o", "{tmp}/to"], "run.json"),
        (["{run}", "{cells}", "-o", "{run}"], "apart from"),
        (["{run}", "{cells}", "-o", "{run}/to"], "apart from"),
        (["{run}", "{cells}", "-o", "{tmp}"], "apart from the input"),
        (["{run}", "{cells}", "-o", "{cells}"], "OUT"),
        (["{run}", "{cells}", "-o", "{tmp}/to", "--memory", "1MB"], "memory"),
        (["{run}", "{cells}", "-o", "{tmp}/to", "--layer", "missing"], "layer"),
        (["{run}", "{cells}", "-o", "{tmp}/to", "--device", "tpu"], "device"),
        (["{run}", "{cells}", "-o", "{tmp}/to", "--format", "csv"], "format"),
        (["{run}", "{cells}"], "out"),
    ],
)
def test_bad_input_ends_in_one_message_and_code_2(
    scrcl, finished, cells, tmp_path, arguments, message
):
    filled = [text.format(run=finished, cells=cells, tmp=tmp_path) for text in arguments]
    code, _, said = scrcl("predict", *filled)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.h5ad"]


def test_genes_of_another_species_are_refused(scrcl, finished, tmp_path):
    adata = make_cells()
    adata.var_names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
    adata.write_h5ad(tmp_path / "new.h5ad")
    code, _, said = scrcl("predict", finished, tmp_path / "new.h5ad", "-o", tmp_path / "to")
    assert code == 2
    assert "got 0. It has 'gene0' among them, the new cells 'ENSG00000000000'" in said
