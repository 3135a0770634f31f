import numpy as np

from scrcl.engine.usage import UsageMeter


def test_a_peak_before_the_end_is_counted():
    with UsageMeter() as quiet:
        pass
    with UsageMeter() as meter:
        np.ones(25_000_000)  # 200 MB, freed at once
    assert meter.usage.peak_rss_bytes - quiet.usage.peak_rss_bytes > 150e6
    assert meter.usage.seconds > 0


def test_bytes_read_are_counted(tmp_path):
    file = tmp_path / "some"
    file.write_bytes(b"x" * 3_000_000)
    with UsageMeter() as meter:
        file.read_bytes()
    assert 3_000_000 <= meter.usage.bytes_read < 4_000_000
