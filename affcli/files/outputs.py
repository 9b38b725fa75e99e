"""Files and folders that appear under their name only when they are complete.

Until then they stand beside it, as `.NAME.affcli-<random>-<machine>.tmp`. Whoever writes one holds a lock on it that
the system frees when the process ends, however it ends: so the next run on that machine finds what killed runs have
left, and removes it, and never touches what a second run is writing.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import IO, Final

from affcli.errors import AffcliError, OutputError, OutputExistsError, UsageError

STANDARD_STREAM = "-"
# Other names of standard output. It is written through Python's own stream: opened by name, a file that it is
# redirected to would be cut off, and would look like an output that exists already.
STANDARD_OUTPUT = {STANDARD_STREAM, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}

_LONGEST_NAME: Final = 180  # bytes of a name that its temporary name repeats; file systems take 255
_UNFINISHED: Final = re.compile(r"\.(?P<of>.+)\.affcli-[0-9a-f]{16}(-(?P<host>[0-9a-f]{8}))?\.(?P<what>tmp|old)")
_swept: set[Path] = set()  # folders that this process has looked through


# --- before any work -------------------------------------------------------------------------------------------------


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
        raise OutputExistsError(f"{output}: exists already. Replace it with --force.")


def refuse_inputs(written: Iterable[str | None], read: Iterable[str | None]) -> None:
    """Raises UsageError where a file that is to be written is one that is read (also one in a folder that is read), or
    is to be written twice.
    """
    known = {path.resolve(): name for name in read if name is not None and (path := Path(name)).exists()}
    for name in written:
        if name is None or name in STANDARD_OUTPUT:
            continue
        path = Path(name).resolve()
        same = path if path in known else next((one for one in path.parents if one in known and path.exists()), None)
        if same is not None:
            raise UsageError(f"{name}: is read or written as {known[same]} too; give another name.")
        known[path] = name


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
        raise OutputExistsError(f"{path}: holds files already. Replace those of the same names with --force.")
    if not path.parent.is_dir():
        raise AffcliError(f"{path}: the folder {path.parent} does not exist.")


# --- standard output -------------------------------------------------------------------------------------------------


def secure_standard_streams() -> None:
    """Makes standard output one that writes everything it is given, or fails; opens the streams that were closed.

    A closed stream's number would be given to the next file that is opened, and what is printed would land in it. Where
    standard output was closed, printing fails; where standard error was, messages go nowhere.

    With PYTHONUNBUFFERED=1 it is a bare file, whose `write` may write less than it was given and only returns how much:
    on a full disk the output would be cut off without an error.
    """
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):  # 0 and 1: what is used fails
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - it lasts as long as we do
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        # Opened anew: the bare file remembers whether its descriptor could seek, which may be another one by now.
        buffered = open(sys.stdout.fileno(), "wb", closefd=False)  # noqa: SIM115 - it lasts as long as we do
        sys.stdout = io.TextIOWrapper(buffered, encoding=encoding, errors=errors, write_through=True)


def flush_standard_output() -> None:
    """Raises OutputError where what was printed cannot be written."""
    with naming_output("standard output"):
        sys.stdout.flush()


def leave_standard_output() -> None:
    """Drops what cannot be written, which was said before: Python would try it again while it ends, with status 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def naming_output(name: object) -> Iterator[None]:
    """Turns an OSError into an OutputError that says which output cannot be written. A broken pipe is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{name}: cannot be written: {error.strerror or error}.") from error


@contextmanager
def naming_temporary() -> Iterator[None]:
    """Turns an OSError into an AffcliError that says where there was no room for a temporary file."""
    try:
        yield
    except OSError as error:
        folder = tempfile.gettempdir()
        raise AffcliError(
            f"{folder}: no temporary file: {error.strerror}. Set TMPDIR to a folder with room."
        ) from error


# --- what is not complete yet ----------------------------------------------------------------------------------------


def create_temporary(path: Path) -> tuple[Path, IO[bytes]]:
    """A new file beside `path` for what is not complete yet, opened for writing. It is locked while it is open.

    What killed runs have left in that folder is removed. Raises OSError where no file can be made there.
    """
    _sweep_once(path.parent)
    while True:
        temporary = _temporary_name(path)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        if _lock(descriptor, temporary):
            return temporary, os.fdopen(descriptor, "wb")
        os.close(descriptor)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` for what is not complete yet. It is removed at the end, unless it was renamed."""
    _sweep_once(path.parent)
    while True:
        temporary = _temporary_name(path)
        temporary.mkdir()
        descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        if _lock(descriptor, temporary):
            break
        os.close(descriptor)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed runs have left half-written in a folder; what a process is still writing stays."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _UNFINISHED.fullmatch(entry.name)
            # Locks need not reach from one machine to another: there, what is still written would look like a leftover.
            if found and found["host"] in (None, _host()):
                _remove_leftover(Path(entry.path), folder / found["of"], moved=found["what"] == "old")


