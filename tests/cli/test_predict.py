import anndata
import pytest

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


def test_a_prediction_shows_clusters_and_confidence_and_can_be_scored(
    scrcl, finished, cells, tmp_path
):
    to = tmp_path / "predicted"
    code, shown, _ = scrcl("predict", finished, cells, "-o", to, "--format", "zarr")
    assert code == 0
    assert "embed: done in" in shown
    assert "below 0.2 is low" in " ".join(shown.split())
    assert "result.zarr" in shown
    found = anndata.read_zarr(to / "result.zarr")
    assert found.obs["scrcl_confidence"].between(0, 1).all()
    code, shown, _ = scrcl("evaluate", to, "--labels", "cell_type", "--json")
    assert code == 0
    assert '"n_cells": 240' in shown


def test_quiet_prints_only_the_result(scrcl, finished, cells, tmp_path):
    code, shown, _ = scrcl("predict", finished, cells, "-o", tmp_path / "to", "--quiet")
    assert code == 0
    assert "done in" not in shown
    assert "report.html" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "{tmp}/none.h5ad", "-o", "{tmp}/to"], "none.h5ad"),
        (["{tmp}", "{cells}", "-o", "{tmp}/to"], "run.json"),
        (["{run}", "{cells}", "-o", "{run}"], "{run}"),
        (["{run}", "{cells}", "-o", "{run}/to"], "{run}/to"),
        (["{run}", "{cells}", "-o", "{tmp}"], "OUT"),
        (["{run}", "{cells}", "-o", "{cells}"], "OUT"),
        (["{run}", "{cells}", "-o", "{tmp}/to", "--memory", "1MB"], "memory"),
        (["{run}", "{cells}", "-o", "{tmp}/to", "--layer", "missing"], "layer"),
        (["{run}", "{cells}", "-o", "{tmp}/to", "--device", "tpu"], "device"),
        (["{run}", "{cells}", "-o", "{tmp}/to", "--format", "csv"], "format"),
        (["{run}", "{cells}"], "out"),
    ],
)
def test_bad_input_gives_one_line_and_code_2(scrcl, finished, cells, tmp_path, arguments, message):
    filled = [text.format(run=finished, cells=cells, tmp=tmp_path) for text in arguments]
    code, _, shown = scrcl("predict", *filled)
    assert code == 2
    assert message.format(run=finished) in shown
    assert shown.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.h5ad"]


def test_genes_of_another_species_are_refused(scrcl, finished, tmp_path):
    adata = make_cells()
    adata.var_names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
    adata.write_h5ad(tmp_path / "new.h5ad")
    code, _, shown = scrcl("predict", finished, tmp_path / "new.h5ad", "-o", tmp_path / "to")
    assert code == 2
    assert "'gene0'" in shown
    assert "'ENSG00000000000'" in shown
