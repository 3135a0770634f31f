"""Tables of an AnnData in memory: values of a column that a result holds as text."""

import numpy as np
import pandas as pd
import pytest

from scrcl.io.annotations import with_unique_names


@pytest.mark.parametrize(
    "values",
    [
        [["T", "B"], [], None],
        [{"T": 1}, {"B": 2}, {}],
        [np.arange(2), np.arange(3), np.nan],
        [1, "T", ["B"]],
    ],
)
def test_lists_and_mappings_of_a_column_become_text_and_the_table_stays_as_it_was(values):
    given = pd.DataFrame({"kept": [1.5, 2, 3]}, index=list("abc"))
    given["l"] = pd.Series(values, index=list("abc"), dtype=object)
    kept = with_unique_names(given, kind="cell", label="x")
    assert kept["l"].nunique() <= 3
    assert kept["kept"].tolist() == [1.5, 2, 3]
    shown = [str(v) if isinstance(v, list | dict | np.ndarray) else v for v in values]
    assert kept["l"].isna().tolist() == pd.isna(pd.Series(shown, dtype=object)).tolist()
    assert kept["l"].dropna().tolist() == [v for v in shown if not pd.isna(v)]
    assert given["l"].iloc[0] is values[0]
