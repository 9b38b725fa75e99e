"""The face images that the training options name: face sets (stage static) or frames of videos (stage domain)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from affcli.console import terminal
from affcli.errors import UsageError
from affcli.jobs.shares import Share

if TYPE_CHECKING:
    from affcli.facesets.inventory import Inventory
    from affcli.facesets.listing import Listing
    from affcli.facesets.pictures import FaceData
    from affcli.facesets.preparing import Preparation

Command = TypeVar("Command", bound=Callable[..., Any])
RATE = click.FloatRange(0, 1)


def _specs(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> list[tuple[str, Path]]:
    specs = []
    for one in given:
        kind, equals, folder = one.partition("=")
        if not (kind and equals and folder):
            raise click.BadParameter(f"'{one}' is not KIND=DIR, such as ferplus=FERPlus/.")
        specs.append((kind, Path(folder)))
    return specs


_OPTIONS = (
    click.option(
        "--stage",
        type=click.Choice(["static", "domain"]),
        required=True,
        help="static: face sets; domain: frames of videos.",
    ),
    click.option(
        "--data",
        metavar="KIND=DIR",
        multiple=True,
        callback=_specs,
        help="Static: a face set; KIND is rafdb, ferplus, fer2013, affectnet, expw, parquet (images and labels, as the "
        "Hugging Face hub has them) or folder (one sub-folder per class). Repeatable.",
    ),
    click.option("--frames", metavar="DIR", help="Domain: folder with one folder of numbered face images per video."),
    click.option("--labels", metavar="DIR", help="Domain: labels of the videos; one .txt per video, or a table."),
    click.option("--val-frames", metavar="DIR", help="Domain: held-out videos.  [default: --frames]"),
    click.option(
        "--val-labels",
        metavar="DIR",
        help="Domain: labels of the held-out videos.  [default: hold out the share --holdout]",
    ),
    click.option(
        "--holdout",
        type=RATE,
        default=0.1,
        show_default=True,
        help="Share held out of sets that have no validation part.",
    ),
    click.option(
        "--align/--no-align", default=True, show_default=True, help="Static: align the faces like extract-visual."
    ),
    click.option(
        "--class-power",
        type=RATE,
        default=0.5,
        show_default=True,
        help="Class balance. 1: as in the data; 0: all classes equally often.",
    ),
)


def face_options(command: Command) -> Command:
    """What pictures there are to train on, and which of them are held out."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Faces:
    """The face pictures that the options name: what they are, and how they are read."""

    listing: Listing
    align: bool
    thin: float | None
    class_power: float

    @classmethod
    def listed(cls, given: dict[str, Any]) -> Faces:
        """Raises UsageError where the options of a stage are missing, or the other's are given."""
        static, domain = {"data": "--data"}, {"frames": "--frames", "labels": "--labels"}
        others = {"val_frames": "--val-frames", "val_labels": "--val-labels"}
        stage = given["stage"]
        needed, foreign = (static, {**domain, **others}) if stage == "static" else (domain, static)
        if missing := [option for name, option in needed.items() if not given[name]]:
            raise UsageError(f"--stage {stage} needs {' and '.join(missing)}.")
        if wrong := [option for name, option in foreign.items() if given[name]]:
            raise UsageError(f"--stage {stage} does not take {wrong[0]}.")
        return cls._static(given) if stage == "static" else cls._domain(given)

    @classmethod
    def _static(cls, given: dict[str, Any]) -> Faces:
        from affcli.facesets.static import list_static

        listing = list_static(given["data"], holdout=given["holdout"], seed=given["seed"])
        return cls(listing, given["align"], None, given["class_power"])

    @classmethod
    def _domain(cls, given: dict[str, Any]) -> Faces:
        from affcli.facesets.domain import THIN, list_domain

        places = (given[name] and Path(given[name]) for name in ("frames", "labels", "val_frames", "val_labels"))
        listing = list_domain(*places, holdout=given["holdout"], seed=given["seed"])
        return cls(listing, False, THIN, given["class_power"])

    def show_counts(self) -> None:
        """Pictures of each class, set by set, on standard output."""
        from affcli.console.printing import show

        show([self.listing.table()])

    def inventory(self) -> Inventory:
        """Of the pictures to train on and those held out."""
        from affcli.facesets.inventory import Inventory

        return Inventory.of(self.listing)

    def choices(self, how: Preparation) -> list[object]:
        """What their pixels and weights depend on beside the files."""
        from affcli.facesets.decoding import VERSION

        return [VERSION, asdict(how), self.thin, self.class_power]

    def loaded(self, how: Preparation, cache: Path) -> FaceData:
        """All pictures, decoded where the cache does not hold them yet."""
        from affcli.facesets.loading import load, pictures_to_decode

        total = pictures_to_decode(self.listing, raw_too=self.align)
        with terminal.counting(
            "pictures", total, unit="pictures", counted="faces", shown=Share.given_by().speaks
        ) as counter:
            return load(
                self.listing,
                how,
                cache=cache,
                class_power=self.class_power,
                raw_too=self.align,
                thin=self.thin,
                advance=lambda more: counter.advance(more, frames=more),
            )
