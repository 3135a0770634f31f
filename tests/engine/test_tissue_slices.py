"""Domains of one slice: a shift between slices, or a domain that no other slice has."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrcl.cluster import count_domains
from scrcl.engine.stages.correct_fit import blocks_of
from scrcl.engine.stages.tissue import _slice_notes
from scrcl.engine.stages.tissue_slices import JoinedSlices, domains_apart
from tests.engine.test_tissue import run


def parts(places, n=30):
    """Return points around the place of each (domain, slice), with their domains and slices: 0 and 1 are large."""
    rng = np.random.default_rng(0)
    sizes = [n if key[0] > 1 else 4 * n for key in places]
    points = [
        rng.normal(place, 0.3, (size, 2))
        for place, size in zip(places.values(), sizes, strict=True)
    ]
    domains, slices = np.repeat(np.array(list(places)), sizes, axis=0).T
    return np.concatenate(points).astype(np.float32), domains, slices.astype(np.int32)


# Three slices that share two domains; each slice is shifted by about 1 from the others.
SHARED = {
    (domain, piece): np.array([10.0 * domain, 0]) + shift
    for domain in (0, 1)
    for piece, shift in enumerate(([0, 0], [1, 0], [0, 1]))
}


def test_a_domain_of_one_slice_far_from_all_others_is_its_own():
    points = parts({**SHARED, (2, 1): [5, 5]})
    assert domains_apart(*points).tolist() == [2]


def test_a_piece_of_a_domain_that_lies_apart_by_the_shift_of_its_slice_is_not():
    moved = {key: place for key, place in SHARED.items() if key != (1, 2)}
    assert domains_apart(*parts({**moved, (2, 2): [10, 1]})).tolist() == []
    both = parts({**moved, (2, 2): [10, 1], (3, 0): [5, 8]})
    assert domains_apart(*both).tolist() == [3]


def test_domains_that_several_slices_have_by_themselves_may_be_one_that_differs():
    assert domains_apart(*parts({**SHARED, (2, 1): [5, 5], (3, 1): [5, 9]})).tolist() == [2, 3]
    assert domains_apart(*parts({**SHARED, (2, 1): [5, 5], (3, 2): [5, 9]})).tolist() == []


def test_where_many_cells_are_in_domains_of_one_slice_the_shift_is_not_known():
    small = {**SHARED, (2, 1): [5, 5]}
    points, domains, slices = parts(small)
    again = np.flatnonzero(domains == 2)
    more = np.concatenate([np.arange(len(domains)), np.repeat(again, 6)])
    assert domains_apart(points[more], domains[more], slices[more]).tolist() == []


def test_slices_that_share_hardly_a_domain_show_no_shift():
    apart = {(0, 0): [0, 0], (1, 1): [5, 5], (2, 2): [9, 0], (3, 0): [0, 9], (3, 1): [0, 10]}
    assert domains_apart(*parts(apart)).tolist() == []
    whole = {**SHARED, (2, 3): [5, 9], (3, 3): [9, 9]}  # a slice without a domain of others
    assert domains_apart(*parts(whole)).tolist() == []


def test_no_domain_of_one_slice_and_no_two_parts_are_no_fault():
    assert domains_apart(*parts(SHARED)).tolist() == []
    points, domains, slices = parts({(0, 0): [0, 0], (1, 1): [5, 5]})
    assert domains_apart(points, domains, slices).tolist() == []


def banded(bands, *, n=18, n_genes=80):
    """Return square slices of bands; each band is a kind of cells, and each slice has factors of its own."""
    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.5, 1, (4, n_genes)) + 0.05
    x, y = np.divmod(np.arange(n * n), n)
    counts = []
    for own in bands:
        means = profiles[np.array(own)[x * len(own) // n]] * np.exp(rng.normal(0, 0.2, n_genes))
        counts.append(rng.poisson(400 * means / means.sum(axis=1, keepdims=True)))
    names = np.repeat([f"slice {i}" for i in range(len(bands))], n * n)
    return anndata.AnnData(
        sparse.csr_matrix(np.concatenate(counts).astype(np.float32)),
        obs=pd.DataFrame(
            {"slice": pd.Categorical(names)}, index=[f"cell{i}" for i in range(len(names))]
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
        obsm={"spatial": np.tile(np.column_stack([x, y]), (len(bands), 1)).astype(float)},
    )


def test_a_domain_that_one_slice_alone_has_is_kept_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(count_domains, "_MOST_DOMAINS", 5)
    monkeypatch.setattr(count_domains, "_FEWER_DOMAINS", 4)
    cells = banded([(0, 1, 2), (0, 1, 2), (0, 1, 2, 3)])
    found = run(cells, tmp_path / "out", sample_key="slice", reduce={"n_comps": 30})
    assert found["correct"]["n_corrected"] == 3
    assert (found["tissue"]["of_one_slice"], found["tissue"]["n_apart"]) == ([1, 1], 1)
    assert found["tissue"]["notes"][0].startswith("1 domain is of one slice or donor alone, and f")


def test_cells_that_are_left_out_of_a_correction_are_in_no_block():
    points, codes = np.arange(10.0).reshape(5, 2), np.arange(5)
    alone = np.array([True, False, False, True, False])
    ((rows, own),) = blocks_of(points, codes, alone)
    assert own.tolist() == [1, 2, 4]
    assert rows[:, 0].tolist() == [2, 4, 8]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (JoinedSlices(), None),
        (JoinedSlices(2, 0, 0), "2 domains were of one slice or donor alone, so averages were corrected once more."),
        (JoinedSlices(2, 1, 1), "1 of them lies further from all other slices than these from each other, and is not"),
        (JoinedSlices(1, 1, 1), "1 domain is of one slice or donor alone, and further from all"),
    ],
)  # fmt: skip
def test_the_note_says_what_was_done(found, words):
    notes = _slice_notes(found)
    assert (words is None and not notes) or words in notes[0]
