"""The fusion network that comes with affcli as `mini`: the sequences it is trained on, what ships, and how good it is.

    python examples/mini_fusion.py make FERPLUS_DIR EMODB_DIR OUT_DIR --confusion FILE
    python examples/mini_fusion.py pack MODEL OUT_FILE              in half precision, as it ships
    python examples/mini_fusion.py judge MODEL HELD_OUT_DIR         both streams, and either alone, on made-up videos
    python examples/mini_fusion.py clips MODEL CLIPS_DIR            the same on real ones: labels.csv has video,class

`examples/mini-fusion.sh` runs them all, with feature extraction and training between them.

No free set has both streams labelled frame by frame, so videos are made up. One is a chain of segments, each of one
class and a few seconds long: a face or two of that class (FERPlus) moves a little in front of the camera while one of
Emo-DB's speakers talks in that class. OUT_DIR/train and OUT_DIR/held-out each get

    wav/NAME.wav      the sound, 16 kHz, for `affcli extract-audio`
    labels/NAME.txt   a class number a frame, as in Aff-Wild2
    segments.csv      what each segment was meant to show, whether it has a face, which class is heard
    visual.parquet    what `affcli extract-visual --model mini` would write, were there a picture

Faces in `held-out` are of FERPlus's validation part, and its speakers talk nowhere in `train`. Faces are missing in
runs; segments of every class are silent; Emo-DB speaks neither Surprise nor Other, so there the speech is of any class.

In `train` the streams disagree: a segment's speech is of a class that the speech encoder takes the segment's class for,
as often as it does so with speakers it has never heard (--confusion: counts or shares, a row for each true class, a
column for each answer, both in the order Neutral, Anger, Disgust, Fear, Happiness, Sadness). For the encoder has learnt
from the very utterances that are joined here, and a network that sees no mistakes in them would trust sound too much.
Pictures need none of that: the image encoder is right on 82 % of its training pictures and on 81 % of the others.

What these videos are not: people. A segment's faces are strangers to one another and to the voice, no mouth moves with
the words, classes change at once, and actors play them in German. Figures on held-out speakers are only worth something
if the speech encoder was not trained on these speakers either.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import mini_sequences as sequences
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from mini_sequences import FPS, RATE, SPOKEN
from safetensors import safe_open
from safetensors.torch import save_file

from affcli.facesets.listing import Labelled
from affcli.facesets.static import list_static
from affcli.labels.reader import read_labels
from affcli.media.faces import TEMPLATE_SIZE
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.runtime import devices
from affcli.schema import CLASSES, VISUAL, visual_schema, with_metadata
from affcli.scoring import metrics
from affcli.tables.writer import TableWriter

# --- make ------------------------------------------------------------------------------------------------------------


def make(given: argparse.Namespace) -> None:
    """Both sets; one that is whole already is left alone."""
    confusion = np.array(json.loads(given.confusion.read_text()), float)
    listing, voices = list_static([("ferplus", given.ferplus)]), sequences.Voices.read(given.emodb)
    encoder = VisualEncoder("mini", devices.choose("cpu", "fp32"), batch_size=sequences.VARIANTS)
    others = [speaker for speaker in voices.speakers if speaker not in given.speakers]
    train = listing.train, voices.of(others), given.train, sequences.hearing(confusion)
    held_out = listing.held_out, voices.of(given.speakers), given.held_out, sequences.hearing(None)
    for number, (name, parts) in enumerate({"train": train, "held-out": held_out}.items()):
        if (given.out / name / "visual.parquet").is_file():
            print(f"{given.out / name}: is there already")
        else:
            random = np.random.default_rng([given.seed, number])
            make_set(given.out / name, *parts, encoder=encoder, frames=given.seconds * FPS, random=random)


def make_set(
    out: Path,
    faces: Labelled,
    voices: sequences.Voices,
    videos: int,
    heard: np.ndarray,
    *,
    encoder: VisualEncoder,
    frames: int,
    random: np.random.Generator,
) -> None:
    """The table comes last: a set that has one is whole."""
    shutil.rmtree(out, ignore_errors=True)
    for folder in ("wav", "labels"):
        (out / folder).mkdir(parents=True)
    deck, shown, segments = sequences.Deck(random, faces.labels), {}, {}
    for number in range(videos):
        speaker = voices.speakers[number % len(voices.speakers)]
        video = f"{number:03}-{speaker}"
        segments[video] = sequences.plan(random, frames, heard)
        shown[video] = list(sequences.shows(random, segments[video], deck))
        sound = sequences.sound_of(random, segments[video], voices, speaker)
        soundfile.write(out / "wav" / f"{video}.wav", sound, RATE)
    write_labels(out, segments)
    drawn = sorted({span.picture for spans in shown.values() for span in spans})
    features = sequences.encoded(random, encoder, faces, drawn)
    write_table(out / "visual.parquet", shown, features, encoder, frames)
    print(f"{out}: {videos} videos, {sum(map(len, segments.values()))} segments, {len(drawn)} pictures")


def write_labels(out: Path, segments: Mapping[str, Sequence[sequences.Segment]]) -> None:
    for video, parts in segments.items():
        labels = [part.label for part in parts for _ in range(part.stop - part.start)]
        (out / "labels" / f"{video}.txt").write_text("\n".join([",".join(CLASSES), *map(str, labels)]) + "\n")
    with (out / "segments.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("video", *sequences.Segment._fields))
        lines.writerows((video, *part) for video, parts in segments.items() for part in parts)


def write_table(
    out: Path,
    shown: Mapping[str, Sequence[sequences.Shown]],
    features: Mapping[int, np.ndarray],
    encoder: VisualEncoder,
    frames: int,
) -> None:
    """As extract-visual would: every frame has a row; boxes are unknown, as of pictures that were aligned before."""
    alignment = {"template": f"arcface-{TEMPLATE_SIZE}", "size": encoder.preprocessing.input_size}
    facts = {"encoder": encoder.card.as_json(), "precision": "fp32", "alignment": alignment, "face": "largest"}
    facts |= {"every": 1, "fps": FPS, "times": "of the frames", "inputs": {}, "failed": {}, "incomplete": {}}
    schema = visual_schema(encoder.card.size)
    with TableWriter(str(out), with_metadata(schema, kind=VISUAL, **facts)) as writer:
        for video in sorted(shown):
            writer.write(_rows(video, shown[video], features, schema, frames))


def _rows(
    video: str,
    shown: Sequence[sequences.Shown],
    features: Mapping[int, np.ndarray],
    schema: pa.Schema,
    frames: int,
) -> pa.Table:
    size = schema.field("feature").type.list_size
    numbers, seen = np.zeros((frames, size), np.float16), np.zeros(frames, bool)
    for span in shown:
        numbers[span.start : span.stop] = span.features(features[span.picture])
        seen[span.start : span.stop] = span.seen
    columns = [
        pa.repeat(pa.scalar(video, pa.string()), frames),
        pa.array(np.arange(1, frames + 1, dtype=np.int32)),
        pa.array(np.arange(frames) / FPS),
        pa.array(seen),
        *(pa.nulls(frames, pa.float32()) for _ in range(5)),
        pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), size, mask=pa.array(~seen)),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


# --- pack ------------------------------------------------------------------------------------------------------------


def pack(given: argparse.Namespace) -> None:
    with safe_open(given.model, "pt") as file:
        tensors = {name: file.get_tensor(name).half() for name in file.keys()}  # noqa: SIM118 - it is no mapping
        card = file.metadata()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, given.out, card)
    given.out.chmod(0o644)
    count = sum(tensor.numel() for tensor in tensors.values())
    print(f"{count:,} parameters, {given.out.stat().st_size / 1e6:.1f} MB")


# --- judge -----------------------------------------------------------------------------------------------------------


def predicted(model: Path, streams: Mapping[str, Path]) -> pa.Table:
    """affcli predict | affcli vote | affcli smooth of one or both feature tables, by stream."""
    tables = [text for stream, table in streams.items() for text in (f"--{stream}", str(table))]
    table = None
    for command in (["predict", "--model", str(model), *tables], ["vote"], ["smooth"]):
        table = subprocess.run(["affcli", *command, "-q"], input=table, stdout=subprocess.PIPE, check=True).stdout
    return pq.read_table(pa.BufferReader(table))


def ways(folder: Path) -> dict[str, dict[str, Path]]:
    both = {stream: folder / f"{stream}.parquet" for stream in ("visual", "audio")}
    return {
        "picture and sound": both,
        "picture alone": {"visual": both["visual"]},
        "sound alone": {"audio": both["audio"]},
    }


def judge(given: argparse.Namespace) -> None:
    """Frames of all videos, pooled; macro F1 is over the eight classes, a mean recall over those that are there."""
    labels = read_labels(str(given.held_out / "labels"))
    truth = np.concatenate([labels[video].labels for video in sorted(labels)])
    face, talk = streams_there(given.held_out, len(truth))
    print(f"{len(labels)} videos, {len(truth):,} frames; a face in {face.mean():.1%}, speech in {talk.mean():.1%}")
    places = {"all": truth >= 0, "face, speech": face & talk, "face only": face & ~talk}
    places |= {"speech only": talk & ~face, "six spoken classes, face, speech": face & talk & (truth < len(SPOKEN))}
    for name, streams in ways(given.held_out).items():
        guessed = _class_numbers(predicted(given.model, streams))
        print(f"\n{name}")
        for place, rows in places.items():
            confusion = metrics.confusion(truth[rows], guessed[rows])
            figures = f"accuracy {metrics.accuracy(confusion):.1%}, mean recall {np.nanmean(_recalls(confusion)):.1%}"
            print(f"  {figures}, {rows.sum():,} frames: {place}")
        confusion = metrics.confusion(truth, guessed)
        print(f"  macro F1 {metrics.macro_f1(confusion):.3f}; recall, all frames:", end=" ")
        print(", ".join(f"{label} {hits:.0%}" for label, hits in zip(CLASSES, _recalls(confusion), strict=True)))


def _recalls(confusion: np.ndarray) -> np.ndarray:
    """[8], NaN for a class that no frame has."""
    counts = confusion.sum(1)
    return np.where(counts, np.diag(confusion) / counts.clip(min=1), np.nan)


def streams_there(folder: Path, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """[frames] each, videos by name: is a face seen, and is the segment one with speech."""
    face = pq.read_table(folder / "visual.parquet", columns=["face"])["face"].to_numpy()
    parts = sorted(
        csv.DictReader((folder / "segments.csv").open()), key=lambda part: (part["video"], int(part["start"]))
    )
    lengths = [int(part["stop"]) - int(part["start"]) for part in parts]
    talk = np.repeat([part["speech"] != "" for part in parts], lengths)
    assert len(face) == len(talk) == frames
    return face, talk


def _class_numbers(table: pa.Table) -> np.ndarray:
    """The label of every frame; a frame without logits counts as the first class."""
    labels = table.sort_by([("video", "ascending"), ("frame", "ascending")])["label"].to_pylist()
    return np.array([CLASSES.index(label) if label else 0 for label in labels])


# --- clips -----------------------------------------------------------------------------------------------------------


def clips(given: argparse.Namespace) -> None:
    """The commonest label of each clip. A handful of clips is an illustration, not a figure."""
    truth = {row["video"]: row["class"] for row in csv.DictReader((given.clips / "labels.csv").open())}
    files = [file for file in sorted(given.clips.iterdir()) if file.stem in truth and file.suffix != ".csv"]
    with tempfile.TemporaryDirectory() as folder:
        visual, audio = ways(Path(folder))["picture and sound"].values()
        names = list(map(str, files))
        _affcli("extract-visual", *names, "--model", "mini", "-o", visual)
        _affcli("extract-audio", *names, "--model", given.audio_model, "--frames-from", visual, "-o", audio)
        said = {way: _commonest(predicted(given.model, tables)) for way, tables in ways(Path(folder)).items()}
    print("".join(f"{text:20}" for text in ("clip", "class", *said)))
    for file in files:
        own = [said[way].get(file.stem, "none") for way in said]
        print("".join(f"{text:20}" for text in (file.stem, truth[file.stem], *own)))
    for way, labels in said.items():
        print(f"{way}: {sum(labels.get(file.stem) == truth[file.stem] for file in files)} of {len(files)}")


def _affcli(*words: object) -> None:
    subprocess.run(["affcli", *map(str, words), "-q"], check=True)


def _commonest(table: pa.Table) -> dict[str, str]:
    counts: dict[str, Counter[str]] = {}
    for video, label in zip(table["video"].to_pylist(), table["label"].to_pylist(), strict=True):
        if label:
            counts.setdefault(video, Counter())[label] += 1
    return {video: count.most_common(1)[0][0] for video, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, places in {
        make: "ferplus emodb out",
        pack: "model out",
        judge: "model held_out",
        clips: "model clips",
    }.items():
        own = commands.add_parser(command.__name__, help=command.__doc__)
        own.set_defaults(command=command)
        for place in places.split():
            own.add_argument(place, type=Path)
        if command is make:
            own.add_argument("--confusion", type=Path, required=True)
            own.add_argument(
                "--speakers", nargs="+", default=["11", "13"], help="held out (default: a man and a woman)"
            )
            own.add_argument("--train", type=int, default=300, help="videos")
            own.add_argument("--held-out", type=int, default=40, help="videos")
            own.add_argument("--seconds", type=int, default=40, help="of each video")
            own.add_argument("--seed", type=int, default=0)
        elif command is clips:
            own.add_argument("--audio-model", default="mini", help="that the model was trained with")
    given = parser.parse_args()
    given.command(given)


if __name__ == "__main__":
    main()
