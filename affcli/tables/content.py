"""What a file holds, told by its first bytes: a table in some format, something compressed, or no table at all."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from affcli.errors import TableError

HEAD_BYTES: Final = 4096
_ZIP: Final = b"PK\x03\x04"
_FORMATS: Final = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "stream",
    b"FEA1": "feather1",
}
# What is compressed as a whole, by its first bytes; each is read as a stream.
_COMPRESSED: Final[dict[bytes, Callable[[str], Any]]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"\x28\xb5\x2f\xfd": lambda path: pa.CompressedInputStream(pa.OSFile(path), "zstd"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
COMPRESSED_SUFFIXES: Final = (".gz", ".zst", ".bz2", ".xz")
# A file that grows to more than both of these is taken for a trap, not for a table.
_LARGEST_SPOOL: Final = 1 << 30
_LARGEST_RATIO: Final = 500

_PANDAS: Final = "python -c \"import pandas; pandas.{reader}('{path}').to_parquet('{stem}.parquet')\""
_TRUSTED: Final = " (only for a file that you trust: a pickle can run any code)"
# First bytes → what it is, and how pandas reads it (None: there is no such way).
_NO_TABLES: Final[tuple[tuple[bytes, str, str | None], ...]] = (
    (b"\x93NUMPY", "a NumPy array (.npy)", None),
    (b"ORC", "an ORC file", "read_orc"),
    (b"$FL2", "an SPSS file (.sav)", "read_spss"),
    (b"$FL3", "an SPSS file (.zsav)", "read_spss"),
    (b"<stata_dta>", "a Stata file (.dta)", "read_stata"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5, or .mat of MATLAB 7.3)", "read_hdf"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls)", "read_excel"),
    (b"PARE", "an encrypted Parquet file", None),
    (b"SQLite format 3\0", "an SQLite database", None),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file (.mat)", None),
    (b"RDX", "an R data file", None),
    (b"X\n\0", "an R data file (.rds)", None),
    (b"Obj\x01", "an Avro file", None),
    (b"%PDF", "a PDF document", None),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", None),
    (b"Rar!", "a RAR archive", None),
    (b"\x89PNG", "a PNG picture", None),
    (b"\xff\xd8\xff", "a JPEG picture", None),
)
_OWN_WAYS: Final = {
    "a NumPy array (.npy)": (
        "python -c \"import numpy, pandas; pandas.DataFrame(numpy.load('{path}')).to_parquet('{stem}.parquet')\", "
        "then name its columns"
    ),
    "an R data file (.rds)": "Rscript -e \"write.csv(readRDS('{path}'), '{stem}.csv', row.names = FALSE)\"",
}


def head_of(path: Path) -> bytes:
    """The first bytes of a file, up to HEAD_BYTES."""
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins so is gzip, Zstandard, bzip2 or xz."""
    return any(head.startswith(magic) for magic in _COMPRESSED)


def decompress(path: Path, into: IO[bytes], name: str) -> None:
    """Writes what is compressed in `path` to `into`. Raises TableError for damaged data, and for far too much of it."""
    head = head_of(path)
    opened = next(open_it for magic, open_it in _COMPRESSED.items() if head.startswith(magic))
    most = max(_LARGEST_SPOOL, path.stat().st_size * _LARGEST_RATIO)
    try:
        with opened(str(path)) as stream:
            written = 0
            while block := stream.read(1 << 20):
                written += len(block)
                if written > most:
                    raise TableError(f"{name}: expands to more than {most >> 20:,} MiB. Unpack it yourself first.")
                into.write(block)
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, ValueError, pa.ArrowException) as error:
        raise TableError(f"{name}: damaged: cannot be decompressed ({_reason(error)}).") from error
    except OSError as error:
        if error.errno is not None:  # of the file system; without one, of the decoder
            raise
        raise TableError(f"{name}: damaged: cannot be decompressed ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def format_of_content(path: Path, name: str) -> str:
    """parquet, arrow (a file), stream (Arrow's), feather1, json or text.

    Raises TableError for what is no table, saying what it is and how to make a table of it. `name` is for the errors.
    """
    head = head_of(path)
    for magic, found in _FORMATS.items():
        if head.startswith(magic):
            return found
    refuse_no_table(path, head, name)
    begins = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "json" if begins[:1] in (b"{", b"[") and _suits_json(begins) else "text"


def _suits_json(begins: bytes) -> bool:
    """Whether what follows the first bracket is a key, a bracket or the end, as in JSON of rows."""
    return begins[1:].lstrip()[:1] in (b'"', b"{", b"[", b"}", b"]", b"")


def refuse_no_table(path: Path, head: bytes, name: str) -> None:
    """Raises TableError for a known kind of file that holds no table, with the way to convert it where there is one."""
    for magic, what, reader in _NO_TABLES:
        if head.startswith(magic):
            raise _not_a_table(path, name, what, reader)
    if head.startswith(_ZIP):
        raise _not_a_table(path, name, *_of_zip(path))
    if _is_pickle(path, head):
        raise _not_a_table(path, name, "a Python pickle", "read_pickle", _TRUSTED)
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise TableError(f"{name}: is a Git LFS pointer; the table itself is not here. Fetch it with: git lfs pull")
    begins = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower()
    if begins.startswith((b"<!doctype html", b"<html", b"<table")):
        way = f"python -c \"import pandas; pandas.read_html('{path}')[0].to_parquet('{path.stem}.parquet')\""
        raise TableError(
            f"{name}: is an HTML page, not a table; perhaps a download that ended at a login page. "
            f"If it holds a table: {way}"
        )
    if begins.startswith(b"<?xml"):
        raise TableError(f"{name}: is an XML file, not a table. Save it as CSV or Parquet in the program that made it.")
    if head[257:262] == b"ustar":
        raise TableError(f"{name}: is a tar archive, not a table. Unpack it with: tar -xf {path}")


def _of_zip(path: Path) -> tuple[str, str | None]:
    """What a zip archive is, and how pandas reads it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a damaged zip archive", None
    if any(member.startswith("xl/") for member in members):
        return "an Excel file (.xlsx)", "read_excel"
    if "mimetype" in members and "content.xml" in members:
        return "an OpenDocument file (.ods)", "read_excel"
    if members and all(member.endswith(".npy") for member in members):
        return "a NumPy archive (.npz)", None
    if any(member.endswith("data.pkl") for member in members):
        return "a PyTorch file (.pt)", None
    return "a zip archive", None


def _is_pickle(path: Path, head: bytes) -> bool:
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:
        return True
    # Protocol 0 is text: it begins with a mark or a module's name, and ends in a full stop.
    if not (head.startswith((b"(lp", b"(dp", b"(i", b"(c")) or (head[:1] == b"c" and _names_module(head))):
        return False
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"."


def _names_module(head: bytes) -> bool:
    module, _, rest = head[1:200].partition(b"\n")
    name, newline, _ = rest.partition(b"\n")
    return bool(newline) and all(part.replace(b".", b"").replace(b"_", b"").isalnum() for part in (module, name))


def _not_a_table(path: Path, name: str, what: str, reader: str | None, caution: str = "") -> TableError:
    own = _OWN_WAYS.get(what)
    template = own or (_PANDAS if reader else None)
    places = {"path": path, "stem": path.stem, "reader": reader}
    way = f"Convert it: {template.format(**places)}{caution}" if template else "Save it as Parquet or CSV first."
    return TableError(f"{name}: is {what}, not a table that affcli reads (Parquet, CSV, Arrow, JSON). {way}")
