"""The folder that train-visual writes, what was there before, and the parts of unfinished work beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affcli.commands.shared.epoch_lines import already_made
from affcli.errors import AffcliError
from affcli.files.encoder_card import ENCODER_CARD, read_encoder_card
from affcli.files.outputs import complete_folder, remove_leftovers

if TYPE_CHECKING:
    from affcli.facesets.inventory import Inventory


@dataclass(frozen=True)
class EncoderFolder:
    """What `-o` names; `before` is what its card says of training, None where there is none or it is to be replaced."""

    name: str
    before: Mapping[str, Any] | None

    @classmethod
    def named(cls, output: str, *, force: bool) -> EncoderFolder:
        """Raises for a folder that train-visual did not make: with --force it is not replaced either."""
        path = Path(output)
        if not path.parent.is_dir():
            raise AffcliError(f"{output}: the folder {path.parent} does not exist.")
        if path.exists() and not path.is_dir():
            raise AffcliError(f"{output}: is a file; name a folder.")
        if Path(f"{path}.pictures").is_symlink():
            raise AffcliError(
                f"{path}.pictures: is a link; decoded pictures are kept there. Rename it, or use --cache."
            )
        if not path.is_dir() or not any(path.iterdir()):
            return cls(str(path), None)
        before = read_encoder_card(path)["training"]
        return cls(str(path), None if force else before)

    @property
    def pictures(self) -> Path:
        """Where pictures are decoded to that no other run needs."""
        return Path(f"{self.name}.pictures")

    def refuse_other(self, options: Mapping[str, Any]) -> None:
        """Raises where the folder was made with other options; no picture is needed to see that."""
        if self.before is not None and any(self.before.get(name) != value for name, value in options.items()):
            already_made(self.name, self.before["made_from"], "")

    def has(self, made_from: str) -> bool:
        """True, with a line that says so, where the folder was made from this; raises where from something else."""
        return already_made(self.name, self.before["made_from"] if self.before else None, made_from)

    def has_listed(self, listed: str, inventory: Inventory) -> bool:
        """The same by the list of pictures alone, where none of them has changed since; False where that tells nothing.

        Its card's time of change is when the pictures were listed, not when training ended.
        """
        if self.before is None or self.before.get("listed") != listed:
            return False
        listed_ns = (Path(self.name) / ENCODER_CARD).stat().st_mtime_ns
        return inventory.unchanged_since(listed_ns) and self.has(self.before["made_from"])

    @contextmanager
    def filled(self, inventory: Inventory) -> Iterator[Path]:
        """An empty folder that takes the name when it is filled."""
        with complete_folder(self.name) as folder:
            yield folder
            os.utime(folder / ENCODER_CARD, ns=(inventory.taken_ns, inventory.taken_ns))

    def remove_parts(self, *, pictures: bool) -> None:
        """Removes what unfinished work has left beside the folder; with `pictures`, the decoded ones too."""
        Path(f"{self.name}.unfinished").unlink(missing_ok=True)
        remove_leftovers(Path(self.name).parent)
        if pictures:
            from affcli.facesets.pixel_file import remove_decoded

            remove_decoded(self.pictures)
