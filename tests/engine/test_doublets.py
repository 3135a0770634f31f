"""The stage of doublet scores, on a run of few stages, and the threshold of the scores."""

import numpy as np
import pytest

from scrcl.engine.config import RunConfig
from scrcl.engine.folder import RunFolder, read_manifest
from scrcl.engine.open_run import OpenRun
from scrcl.engine.run import run_files
from scrcl.engine.stages.doublets import DOUBLET_SCORES, DoubletsStage, _parts
from scrcl.engine.stages.read import ReadStage
from scrcl.engine.stages.stats import StatsStage
from scrcl.errors import InputError
from scrcl.prep.doublets import valley_between_modes
from tests.cells import make_cells

STAGES = (ReadStage(), StatsStage(), DoubletsStage())


def with_doublets(**settings):
    return RunConfig(doublets={"find": True}, **settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run up to doublets: 300 cells of which each hundredth has the counts of two, and 20 of another batch."""
    folder = tmp_path_factory.mktemp("doublets")
    cells = make_cells(320, 200)
    counts = cells.X.toarray()
    mixed = np.arange(0, 300, 20)
    counts[mixed] += counts[mixed + 1]
    cells.X = type(cells.X)(counts)
    cells.obs["lane"] = np.repeat(["first", "second"], [300, 20])
    cells.write_h5ad(folder / "cells.h5ad")
    config = with_doublets(batch_key="lane")
    run_files([folder / "cells.h5ad"], folder / "out", config, stages=STAGES, until="doublets")
    return OpenRun(RunFolder(folder / "out", read_manifest(folder / "out")), STAGES, config)


def test_each_cell_of_a_large_enough_sample_has_a_score(run):
    scores = run.open(DOUBLET_SCORES)
    assert np.isfinite(scores[:300]).all()
    assert np.isnan(scores[300:]).all()
    assert run.stages[-1].keys(run).obs["scrcl_doublet_score"].tolist() == pytest.approx(
        scores.tolist(), nan_ok=True
    )


def test_the_record_and_the_report_say_what_was_scored(run):
    first, second = run.record(DoubletsStage).samples
    assert (first.sample, first.n_scored, first.n_parts) == ("first", 300, 1)
    assert (second.n_scored, second.median) == (0, None)
    assert "fewer than 50" in second.why_not
    section = run.stages[-1].section(run)
    assert any("300 scored cells" in note for note in section.notes)
    assert any("second: fewer than 50 cells" in note for note in section.notes)
    assert section.figures[0].content.count("<polygon") == 1
    assert [row[0] for row in section.table.rows] == ["first", "second"]


def test_a_large_sample_is_cut_into_random_parts_of_one_size():
    cells = np.arange(5, 105)
    parts = list(_parts(cells, 30, 0, "a"))
    assert [len(part) for part in parts] == [25] * 4
    assert np.array_equal(np.sort(np.concatenate(parts)), cells)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert np.array_equal(next(_parts(cells, 100, 0, "a")), cells)


@pytest.mark.parametrize(
    ("settings", "word"), [({"spatial": True}, "spot"), ({"features": {"values": "log"}}, "counts")]
)
def test_tissues_and_log_values_are_refused(settings, word):
    with pytest.raises(InputError, match=word):
        DoubletsStage().check(None, with_doublets(**settings))


def test_the_threshold_lies_between_the_two_modes():
    rng = np.random.default_rng(0)
    both = np.concatenate([rng.normal(0.1, 0.02, 3_000), rng.normal(0.5, 0.05, 1_000)])
    assert 0.16 < valley_between_modes(both) < 0.4
    falling = np.repeat(np.arange(256.0), np.arange(256, 0, -1))
    assert valley_between_modes(falling) is None
