"""Pictures decoded once: their pixels, alignment, thinning, how often each is drawn, and interrupted work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.face_sets import fer2013_text, ferplus_votes, numbered_folders, picture
from helpers.media_fixtures import Pixels, astronaut
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from affcli.errors import AffcliError, UsageError
from affcli.facesets import decoding
from affcli.facesets.decoding import decoded
from affcli.facesets.domain import domain_faces, list_domain
from affcli.facesets.listing import Labelled, Origin
from affcli.facesets.loading import pictures_to_decode, sampled
from affcli.facesets.mixing import drawing_weights
from affcli.facesets.preparing import Preparation, Preparer
from affcli.facesets.sheet import contact_sheet, write_sheet
from affcli.facesets.static import list_static, static_faces
from affcli.facesets.thinning import Thinner
from affcli.files.decoded_folder import remove_decoded
from affcli.media.faces import FaceDetector, align
from affcli.schema import CLASSES

HEADER = ",".join(CLASSES)


def listed(paths: list[Path], labels: list[int] | None = None, group: list[int] | None = None) -> Labelled:
    count = len(paths)
    targets = np.eye(8, dtype=np.float32)[labels or [0] * count]
    groups = np.array(group or [0] * count, np.int32)
    return Labelled(tuple(Origin(str(path)) for path in paths), targets, np.zeros(count, np.int16), groups)


def plain(pixels: NDArray[np.uint8]) -> list[int]:
    """The value of each picture, all of whose pixels are alike."""
    assert (pixels == pixels[:, :1, :1, :1]).all()
    return [int(value) for value in pixels[:, 0, 0, 0]]


# --- one picture -----------------------------------------------------------------------------------------------------


def test_a_picture_is_resized_as_pillow_does(tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "a.png")
    for resample in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        pixels, fate = Preparer(Preparation(48, align=False, resample=resample)).prepare(
            Origin(str(tmp_path / "a.png"))
        )
        assert fate == "."
        np.testing.assert_array_equal(pixels, np.array(Image.fromarray(astronaut()).resize((48, 48), resample)))


def test_a_small_picture_of_a_face_is_aligned_as_the_photograph_is(tmp_path: Path) -> None:
    """48 × 48 grey pixels around a tilted face, as FER2013 has them, give the crop of the upright photograph itself."""
    (face,) = FaceDetector(threads=1).detect(astronaut())
    expected = align(astronaut(), face.landmarks, 112).mean(axis=2)[8:-8, 8:-8]
    for angle in (-20, 0, 20):
        tilted = Image.fromarray(astronaut()).rotate(angle, center=(222, 118), resample=Image.Resampling.BICUBIC)
        tilted.crop((145, 35, 305, 195)).convert("L").resize((48, 48)).save(tmp_path / "a.png")
        pixels, fate = Preparer(Preparation(112, align=True)).prepare(Origin(str(tmp_path / "a.png")))
        assert fate == "a"
        assert pixels is not None
        found = pixels.mean(axis=2)[8:-8, 8:-8]
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > (0.8 if angle else 0.95), angle


def test_an_aligned_picture_repeats_its_edge_instead_of_black(tmp_path: Path) -> None:
    face = np.maximum(astronaut()[60:180, 165:280], 60)
    Image.fromarray(face).save(tmp_path / "a.png")
    pixels, fate = Preparer(Preparation(64, align=True)).prepare(Origin(str(tmp_path / "a.png")))
    assert fate == "a"
    assert pixels is not None
    assert pixels.min() >= 55


def test_a_picture_without_a_face_stays_as_it_is(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 77)
    pixels, fate = Preparer(Preparation(16, align=True)).prepare(Origin(str(tmp_path / "a.png")))
    assert (fate, plain(np.array([pixels]))) == ("n", [77])


def test_of_several_faces_the_central_one_is_meant(tmp_path: Path) -> None:
    """A larger face at the side is not what the picture is of."""
    sheet = Image.new("RGB", (900, 500))
    face = Image.fromarray(astronaut()[20:220, 120:320])
    sheet.paste(face.resize((300, 300)), (0, 100))
    sheet.paste(face.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (350, 150))
    sheet.save(tmp_path / "two.png")
    face.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "one.png")
    preparer = Preparer(Preparation(32, align=True))
    of_two, of_one = (preparer.prepare(Origin(str(tmp_path / f"{name}.png")))[0] for name in ("two", "one"))
    assert of_two is not None
    assert of_one is not None
    inside = slice(4, -4)
    assert np.corrcoef(of_two[inside, inside].ravel(), of_one[inside, inside].ravel())[0, 1] > 0.9


def test_the_box_of_a_face_is_cut_out(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:20, 30:50] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    preparer = Preparer(Preparation(8, align=False))
    for box, expected in [((30, 10, 20, 10), [200]), ((500, 500, 9, 9), None)]:  # the second lies outside: all is taken
        made, _ = preparer.prepare(Origin(str(tmp_path / "a.png"), box=box))
        assert made is not None
        assert (plain(np.array([made])) if expected else made.max() > 0) == (expected or True)


def test_grey_values_in_a_text_are_a_picture(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (48, 48))
    ferplus_votes(tmp_path, [("Training", "a.png", [10] + [0] * 9)])
    fer2013_text(tmp_path / "fer2013.csv", [("Training", values)])
    (origin,) = list_static([("ferplus", tmp_path)], holdout=0).train.origins
    pixels, _ = Preparer(Preparation(48, align=False)).prepare(origin)
    np.testing.assert_array_equal(pixels, np.repeat(values[:, :, None], 3, axis=2))


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"1 2 3"])
def test_what_is_no_picture_is_said_to_be_unreadable(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    preparer = Preparer(Preparation(8, align=False))
    assert preparer.prepare(Origin(str(tmp_path / "a.png"))) == (None, "x")
    assert preparer.prepare(Origin(str(tmp_path / "a.png"), span=(0, len(content)))) == (None, "x")
    assert preparer.prepare(Origin(str(tmp_path / "gone.png"))) == (None, "x")


# --- all pictures ----------------------------------------------------------------------------------------------------

SMALL = Preparation(8, align=False)


class Interrupting:
    """Told of progress, it presses Ctrl-C after so many times."""

    def __init__(self, times: int) -> None:
        self._left = times

    def __call__(self, pictures: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt


def test_pictures_stand_in_the_order_of_the_list_without_unreadable_ones(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{value}.png", value) for value in range(20)]
    for bad in (0, 7, 19):
        paths[bad].write_bytes(b"")
    advanced: list[int] = []
    made = decoded("train", listed(paths), SMALL, cache=tmp_path / "cache", advance=advanced.append)
    assert plain(made.pixels) == [value for value in range(20) if value not in (0, 7, 19)]
    assert made.fates == "x......x...........x"
    assert sum(advanced) == 20
    assert isinstance(made.pixels, np.memmap)


def test_a_block_of_nothing_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_BLOCK", 2)
    paths = [picture(tmp_path / f"{value}.png", value) for value in range(5)]
    for bad in (2, 3):
        paths[bad].write_bytes(b"")
    assert plain(decoded("train", listed(paths), SMALL, cache=tmp_path / "cache").pixels) == [0, 1, 4]


def test_nothing_readable_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(AffcliError, match=r"a.png: none of 1 pictures can be read"):
        decoded("train", listed([tmp_path / "a.png"]), SMALL, cache=tmp_path / "cache")


def test_pictures_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [picture(tmp_path / f"{value}.png", value) for value in range(3)]
    first = decoded("train", listed(paths), SMALL, cache=tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(Preparer, "prepare", lambda *_: pytest.fail("decoded again"))
        again = decoded("train", listed(paths), SMALL, cache=tmp_path / "cache")
    np.testing.assert_array_equal(again.pixels, first.pixels)
    assert again.digest == first.digest
    os.utime(picture(paths[1], 9), ns=(1, 1))
    assert plain(decoded("train", listed(paths), SMALL, cache=tmp_path / "cache").pixels) == [0, 9, 2]
    assert decoded("train", listed(paths), Preparation(4, align=False), cache=tmp_path / "cache").pixels.shape[1] == 4
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == ["", *[".json"] * 3, *[".npy"] * 3]


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{value}.png", value) for value in range(3)]
    decoded("train", listed(paths), SMALL, cache=tmp_path / "cache")
    (stored,) = (tmp_path / "cache").glob("*.npy")
    stored.write_bytes(stored.read_bytes()[:200])
    assert plain(decoded("train", listed(paths), SMALL, cache=tmp_path / "cache").pixels) == [0, 1, 2]


@pytest.mark.parametrize("place", [150, -1])
def test_one_flipped_bit_in_a_finished_file_is_seen(
    tmp_path: Path, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [picture(tmp_path / f"{value}.png", value) for value in range(3)]
    decoded("train", listed(paths), SMALL, cache=tmp_path / "cache")
    (stored,) = (tmp_path / "cache").glob("*.npy")
    content = bytearray(stored.read_bytes())
    content[place] ^= 64
    stored.write_bytes(content)
    assert plain(decoded("train", listed(paths), SMALL, cache=tmp_path / "cache").pixels) == [0, 1, 2]
    assert f"{stored}: damaged; its pictures are decoded again." in caplog.text


def test_one_flipped_bit_in_unfinished_work_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_BLOCK", 4)
    paths = [picture(tmp_path / f"{value:02d}.png", value) for value in range(20)]
    with pytest.raises(KeyboardInterrupt):
        decoded("train", listed(paths), SMALL, cache=tmp_path / "cache", advance=Interrupting(3))
    (growing,) = (tmp_path / "cache").glob("*.growing")
    content = bytearray(growing.read_bytes())
    content[200] ^= 64
    growing.write_bytes(content)
    assert plain(decoded("train", listed(paths), SMALL, cache=tmp_path / "cache").pixels) == list(range(20))


@pytest.mark.parametrize(
    "line", [b"[]", b'{"rows": "4", "fates": "aaaa", "digest": ""}', b'{"rows": 1e9}', b"[" * 100_000]
)
def test_a_journal_of_somebody_else_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    monkeypatch.setattr(decoding, "_BLOCK", 4)
    paths = [picture(tmp_path / f"{value:02d}.png", value) for value in range(9)]
    with pytest.raises(KeyboardInterrupt):
        decoded("train", listed(paths), SMALL, cache=tmp_path / "cache", advance=Interrupting(2))
    (journal,) = (tmp_path / "cache").glob("*.journal")
    journal.write_bytes(line + b"\n" + journal.read_bytes())
    assert plain(decoded("train", listed(paths), SMALL, cache=tmp_path / "cache").pixels) == list(range(9))


def test_only_decoded_pictures_are_removed(tmp_path: Path) -> None:
    cache = tmp_path / "enc.pictures"
    decoded("train", listed([picture(tmp_path / "a.png", 1)]), SMALL, cache=cache)
    (cache / "thesis.npy").write_bytes(b"mine")
    (cache / "notes").mkdir()
    remove_decoded(cache)
    assert sorted(path.name for path in cache.iterdir()) == ["notes", "thesis.npy"]
    (tmp_path / "link").symlink_to(cache)
    remove_decoded(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("thin", [None, 20.0])
@pytest.mark.parametrize("stop", range(7))
def test_interrupted_decoding_goes_on_and_ends_with_the_same_bytes(
    stop: int, thin: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_BLOCK", 4)
    values = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 200, 210, 220]
    paths = [picture(tmp_path / f"{value}.png", value) for value in values]
    whole = decoded("train", listed(paths), SMALL, cache=tmp_path / "whole", thin=thin)
    assert plain(whole.pixels) == (values if thin is None else values[::3])
    with pytest.raises(KeyboardInterrupt):
        decoded("train", listed(paths), SMALL, cache=tmp_path / "cut", thin=thin, advance=Interrupting(stop))
    for journal in (tmp_path / "cut").glob("*.journal"):  # in the middle of a block and of a line of the journal
        journal.write_bytes(journal.read_bytes() + b'{"rows": 4, "fat')
        growing = journal.with_suffix(".growing")
        growing.write_bytes(growing.read_bytes() + b"?" * 9999)
    seen: list[str] = []
    prepare = Preparer.prepare
    monkeypatch.setattr(Preparer, "prepare", lambda self, one: (seen.append(one.path), prepare(self, one))[1])
    made = decoded("train", listed(paths), SMALL, cache=tmp_path / "cut", thin=thin)
    assert len(seen) == max(0, len(paths) - 4 * stop)
    files = [sorted((tmp_path / name).iterdir()) for name in ("whole", "cut")]
    assert [path.name for path in files[0]] == [path.name for path in files[1]]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert made.fates == whole.fates


def test_blocks_whose_pixels_are_not_there_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_BLOCK", 4)
    paths = [picture(tmp_path / f"{value:02d}.png", value) for value in range(20)]
    with pytest.raises(KeyboardInterrupt):
        decoded("train", listed(paths), SMALL, cache=tmp_path / "cache", advance=Interrupting(3))
    (growing,) = (tmp_path / "cache").glob("*.growing")
    os.truncate(growing, growing.stat().st_size - 1)
    assert plain(decoded("train", listed(paths), SMALL, cache=tmp_path / "cache").pixels) == list(range(20))


def test_several_processes_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [picture(tmp_path / f"{value}.png", value) for value in range(50)]
    count, prepare = 0, Preparer.prepare

    def slow(self: Preparer, origin: Origin) -> tuple[Pixels | None, str]:
        nonlocal count
        count += 1
        time.sleep(0.005)
        return prepare(self, origin)

    monkeypatch.setattr(Preparer, "prepare", slow)
    made: list[list[int]] = []
    threads = [
        threading.Thread(
            target=lambda: made.append(plain(decoded("t", listed(paths), SMALL, cache=tmp_path / "cache").pixels))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [list(range(50))] * 4
    assert count == 50


def test_killed_while_it_decodes(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{value:03d}.png", value % 256) for value in range(400)]
    code = f"""
        import itertools, sys, time
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
        from pathlib import Path
        from test_face_data import SMALL, listed
        from affcli.facesets import decoding
        decoding._BLOCK = 16
        blocks = itertools.count(1)
        def advance(count):
            if next(blocks) == 9:
                print("here", flush=True)
                time.sleep(600)
        paths = sorted(Path({str(tmp_path)!r}).glob("*.png"))
        decoding.decoded("train", listed(paths), SMALL, cache=Path({str(tmp_path / "cache")!r}), advance=advance)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGKILL)
    (journal,) = (tmp_path / "cache").glob("*.journal")
    assert 8 <= len(journal.read_bytes().splitlines()) <= 10
    made = decoded("train", listed(paths), SMALL, cache=tmp_path / "cache")
    assert plain(made.pixels) == [value % 256 for value in range(400)]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(AffcliError, match=r"cache: decoded pictures cannot be kept here: "):
        decoded("train", listed([picture(tmp_path / "a.png")]), SMALL, cache=tmp_path / "cache")


