import errno

import pytest

from scrcl.engine.run import run_files
from scrcl.engine.stages import STAGES
from scrcl.engine.stages.graph import GraphStage
from scrcl.errors import StoreError


class FullDisk(GraphStage):
    error = OSError(errno.ENOSPC, "No space left on device")

    def run(self, context, folder):
        raise self.error


class FullDiskOfNumpy(FullDisk):
    error = OSError("160000 requested and 46064 written")


@pytest.mark.parametrize("full_disk", [FullDisk, FullDiskOfNumpy])
def test_a_full_disk_is_named_and_finished_stages_are_kept(full_disk, cells, tmp_path, config):
    stages = [full_disk() if stage.name == "graph" else stage for stage in STAGES]
    with pytest.raises(StoreError, match=r"disk of .*out"):
        run_files([cells], tmp_path / "out", config, stages=stages)
    folder = tmp_path / "out" / "stages"
    assert (folder / "reduce").is_dir()
    assert not (folder / "graph").exists()
    result = run_files([cells], tmp_path / "out", config)
    assert result.report_path.exists()
