"""What a file or folder is that no reader recognizes, and what to do with it: by its content, then by its name."""

from __future__ import annotations

import re
import tarfile
import zipfile
from itertools import islice
from typing import TYPE_CHECKING

from scrcl.io.formats import mtx, tissue_folder
from scrcl.io.formats.text_lines import open_bytes

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
    r"\.loom$": "a loom file. In Python, with loompy installed: import anndata; anndata.io.read_loom({path!r})"
    ".write_h5ad({new!r}).",
    r"\.(h5seurat|rds|rdata|robj|qs2?)$": "a file of R. Convert it to .h5ad in R, for example with anndataR.",
    r"\.(csv|tsv|txt|tab)$": "a table of text. In Python: import anndata, pandas; table = pandas.read_csv({path!r}, "
    "sep={separator!r}, index_col=0, comment='#'); anndata.AnnData(table.T).write_h5ad({new!r}). Leave out .T if its "
    "rows are cells.",
    r"\.xlsx?$": "a spreadsheet. In Python: import anndata, pandas; table = pandas.read_excel({path!r}, index_col=0); "
    "anndata.AnnData(table.T).write_h5ad({new!r}). Leave out .T if its rows are cells.",
    r"\.(pkl|pickle|npz|npy|joblib)$": "a file of Python objects. Write the AnnData with write_h5ad.",
    r"\.(cloupe|vloupe)$": "a file of Loupe Browser. Give the filtered_feature_bc_matrix of the same run.",
    r"\.(bam|fastq|fq|cram)$": "a file of reads. Count them first.",
    r"\.(crdownload|part|partial|download|tmp)$": "a download that did not end. Download it again.",
}
"""By the end of the name, without .gz. Names of files are filled in."""

_BY_MEMBERS: tuple[tuple[set[str], str], ...] = (
    ({"row_attrs", "col_attrs", "matrix"}, _BY_NAME[r"\.loom$"]),
    ({"assays", "meta.data"}, "a Seurat file. Convert it to .h5ad in R, for example with anndataR."),
    ({"barcode_idx", "count"}, "the molecules of Cell Ranger. Give the filtered_feature_bc_matrix of the same run."),
)  # fmt: skip
"""By members of an HDF5 file."""

_BY_FILES: tuple[tuple[set[str], str], ...] = (
    (
        {"__tiledb_group.tdb"},
        "a TileDB-SOMA experiment. Make an AnnData of it: tiledbsoma.io.to_anndata, then write_h5ad.",
    ),
    (
        {"assays.h5", "se.rds"},
        "a SummarizedExperiment saved by R. Write it as .h5ad in R, for example with anndataR.",
    ),
)  # fmt: skip
"""By files of a folder."""

_INPUTS = re.compile(r"\.(h5ad|zarr|h5|mtx|mtx\.gz)$")
_DEPTH, _MOST = 3, 100
_SHOWN = 5


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
            known = _by_parts(path, _BY_MEMBERS, members) or _by_name(path)
            held = ", ".join(sorted(members)[:_SHOWN]) or "nothing"
            return known or (
                f"an HDF5 file of {held}. Make an AnnData of its counts, cells by genes, with the names of both, and "
                "write that with write_h5ad."
            )
        if cut := re.search(r"truncated file: eof = (\d+), .*stored_eof = (\d+)", str(fault)):
            sizes = f"{int(cut[1]):,} of {int(cut[2]):,} bytes are there"
            return f"a file that is cut short: {sizes}. Copy or download it again."
        return _by_content(path) or _by_name(path)
    except Exception:  # noqa: BLE001 - this only adds to an error, whatever the file is
        return None


def _by_content(path: Path) -> str | None:
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
    found = next((text for end, text in _BY_NAME.items() if re.search(end, name)), None)
    return None if found is None else _filled(found, path)


def _by_parts(
    path: Path, table: tuple[tuple[set[str], str], ...], parts: Iterable[str]
) -> str | None:
    names = set(parts)
    found = next((text for needed, text in table if needed <= names), None)
    return None if found is None else _filled(found, path)


def _filled(text: str, path: Path) -> str:
    """Return a text with the names of files, and with what sets the fields of a table apart, where it asks for them."""
    stem = re.sub(r"\.[^.]+$", "", path.name.removesuffix(".gz"))
    separator = _separator(path) if "{separator" in text else ""
    return text.format(path=str(path), new=f"{stem}.h5ad", separator=separator)


def _separator(path: Path) -> str:
    """Return what sets the fields of a table apart: the most frequent one in its first line that is no comment."""
    with open_bytes(path) as file:
        lines = (line for line in file if line.strip() and not line.startswith(b"#"))
        first = next(lines, b"").decode(errors="replace")
    return max("\t,; ", key=first.count)


def _of_folder(path: Path) -> str | None:
    """Name an input inside a folder, if there is one."""
    known = _by_parts(path, _BY_FILES, [each.name for each in path.iterdir()])
    if known is not None:
        return known
    found = list(islice(_inputs_in(path, _DEPTH), _MOST))
    if not found:
        return None
    if len(found) == 1:
        return f"a folder that holds an input. Give {found[0]}."
    return f"a folder that holds {len(found)} inputs. Name those that you mean, as {found[0]}."


def _inputs_in(folder: Path, depth: int) -> Iterator[Path]:
    if tissue_folder.recognizes(folder, None) or mtx.recognizes(folder, None):
        yield folder  # its files are one input
        return
    for path in sorted(folder.iterdir()):
        if _INPUTS.search(path.name):
            yield path
        elif depth > 1 and path.is_dir() and not path.is_symlink():
            yield from _inputs_in(path, depth - 1)