# --- thinning --------------------------------------------------------------------------------------------------------


def grey(value: int) -> Pixels:
    return np.full((8, 8, 3), value, np.uint8)


def test_slow_movements_add_up() -> None:
    thinner = Thinner(2.5)
    assert [thinner.keeps(grey(value), 0, 0) for value in range(10)] == [i % 3 == 0 for i in range(10)]


def test_a_new_label_or_video_is_kept_however_alike() -> None:
    thinner = Thinner(50)
    asked = [(0, 0), (0, 0), (0, 1), (0, 1), (1, 1), (1, 1), (1, 0)]
    assert [thinner.keeps(grey(9), group, label) for group, label in asked] == [True, False] * 3 + [True]


# --- how often each is drawn -----------------------------------------------------------------------------------------


def test_a_large_set_does_not_drown_a_small_one() -> None:
    group = np.repeat([0, 1], [900, 100])
    weights = drawing_weights(group, np.zeros(1000, int), class_power=1)
    np.testing.assert_allclose(np.bincount(group, weights), [30 / 40, 10 / 40])
    assert len(np.unique(weights.round(12))) == 2


@pytest.mark.parametrize(("power", "shares"), [(1, [0.8, 0.2]), (0.5, [2 / 3, 1 / 3]), (0, [0.5, 0.5])])
def test_rare_classes_are_drawn_more_often(power: float, shares: list[float]) -> None:
    labels = np.repeat([4, 2], [80, 20])
    weights = drawing_weights(np.zeros(100, int), labels, class_power=power)
    np.testing.assert_allclose(np.bincount(labels, weights)[[4, 2]], shares)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7)), min_size=1), st.floats(0, 1))
