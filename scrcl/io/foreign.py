"""What a file or folder is that no reader recognizes, and what to do with it: by its content, then by its name."""

from __future__ import annotations

import re
import tarfile
import zipfile
from itertools import islice
from typing import TYPE_CHECKING

from scrcl.io.formats import tissue_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["advice_on"]

_HEAD_BYTES = 512

_BY_CONTENT: tuple[tuple[bytes, str], ...] = (
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file itself. Fetch it with git lfs pull."),
    (rb"\s*(<!doctype|<html|<\?xml)", "a web page, not the file itself. Download it again."),
    (rb"PAR1", "a Parquet file, which has no names of cells and genes. Make an AnnData of it."),
    (rb"\x28\xb5\x2f\xfd", "a file packed by zstd. Unpack it with zstd -d."),
    (rb"BZh", "a file packed by bzip2. Unpack it with bunzip2."),
    (rb"\xfd7zXZ", "a file packed by xz. Unpack it with unxz."),
)  # fmt: skip
"""How files begin, and what they are."""

_BY_NAME = {
    r"\.loom$": "a loom file. Convert it: anndata.io.read_loom, then write_h5ad.",
    r"\.(h5seurat|rds|rdata|robj|qs2?)$": "a file of R. Convert it to .h5ad in R, for example with anndataR.",
    r"\.(csv|tsv|txt|tab|xlsx?)$": "a table. Make an AnnData of it: anndata.io.read_csv for one of numbers, then "
    "write_h5ad.",
    r"\.(pkl|pickle|npz|npy|joblib)$": "a file of Python objects. Write the AnnData with write_h5ad.",
    r"\.(cloupe|vloupe)$": "a file of Loupe Browser. Give the filtered_feature_bc_matrix of the same run.",
    r"\.(bam|fastq|fq|cram)$": "a file of reads. Count them first.",
    r"\.(crdownload|part|partial|download|tmp)$": "a download that did not end. Download it again.",
}
"""By the end of the name, without .gz."""

_BY_MEMBERS: tuple[tuple[set[str], str], ...] = (
    ({"row_attrs", "col_attrs", "matrix"}, _BY_NAME[r"\.loom$"]),
    ({"assays", "meta.data"}, "a Seurat file. Convert it to .h5ad in R, for example with anndataR."),
    ({"barcode_idx", "count"}, "the molecules of Cell Ranger. Give the filtered_feature_bc_matrix of the same run."),
)  # fmt: skip
"""By members of an HDF5 file."""

_INPUTS = re.compile(r"\.(h5ad|zarr|h5)$|^matrix\.mtx(\.gz)?$")
_DEPTH, _MOST = 3, 100


def advice_on(path: Path, members: Iterable[str] | None, fault: Exception | None) -> str | None:
    """Return what an input is that has no known format, and what to do; None if nothing is known of it.

    Parameters
    ----------
    members
        Names in an HDF5 file that could be opened; None for other files and folders.
    fault
        The error of HDF5, if it was not opened.
    """
    try:
        if path.is_dir():
            return _of_folder(path)
        if members is not None:
            names = set(members)
            return next((text for needed, text in _BY_MEMBERS if needed <= names), _by_name(path))
        if cut := re.search(r"truncated file: eof = (\d+), .*stored_eof = (\d+)", str(fault)):
            sizes = f"{int(cut[1]):,} of {int(cut[2]):,} bytes are there"
            return f"a file that is cut short: {sizes}. Copy or download it again."
        return _by_content(path) or _by_name(path)
    except Exception:  # noqa: BLE001 - this only adds to an error, whatever the file is
        return None


def _by_content(path: Path) -> str | None:
    if re.search(r"\.mtx(\.gz)?$", path.name):
        return f"an mtx without the names of genes and cells. Give the folder with all three files, {path.parent}."
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return "an empty file. Copy or download it again."
    if head[:2] == b"\x1f\x8b" or path.suffix == ".gz":
        if tarfile.is_tarfile(path):
            return "a packed archive. Unpack it with tar -xzf, and give what it holds."
        return _by_name(path) or "a gzipped file. Unpack it with gunzip."
    for begin, text in _BY_CONTENT:
        if re.match(begin, head, re.IGNORECASE):
            return text
    if tarfile.is_tarfile(path):
        return "an archive. Unpack it with tar -xf, and give what it holds."
    if zipfile.is_zipfile(path) and not _by_name(path):
        return "a zip file that holds no Zarr. Unpack it with unzip, and give what it holds."
    return None


def _by_name(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    return next((text for end, text in _BY_NAME.items() if re.search(end, name)), None)


def _of_folder(path: Path) -> str | None:
    """Name an input inside a folder, if there is one."""
    mtx = sorted(path.glob("*.mtx*"))
    if mtx:
        return (
            f"a folder with {mtx[0].name}. Name the three files of one matrix matrix.mtx, features.tsv (or genes.tsv) "
            "and barcodes.tsv; each may be gzipped."
        )
    found = list(islice(_inputs_in(path, _DEPTH), _MOST))
    if not found:
        return None
    if len(found) == 1:
        return f"a folder that holds an input. Give {found[0]}."
    return f"a folder that holds {len(found)} inputs. Name those that you mean, as {found[0]}."


def _inputs_in(folder: Path, depth: int) -> Iterator[Path]:
    if tissue_folder.recognizes(folder, None):
        yield folder  # its matrices are one input
        return
    for path in sorted(folder.iterdir()):
        if _INPUTS.search(path.name):
            yield folder if path.name.startswith("matrix.mtx") else path
        elif depth > 1 and path.is_dir() and not path.is_symlink():
            yield from _inputs_in(path, depth - 1)
