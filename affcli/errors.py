"""Exceptions that own their exit status. Their text is for the user: which file, what was found, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class AffcliError(Exception):
    """The command failed (exit status 1)."""

    exit_status = 1


class OutputError(AffcliError):
    """An output cannot be written: no space, no permission."""


class StorageError(OutputError):
    """Unfinished work cannot be written: no fault of the input that is being worked on."""


class OutputExistsError(AffcliError):
    """What stands under the output's name may not be replaced without --force, or not added to without --update."""


class OtherSettingsError(OutputExistsError):
    """What stands there was made with other settings."""


class OtherInputsError(OutputExistsError):
    """What stands there was made from other inputs."""


class ForeignError(AffcliError):
    """What stands there was not made by this version of affcli: it is neither used nor removed."""


class BusyError(AffcliError):
    """Another process is at work on the same output, in another way."""


class NothingDoneError(AffcliError):
    """None of the inputs could be used."""


class StoppedError(AffcliError):
    """The work was stopped at the first input that failed (--fail-fast)."""


class InstallationError(AffcliError):
    """A library or program that affcli needs is not there, or does not work: no fault of any input."""


class UsageError(AffcliError):
    """The command was called wrongly, before any work was done (exit status 2)."""

    exit_status = 2


class UnknownFormatError(UsageError):
    """The suffix of an output says no format of tables."""


class TableError(AffcliError):
    """A file is no table that can be read: it is of another kind, or damaged."""


class JsonError(AffcliError):
    """A file, or what it says of itself, is no JSON object."""


class UnmatchedVideosError(AffcliError):
    """Tables that are to be joined by video have no video in common."""


class PictureError(AffcliError):
    """A file is no picture that can be read: it is damaged, too large, or of a kind that is not opened."""


class FaceSetError(AffcliError):
    """A folder does not hold the face set that it was named as, or a label in it is unknown."""


class PreprocessingError(AffcliError):
    """What an encoder's processor configuration asks for cannot be done."""


class PartialError(AffcliError):
    """The work is done and written, but some inputs failed and were named (exit status 3)."""

    exit_status = 3


class ColumnError(AffcliError):
    """A table lacks a column, or a column holds something that cannot be what it should be."""


class AmbiguousColumnsError(UsageError):
    """Several groups of columns could hold the logits; the message shows the option that chooses each."""


class SpaceError(AffcliError):
    """The numbers of a table are in another space (logits, probabilities, shares) than they have to be."""


class RepeatedFrameError(AffcliError):
    """A table has several rows for one frame of a video where it may have one."""


class LabelError(AffcliError):
    """A label file or a column of labels holds something that is not a label."""


class ClassMismatchError(AffcliError):
    """Tables, or a table and a calibration, that are to be used together have different classes."""


class UnknownClassError(UsageError):
    """A table has classes that are not among the eight, where only those can be used."""


def listed(names: Sequence[object], *, limit: int = 8) -> str:
    """Names as people read them: `a, b, c and 5 more`."""
    shown = ", ".join(str(name) for name in names[:limit])
    hidden = len(names) - limit
    return f"{shown} and {hidden} more" if hidden > 0 else shown


def about_a_table(error: BaseException) -> TableError | None:
    """What Arrow raises on the data of a table, wherever it turns up, as an error of ours; None for any other error."""
    if not type(error).__module__.startswith("pyarrow") or isinstance(error, MemoryError):
        return None
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return TableError(f"a table holds what cannot be used: {reason}.")


@contextmanager
def told_as_ours() -> Iterator[None]:
    """Raises TableError in place of what Arrow raises on data that no reader has refused."""
    try:
        yield
    except Exception as error:
        if (ours := about_a_table(error)) is None:
            raise
        raise ours from error


_PACKAGE_OF = {"PIL": "pillow", "cv2": "opencv-python", "imageio_ffmpeg": "imageio-ffmpeg"}  # others: as imported


def not_installed(error: ImportError) -> InstallationError:
    """What to say where a library cannot be imported: which one, why, and how it is installed."""
    module = (error.name or "").partition(".")[0]
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    package = _PACKAGE_OF.get(module, module.replace("_", "-"))
    if not package:
        return InstallationError(f"a library cannot be imported ({reason}). Try: pip install --upgrade affcli")
    return InstallationError(f"the library {package} cannot be imported ({reason}). Install it: pip install {package}")


def closest(wanted: str, names: Sequence[str]) -> list[str]:
    """The names, the likeliest to be meant by `wanted` first: equal but for case, then related words (`clip` for
    `video`), then by edit distance (difflib's ratio); equally likely ones in their order.
    """
    return sorted(names, key=lambda name: -_likeness(wanted.lower(), name.lower()))


# What tools call the columns that affcli calls `video`, `frame`, and so on.
_RELATED = {
    "video": ("clip", "file", "input", "movie", "path", "source", "recording", "image", "name"),
    "frame": ("image", "img", "index", "idx", "number"),
    "label": ("emotion", "expression", "class", "annotation", "truth", "prediction"),
}


def _likeness(wanted: str, name: str) -> float:
    if name == wanted:
        return 4.0
    from difflib import SequenceMatcher  # only errors need it

    ratio = SequenceMatcher(None, wanted, name).ratio()
    close = ratio if ratio > 0.6 else 0.0  # below, they have only letters in common
    if wanted in name:
        return 2.0 + close
    # The words for a thing are ordered by how likely they are: `clip` before `name`.
    words = _RELATED.get(wanted, ())
    related = next((1.0 + 0.5 * (1 - place / len(words)) for place, word in enumerate(words) if word in name), 0.0)
    return max(close, related)


def counted(number: int, noun: str) -> str:
    """`1 video`, `1,234 videos`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def failed_of(number: int, of: int, noun: str) -> str:
    """`1 of 3 inputs failed or is incomplete`."""
    return f"{number:,} of {counted(of, noun)} failed or {'is' if number == 1 else 'are'} incomplete"