def test_weights_are_a_distribution(rows: list[tuple[int, int]], power: float) -> None:
    group, labels = (np.array(column) for column in zip(*rows, strict=True))
    weights = drawing_weights(group, labels, class_power=power)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()


# --- whole sets ------------------------------------------------------------------------------------------------------


def test_static_faces_of_two_sets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    numbered_folders(tmp_path / "a" / "train", ["Neutral", "Anger"], each=2)
    numbered_folders(tmp_path / "a" / "val", ["Neutral"])
    numbered_folders(tmp_path / "b", ["Fear"], each=4)
    face = tmp_path / "a" / "train" / "Anger" / "0.png"
    Image.fromarray(astronaut()[20:220, 120:320]).save(face)
    (tmp_path / "a" / "train" / "Neutral" / "1.png").write_bytes(b"")
    specs = [("folder", tmp_path / "a"), ("folder", tmp_path / "b")]
    advanced: list[int] = []
    data = static_faces(specs, size=16, align=True, cache=tmp_path / "c", holdout=0.25, advance=advanced.append)
    assert sum(advanced) == pictures_to_decode(list_static(specs, holdout=0.25), raw_too=True) == 11
    assert data.train.sources == ("folder", "folder-2")
    assert data.train.source.tolist() == [0, 0, 0, 1, 1, 1]
    assert [CLASSES[label] for label in data.train.labels] == ["Anger", "Anger", "Neutral"] + ["Fear"] * 3
    assert len(data.train) == len(data.train.pixels) == len(data.train.weights) == 6
    assert data.held_out is not None
    assert data.held_out_raw is not None
    assert data.held_out.labels.tolist() == data.held_out_raw.labels.tolist() == [0, 3]
    assert "folder: a face was found in 25.0% of 4 pictures; the others are taken as they are." in caplog.messages
    assert "folder: 1 picture cannot be read and are left out." in caplog.messages


