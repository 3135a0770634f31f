"""The files of one mtx, as the programs that count reads name them: found, or said which one is missing."""

import gzip

import numpy as np
import pytest
from scipy import io as scipy_io

from scrcl.errors import InputError, StoreError
from scrcl.io.open import open_input
from tests.stores import random_counts, table, write_mtx

COUNTS = random_counts(20, 12)
CELLS = [f"cell{i}" for i in range(20)]
GENES = [f"gene{i}" for i in range(12)]
IDS = [f"ENSG{name}" for name in GENES]


def write(folder, files):
    """Write files of lines of text, with one for the matrix, whose rows are cells if it is None."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        path = folder / name.removesuffix(".gz")
        if name.removesuffix(".gz").endswith(".mtx"):
            matrix = COUNTS if lines is None else COUNTS.T
            scipy_io.mmwrite(path, matrix.astype(np.int64))
        else:
            path.write_text("".join(f"{line}\n" for line in lines))
        if name.endswith(".gz"):
            (folder / name).write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return folder


def same(path, tmp_path, genes=GENES):
    matrix = open_input([path], scratch=tmp_path / "scratch")
    np.testing.assert_array_equal(matrix.x(7).compute().toarray(), COUNTS.toarray())
    assert matrix.var.index.tolist() == genes
    assert matrix.obs.index.tolist() == CELLS
    return matrix


TENX = [f"{i}\t{name}" for i, name in zip(IDS, GENES, strict=True)]


@pytest.mark.parametrize(
    ("files", "genes"),
    [
        ({"GSM1_a_matrix.mtx.gz": 1, "GSM1_a_genes.tsv.gz": TENX, "GSM1_a_barcodes.tsv.gz": CELLS}, GENES),
        ({"GSM1_a_matrix.mtx.gz": 1, "GSE1_features.tsv.gz": TENX, "GSM1_a_barcodes.tsv.gz": CELLS}, GENES),
        ({"a_counts.mtx": 1, "a_genes.tsv": TENX, "a_barcodes.tsv": CELLS}, GENES),
        ({"cells_x_genes.mtx": None, "cells_x_genes.genes.txt": IDS, "cells_x_genes.barcodes.txt": CELLS}, IDS),
        (
            {
                "cells_x_genes.mtx": None,
                "cells_x_genes.genes.txt": IDS,
                "cells_x_genes.genes.names.txt": GENES,
                "cells_x_genes.barcodes.txt": CELLS,
            },
            GENES,
        ),
        ({"quants_mat.mtx": None, "quants_mat_cols.txt": IDS, "quants_mat_rows.txt": CELLS}, IDS),
    ],
)  # fmt: skip
def test_the_files_of_other_programs_and_archives_are_found(tmp_path, files, genes):
    folder = write(tmp_path / "in", files)
    same(folder, tmp_path, genes)
    same(folder / next(iter(files)), tmp_path, genes)


@pytest.mark.parametrize("matrix", ["DGE.mtx", "count_matrix.mtx.gz"])
def test_tables_of_names_give_columns(tmp_path, matrix):
    end = ".gz" if matrix.endswith(".gz") else ""
    names = [
        "gene_id,gene_name,genome",
        *(f"{i},{n},hg38" for i, n in zip(IDS, GENES, strict=True)),
    ]
    cells = ["bc_wells,sample,tscp_count", *(f'{name},"a, b",{i}' for i, name in enumerate(CELLS))]
    folder = write(
        tmp_path / "in",
        {matrix: None, f"all_genes.csv{end}": names, f"cell_metadata.csv{end}": cells},
    )
    found = same(folder, tmp_path)
    assert found.var["gene_ids"].tolist() == IDS
    assert found.var["genome"].unique().tolist() == ["hg38"]
    assert found.obs["tscp_count"].tolist() == list(range(20))
    assert found.obs["sample"].unique().tolist() == ["a, b"]


def test_of_several_matrices_one_is_named_and_each_has_its_own_cells(tmp_path):
    files = {"features.tsv": TENX, "S1_matrix.mtx": 1, "S1_barcodes.tsv": CELLS, "S2_matrix.mtx": 1}
    folder = write(tmp_path / "in", files)
    with pytest.raises(
        StoreError, match=r"2 inputs. Name those that you mean, as .*in/S1_matrix.mtx"
    ):
        open_input([folder])
    same(folder / "S1_matrix.mtx", tmp_path)
    with pytest.raises(
        StoreError, match=r"in must hold S2_barcodes.tsv \(or .gz\) next to S2_matrix"
    ):
        open_input([folder / "S2_matrix.mtx"])


def test_a_further_matrix_beside_the_usual_one_can_be_given(tmp_path):
    folder = write_mtx(table(COUNTS), tmp_path)
    (folder / "UniqueAndMult-EM.mtx").write_bytes((folder / "matrix.mtx").read_bytes())
    same(folder, tmp_path)
    same(folder / "UniqueAndMult-EM.mtx", tmp_path)


def test_what_is_missing_is_named(tmp_path):
    folder = write(tmp_path / "in", {"quants_mat.mtx": None, "quants_mat_cols.txt": IDS})
    with pytest.raises(StoreError, match=r"must hold quants_mat_rows.txt .* names of its cells"):
        open_input([folder])
    with pytest.raises(InputError, match="layer must be left out"):
        open_input([folder], layer="counts")


def test_a_header_in_a_file_of_names_is_named(tmp_path):
    files = {"cells_x_genes.mtx": None, "cells_x_genes.genes.txt": ["name", *IDS]}
    folder = write(tmp_path / "in", files | {"cells_x_genes.barcodes.txt": CELLS})
    with pytest.raises(StoreError, match=r"Line 1 of cells_x_genes\.genes\.txt may be a header"):
        open_input([folder])


def test_a_gene_for_each_kind_of_count_is_refused(tmp_path):
    thrice = [f"{i}{end}" for end in ("", "-U", "-A") for i in IDS]
    files = {"quants_mat.mtx": None, "quants_mat_cols.txt": thrice, "quants_mat_rows.txt": CELLS}
    with pytest.raises(StoreError, match=r"each gene once; .* unspliced \(ENSGgene0-U\)"):
        open_input([write(tmp_path / "in", files)])


def test_a_square_matrix_of_a_program_that_writes_cells_first_is_read_so(tmp_path, caplog):
    square = COUNTS[:12]
    files = {"quants_mat_cols.txt": GENES, "quants_mat_rows.txt": CELLS[:12]}
    folder = write(tmp_path / "in", files)
    scipy_io.mmwrite(folder / "quants_mat.mtx", square.astype(np.int64))
    matrix = open_input([folder], scratch=tmp_path / "scratch")
    np.testing.assert_array_equal(matrix.x(7).compute().toarray(), square.toarray())
    assert "as many genes as cells" not in caplog.text


def test_as_many_symbols_as_ids_are_needed(tmp_path):
    files = {"cells_x_genes.mtx": None, "cells_x_genes.genes.txt": IDS}
    names = {"cells_x_genes.genes.names.txt": GENES[1:], "cells_x_genes.barcodes.txt": CELLS}
    with pytest.raises(StoreError, match=r"a line for each of the 12 genes .* got 11"):
        open_input([write(tmp_path / "in", files | names)])


def test_a_folder_and_its_matrix_are_the_same_input(tmp_path):
    """A run records the matrix as its input, and a closer look at the run opens it again."""
    folder = write_mtx(table(COUNTS), tmp_path)
    of_folder, of_matrix = (open_input([p]).identity for p in (folder, folder / "matrix.mtx"))
    assert of_folder == of_matrix
    assert of_folder["path"] == str(folder / "matrix.mtx")
