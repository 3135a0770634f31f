from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from scrcl.engine.evaluate import score
from scrcl.errors import InputError


def test_a_perfect_clustering_scores_one_under_any_names():
    labels = np.array(["b", "a", "a", "c", "b"])
    clusters = np.array([7, 2, 2, 0, 7])
    scores = score(clusters, labels)
    assert [scores[name] for name in ("acc", "nmi", "ari", "macro_f1")] == [1, 1, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_accuracy_is_that_of_the_best_matching(pairs):
    clusters, labels = np.array(pairs).T
    names = range(4)
    best = max(
        np.mean(np.array([matching[c] for c in clusters]) == labels)
        for matching in permutations(names)
    )
    assert score(clusters, labels)["acc"] == pytest.approx(best)


def test_macro_f1_is_scikit_learns_under_the_matching():
    labels = np.array([0] * 6 + [1] * 3 + [2] * 2)
    clusters = np.array([5, 5, 5, 5, 9, 9, 9, 9, 9, 5, 7])
    renamed = np.select([clusters == 5, clusters == 9], [0, 1], 2)
    assert score(clusters, labels)["macro_f1"] == pytest.approx(
        f1_score(labels, renamed, average="macro")
    )


def test_a_label_without_a_cluster_counts_zero():
    assert score([0, 0, 0, 0], ["a", "a", "b", "b"])["macro_f1"] == pytest.approx((2 / 3) / 2)


def test_cells_without_a_label_are_left_out():
    scores = score([0, 1, 1, 0], ["a", "b", None, np.nan])
    assert (scores["n_cells"], scores["ari"]) == (2, 1)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_missing_label_in_a_list_of_text_is_none(missing):
    scores = score([0, 0, 1, 1], ["a", missing, "b", missing])
    assert (scores["acc"], scores["n_cells"], scores["n_labels"]) == (1.0, 2, 2)


def test_labels_with_another_index_are_compared_cell_by_cell():
    labels = pd.Series(["a", "a", "b"], index=["z", "y", "x"], dtype="category")
    assert score(pd.Categorical([1, 1, 0]), labels)["ari"] == 1.0


@pytest.mark.parametrize("labels", ["abc", np.zeros((3, 2)), 5])
def test_labels_that_are_not_one_value_for_each_cell_are_refused(labels):
    with pytest.raises(InputError, match=r"labels .*one value"):
        score([0, 1, 1], labels)


def test_lengths_that_differ_and_labels_that_are_all_missing_are_refused():
    with pytest.raises(InputError, match=r"\(2\); got 1"):
        score([0, 1], ["a"])
    with pytest.raises(InputError, match=r"labels .*got none"):
        score([0, 1], [None, None])