def test_held_out_pictures_weigh_the_same_and_come_with_and_without_alignment(tmp_path: Path) -> None:
    Image.fromarray(astronaut()[20:220, 120:320]).save(picture(tmp_path / "val" / "Anger" / "a.png"))
    picture(tmp_path / "val" / "Fear" / "b.png", 5)
    picture(tmp_path / "train" / "Anger" / "a.png")
    spec = [("folder", tmp_path)]
    data = static_faces(spec, size=24, align=True, cache=tmp_path / "c")
    assert data.held_out is not None
    assert data.held_out_raw is not None
    assert data.held_out.weights.tolist() == [0.5, 0.5]
    assert (data.held_out.pixels[0] != data.held_out_raw.pixels[0]).any()
    np.testing.assert_array_equal(data.held_out.pixels[1], data.held_out_raw.pixels[1])
    plainly = static_faces(spec, size=24, align=False, cache=tmp_path / "c")
    assert plainly.held_out is not None
    assert plainly.held_out_raw is None
    np.testing.assert_array_equal(plainly.held_out.pixels, data.held_out_raw.pixels)


def test_the_fingerprint_tells_content_and_not_place(tmp_path: Path) -> None:
    def made(place: str, **options: float) -> str:
        spec = [("folder", tmp_path / place)]
        return static_faces(spec, size=8, align=False, cache=tmp_path / "c", **options).fingerprint  # type: ignore[arg-type]

    for place in ("here", "there"):
        for value in range(9):
            picture(tmp_path / place / ("Fear" if value > 5 else "Anger") / f"{value}.png", value)
    first = made("here")
    assert made("there") == first
    for options in ({"class_power": 0.0}, {"seed": 5}, {"holdout": 0.5}):
        assert made("here", **options) != first, options
    picture(tmp_path / "there" / "Fear" / "8.png", 99)
    assert made("there") != first


