"""Several files are the batches of a run whose settings ask for batches and name none."""

import pytest

from scrcl.engine.found_batches import with_found
from scrcl.engine.load_config import load_config
from scrcl.engine.open_run import open_run
from scrcl.engine.plan import plan_run
from scrcl.engine.run import run_files
from scrcl.engine.stages.correct import CorrectStage
from scrcl.errors import InputError
from scrcl.io.open import open_input
from tests.cells import FAST, write_slices

HARMONY = {"correct": {"method": "harmony"}}


@pytest.fixture
def files(tmp_path):
    return write_slices(tmp_path)


def found(inputs, **settings):
    config, notes = with_found(load_config(overrides=settings), open_input(inputs))
    return config.batch_key, notes


@pytest.mark.parametrize(
    ("settings", "asked"),
    [(HARMONY, "correct.method = harmony")],
)
def test_files_are_the_batches_of_who_asks_for_batches_without_naming_any(files, settings, asked):
    key, (note,) = found(files, **settings)
    assert key == "sample"
    assert note.startswith("The 2 inputs are taken for batches (`batch_key='sample'`), since ")
    assert f"since {asked} asks for batches" in note
    assert found(files, batch_key="cell_type", **settings) == ("cell_type", ())
    with pytest.raises(InputError, match=f"^{asked} must go with batch_key; got none"):
        found(files[:1], **settings)


def test_nothing_is_corrected_unasked_and_slices_are_batches_already(files):
    assert found(files) == (None, ())
    assert found(files, correct={"method": "none"}) == (None, ())
    key, (note,) = found(files, spatial=True, **HARMONY)
    assert key == "sample"
    assert "taken for slices" in note


def test_the_run_corrects_for_the_files_and_is_found_finished_again(files, tmp_path):
    config = load_config(overrides={**FAST, **HARMONY, "n_clusters": 4, "device": "cpu"})
    assert any("taken for batches" in note for note in plan_run(files, config).notes)
    run_files(files, tmp_path / "out", config)
    run = open_run(tmp_path / "out")
    assert run.config.batch_key == "sample"
    assert run.record(CorrectStage).n_corrected == 2
    notes = run.to_anndata().uns["scrcl"]["notes"]
    assert sum("taken for batches" in note for note in notes) == 1
    assert not any("If they are batches" in note for note in notes)
    assert run_files(files, tmp_path / "out", config).found_finished
