"""The commands that read a table, and what their outputs must look like where they end well."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from campaign.judge import Bounds, Run
from campaign.oracle import same_frames

Check = Callable[[Path, str], str | None]


def sound_output(name: str) -> Check:
    """The output, a file or every file of a folder, can be read to its end by another program than ours."""

    def check(folder: Path, told: str) -> str | None:
        path = folder / name
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        if path.is_file() or path.is_dir():
            return next((f"{file.suffix} output: {wrong}" for file in files if (wrong := _wrong(file))), None)
        return "no output in spite of status 0"

    return check


def _wrong(file: Path) -> str | None:
    try:
        return _READERS.get(file.suffix, lambda _: None)(file)
    except Exception as error:  # whatever it is: nobody else can read it either
        return f"{type(error).__name__}: {str(error)[:80]}"


def _parquet(file: Path) -> str | None:
    return _rows(pq.read_table(file, page_checksum_verification=True))


def _arrow(file: Path) -> str | None:
    return _rows(ipc.open_file(pa.OSFile(str(file))).read_all())


def _rows(table: pa.Table) -> str | None:
    table.validate(full=True)
    if not {"video", "frame"} <= set(table.column_names):
        return None
    order = [name for name in ("video", "window", "frame") if name in table.column_names]
    keys = list(zip(*(table[name].to_pylist() for name in order), strict=True))
    if keys != sorted(keys):
        return f"is not sorted by {', '.join(order)}"
    return "has a frame below 1" if any(key[-1] < 1 for key in keys) else None


def _csv(file: Path) -> str | None:
    csv.field_size_limit(1 << 30)
    text = file.read_bytes().decode()
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t" if file.suffix == ".tsv" else ","))
    return None if len({len(row) for row in rows}) <= 1 else "has rows of different lengths"


def _xml(file: Path) -> str | None:
    ET.parse(file)
    return None


def _vtt(file: Path) -> str | None:
    text = file.read_text(encoding="utf-8")
    if not text.startswith("WEBVTT"):
        return "does not begin with WEBVTT"
    return "a tag that is none of ours" if "<script" in text else None


def _page(file: Path) -> str | None:
    text = file.read_text(encoding="utf-8")
    return "an id stands in the page as it is" if "<script>alert(1)" in text else None


_READERS = {".parquet": _parquet, ".arrow": _arrow, ".csv": _csv, ".tsv": _csv, ".eaf": _xml, ".svg": _xml} | {
    ".vtt": _vtt,
    ".html": _page,
}


# Errors about ids that cannot be names of files, which name the video.
_OF_IDS = ("its name leads out of the output folder", "would be one file", "cannot stand in a submission")
_USUAL = Bounds()


@dataclass(frozen=True)
class Reader:
    """A command: IN stands for what is damaged. `stdin`: it comes through standard input instead.

    `frames`: its output tells of the frames that the input has; `means`: the numbers are means of the input's.
    """

    arguments: Sequence[str]
    output: str | None = None
    stdin: bool = False
    bounds: Bounds = _USUAL
    frames: bool = False
    means: bool = False

    def run(self, damaged: str, *, several: bool = False) -> Run:
        stands = {"IN": damaged}
        arguments = [stands.get(word, word) for word in self.arguments]

        def check(folder: Path, told: str) -> str | None:
            if self.output is None:
                return None
            wrong = sound_output(self.output)(folder, told)
            if wrong or not (self.frames or self.means):
                return wrong
            return same_frames(folder / damaged, folder / self.output, means=self.means)

        return Run(
            arguments,
            damaged,
            outputs=(self.output,) if self.output else (),
            check=check,
            names=("standard input",) if self.stdin else ("sound.parquet", *_OF_IDS),
            stdin=damaged if self.stdin else None,
            several=several,
            for_people=arguments[0] in ("score", "info"),
            bounds=self.bounds,
        )


def _to(command: str, output: str, *options: str, **how: bool) -> Reader:
    return Reader((*command.split(), *options, "-o", output), output, **how)


# How often each comes follows from how often it stands here; those that draw take the longest.
TABLE_READERS: Sequence[Reader] = (
    *[_to("vote IN", "out.parquet", means=True)] * 4,
    _to("vote IN sound.parquet --weights 2,1", "out.parquet"),
    _to("vote IN --space probabilities", "out.csv", frames=True),
    _to("vote IN --hard", "out.arrow", frames=True),
    _to("vote -", "out.parquet", stdin=True, means=True),
    *[_to("smooth IN -k 5", "out.parquet", frames=True)] * 4,
    _to("smooth IN --method mode", "out.csv", frames=True),
    _to("smooth IN --missing exclude --method gaussian", "out.tsv", frames=True),
    _to("smooth IN --method mean --input-space logits", "out.arrow", frames=True),
    *[Reader(("score", "IN", "--labels", "labels", "--per-video", "--bootstrap", "20"))] * 3,
    Reader(("score", "IN", "--labels", "labels", "--allow-missing", "--faces-only", "--json", "--bootstrap", "0")),
    Reader(("score", "sound.parquet", "--labels", "IN", "--allow-missing", "--bootstrap", "20")),
    Reader(("score", "IN", "--labels", "labels", "--label-column", "label", "--allow-missing", "--bootstrap", "0")),
    _to("calibrate IN --labels labels --bootstrap 20 --allow-missing", "out.json"),
    _to("export IN --to csv --probabilities", "out.csv", frames=True),
    _to("export IN --to segments --min-seconds 0.2", "out.csv"),
    _to("export IN --to vtt --confidence", "captions"),
    _to("export IN --to elan", "tiers"),
    _to("export IN --to labels", "texts"),
    _to("export IN --to abaw", "out.txt"),
    _to("report IN", "out.html"),
    Reader(("info", "IN")),
    Reader(("info", "IN", "--json")),
)
DRAWING_READERS: Sequence[Reader] = (
    _to("plot IN --format svg", "plots"),
    _to("plot IN --labels labels --confusion", "out.svg"),
)
FEATURE_READERS: Sequence[Reader] = (
    _to("predict --model mini --visual IN", "out.parquet"),
    _to("predict --model mini --visual IN --audio A.parquet", "out.csv"),
    _to("predict --model mini --visual V.parquet --audio IN --allow-unmatched", "out.arrow"),
    Reader(("info", "IN")),
)


def reader_of(readers: Sequence[Reader], random: Random) -> Reader:
    return random.choice(readers)
