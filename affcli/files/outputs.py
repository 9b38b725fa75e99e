"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import glob
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from affcli.errors import AffcliError, UsageError

STANDARD_STREAM = "-"
# Other names of standard output. It is written through Python's own stream: opened by name, a file that it is
# redirected to would be cut off, and would look like an output that exists already.
STANDARD_OUTPUT = {STANDARD_STREAM, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


def refuse_existing(output: str, *, force: bool) -> None:
    """Raises where an output cannot be written or may not be replaced, before any work is done."""
    if output in STANDARD_OUTPUT:
        return
    path = Path(output)
    if not output or path.is_dir():
        raise AffcliError(f"{output or 'the empty name'}: is a folder; name a file.")
    if not path.parent.is_dir():
        raise AffcliError(f"{output}: the folder {path.parent} does not exist.")
    if path.is_file() and not force:
        raise AffcliError(f"{output}: exists already. Replace it with --force.")


def temporary_name(path: Path) -> Path:
    """A name beside `path` for what is not complete yet."""
    return path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes a whole file: a temporary name beside it, then a rename. A device or a pipe is written directly."""
    path = Path(path)
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def complete_folder(output: str) -> Iterator[Path]:
    """A folder beside `output` to be filled; it takes that name, and the place of a folder that has it, at the end."""
    path = Path(output)
    made = temporary_name(path)
    old = made.with_suffix(".old")
    made.mkdir()
    try:
        yield made
        if path.is_dir():
            path.replace(old)
        made.replace(path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def remove_leftovers(output: str) -> None:
    """Removes what a process that was killed while it wrote this output, file or folder, has left beside it."""
    path = Path(output).resolve()
    begins = glob.escape(temporary_name(path).name.removesuffix(f"{os.getpid()}.tmp"))
    for suffix in ("tmp", "old"):
        for left in path.parent.glob(f"{begins}[0-9]*.{suffix}"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def write_text(output: str, text: str, *, force: bool = False) -> None:
    """Writes UTF-8 to a file, not over an existing one unless told to, or to standard output (`-`)."""
    refuse_existing(output, force=force)
    if output == STANDARD_STREAM:
        sys.stdout.write(text)
    else:
        write_bytes(output, text.encode())


def write_folder(folder: str, files: Iterable[tuple[str, str | bytes]], *, force: bool = False) -> None:
    """Files by name, in a folder that appears only when all are written; with `force`, files in it are replaced.

    A name may hold folders (`s1/clip1.vtt`). Raises AffcliError for one that leads out of the folder.
    """
    path = Path(folder)
    refuse_full_folder(folder, force=force)
    if path.is_dir():
        for name, content in files:
            target = _inside(path, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(target, _encoded(content))
        return
    temporary = temporary_name(path)
    temporary.mkdir()
    try:
        for name, content in files:
            target = _inside(temporary, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_encoded(content))
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_other_suffix(output: str, known: Sequence[str]) -> None:
    """Raises UsageError for a name that looks like a file of a kind that is not written, where a folder would do."""
    suffix = Path(output).suffix
    if suffix and not output.endswith("/") and not Path(output).is_dir():
        raise UsageError(
            f"{output}: '{suffix}' is none of {', '.join(known)}. A folder of that name is written {output}/."
        )


def refuse_full_folder(folder: str, *, force: bool) -> None:
    """Raises where a folder of results cannot be written or may not be added to, before any work is done."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise AffcliError(f"{path}: is a file, and a folder is to be written.")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise AffcliError(f"{path}: holds files already. Replace those of the same names with --force.")
    if not path.parent.is_dir():
        raise AffcliError(f"{path}: the folder {path.parent} does not exist.")


def _inside(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if ".." in parts or PurePosixPath(name).is_absolute() or "\0" in name:
        raise AffcliError(f"video '{PurePosixPath(name).with_suffix('')}': its name leads out of the output folder.")
    return folder.joinpath(*parts)


def _encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
