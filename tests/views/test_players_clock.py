"""The clock of players: where a container starts late, labels stand on the frame that a browser shows."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.browser import PATIENCE_S, Page, browser
from helpers.media_fixtures import ffmpeg
from helpers.runners import Affcli
from PIL import Image

from affcli.media.video import open_video
from affcli.schema import CLASSES, FRAMES, STARTS, all_starts, starts_of, with_metadata

# The flash begins between two key frames: just before one, browsers that seek show the key frame itself.
SOURCE = ("-f", "lavfi", "-i", "color=c=black:s=160x120:r=25:d=3,drawbox=c=white:t=fill:enable='between(t,2.199,2.39)'")
SOUND = ("-f", "lavfi", "-i", "sine=d=3:r=48000")
H264 = ("-c:v", "libx264", "-preset", "medium", "-bf", "3", "-g", "10", "-sc_threshold", "0", "-pix_fmt", "yuv420p")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "10")
FILES = {
    "plain.mp4": (*SOURCE, *H264),
    "sound.mp4": (*SOURCE, *SOUND, *H264, "-c:a", "aac"),  # the edit lists leave out what comes before 0
    "empty edit.mp4": (*SOURCE, *SOUND, *H264, "-c:a", "aac", "-output_ts_offset", "3"),
    "no edit list.mp4": (*SOURCE, *H264, "-use_editlist", "0"),
    "late.webm": (*SOURCE, *VP8, "-output_ts_offset", "3"),
    "late picture.webm": (*SOUND, "-itsoffset", "0.4", *SOURCE, "-map", "0", "-map", "1", *VP8, "-c:a", "libopus"),
}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


def frame_table(path: Path, clip: Path) -> int:
    """A table of the clip whose flashing frames are Happiness and the others Neutral; the number of the first one."""
    with open_video(clip) as frames:
        seen = [(frame.time_s, bool(frame.pixels.mean() > 100)) for frame in frames if frame.pixels is not None]
    rows = pd.DataFrame(
        {"video": clip.stem, "frame": range(1, len(seen) + 1), "time_s": [time_s for time_s, _ in seen]}
    )
    for name in CLASSES:
        rows[name] = [float(name == ("Happiness" if flash else "Neutral")) for _, flash in seen]
    rows["label"] = ["Happiness" if flash else "Neutral" for _, flash in seen]
    starts = {STARTS: {clip.stem: frames.starts_s}} if frames.starts_s else {}
    table = pa.Table.from_pandas(rows.astype({"frame": "int32"}), preserve_index=False)
    schema = with_metadata(table.schema, kind=FRAMES, classes=list(CLASSES), **starts)
    pq.write_table(table.replace_schema_metadata(schema.metadata), path)
    return [flash for _, flash in seen].index(True) + 1


def brightness(page: Page) -> float:
    box = page.eval(
        "(() => { const b = document.getElementById('player').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    clip = {"x": box[0] + box[2] / 3, "y": box[1] + box[3] / 3, "width": box[2] / 3, "height": box[3] / 6, "scale": 1}
    data = page.call("Page.captureScreenshot", format="png", clip=clip)["data"]
    return float(np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")).mean())


PLAYER = "document.getElementById('player')"


def settled(page: Page, action: str) -> None:
    """Waits until the frame that an action leads to has come."""
    page.eval(
        f"new Promise((done) => {{ {PLAYER}.requestVideoFrameCallback(() => setTimeout(done, 100)); {action};"
        " setTimeout(done, 4000); })"
    )
    page.until(f"!{PLAYER}.seeking")


def comes_to_show(page: Page, *, flash: bool) -> bool:
    """Whether the player's picture at its present moment is bright or dark.

    A busy machine takes its time to draw it, and after two moves at once Chromium may not draw the second one.
    """
    end_s = time.monotonic() + PATIENCE_S
    while (brightness(page) > 128) != flash:
        if time.monotonic() > end_s:
            return False
        settled(page, f"{PLAYER}.currentTime = {PLAYER}.currentTime")
    return True


@pytest.mark.browser
@pytest.mark.parametrize("name", FILES)
def test_a_label_appears_in_a_browser_at_the_very_frame(name: str, page: Page, affcli: Affcli, tmp_path: Path) -> None:
    """The page's own segment button moves the player to the flash; a frame before it there is none."""
    clip = tmp_path / name
    ffmpeg(*FILES[name], clip)
    frame_table(tmp_path / "F.parquet", clip)
    affcli("report", "F.parquet", "--videos", tmp_path, "-o", "r.html")
    affcli("export", "F.parquet", "--to", "vtt", "-o", "c.vtt")
    begin = (tmp_path / "c.vtt").read_text().split(" --> ")[1].split("\n\n")[1].strip()
    hours, minutes, seconds = begin.split(":")
    cue_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    page.open(tmp_path / "r.html")
    page.until(f"{PLAYER}.readyState >= 2")
    for way in ("document.querySelectorAll('#segments button')[1].click()", f"{PLAYER}.currentTime = {cue_s}"):
        for shift_s, flash in ((0.02, True), (-0.02, False)):
            settled(page, way)
            page.until(f"Math.abs({PLAYER}.currentTime - {cue_s}) < 0.005")
            settled(page, f"{PLAYER}.currentTime += {shift_s}")
            assert comes_to_show(page, flash=flash), (way, shift_s)
            said = "Happiness" if flash else "Neutral"
            page.until(f"document.getElementById('now').textContent.includes('{said}')")


