import gc

import numpy as np

from scrcl.engine.usage import UsageMeter, give_back_freed, resident_bytes


def test_a_peak_before_the_end_is_counted():
    # What earlier tests left must not be given back while this one measures.
    gc.collect()
    give_back_freed()
    with UsageMeter() as meter:
        before = resident_bytes()
        np.ones(25_000_000)  # 200 MB, freed at once
    assert meter.usage.peak_rss_bytes - before > 150e6
    assert meter.usage.seconds > 0


def test_bytes_read_are_counted(tmp_path):
    file = tmp_path / "some"
    file.write_bytes(b"x" * 3_000_000)
    with UsageMeter() as meter:
        file.read_bytes()
    assert 3_000_000 <= meter.usage.bytes_read < 4_000_000
