import errno

import pytest

from scrcl.engine.pipeline import run_pipeline
from scrcl.engine.stage import Stage
from scrcl.errors import StoreError


def test_a_full_disk_is_named_and_finished_stages_are_kept(cells, tmp_path, config, monkeypatch):
    from scrcl.engine import pipeline

    def full(run, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    stages = [Stage(s.name, full) if s.name == "graph" else s for s in pipeline.STAGES]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "STAGES", stages)
        with pytest.raises(StoreError, match="room for the stage graph"):
            run_pipeline([cells], tmp_path / "out", config)
    folder = tmp_path / "out" / "stages"
    assert (folder / "reduce").is_dir()
    assert not (folder / "graph").exists()
    result = run_pipeline([cells], tmp_path / "out", config)
    assert result.report_path.exists()
