"""What differs between two runs is said in words that a reader understands."""

import pytest

from scrcl.engine.differences import difference, differing

SIZE = "240 cells and 1,500 genes"
FILE_THERE = f"its input is a file of {SIZE} there and"
HASH, OTHER = "c1db" * 8, "00ff" * 8
FILE = {"shape": [240, 1500], "bytes": 5, "layer": None, "content": HASH}
MEMORY = {"shape": [240, 1500], "blake2b": HASH}


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({"a": {"seed": 1}}, {"a": {"seed": 1}}, ""),
        (
            {"a": {"seed": 1}, "input": FILE},
            {"a": {}, "input": MEMORY},
            f"{FILE_THERE} an AnnData in memory of {SIZE} here",
        ),
        (
            {"batch_key": "donor", "input": FILE},
            {"batch_key": None, "input": FILE},
            "`batch_key` is 'donor' there and not given here",
        ),
        (
            {"batch_key": None, "sample_key": None},
            {"batch_key": "slice", "sample_key": "slice"},
            "`sample_key` is not given there and 'slice' here",
        ),
        (
            {"batch_key": "sample", "one_tissue": False, "sample_key": "sample"},
            {"batch_key": None, "one_tissue": True, "sample_key": None},
            "`one_tissue` is False there and True here",
        ),
        (
            {"layer": "raw", "input": {**FILE, "layer": "raw"}, "a": 1},
            {"layer": None, "input": FILE, "a": 2},
            "`layer` is 'raw' there and not given here",
        ),
        ({"input": FILE}, {"input": MEMORY}, f"{FILE_THERE} an AnnData in memory of {SIZE} here"),
        (
            {"input": FILE},
            {"input": {**FILE, "content": OTHER}},
            "the content of its input changed",
        ),
        (
            {"input": FILE},
            {"input": {"samples": [FILE, FILE], "shape": [480, 9]}},
            f"{FILE_THERE} 2 inputs of 480 cells and 9 genes here",
        ),
        ({"batches": HASH, "input": MEMORY}, {"input": MEMORY}, "batches changed"),
    ],
)
def test_the_difference_is_the_input_or_the_first_setting_or_a_content(there, here, words):
    assert difference(there, here) == words


def test_some_settings_may_differ():
    assert differing({"names": {"table": "a"}}, {"names": {}}) == ["names.table"]
    assert difference({"names": {"table": "a"}}, {"names": {}}, but=("names",)) == ""