def _remove_leftover(left: Path, output: Path, *, moved: bool) -> None:
    """`moved`: it is not half-written but an old folder, whose place the new one had not taken yet."""
    with suppress(OSError):
        descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mode = os.fstat(descriptor).st_mode
            if moved and not output.exists():
                left.rename(output)
            elif stat.S_ISDIR(mode):
                shutil.rmtree(left, ignore_errors=True)
            elif stat.S_ISREG(mode):
                left.unlink()
        finally:
            os.close(descriptor)


def _sweep_once(folder: Path) -> None:
    """Once for each folder: an output may be thousands of files."""
    if (resolved := folder.resolve()) not in _swept:
        _swept.add(resolved)
        remove_leftovers(resolved)


def leftover_name(path: Path) -> Path:
    """A name beside `path` for what is about to be removed: should that be cut short, the next run goes on with it."""
    return _temporary_name(path)


def _temporary_name(path: Path, suffix: str = "tmp") -> Path:
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    return path.with_name(f".{name}.affcli-{os.urandom(8).hex()}-{_host()}.{suffix}")


@cache
def _host() -> str:
    """A few digits that tell machines apart."""
    return blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()


def _lock(descriptor: int, path: Path) -> bool:
    """Locks a new file or folder; False where another process took it for a leftover before that."""
    with suppress(OSError):  # a file system without locks: nobody there can take it for one
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return os.fstat(descriptor).st_ino == path.lstat().st_ino
    except OSError:
        return False


# --- writing ---------------------------------------------------------------------------------------------------------


def write_bytes(path: str | Path, data: bytes | Iterable[bytes]) -> None:
    """Writes a whole file, all at once or piece by piece: a temporary name beside it, then a rename. A device or a pipe
    is written directly.

    Raises OutputError where it cannot be written.
    """
    path, pieces = Path(path), [data] if isinstance(data, bytes) else data
    with naming_output(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as device:
                device.writelines(pieces)
            return
        path = path.resolve()  # a link stays a link; what it leads to is replaced
        temporary, stream = create_temporary(path)
        try:
            with stream:
                stream.writelines(pieces)
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
    with temporary_folder(path) as made:
        yield made
        if not path.is_dir():
            made.replace(path)
            return
        old = _temporary_name(path, "old")
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _lock(descriptor, path)
            path.replace(old)
            made.replace(path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            os.close(descriptor)


def write_text(output: str, text: str | Iterable[str], *, force: bool = False) -> None:
    """Writes UTF-8, all at once or piece by piece, to a file, not over an existing one unless told to, or to standard
    output (`-`).
    """
    refuse_existing(output, force=force)
    pieces = map(_encoded, [text] if isinstance(text, str) else text)
    if output == STANDARD_STREAM:
        sys.stdout.writelines(piece.decode() for piece in pieces)
        flush_standard_output()
    else:
        write_bytes(output, pieces)


def write_folder(folder: str, files: Iterable[tuple[str, str | bytes]], *, force: bool = False) -> None:
    """Files by name, in a folder that appears only when all are written; with `force`, files in it are replaced.

    A name may hold folders (`s1/clip1.vtt`). Raises AffcliError for one that leads out of the folder, and for two that
    are one file.
    """
    path = Path(folder)
    refuse_full_folder(folder, force=force)
    files = _each_once(files)
    if path.is_dir():
        for name, content in files:
            target = inside(path, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(target, _encoded(content))
        return
    with naming_output(folder), temporary_folder(path) as temporary:
        for name, content in files:
            target = inside(temporary, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_encoded(content))
        temporary.rename(path)


def refuse_shared(names: Iterable[str]) -> None:
    """Raises AffcliError where two names are one file of a folder (`a/b`, `a//b`, `a/./b`)."""
    for _ in _each_once((name, "") for name in names):
        pass


def _each_once(files: Iterable[tuple[str, str | bytes]]) -> Iterator[tuple[str, str | bytes]]:
    taken: dict[PurePosixPath, str] = {}
    for name, content in files:
        path = PurePosixPath(name)
        if path in taken:
            raise AffcliError(f"'{taken[path]}' and '{name}' would be one file, {path}. Rename one of the videos.")
        taken[path] = name
        yield name, content


def inside(folder: Path, name: str) -> Path:
    """The file of a name that may hold folders. Raises AffcliError for one that leads out of the folder."""
    parts = PurePosixPath(name).parts
    if ".." in parts or PurePosixPath(name).is_absolute() or "\0" in name:
        raise AffcliError(f"video '{PurePosixPath(name).with_suffix('')}': its name leads out of the output folder.")
    return folder.joinpath(*parts)


def _encoded(content: str | bytes) -> bytes:
    """UTF-8; of file names in it, bytes that are none are written out (`\\udcff`)."""
    return content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