def test_samples_are_drawn_by_weight_and_kept_nowhere(tmp_path: Path) -> None:
    numbered_folders(tmp_path / "set", ["Neutral", "Anger"], each=3)
    (tmp_path / "set" / "Anger" / "1.png").write_bytes(b"")
    listing = list_static([("folder", tmp_path / "set")], holdout=0)
    drawn = sampled(listing, 40, SMALL, class_power=0.5, seed=0)
    assert 20 < len(drawn) < 40
    assert {(value, label) for value, label in zip(plain(drawn.pixels), drawn.labels, strict=True)} == {(0, 0), (1, 1)}
    assert list(tmp_path.iterdir()) == [tmp_path / "set"]


# --- frames of videos ------------------------------------------------------------------------------------------------


def aff_wild(top: Path, videos: dict[str, str], frames: dict[str, dict[int, int]]) -> tuple[Path, Path]:
    """Label files of space-separated numbers, and folders of pictures by number and grey value."""
    for name, numbers in videos.items():
        (top / "labels").mkdir(parents=True, exist_ok=True)
        (top / "labels" / f"{name}.txt").write_text("\r\n".join([HEADER, *numbers.split(), ""]))
    for name, values in frames.items():
        for number, value in values.items():
            picture(top / "cropped_aligned" / name / f"{number:05d}.png", value)
        (top / "cropped_aligned" / name / ".DS_Store").write_bytes(b"")
    return top / "cropped_aligned", top / "labels"


