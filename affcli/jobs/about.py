"""Whose a folder of unfinished work is, and what job is done in it: `about.json`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from affcli import __version__
from affcli.errors import ForeignError
from affcli.jobs.sealed import DamagedError, read_sealed, write_sealed

ABOUT: Final = "about.json"
FOLDERS: Final = ("workers", "claims", "ends")  # beside it, without whose content it tells nothing
_SETTINGS_0_1, _LOCK_0_1 = "settings.json", "lock"
_FORMAT: Final = 3  # of the folder; version 0.1.0 had another one


@dataclass(frozen=True)
class About:
    """What the processes of one job agree on. `inputs` is a digest of their ids and of how they are treated.

    `forced`: what stood under the output's name before this job is not used (--force).
    """

    settings: Mapping[str, Any]
    inputs: str
    forced: bool

    def write(self, folder: Path) -> None:
        """Marks the folder of unfinished work. Raises OSError."""
        mark = {"affcli": "unfinished work", "version": __version__, "format": _FORMAT, **asdict(self)}
        write_sealed(folder / ABOUT, mark)


def about_unfinished(path: Path) -> About | None:
    """What the unfinished work in a folder is of; None where there is none.

    Raises ForeignError for a folder that is not ours, or is of another version, which is named.
    """
    if path.is_symlink():
        raise ForeignError(f"{path}: is a symbolic link, where affcli keeps unfinished work. Move it out of the way.")
    if not path.is_dir():
        return None
    with os.scandir(path) as entries:
        names = {entry.name for entry in entries if entry.name not in FOLDERS or entry.is_symlink()}
    if linked := sorted(names & set(FOLDERS)):
        raise ForeignError(f"{path / linked[0]}: is a symbolic link, which affcli has not made. Remove it.")
    if ABOUT not in names:
        _refuse_strangers(path, names)
        return None
    try:
        found = read_sealed(path / ABOUT)
    except DamagedError as error:
        raise ForeignError(f"{path}: its {ABOUT} is damaged or none of affcli's. Remove the folder.") from error
    if found is None:  # removed meanwhile
        return None
    if found["format"] != _FORMAT:
        raise ForeignError(f"{path}: holds unfinished work of affcli {found['version']}. {_HOW_TO_GO_ON}")
    return About(found["settings"], found["inputs"], found["forced"])


_HOW_TO_GO_ON: Final = "Finish it with that version, or remove the folder."


def _refuse_strangers(path: Path, names: set[str]) -> None:
    """Raises for a folder without our mark, unless it is empty or its making was cut short."""
    if {_SETTINGS_0_1, _LOCK_0_1} <= names:
        raise ForeignError(f"{path}: holds unfinished work of affcli 0.1.0. {_HOW_TO_GO_ON}")
    if strangers := sorted(name for name in names if not name.startswith(f".{ABOUT}.")):
        raise ForeignError(
            f"{path}: is not a folder of affcli's (it holds {strangers[0]}), and unfinished work would be kept there. "
            "Move it out of the way."
        )
