"""Fingerprints: equal for equal content, and for nothing else."""

from pathlib import Path

import numpy as np
import pytest

from scrcl._settings import Settings
from scrcl.engine.fingerprint import fingerprint_of, fingerprint_of_array, fingerprints_of_files
from scrcl.errors import InputError

VALUES = np.arange(12, dtype=np.float32)


class WithFiles(Settings):
    table: Path | None = None
    seed: int = 0


def test_a_fingerprint_does_not_depend_on_the_order_of_names():
    assert fingerprint_of({"a": 1, "b": [2]}) == fingerprint_of({"b": [2], "a": 1})
    others = [{"a": 2, "b": [2]}, {"a": 1, "b": [2, 2]}, {"a": 1}, {"a": "1", "b": [2]}]
    assert len({fingerprint_of(each) for each in [{"a": 1, "b": [2]}, *others]}) == 5
    assert fingerprint_of("ab") != fingerprint_of("a", "b")


def test_folders_of_earlier_runs_are_known_again():
    # Another hash would start all runs over that wait to be resumed.
    assert fingerprint_of({"seed": 0}, Path("a")) == "ada063029f3b1ffd9bdb597d0fd3c0ee"
    assert fingerprint_of_array(VALUES) == "48969a397345353c07231d18bb22b8c6"


def test_arrays_are_known_by_values_shape_and_dtype():
    wide = np.zeros((12, 3), np.float32)
    wide[:, 1] = VALUES
    fortran = np.asfortranarray(VALUES.reshape(3, 4))
    assert fingerprint_of_array(wide[:, 1]) == fingerprint_of_array(VALUES)
    assert fingerprint_of_array(fortran) == fingerprint_of_array(VALUES.reshape(3, 4))
    changed = VALUES.copy()
    changed[-1] += 1
    others = [
        VALUES.reshape(3, 4),
        VALUES.reshape(4, 3),
        VALUES.view(np.int32),
        VALUES[:11],
        changed,
    ]
    assert len({fingerprint_of_array(each) for each in [VALUES, *others]}) == 6


def test_files_count_by_their_content_and_not_by_their_name(tmp_path):
    for name, content in (("a.csv", "x"), ("b.csv", "x"), ("c.csv", "y")):
        (tmp_path / name).write_text(content)
    a, b, c = (fingerprints_of_files(WithFiles(table=tmp_path / f"{n}.csv")) for n in "abc")
    assert a == b != c
    assert list(a) == ["tables"]
    assert list(a["tables"]) == ["table"]
    assert fingerprints_of_files(WithFiles()) == {}
    with pytest.raises(InputError, match=r"table must be a readable file; got .*d\.csv \(No such"):
        fingerprints_of_files(WithFiles(table=tmp_path / "d.csv"))
