"""Labels inputs one after the other: pictures, sound, both joined and named, tables written.

This module keeps the order; seeing, hearing and naming are the work of a `Labeller` (in models/label/). Pictures of
several inputs are worked on together, so that batches run across their borders; when an input's pictures are done, its
sound is encoded, both are joined, and its tables are written. Until then its features lie in the parts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.files.inputs import MediaInput
from affcli.jobs.job import CHANGED, Ended
from affcli.jobs.label_folder import LabelFolder
from affcli.jobs.parts import Parts
from affcli.jobs.progress import Progress, Uncounted
from affcli.jobs.stream_features import PartFeatures
from affcli.media.picture_track import NO_PICTURE
from affcli.tables.label_tables import Origin
from affcli.views.uncertainty import UNSURE

log = logging.getLogger(__name__)

VISUAL_STREAM: Final = "visual"  # of an input's parts; "visual-2", … where a model takes several tables
AUDIO_STREAM: Final = "audio"
DEFAULT_FPS: Final = 25.0  # of sound without a picture


Features = Sequence[PartFeatures]  # of one stream and input: one for each encoder; none where there is no stream


class Labeller(Protocol):
    """Encoders and network, loaded once. The sizes are those of the features that each of them gives."""

    @property
    def visual_sizes(self) -> Sequence[int]:
        """Numbers in the visual features of each encoder, the first of which tells of frames and faces."""

    @property
    def audio_sizes(self) -> Sequence[int]:
        """Numbers in the audio features of each encoder, the first of which tells of speech."""

    def see(self, items: Iterable[MediaInput], parts: Parts, progress: Progress) -> Generator[Ended]:
        """Leaves visual features of the inputs in the parts, and tells of each as it ends."""

    def hear(self, item: MediaInput, parts: Parts, times_s: NDArray[np.float64] | None, progress: Progress) -> Ended:
        """Leaves audio features of one input, for frames at these times [n]; at a fixed rate where times are None."""

    def name(self, visual: Features, audio: Features) -> Iterator[tuple[str, pa.Table]]:
        """Frame tables by video, of one input: the features of each encoder, or none."""


@dataclass(frozen=True)
class Labelling:
    """Makes the frame tables of a folder: a Work."""

    folder: LabelFolder
    labeller: Labeller

    def __call__(self, items: Iterable[MediaInput], parts: Parts, progress: Progress) -> Generator[Ended]:
        """Labels the items in their order."""
        with closing(self.labeller.see(items, parts, progress)) as seeing:
            for seen in seeing:
                yield self._labelled(seen, parts, progress)

    def _labelled(self, seen: Ended, parts: Parts, progress: Progress) -> Ended:
        """What becomes of an input whose pictures are done, or which has none."""
        item = seen.item
        visuals = _features(item, parts, VISUAL_STREAM, self.labeller.visual_sizes)
        visual = visuals[0] if visuals else None
        heard = self._heard(item, visual, parts, progress)
        audios = () if heard is None else _features(item, parts, AUDIO_STREAM, self.labeller.audio_sizes)
        audio = audios[0] if audios else None
        unseen, unheard = _reason(seen), None if heard is None else _reason(heard)
        if (visual is None and audio is None) or parts.has_changed(item):
            return Ended(item, failure=_both(unseen, unheard) or CHANGED)
        problem = _problem(visual, audio, unseen, unheard)
        found = self._write(item, visuals, audios, parts, problem)
        if not (found.face or found.sound):
            return Ended(item, failure=_both(problem, "neither a face nor sound in it: there is nothing to label"))
        _tell(item, visual, found, problem)
        log.info("%s: labels: %s", item.path, found.told)
        return Ended(item, problem)

    def _heard(self, item: MediaInput, visual: PartFeatures | None, parts: Parts, progress: Progress) -> Ended | None:
        """What became of the input's sound. A folder of pictures has none, and nothing is to be said of it."""
        if item.kind == "pictures":
            return None
        if visual is None:
            return self.labeller.hear(item, parts, None, progress)
        return self.labeller.hear(item, parts, visual.read_times(visual.videos[0]), Uncounted(progress))

    def _write(
        self,
        item: MediaInput,
        visual: Features,
        audio: Features,
        parts: Parts,
        problem: str | None,
    ) -> _Found:
        """Writes the tables if there is a face or sound in any of them; what there is."""
        videos = visual[0].videos if visual else [item.video]
        origin = Origin(item.video, parts.mark(item).fingerprint, tuple(videos), problem)
        starts_s = next((stream.starts_s for stream in (*visual, *audio)), 0.0)
        face = sound = named = False
        counts: Counter[str] = Counter()
        waiting: list[tuple[str, pa.Table]] = []
        for video, rows in self.labeller.name(visual, audio):
            face |= pc.any(rows["face"]).as_py()
            sound |= pc.any(rows["audio"]).as_py()
            named |= rows["label"].null_count < rows.num_rows
            if log.isEnabledFor(logging.INFO):
                counts.update(label or UNSURE for label in rows["label"].to_pylist())
            waiting.append((video, rows))
            if face or sound:
                parts.refuse_lost()
                for name, table in waiting:
                    self.folder.write(origin, name, table, starts_s=starts_s)
                waiting.clear()
        told = ", ".join(f"{label} {frames:,}" for label, frames in counts.most_common())
        return _Found(face, sound, named, told)


def streams_of(stream: str, count: int) -> list[str]:
    """The names of several encoders' streams in an input's parts."""
    return [stream, *(f"{stream}-{number}" for number in range(2, count + 1))]


def _features(item: MediaInput, parts: Parts, stream: str, sizes: Sequence[int]) -> Features:
    """Those of each encoder; none where one of them could make none."""
    found = [parts.find(item, name) for name in streams_of(stream, len(sizes))]
    made = [PartFeatures(str(item.path), part, size) for part, size in zip(found, sizes, strict=True) if part]
    return made if len(made) == len(sizes) else ()


class _Found(NamedTuple):
    """Whether any frame of an input has a face, sound, or a label; `told` are the labels and their frames, for `-v`."""

    face: bool
    sound: bool
    named: bool
    told: str


def _tell(item: MediaInput, visual: PartFeatures | None, found: _Found, problem: str | None) -> None:
    """One line on what an input lacks."""
    if problem is not None:
        log.error("%s: %s; what could be decoded is labelled.", item.path, problem)
    elif not found.named:
        log.warning("%s: no frame is sure enough to be labelled; the summary says why.", item.path)
    elif visual is None:
        log.warning("%s: no picture in it; its sound alone is labelled.", item.path)
    elif not found.face:
        log.warning("%s: no face in any frame; its sound alone is labelled.", item.path)
    elif not found.sound and item.kind == "file":
        log.warning("%s: no sound in it; its picture alone is labelled.", item.path)


def _reason(ended: Ended) -> str | None:
    """Why there is no stream, without the file's name."""
    return None if ended.failure is None else ended.failure.removeprefix(f"{ended.item.path}: ")


def _problem(
    visual: PartFeatures | None, audio: PartFeatures | None, unseen: str | None, unheard: str | None
) -> str | None:
    """Why frames, or one of the streams, may be missing. That there is no picture at all is no problem of the sound."""
    decoded = [stream.problem for stream in (visual, audio) if stream is not None]
    return _both(*decoded, None if unseen == NO_PICTURE else unseen, unheard) or None


def _both(*reasons: str | None) -> str:
    """Each reason once."""
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))
