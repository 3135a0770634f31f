"""The texts of an mtx folder: what is not as it should be is refused with its line, and nothing is guessed."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from scrcl.errors import StoreError
from scrcl.io.formats import text_lines
from scrcl.io.open import open_input
from tests.stores import random_counts, table, write_mtx

COUNTS = random_counts(9, 7)


@pytest.fixture
def folder(tmp_path):
    return write_mtx(table(COUNTS), tmp_path)


def read(folder):
    x = open_input([folder], scratch=folder.parent / "scratch", block_bytes=640)
    return x, x.x(4).compute()


def edit(path, number, change):
    lines = path.read_text().split("\n")
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("number", [5, 9, -2])
@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.rsplit(" ", 1)[0],
        lambda line: f"{line} 1",
        lambda line: f"{line} 1 2 3",
        lambda line: line.replace(" ", ","),
        lambda line: f"1.5 {line.split(' ', 1)[1]}",
        lambda line: f"{line.rsplit(' ', 1)[0]} NA",
        lambda line: f'{line.rsplit(" ", 1)[0]} "3"',
        lambda line: f"% {line}",
        lambda line: f"{line}\0",
        lambda line: f"{line}\r{line}",
    ],
)
def test_an_entry_that_has_not_three_numbers_is_refused_with_its_line(change, number, folder):
    path = folder / "matrix.mtx"
    number = number % (path.read_text().count("\n") + 2)
    edit(path, number, change)
    with pytest.raises(StoreError, match=rf"matrix.mtx must have .*in line {number} "):
        read(folder)


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("0 1 3", "rows 1 to 7"), ("99999999999 1 3", "rows 1 to 7"), ("8 1 3", "rows 1 to 7"),
        ("-1 1 3", "rows 1 to 7"), ("1 10 3", "columns 1 to 9"),
        ("1 1 nan", "finite values"), ("1 1 -inf", "finite values"), ("1 1 2.5", "whole numbers"),
        ("1 1 1_000", "a row, a column and a value"),
    ],
)  # fmt: skip
def test_an_entry_that_breaks_what_the_header_says_is_refused_with_its_line(entry, rule, folder):
    edit(folder / "matrix.mtx", 7, lambda _: entry)
    with pytest.raises(StoreError, match=rf"matrix.mtx must have {rule}.*got '{entry}' in line 7"):
        read(folder)


def test_fractions_that_starsolo_calls_float_are_read(folder):
    path = folder / "matrix.mtx"
    path.write_text(path.read_text().replace("integer", "float"))
    edit(path, 7, lambda line: f"{line}.5")
    assert read(folder)[1].sum() == COUNTS.sum() + 0.5


def test_entries_that_repeat_are_added_with_a_warning(folder, caplog):
    path = folder / "matrix.mtx"
    lines = path.read_text().split("\n")
    lines[7] = lines[6]
    path.write_text("\n".join(lines))
    read(folder)
    assert "1 entry is for the same cell and gene as another" in caplog.text


@pytest.mark.parametrize("name", ["matrix.mtx", "barcodes.tsv", "genes.tsv"])
def test_a_file_that_is_there_twice_is_said(name, folder, caplog):
    other = folder / ("genes.tsv" if name == "genes.tsv" else f"{name}.gz")
    other.write_bytes(b"of another matrix")
    read(folder)
    taken = "features.tsv" if name == "genes.tsv" else name
    assert f"{taken} is read, and {other.name} is not" in caplog.text


def test_a_text_that_is_called_gz_is_named(folder):
    (folder / "features.tsv").rename(folder / "features.tsv.gz")
    with pytest.raises(StoreError, match=r"features\.tsv\.gz must be gzipped.* Remove \.gz"):
        open_input([folder])


def test_blank_lines_tabs_and_line_ends_of_windows_are_no_faults(folder):
    path = folder / "matrix.mtx"
    text = path.read_text().replace(" ", "\t").replace("\n", "\r\n") + "\r\n\r\n"
    path.write_bytes(
        text.replace(
            "%%MatrixMarket\tmatrix\tcoordinate", "%%MatrixMarket matrix coordinate"
        ).encode()
    )
    np.testing.assert_array_equal(read(folder)[1].toarray(), COUNTS.toarray())


def test_a_last_line_without_end_is_read(folder):
    path = folder / "matrix.mtx"
    path.write_text(path.read_text().rstrip("\n"))
    np.testing.assert_array_equal(read(folder)[1].toarray(), COUNTS.toarray())


def test_entries_come_in_pieces_of_the_size_asked_for(folder):
    path = folder / "matrix.mtx"
    n_lines = next(
        i for i, line in enumerate(path.read_text().split("\n"), 1) if line[:1].isdigit()
    )
    header = text_lines.Header("integer", COUNTS.shape[::-1], COUNTS.nnz, n_lines)
    for size in (1, 2, 5):
        pieces = [len(t) for t in text_lines.entry_tables(path, size, header=header)]
        assert sum(pieces) == COUNTS.nnz
        assert max(pieces) <= size


def test_a_value_that_float32_would_round_is_refused(folder):
    edit(folder / "matrix.mtx", 8, lambda line: f"{line.rsplit(' ', 1)[0]} 16777217")
    with pytest.raises(StoreError, match="float32"):
        read(folder)


@pytest.mark.parametrize("sizes", ["7 9", "7 9 x", "7 9 3 1", "-7 9 3"])
def test_a_line_of_sizes_that_is_wrong_is_refused(sizes, folder):
    path = folder / "matrix.mtx"
    number = next(i for i, line in enumerate(path.read_text().split("\n"), 1) if line[:1].isdigit())
    edit(path, number, lambda _: sizes)
    with pytest.raises(StoreError, match=rf"rows, columns and entries.*in line {number}\."):
        read(folder)


@pytest.mark.parametrize(
    ("file", "change", "number"),
    [
        ("features.tsv", lambda line: line.split("\t")[0], 3),
        ("features.tsv", lambda line: f"{line}\tmore", 4),
        ("features.tsv", lambda _: "", 2),
        ("features.tsv", lambda line: line.replace("gene", "ge\0ne"), 5),
        ("barcodes.tsv", lambda line: f"{line}\tAAAC", 2),
        ("barcodes.tsv", lambda _: "", 6),
        ("barcodes.tsv", lambda line: f"{line}\0", 6),
        ("barcodes.tsv", lambda line: f'"{line}"', 6),
        ("barcodes.tsv", lambda line: f"{line}\rother", 1),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_faulty_line_of_names_is_refused_with_its_number(file, change, number, zipped, folder):
    edit(folder / file, number, change)
    if zipped:
        (folder / f"{file}.gz").write_bytes(gzip.compress((folder / file).read_bytes()))
        (folder / file).unlink()
    with pytest.raises(StoreError, match=rf"{file}.* must have .*line {number}\b"):
        open_input([folder])


def test_names_that_are_not_utf8_are_refused_with_their_line(folder):
    path = folder / "barcodes.tsv"
    path.write_bytes(path.read_bytes().replace(b"cell4", b"cell\xff4"))
    with pytest.raises(StoreError, match=r"UTF-8.*line 5"):
        open_input([folder])


@pytest.mark.parametrize("separator", [",", ";", " "])
@pytest.mark.parametrize("file", ["features.tsv", "barcodes.tsv"])
def test_another_separator_than_tabs_is_refused(file, separator, folder):
    path = folder / file
    lines = path.read_text().rstrip("\n").split("\n")
    path.write_text("\n".join(f"{line}\tmore".replace("\t", separator) for line in lines))
    with pytest.raises(StoreError, match=rf"{file} must have .* tabs.*line 1, with"):
        open_input([folder])


@pytest.mark.parametrize(
    ("file", "first"), [("features.tsv", "id\tname\ttype"), ("barcodes.tsv", "x")]
)
def test_a_header_is_not_taken_for_a_name(file, first, folder):
    path = folder / file
    path.write_text(f"{first}\n{path.read_text()}")
    with pytest.raises(StoreError, match=f"Line 1 of {file} may be a header"):
        open_input([folder])


def test_quotes_around_every_field_are_no_part_of_the_names(folder):
    for file in ("features.tsv", "barcodes.tsv"):
        lines = (folder / file).read_text().rstrip("\n").split("\n")
        quoted = ["\t".join(f'"{field}"' for field in line.split("\t")) for line in lines]
        (folder / file).write_text("\n".join(quoted))
    matrix = open_input([folder])
    assert matrix.var.index.tolist() == [f"gene{i}" for i in range(7)]
    assert matrix.obs.index.tolist() == [f"cell{i}" for i in range(9)]


def test_single_quotes_and_commas_in_names_stay(folder):
    edit(folder / "features.tsv", 2, lambda line: line.replace("gene1", "beta'COP"))
    edit(folder / "features.tsv", 4, lambda line: line.replace("gene3", 'l(2)"35", a'))
    assert open_input([folder]).var.index[[1, 3]].tolist() == ["beta'COP", 'l(2)"35", a']


def test_a_square_matrix_is_read_as_genes_by_cells_with_a_warning(tmp_path, caplog):
    counts = random_counts(8, 8)
    _, x = read(write_mtx(table(counts), tmp_path))
    np.testing.assert_array_equal(x.toarray(), counts.toarray())
    assert "as many genes as cells (8)" in caplog.text
