"""Kinds whose commands load networks or decode media: features, models, encoders, pictures, videos, sounds, unfinished
work. Of media several are read by one command, which must name each that it cannot read and do the others."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from helpers.media_fixtures import H264, astronaut, ffmpeg
from helpers.tiny_encoders import save_tiny_beit, save_tiny_wavlm
from PIL import Image

import affcli.models.mini
from campaign.damage import damaged, damaged_json
from campaign.judge import Bounds, Run
from campaign.kinds import Kind
from campaign.odd_tables import ROWS, VIDEOS
from campaign.readers import FEATURE_READERS, Reader, reader_of

MODEL = Path(next(iter(affcli.models.mini.__path__))) / "fusion" / "model.safetensors"
SIZES = {"V": 1024, "A": 384}  # of the features of mini
TORCH = Bounds(cpu_s=60.0, wall_s=240.0, memory=1 << 30)


# --- features and models ---------------------------------------------------------------------------------------------


def feature_table(name: str, seed: int = 0) -> pa.Table:
    """Features as anyone may have made them, of the size that mini's fusion network takes."""
    rows, size = len(VIDEOS) * ROWS, SIZES[name]
    values = np.random.default_rng(seed).normal(size=rows * size).astype(np.float16)
    columns = {"video": np.repeat(VIDEOS, ROWS), "frame": np.tile(np.arange(1, ROWS + 1, dtype=np.int32), len(VIDEOS))}
    columns["time_s"] = columns["frame"] / 25.0
    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    if name == "V":
        table = table.append_column("face", pa.array([True] * rows))
    return table.append_column("feature", pa.FixedSizeListArray.from_arrays(pa.array(values), size))


def prepare_features(home: Path) -> None:
    for name in SIZES:
        pq.write_table(feature_table(name), home / f"{name}.parquet")


def features(home: Path, random: Random) -> Run:
    """Feature tables, their bytes damaged or a column of them odd."""
    reader = reader_of(FEATURE_READERS, random)
    table = feature_table("A" if "--audio" in reader.arguments and "V.parquet" in reader.arguments else "V")
    change = random.randrange(6)
    if change == 0:
        table = table.drop_columns([random.choice(table.column_names)])
    elif change == 1:
        table = table.set_column(
            1, "frame", pa.array([random.choice((1, 0, -5, 2**31 - 1)) for _ in range(len(table))])
        )
    elif change == 2:
        odd = np.full(len(table) * 8, random.choice((np.nan, np.inf, 1e4)), np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(odd), 8)
        table = table.set_column(table.schema.get_field_index("feature"), "feature", column)
    elif change == 3:
        table = table.take(pa.array([random.randrange(len(table)) for _ in range(len(table))]))
    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression=random.choice(("none", "snappy")), write_page_checksum=random.random() < 0.5
    )
    data = sink.getvalue()
    (home / "in.parquet").write_bytes(data if 0 <= change <= 3 else damaged(data, random))
    return Reader(reader.arguments, reader.output, bounds=TORCH).run("in.parquet")