ENDS_SOON = """(() => {
    const time = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
    const set = (moment) => time.set.call(PLAYER, Math.min(moment, window.end));
    Object.defineProperty(PLAYER, "currentTime", { get: () => time.get.call(PLAYER), set });
})()""".replace("PLAYER", PLAYER)


@pytest.mark.browser
def test_a_click_leads_to_its_moment_also_while_the_length_is_being_learned(
    page: Page, affcli: Affcli, tmp_path: Path
) -> None:
    """Chromium learns the length of a file that starts late from its content, and stops at the end known so far."""
    ffmpeg(*FILES["plain.mp4"], tmp_path / "clip.mp4")
    first = frame_table(tmp_path / "F.parquet", tmp_path / "clip.mp4")
    affcli("report", "F.parquet", "--videos", tmp_path, "-o", "r.html")
    page.open(tmp_path / "r.html")
    page.until(f"{PLAYER}.readyState >= 2")
    page.eval(ENDS_SOON)
    for end_s, reached_s in ((0.5, 0.5), (1, 1), (9, (first - 1) / 25)):
        page.eval(f"window.end = {end_s}")
        if end_s == 0.5:
            page.eval("document.querySelectorAll('#segments button')[1].click()")
        else:
            page.eval(f"{PLAYER}.dispatchEvent(new Event('durationchange'))")
        page.until(f"Math.abs({PLAYER}.currentTime - {reached_s}) < 0.005")
    page.until("document.getElementById('now').textContent.includes('Happiness')")


def test_captions_and_elan_add_the_start(affcli: Affcli, tmp_path: Path) -> None:
    rows = pa.table({"video": ["a"] * 3, "frame": pa.array([1, 2, 3], pa.int32()), "time_s": [0.0, 0.5, 1.0]})
    for name in CLASSES:
        rows = rows.append_column(name, pa.array([float(name == "Fear")] * 3, pa.float32()))
    rows = rows.append_column("label", pa.array(["Fear"] * 3))
    schema = with_metadata(rows.schema, kind=FRAMES, classes=list(CLASSES), starts_s={"a": 2.993})
    pq.write_table(rows.replace_schema_metadata(schema.metadata), tmp_path / "F.parquet")
    affcli("export", "F.parquet", "--to", "vtt", "-o", "a.vtt")
    assert "00:00:02.993 --> 00:00:04.493" in (tmp_path / "a.vtt").read_text()
    affcli("export", "F.parquet", "--to", "elan", "-o", "a.eaf")
    assert 'TIME_VALUE="2993"' in (tmp_path / "a.eaf").read_text()
    affcli("smooth", "F.parquet", "-k", "1", "-o", "S.parquet")
    affcli("vote", "F.parquet", "-o", "W.parquet")
    for name in ("S.parquet", "W.parquet"):
        assert starts_of(pq.read_schema(tmp_path / name).metadata and _about(tmp_path / name), "a") == 2.993
    affcli("export", "S.parquet", "--to", "segments", "-o", "G.csv")
    assert pd.read_csv(tmp_path / "G.csv")["start_s"].tolist() == [0.0]  # a table keeps the table's clock


def _about(path: Path) -> dict[str, object]:
    from affcli.schema import metadata_of

    return dict(metadata_of(pq.read_schema(path)))


def test_starts_are_found_by_the_recording_and_odd_ones_are_0() -> None:
    about = {STARTS: {"clip": 1.5, "odd": "x", "far": 1e300, "yes": True}}
    assert starts_of(about, "clip#2") == starts_of(about, "clip_left") == 1.5
    assert [starts_of(about, name) for name in ("other", "odd", "far", "yes")] == [0, 0, 0, 0]
    assert starts_of({STARTS: [1]}, "clip") == 0
    assert all_starts([about, {STARTS: {"b": 2}}, {}]) == {"b": 2.0, "clip": 1.5}
