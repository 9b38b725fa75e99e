"""The folder that train-visual or train-audio writes, what was there before, and parts of unfinished work beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affcli.commands.shared.epoch_lines import already_made
from affcli.errors import AffcliError
from affcli.files.decoded_folder import remove_decoded
from affcli.files.encoder_card import ENCODER_CARD, read_encoder_card
from affcli.files.outputs import complete_folder, remove_leftovers

if TYPE_CHECKING:
    from affcli.facesets.inventory import Inventory


@dataclass(frozen=True)
class EncoderFolder:
    """What `-o` names; `before` is what its card says of training, None where there is none or it is to be replaced."""

    name: str
    before: Mapping[str, Any] | None
    decoded: Path  # where examples are decoded to that no other run needs

    @classmethod
    def named(cls, output: str, *, force: bool, kind: str, examples: str) -> EncoderFolder:
        """Raises for a folder that holds no encoder of this kind: with --force it is not replaced either.

        `examples` is the suffix of the folder that decoded ones lie in, such as `pictures`.
        """
        path = Path(output)
        if not path.parent.is_dir():
            raise AffcliError(f"{output}: the folder {path.parent} does not exist.")
        if path.exists() and not path.is_dir():
            raise AffcliError(f"{output}: is a file; name a folder.")
        if Path(f"{path}.{examples}").is_symlink():
            raise AffcliError(f"{path}.{examples}: is a link; decoded {examples} lie there. Rename it, or use --cache.")
        if not path.is_dir() or not any(path.iterdir()):
            return cls(str(path), None, Path(f"{path}.{examples}"))
        before = read_encoder_card(path, kind)["training"]
        return cls(str(path), None if force else before, Path(f"{path}.{examples}"))

    def refuse_other(self, options: Mapping[str, Any]) -> None:
        """Raises where the folder was made with other options; no example is needed to see that."""
        if self.before is not None and any(self.before.get(name) != value for name, value in options.items()):
            already_made(self.name, self.before["made_from"], "")

    def has(self, made_from: str) -> bool:
        """True, with a line that says so, where the folder was made from this; raises where from something else."""
        return already_made(self.name, self.before["made_from"] if self.before else None, made_from)

    def has_listed(self, listed: str, inventory: Inventory) -> bool:
        """The same by the list of examples alone, where none of them has changed since; False where that tells nothing.

        Its card's time of change is when the examples were listed, not when training ended.
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

    def remove_parts(self, *, decoded: bool) -> None:
        """Removes what unfinished work has left beside the folder; with `decoded`, the decoded examples too."""
        Path(f"{self.name}.unfinished").unlink(missing_ok=True)
        remove_leftovers(Path(self.name).parent)
        if decoded:
            remove_decoded(self.decoded)