def test_frames_are_joined_by_number_and_those_not_annotated_are_left_out(tmp_path: Path) -> None:
    frames, labels = aff_wild(
        tmp_path,
        {"a_left": "0 1 -1 3 4", "b": "6 6"},
        {"a_left": {1: 10, 2: 20, 3: 30, 5: 50, 6: 60}, "b": {2: 102}},  # 4 has no face, 6 no label
    )
    listing = list_domain(frames, labels, holdout=0)
    assert [Path(origin.path).parts[-2:] for origin in listing.train.origins] == [
        ("a_left", "00001.png"),
        ("a_left", "00002.png"),
        ("a_left", "00005.png"),
        ("b", "00002.png"),
    ]
    assert listing.train.labels.tolist() == [0, 1, 4, 6]
    assert listing.train.group.tolist() == [0, 0, 0, 1]
    data = domain_faces(frames, labels, size=8, cache=tmp_path / "c", holdout=0)
    assert plain(data.train.pixels) == [10, 20, 50, 102]
    assert data.held_out is None


def test_near_frames_are_thinned_and_long_videos_do_not_dominate(tmp_path: Path) -> None:
    values = {number: 5 * number for number in range(1, 37)}
    frames, labels = aff_wild(tmp_path, {"a": "0 " * 36, "b": "0"}, {"a": values, "b": {1: 7}})
    data = domain_faces(frames, labels, size=8, cache=tmp_path / "c", holdout=0, thin=19.0)
    assert plain(data.train.pixels) == [*range(5, 181, 20), 7]
    np.testing.assert_allclose(data.train.weights, [*[0.25 / 3] * 9, 0.25])  # √9 to √1
    every = domain_faces(frames, labels, size=8, cache=tmp_path / "c", holdout=0, thin=0)
    assert len(every.train) == 37


def test_validation_videos_are_held_out(tmp_path: Path) -> None:
    train, labels = aff_wild(tmp_path / "t", {"a": "0 1"}, {"a": {1: 10, 2: 90}})
    val, val_labels = aff_wild(tmp_path / "v", {"b": "2"}, {"b": {1: 50}})
    data = domain_faces(train, labels, val, val_labels, size=8, cache=tmp_path / "c")
    assert data.held_out is not None
    assert (plain(data.train.pixels), plain(data.held_out.pixels)) == ([10, 90], [50])
    together = list_domain(tmp_path, labels, None, val_labels)  # both roots below one folder
    assert (len(together.train), len(together.held_out)) == (2, 1)
    with pytest.raises(AffcliError, match=r"a stand in both; a video is for one of the two"):
        list_domain(train, labels, train, labels)
    with pytest.raises(UsageError, match="--val-frames needs --val-labels"):
        list_domain(train, labels, val)