def _packed(header: object, rest: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def models(home: Path, random: Random) -> Run:
    """A fusion network's file: its header, the card in it, or any bytes."""
    data = MODEL.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header, how = json.loads(data[8:end]), random.randrange(4)
    if how == 0:
        data = _packed(damaged_json(header, random), data[end:])
    elif how <= 2:
        card = json.loads(header["__metadata__"]["affcli"])
        part = random.choice(("config", "encoders", None))
        text = damaged_json(card if part is None else card[part], random).decode("utf-8", "replace")
        if part is not None:
            text = json.dumps({**card, part: "@"}).replace('"@"', text)
        data = _packed({**header, "__metadata__": {"affcli": text}}, data[end:])
    else:
        data = damaged(data, random)
    (home / "in.safetensors").write_bytes(data)
    predict = ("predict", "--model", "IN", "--visual", "V.parquet", "--audio", "A.parquet", "-o", "out.parquet")
    return random.choice((Reader(predict, "out.parquet", bounds=TORCH), Reader(("info", "IN"), bounds=TORCH))).run(
        "in.safetensors"
    )


def prepare_encoders(home: Path) -> None:
    save_tiny_beit(home / "beit")
    save_tiny_wavlm(home / "wavlm")
    save_pictures(home / "face", 3)
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5:r=16000", f"file:{home / 'sound.wav'}")


def encoders(home: Path, random: Random) -> Run:
    """An encoder's folder: its configuration, its preprocessing, or its weights."""
    name = random.choice(("beit", "wavlm"))
    shutil.copytree(home / name, home / "in")
    file = home / "in" / random.choice(("config.json", "config.json", "preprocessor_config.json", "model.safetensors"))
    data = file.read_bytes()
    if file.suffix == ".json":
        file.write_bytes(damaged_json(json.loads(data), random))
    else:
        end = 8 + int.from_bytes(data[:8], "little")
        header = damaged_json(json.loads(data[8:end]), random)
        file.write_bytes(damaged(data, random) if random.random() < 0.5 else _packed(header, data[end:]))
    command = "extract-visual face" if name == "beit" else "extract-audio sound.wav --fps 10 --layers 1"
    arguments = (*command.split(), "--model", "IN", "-o", "out.parquet")
    return Reader(arguments, "out.parquet", bounds=TORCH).run("in", several=True)


# --- media -----------------------------------------------------------------------------------------------------------

_PICTURES = ("jpg", "png", "webp", "bmp", "tiff", "gif", "pgm", "avif")
_VIDEOS: Sequence[tuple[str, Sequence[str]]] = (
    ("mp4", (*H264, "-c:a", "aac")),
    ("mkv", ("-c:v", "ffv1", "-c:a", "flac")),
    ("avi", ("-c:v", "mjpeg", "-q:v", "3", "-c:a", "mp3")),
    ("flv", ("-c:v", "flv", "-c:a", "mp3", "-ar", "44100")),
    ("mpg", ("-c:v", "mpeg2video", "-c:a", "mp2")),
    ("mov", ("-c:v", "prores", "-c:a", "pcm_s16le")),
    ("gif", ("-an",)),
)
_SOUNDS = ("wav", "flac", "mp3", "m4a", "ogg", "opus", "aiff", "au", "aac")


def save_pictures(folder: Path, count: int, suffix: str = "jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    face = Image.fromarray(astronaut()).crop((170, 60, 282, 172)).resize((64, 64))
    for number in range(1, count + 1):
        face.save(folder / f"{number:05d}.{suffix}")


def prepare_pictures(home: Path) -> None:
    save_tiny_beit(home / "beit")
    for suffix in _PICTURES:
        save_pictures(home / "sound" / suffix, 1, suffix)


def pictures(home: Path, random: Random) -> Run:
    """A folder of numbered pictures of one format, half of them damaged or of another format than their names say."""
    (home / "in").mkdir()
    for number in range(1, 9):
        suffix = random.choice(_PICTURES)
        data = (home / "sound" / suffix / f"00001.{suffix}").read_bytes()
        name = random.choice(("jpg" if suffix == "gif" else suffix, "jpg", "png"))  # a .gif would be a video
        (home / "in" / f"{number:05d}.{name}").write_bytes(damaged(data, random) if random.random() < 0.6 else data)
    arguments = ("extract-visual", "in", "--model", "beit", "-o", "out.parquet")

    def check(folder: Path, told: str) -> str | None:
        rows = pq.read_metadata(folder / "out.parquet").num_rows
        return None if rows == 8 else f"{rows} rows of 8 pictures"

    return Run(arguments, "in", outputs=("out.parquet",), check=check, several=True, bounds=TORCH)


def prepare_videos(home: Path) -> None:
    save_tiny_beit(home / "beit")
    save_tiny_wavlm(home / "wavlm")
    (home / "sound").mkdir()
    for suffix, codecs in _VIDEOS:
        source = ("-f", "lavfi", "-i", "testsrc2=s=96x96:r=25:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4")
        ffmpeg(*source, *codecs, f"file:{home / 'sound' / f'clip.{suffix}'}")


def videos(home: Path, random: Random) -> Run:
    """Four damaged videos and a sound one."""
    files = [f"sound/clip.{suffix}" for suffix, _ in _VIDEOS]
    return _media(home, random, files, "extract-visual", "beit", *random.choice(([], ["--every", "3"])))


def prepare_sounds(home: Path) -> None:
    save_tiny_wavlm(home / "wavlm")
    (home / "sound").mkdir()
    for suffix in _SOUNDS:
        ffmpeg("-f", "lavfi", "-i", "sine=d=0.6:r=48000", f"file:{home / 'sound' / f'clip.{suffix}'}")


def sounds(home: Path, random: Random) -> Run:
    """Four damaged sounds and a sound one."""
    files = [f"sound/clip.{suffix}" for suffix in _SOUNDS]
    return _media(home, random, files, "extract-audio", "wavlm", "--layers", "1", "--fps", "10")


def _media(home: Path, random: Random, files: Sequence[str], command: str, model: str, *options: str) -> Run:
    (home / "in").mkdir()
    names = []
    for number in range(5):
        source = home / random.choice(files)
        names.append(f"in/x{number}{source.suffix}")
        data = source.read_bytes()
        (home / names[-1]).write_bytes(damaged(data, random) if number else data)

    def check(folder: Path, told: str) -> str | None:
        found = set(pq.read_table(folder / "out.parquet", columns=["video"])["video"].to_pylist())
        lost = [name for name in names if Path(name).stem not in found and name not in told]
        return f"neither rows nor a message for a {Path(lost[0]).suffix}" if lost else None

    arguments = (command, *names, "--model", model, *options, "-o", "out.parquet")
    return Run(arguments, "in/", outputs=("out.parquet",), check=check, several=True, bounds=TORCH)


# --- unfinished work -------------------------------------------------------------------------------------------------


def _affcli(home: Path, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "affcli", *arguments], cwd=home, capture_output=True).returncode


_UNFINISHED = ("extract-audio", "a.wav", "b.wav", "c.wav", "--model", "wavlm", "--layers", "1", "--fps", "20")


def prepare_unfinished(home: Path) -> None:
    """Work that was stopped at its last input, and what it comes to when nothing is damaged."""
    save_tiny_wavlm(home / "wavlm")
    for name, hertz in (("a", 300), ("b", 500)):
        ffmpeg("-f", "lavfi", "-i", f"sine=f={hertz}:d=1:r=16000", f"file:{home / f'{name}.wav'}")
    (home / "c.wav").write_bytes(b"no sound")
    assert _affcli(home, *_UNFINISHED, "--fail-fast", "-o", "A.parquet") == 1
    (home / "A.parquet.parts").rename(home / "parts")
    ffmpeg("-f", "lavfi", "-i", "sine=f=700:d=1:r=16000", f"file:{home / 'c.wav'}")
    assert _affcli(home, *_UNFINISHED, "-o", "right.parquet") == 0


def unfinished(home: Path, random: Random) -> Run:
    """One file of the parts damaged, gone, or twice: the result is the same, or the command says what is wrong."""
    shutil.copytree(home / "parts", home / "A.parquet.parts")
    files = [path for path in sorted((home / "A.parquet.parts").rglob("*")) if path.is_file()]
    file = random.choice(files)
    how = random.randrange(8)
    if how == 0:
        file.unlink()
    elif how == 1:
        shutil.copy(file, file.with_name(f"x{file.name}"))
    elif how == 2:
        other = random.choice([path for path in files if path != file])
        shutil.copy(other, home / "swap")
        shutil.copy(file, other)
        shutil.move(home / "swap", file)
    else:
        file.write_bytes(damaged(file.read_bytes(), random))

    def check(folder: Path, told: str) -> str | None:
        same = (folder / "A.parquet").read_bytes() == (folder / "right.parquet").read_bytes()
        return None if same else "another result than without the damage"

    arguments = (*_UNFINISHED, "-o", "A.parquet")
    working = ("A.parquet.parts",)
    return Run(arguments, "A.parquet", ("A.parquet",), check, working=working, several=True, bounds=TORCH)


HEAVY_KINDS = {
    "features": Kind(prepare_features, features),
    "models": Kind(prepare_features, models),
    "encoders": Kind(prepare_encoders, encoders),
    "pictures": Kind(prepare_pictures, pictures),
    "videos": Kind(prepare_videos, videos),
    "sounds": Kind(prepare_sounds, sounds),
    "unfinished work": Kind(prepare_unfinished, unfinished),
}