def test_without_validation_labels_whole_recordings_are_held_out(tmp_path: Path) -> None:
    names = [f"v{number}{side}" for number in range(10) for side in ("_left", "_right")]
    frames, labels = aff_wild(tmp_path, dict.fromkeys(names, "0 1"), {name: {1: 1, 2: 99} for name in names})
    listing = list_domain(frames, labels, holdout=0.2, seed=1)
    recordings = [{Path(o.path).parts[-2][:2] for o in part.origins} for part in (listing.train, listing.held_out)]
    assert [len(one) for one in recordings] == [8, 2]
    assert not recordings[0] & recordings[1]
    assert list_domain(frames, labels, holdout=0.2, seed=1).held_out.origins == listing.held_out.origins


def test_frames_and_labels_that_do_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames, labels = aff_wild(tmp_path, {"a": "0", "c": "1"}, {"a": {1: 1}, "b": {1: 2}})
    list_domain(frames, labels, holdout=0)
    without = [f"{frames}: 1 video without labels: b.", f"{frames}: no pictures of 1 video with labels: c."]
    assert caplog.messages == without
    with pytest.raises(AffcliError, match=r"one recording only: none can be held out\. Name others: --val-labels"):
        list_domain(frames, labels, holdout=0.1)
    frames, labels = aff_wild(tmp_path / "2", {"x": "0"}, {"a": {1: 1}})
    with pytest.raises(AffcliError, match="no video has labels: the folders are called a, the labels x"):
        list_domain(frames, labels)
    frames, labels = aff_wild(tmp_path / "3", {"a": "-1"}, {"a": {1: 1}})
    with pytest.raises(AffcliError, match="none of the pictures is annotated: a"):
        list_domain(frames, labels, holdout=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AffcliError, match=r"empty: no media in this folder; looked for folders of numbered pictures"):
        list_domain(tmp_path / "empty", labels)


# --- the contact sheet -----------------------------------------------------------------------------------------------


def test_a_contact_sheet_shows_each_picture_at_its_place(tmp_path: Path) -> None:
    pixels = np.stack([grey(value) for value in (50, 100, 150)])
    sheet = np.array(contact_sheet(pixels, ["one", "two", "three"], columns=2))
    cell_width, cell_height = (sheet.shape[1] - 6) // 2, (sheet.shape[0] - 6) // 2
    for index, value in enumerate((50, 100, 150)):
        middle = 6 + index // 2 * cell_height + 56, 6 + index % 2 * cell_width + 56
        assert sheet[middle].tolist() == [value] * 3
    write_sheet(tmp_path / "sheet.png", pixels, ["one", "two", "three"], columns=2)
    with Image.open(tmp_path / "sheet.png") as stored:
        np.testing.assert_array_equal(np.array(stored), sheet)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


# --- the real thing --------------------------------------------------------------------------------------------------


def test_real_pictures_of_ferplus_are_aligned(tmp_path: Path) -> None:
    tar = Path(os.environ.get("AFFCLI_SHARED", "nowhere")) / "data" / "ferplus.tar"
    if not tar.is_file():
        pytest.skip("FERPlus is not here (AFFCLI_SHARED/data/ferplus.tar)")
    parts = (("FER2013Train", range(20)), ("FER2013Valid", range(28638, 28658)))
    names = [f"ferplus/{part}/fer{number:07d}.png" for part, numbers in parts for number in numbers]
    subprocess.run(["tar", "xf", tar, "-C", tmp_path, "ferplus/fer2013new.csv", *names], capture_output=True)
    listing = list_static([("ferplus", tmp_path)])
    assert 15 <= len(listing.train) <= 20
    assert 15 <= len(listing.held_out) <= 20
    held_out = decoded("v", listing.held_out, Preparation(64, align=True), cache=tmp_path / "c")
    assert held_out.fates.count("a") >= 0.9 * len(held_out.fates)
