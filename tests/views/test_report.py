"""`affcli report`: what it takes from a folder, what the page holds, and how it behaves in a browser."""

from __future__ import annotations

import base64
import gc
import json
import re
import weakref
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.browser import Page, browser
from helpers.frame_tables import predictions, write_ours
from helpers.media_fixtures import ffmpeg, write_pattern
from helpers.runners import Affcli

from affcli.schema import CLASSES, VISUAL, visual_schema, with_metadata
from affcli.views.labelled_video import LabelledVideo
from affcli.views.report_folder import page_video
from affcli.views.report_page import ROWS_AT_ONCE, PageVideo, ReportPage

HOSTILE = '<img src=x onerror="document.title=1">&\'"</script><b>'


def frames(fps: float = 25, **videos: list[int | None]) -> pd.DataFrame:
    table = predictions(**videos)
    return table.assign(time_s=(table["frame"] - 1) / fps, face=True, audio=table["frame"] > 3)


def data_of(page: Path) -> dict[str, Any]:
    """What the page's script reads: `classes`, `index`, and the blocks of the videos as `videos`."""
    found = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', page.read_text(), re.DOTALL)
    blocks = {name: json.loads(text) for name, text in found}
    videos = [blocks[f"v{number}"] for number in range(len(blocks) - 1)]
    return {**blocks["data"], "videos": videos}


def words_of(page: Path) -> str:
    """The text of the page, without its markup."""
    return " ".join(re.sub("<[^>]*>", " ", page.read_text()).replace("\u00a0", " ").split())


def unpacked(text: str, kind: str) -> list[float]:
    return list(np.frombuffer(base64.b64decode(text), kind).tolist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table a video, as `affcli label` writes them, and a summary."""
    (tmp_path / "labels").mkdir()
    write_ours(tmp_path / "labels" / "a.parquet", frames(a=[4] * 30 + [5] * 20))
    write_ours(tmp_path / "labels" / "b.parquet", frames(b=[None, 1, 1]))
    pd.DataFrame({"video": ["a", "b", "c"], "frames": [50, 3, 0]}).to_parquet(tmp_path / "labels" / "summary.parquet")
    return tmp_path / "labels"


# --- the folder ------------------------------------------------------------------------------------------------------


def test_every_video_of_the_folder_is_on_the_page(affcli: Affcli, tmp_path: Path, folder: Path) -> None:
    assert "name their folder with --videos" in affcli("report", "labels", "-o", "report.html").stderr
    data = data_of(tmp_path / "report.html")
    assert [video["name"] for video in data["videos"]] == ["a", "b"]
    assert data["classes"][0]["names"] == list(CLASSES)
    a, b = data["videos"]
    assert unpacked(a["label"], "u1") == [4] * 30 + [5] * 20
    assert a["span"] == pytest.approx([0, 2], abs=1e-4)
    assert [segment[:3] for segment in a["segments"]] == [[0, 1.2, 4], [1.2, 2, 5]]
    assert a["audio"] == [[0, 0.12]]
    assert unpacked(b["label"], "u1") == [255, 1, 1]
    assert "c – not labelled – – –" in words_of(tmp_path / "report.html")


def test_the_list_says_what_fills_the_time(affcli: Affcli, tmp_path: Path, folder: Path) -> None:
    affcli("report", "labels", "-o", "report.html", "-q")
    text = words_of(tmp_path / "report.html")
    # of the labels the shares, then mean confidence, frames with a face, and with sound
    assert "a 2.0 s Happiness 60 % , Sadness 40 % 100 % 100 % 94 %" in text
    assert "2 videos, 2.1 s, 53 frames; 1 not labelled" in text


def test_the_list_says_why_frames_are_unsure_and_why_inputs_failed(affcli: Affcli, tmp_path: Path) -> None:
    (tmp_path / "out" / "frames").mkdir(parents=True)
    rows = frames(a=[4] * 10).assign(label=[None] * 8 + ["Happiness"] * 2, face=[False] * 8 + [True] * 2, speech=0.0)
    schema = with_metadata(pa.Schema.from_pandas(rows), kind="frame logits", min_confidence=0.5, min_speech=0.5)
    table = pa.Table.from_pandas(rows).replace_schema_metadata(schema.metadata)
    pq.write_table(table, tmp_path / "out" / "frames" / "a.parquet")
    summary = {"video": ["a", "b"], "frames": [10, 0], "problem": ["3 of 13 frames could not be decoded", "no video"]}
    for source in ("out/frames", "out"):
        affcli("report", source, "-o", "report.html", "-f")
        text = words_of(tmp_path / "report.html")
        if source == "out/frames":
            assert "unsure 80 % no face in 8 of 10 frames; no speech in the sound 100 %" in text
            described = with_metadata(pa.Schema.from_pandas(pd.DataFrame(summary)), kind="summary")
            pq.write_table(
                pa.Table.from_pandas(pd.DataFrame(summary)).replace_schema_metadata(described.metadata),
                tmp_path / "out" / "summary.parquet",
            )
    assert "unsure 80 % 3 of 13 frames could not be decoded 100 %" in text
    assert "b – not labelled: no video" in text
    [video] = data_of(tmp_path / "report.html")["videos"]
    assert video["problem"] == "3 of 13 frames could not be decoded"
    affcli("report", "out/frames", "-o", "same.html")
    assert "b – not labelled: no video" in words_of(tmp_path / "same.html")


def test_frames_of_unequal_length_keep_their_times(affcli: Affcli, tmp_path: Path) -> None:
    frames(a=[4, 4, 5]).assign(time_s=[0.0, 0.5, 0.6]).to_parquet(tmp_path / "F.parquet")
    affcli("report", "F.parquet", "-o", "report.html")
    [video] = data_of(tmp_path / "report.html")["videos"]
    assert unpacked(video["edge"], "<f4") == pytest.approx([0, 0.5, 0.6, 0.7], abs=1e-6)


def test_other_tables_are_passed_over_or_named(affcli: Affcli, tmp_path: Path, folder: Path) -> None:
    empty = with_metadata(visual_schema(4), kind=VISUAL).empty_table()
    pq.write_table(empty, folder / "visual.parquet")
    (folder / "broken.parquet").write_bytes(b"PAR1 no more")
    frames(a=[1, 1]).to_csv(folder / "a.csv", index=False)
    said = affcli("report", "labels", "-o", "report.html", status=3).stderr
    assert "broken.parquet" in said
    assert "visual.parquet" not in said
    assert "a.csv: left out 1 video that another table has: a." in said
    assert len(data_of(tmp_path / "report.html")["videos"][0]["segments"]) == 2
    assert "Could not be read: broken.parquet." in (tmp_path / "report.html").read_text()


def test_one_table_of_many_videos_and_any_classes_is_a_folder_too(affcli: Affcli, tmp_path: Path) -> None:
    rows = pd.DataFrame({"video": ["x", "x", "y"], "frame": [1, 2, 1], "joy": [2.0, 0, 1], "rage": [0.0, 1, 2]})
    rows.to_csv(tmp_path / "F.csv", index=False)
    affcli("report", "F.csv", "-o", "report.html", "--classes", "joy,rage")
    data = data_of(tmp_path / "report.html")
    assert [video["name"] for video in data["videos"]] == ["x", "y"]
    assert data["classes"][0]["names"] == ["joy", "rage"]
    assert not data["videos"][0]["timed"]
    affcli("report", "F.csv", "-o", "report.html", "--classes", "joy,rage", "--fps", 10, "-f")
    assert data_of(tmp_path / "report.html")["videos"][0]["timed"]


def test_videos_are_linked_by_their_relative_address(affcli: Affcli, tmp_path: Path) -> None:
    clips = tmp_path / "my clips"
    for name in ("a#1?%20 é.mp4", "s1/b.mp4", "s2/b.mp4", "c.flv", "c.webm", ".c.mp4", "e.flv", "f.wav"):
        (clips / name).parent.mkdir(parents=True, exist_ok=True)
        (clips / name).write_bytes(b"")
    (tmp_path / "out").mkdir()
    ids = ["a#1?%20 é", "b", "s2/b", "c", "c#2", "d", "e", "f"]
    pd.concat([frames(x=[1]).assign(video=name) for name in ids]).to_parquet(tmp_path / "F.parquet")
    affcli("report", "F.parquet", "--videos", "my clips", "-o", "out/report.html")
    videos = data_of(tmp_path / "out" / "report.html")["videos"]
    found = {video["name"]: video["source"] for video in videos}
    # What browsers do not play is named and not linked; of sound it is known that there is no picture.
    assert [(v["name"], v["file"], v["sound"]) for v in videos if v["file"] or v["sound"]] == [
        ("e", "e.flv", False),
        ("f", None, True),
    ]
    assert found == {
        "a#1?%20 é": "../my%20clips/a%231%3F%2520%20%C3%A9.mp4",
        "b": None,  # two files have that name
        "s2/b": "../my%20clips/s2/b.mp4",
        "c": "../my%20clips/c.webm",  # browsers play it
        "c#2": "../my%20clips/c.webm",
        "d": None,
        "e": None,
        "f": "../my%20clips/f.wav",
    }


def test_the_page_of_two_hours_is_as_light_as_that_of_ten_minutes(affcli: Affcli, tmp_path: Path) -> None:
    sizes = []
    for minutes in (10, 120):
        rows = frames(v=[0]).loc[[0] * (minutes * 1500)].reset_index(drop=True)
        rows["frame"] = range(1, len(rows) + 1)
        rows["time_s"] = (rows["frame"] - 1) / 25
        rows[list(CLASSES)] = np.random.default_rng(minutes).normal(size=(len(rows), 8))
        rows.to_parquet(tmp_path / "F.parquet")
        affcli("report", "F.parquet", "-o", "report.html", "-f")
        sizes.append((tmp_path / "report.html").stat().st_size)
    assert sizes[1] < 1.1 * sizes[0] < 110_000


def test_names_never_become_markup(affcli: Affcli, tmp_path: Path) -> None:
    table = frames(v=[0, 1]).assign(video=HOSTILE).rename(columns={"Anger": HOSTILE})
    pq.write_table(pa.Table.from_pandas(table), tmp_path / "F.parquet")
    renamed = ",".join(HOSTILE if name == "Anger" else name for name in CLASSES)
    affcli("report", "F.parquet", "-o", "report.html", "--classes", renamed, "--title", HOSTILE)

    seen: set[str] = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attributes: object) -> None:
            seen.add(tag)

    Tags().feed((tmp_path / "report.html").read_text())
    assert "table" in seen
    assert not seen & {"img", "b"}
    assert data_of(tmp_path / "report.html")["videos"][0]["name"] == HOSTILE


def test_the_same_folder_gives_the_same_page(affcli: Affcli, tmp_path: Path, folder: Path) -> None:
    for name in ("one.html", "two.html"):
        affcli("report", "labels", "-o", name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_of_a_video_only_its_text_is_kept_until_the_page_is_written() -> None:
    def video(number: int) -> PageVideo:
        times = (np.arange(50) / 25, np.arange(1, 51) / 25)
        shown = LabelledVideo(f"v{number}", CLASSES, np.arange(1, 51), np.full(50, number % 8), *times, *[None] * 4)
        return page_video(shown, None, Path())

    with ReportPage() as page:
        references = []
        for number in range(ROWS_AT_ONCE + 20):
            page.add(added := video(number))
            references.append(weakref.ref(added))
        del added
        gc.collect()
        assert [one() for one in references] == [None] * page.videos
        text = "".join(page.pieces("All", failed=[("lost", "no sound")]))
    assert text == text.strip() + "\n"
    assert len(re.findall(r'<tr data-video="\d+"', text)) == ROWS_AT_ONCE + 20
    assert text.index('data-name="v99"') > text.index('<template id="further">') > text.index('data-name="v79"')
    index = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])["index"]  # type: ignore[index]
    assert [row[0] for row in index] == [f"v{number}" for number in range(ROWS_AT_ONCE + 20)]


def test_a_large_page_is_said_to_be_one(affcli: Affcli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affcli.commands.report._LARGE", 10)
    assert "r.html: has 0 MB, more than browsers may open" in affcli("report", "labels", "-o", "r.html").stderr


def test_no_room_for_temporary_files_is_a_line(
    affcli: Affcli, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:  # pytest itself makes such files after the test
        patched.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
        said = affcli("report", "labels", "-o", "r.html", "-q", status=1).stderr
    assert "nowhere: no temporary file: No such file or directory. Set TMPDIR to a folder with room." in said
    assert not (tmp_path / "r.html").exists()


def test_what_is_wrong_is_a_line(affcli: Affcli, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.html").write_text("mine")
    for arguments, status, words in (
        (("missing", "-o", "r.html"), 1, "missing: No such file"),
        (("empty", "-o", "r.html", "-q"), 1, "empty: no tables in this folder"),
        (("labels", "-o", "page.html"), 1, "exists already"),
        (("labels", "--videos", "empty", "-o", "r.html"), 1, "empty: no videos in this folder"),
        (("-", "-o", "r.html"), 2, "standard input cannot be used here"),
    ):
        said = affcli("report", *arguments, status=status).stderr
        assert (said.count("\n"), words in said) == (1, True), said


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of three videos: one of 8 s with hostile names, one of 3 s with gaps, one without its file."""
    from affcli.cli import run

    place = tmp_path_factory.mktemp("site")
    (place / "clips").mkdir()
    # WebM is what every build of Chromium plays.
    vp8 = ("-c:v", "libvpx", "-g", "5", "-deadline", "realtime", "-cpu-used", "8")
    hostile = HOSTILE.replace("/", "|")  # no name of a file
    write_pattern(place / "clips" / f"{hostile}.webm", *vp8, seconds=8)
    ffmpeg(
        "-i", f"file:{place / 'clips' / hostile}.webm", "-t", "3", "-c", "copy", f"file:{place / 'clips' / 'gaps'}.webm"
    )
    tables = [
        frames(v=[4] * 100 + [5] * 100).assign(video=hostile),
        frames(gaps=[1] * 25 + [None] * 25 + [2] * 25),
        frames(lost=[0] * 10),
    ]
    pd.concat(tables).to_parquet(place / "F.parquet")
    assert run(["report", str(place / "F.parquet"), "--videos", str(place / "clips"), "-o", str(place / "r.html")]) == 0
    return place / "r.html"


def opened(chromium: Page, site: Path, name: str, **how: int) -> Page:
    """The page, at the video of a name, when its player is ready."""
    full = next(found for found, *_ in data_of(site)["index"] if found.startswith(name))
    chromium.requests.clear()
    chromium.problems.clear()
    chromium.open(site, anchor=f"#{quote(full, safe='')}", **how)
    chromium.until(f"document.getElementById('title').textContent === {json.dumps(full)}")
    until_known(chromium)
    return chromium


def until_known(page: Page) -> None:
    """Waits until the page has learnt whether the video plays, and has its final layout."""
    page.until("document.getElementById('title').textContent")
    page.until("!document.querySelector('#player.waiting') || document.getElementById('player').hidden")


def place_of(page: Page, selector: str) -> dict[str, float]:
    page.eval(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
    return dict(page.eval(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()"))


TIME = "document.getElementById('player').currentTime"


@pytest.mark.browser
def test_a_click_seeks_the_video(chromium: Page, site: Path) -> None:
    page = opened(chromium, site, "<img")
    box = place_of(page, "#slider")
    for share in (0.75, 0.25):
        page.click(box["left"] + share * box["width"], box["top"] + 20)
        page.until(f"Math.abs({TIME} - {8 * share}) < 0.05 && !document.getElementById('player').seeking")
    assert page.eval("document.getElementById('now').textContent").startswith("0:02.0  Happiness")
    assert page.eval("document.querySelector('#values .on').textContent") == "100"


@pytest.mark.browser
def test_the_keyboard_does_what_the_mouse_does(chromium: Page, site: Path) -> None:
    page = opened(chromium, site, "<img")
    page.eval("document.getElementById('slider').focus()")
    for key, code, wanted in (
        ("ArrowRight", 39, 1.0),
        ("ArrowRight", 39, 2.0),
        ("ArrowLeft", 37, 1.0),
        ("PageUp", 33, 4.0),  # where the next segment begins
        ("PageDown", 34, 0.0),
        ("End", 35, 8.0),
        ("Home", 36, 0.0),
    ):
        page.press(key, code)
        page.until(f"Math.abs({TIME} - {wanted}) < 0.05")
        valuenow = "document.getElementById('slider').getAttribute('aria-valuenow')"
        page.until(f"Math.abs(Number({valuenow}) - {wanted}) < 0.05")
    page.eval("document.getElementById('player').loop = true")  # on a busy machine it could come to its end
    page.press(" ", 32, " ")
    page.until(f"!document.getElementById('player').paused && {TIME} > 0.1")
    page.press(" ", 32, " ")
    page.until("document.getElementById('player').paused")


@pytest.mark.browser
def test_the_timeline_follows_the_playing_video(chromium: Page, site: Path) -> None:
    page = opened(chromium, site, "gaps")
    said = "document.getElementById('now').textContent"
    page.eval(f"{TIME} = 0.9")
    page.until(f"{said}.includes('Anger')")
    # What is said for a second may be gone when a busy machine asks for it.
    page.eval(
        "window.said = []; new MutationObserver(() => "
        f"window.said.push({said})).observe(document.getElementById('now'), {{ childList: true }})"
    )
    page.eval("document.getElementById('player').play()")
    page.until(f"{said}.includes('Disgust')")
    assert page.eval("window.said.some((words) => words.includes('no label'))")


@pytest.mark.browser
def test_the_tab_key_reaches_everything(chromium: Page, site: Path) -> None:
    page = opened(chromium, site, "gaps")
    page.eval("document.querySelector('details').open = true; document.activeElement.blur()")
    reached = set()
    for _ in range(40):
        page.press("Tab", 9)
        reached.add(page.eval("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)"))
    assert {"To the player", "gaps", "lost", "slider", "player", "count", "0:00.0", "0:02.0"} <= reached


@pytest.mark.browser
def test_a_link_shows_another_video_and_the_back_button_the_first(chromium: Page, site: Path) -> None:
    page = opened(chromium, site, "gaps")
    page.eval("[...document.querySelectorAll('tbody a')].find((a) => a.textContent === 'lost').focus()")
    page.press("Enter", 13, "\r")
    page.until("document.getElementById('title').textContent === 'lost'")
    assert page.eval("document.activeElement.id") == "title"
    assert page.eval("document.querySelector('[aria-current] a').textContent") == "lost"
    assert page.eval("document.getElementById('player').hidden") is True
    assert "No video file was found" in page.eval("document.getElementById('message').textContent")
    page.eval("history.back()")
    page.until("document.getElementById('title').textContent === 'gaps'")


@pytest.mark.browser
def test_a_screen_reader_is_told_where_and_what(chromium: Page, site: Path) -> None:
    page = opened(chromium, site, "gaps")
    tree = page.tree()
    assert ("slider", "Position in gaps") in tree
    assert ("heading", "gaps") in tree
    assert ("columnheader", "Most frequent labels") in tree
    assert any(role == "Video" and name == "Video gaps" for role, name in tree)
    assert page.eval("document.getElementById('slider').getAttribute('aria-valuetext')") == "0:00.0, Anger 100 %"
    assert page.eval("document.documentElement.lang") == "en"


@pytest.mark.browser
def test_no_request_leaves_the_page_and_no_markup_runs(chromium: Page, site: Path) -> None:
    page = opened(chromium, site, "<img")
    assert page.problems == []
    files = [address for address in page.requests if not address.startswith(("data:", "about:"))]
    assert files
    assert all(address.startswith(site.parent.as_uri()) for address in files)
    assert page.eval("document.title") == "F.parquet"
    assert page.eval("document.querySelectorAll('img').length") == 0
    assert page.eval("document.getElementById('title').textContent") == HOSTILE.replace("/", "|")
    # Even markup that got in would neither run nor fetch.
    markup = '<img src="http://example.org/x.png" onerror="document.title=1">'
    page.eval(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(markup)})")
    page.until_told(lambda: any("Content Security Policy" in problem for problem in page.problems))
    assert page.eval("document.title") == "F.parquet"


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2000])
def test_nothing_is_wider_than_the_screen(chromium: Page, site: Path, width: int) -> None:
    for name in ("<img", "gaps", "lost"):
        page = opened(chromium, site, name, width=width)
        assert page.eval("document.documentElement.scrollWidth") <= width
        assert page.eval("document.getElementById('slider').clientWidth") > min(0.3 * width, 400)


@pytest.mark.browser
def test_a_video_that_the_browser_cannot_play_leaves_the_timeline(
    chromium: Page, affcli: Affcli, tmp_path: Path
) -> None:
    (tmp_path / "x.mp4").write_bytes(b"no video")
    frames(x=[4] * 100).to_parquet(tmp_path / "F.parquet")
    affcli("report", "F.parquet", "-o", "r.html")
    chromium.open(tmp_path / "r.html")
    chromium.until("document.getElementById('message').textContent.includes('cannot play x.mp4')")
    assert chromium.eval("document.getElementById('player').hidden") is True
    box = place_of(chromium, "#slider")
    chromium.click(box["left"] + box["width"] / 2, box["top"] + 20)
    assert chromium.eval("document.getElementById('now').textContent").startswith("0:02.0  Happiness")


# --- the list, links, colours ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 videos: v1 is the longest, v300 the shortest; every seventh is sad; two that failed."""
    from affcli.cli import run

    place = tmp_path_factory.mktemp("long")
    (place / "labels").mkdir()
    lengths = {f"v{n}": [5 if n % 7 == 0 else 4] * (301 - n) for n in range(1, 301)}
    write_ours(place / "labels" / "all.parquet", frames(**lengths))
    names = [*lengths, "lost#1", "lost 2"]
    pd.DataFrame({"video": names, "problem": [None] * 300 + ["no sound", "no picture"]}).to_parquet(
        place / "labels" / "summary.parquet"
    )
    assert run(["report", str(place / "labels"), "-o", str(place / "r.html"), "-q"]) == 0
    return place / "r.html"


def listed(page: Page) -> list[str]:
    return list(page.eval("[...document.querySelectorAll('#rows > tr:not(.space)')].map((row) => row.dataset.name)"))


def search(page: Page, words: str) -> None:
    page.eval("document.getElementById('search').focus(); document.getElementById('search').select()")
    page.call("Input.insertText", text=words)
    page.eval("new Promise((done) => setTimeout(done, 150))")


@pytest.mark.browser
def test_a_click_on_a_heading_sorts_and_another_one_turns_it_round(chromium: Page, long_list: Path) -> None:
    chromium.open(long_list)
    heading = "document.querySelector('[data-key=%s]')"
    for key, first, last in (("length", "v1", "v300"), ("name", "lost 2", "v300"), ("label", "v1", "v294")):
        chromium.eval(f"{heading % key}.click()")
        assert listed(chromium)[0] == first
        said = chromium.eval(f"{heading % key}.parentElement.getAttribute('aria-sort')")
        assert said == ("descending" if key == "length" else "ascending")
        chromium.eval(f"{heading % key}.click()")
        turned = listed(chromium)[0]
        assert turned == (last if key != "label" else "v105")  # of equals the first by codepoint
    assert chromium.eval("document.querySelectorAll('[aria-sort]').length") == 1


LATE = """
    window.late = true;
    const found = document.getElementById.bind(document);
    document.getElementById = (id) => (window.late && id === "v0" ? null : found(id));
    Object.defineProperty(document, "readyState", { get: () => (window.late ? "loading" : "complete") });
"""


@pytest.mark.browser
def test_the_list_stays_as_sorted_when_the_numbers_of_the_first_video_come_late(
    chromium: Page, long_list: Path
) -> None:
    script = chromium.call("Page.addScriptToEvaluateOnNewDocument", source=LATE)["identifier"]
    try:
        chromium.call("Page.navigate", url="about:blank")
        chromium.call("Page.navigate", url=long_list.as_uri())
        chromium.until("window.late && performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd > 0")
    finally:
        chromium.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    for _ in range(2):
        chromium.eval("document.querySelector('[data-key=length]').click()")
    chromium.eval("window.late = false")
    chromium.until("document.getElementById('title').textContent === 'v1'")
    assert listed(chromium)[0] == "v300"


@pytest.mark.browser
def test_search_finds_names_labels_and_problems(chromium: Page, long_list: Path) -> None:
    chromium.open(long_list)
    for words, found in (("v299", ["v299"]), ("no sound", ["lost#1"]), ("lost", ["lost 2", "lost#1"]), ("xyz", [])):
        search(chromium, words)
        assert listed(chromium) == found
        assert chromium.eval("document.getElementById('found').textContent") == f"{len(found)} of 302"
    search(chromium, "sadness v2")
    assert set(listed(chromium)) == {f"v{n}" for n in range(7, 301, 7) if str(n).startswith("2")}


@pytest.mark.browser
def test_few_rows_are_in_the_page_and_scrolling_reaches_all(chromium: Page, long_list: Path) -> None:
    chromium.open(long_list)
    scroll = "document.getElementById('list').scrollTop"
    seen = set(listed(chromium))
    assert len(seen) == 80
    heights = [chromium.eval("document.getElementById('list').scrollHeight")]
    for _ in range(200):
        before = chromium.eval(f"{scroll} += 400; {scroll}")
        chromium.eval("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 5)))")
        seen |= set(listed(chromium))
        heights.append(chromium.eval("document.getElementById('list').scrollHeight"))
        if chromium.eval(f"{scroll} += 400; {scroll}") == before:
            break
    assert len(seen) == 302
    assert max(heights) < 1.2 * min(heights)
    chromium.eval(f"{scroll} = 0")
    chromium.until("document.querySelector('#rows > tr:not(.space)').dataset.name === 'v1'")


@pytest.mark.browser
def test_a_link_opens_a_video_by_its_name(chromium: Page, long_list: Path) -> None:
    chromium.open(long_list, anchor="#v250")
    chromium.until("document.getElementById('title').textContent === 'v250'")
    box = "document.querySelector('tr[aria-current]').getBoundingClientRect()"
    inside = "document.getElementById('list').getBoundingClientRect()"
    chromium.until(f"{box}.top >= {inside}.top && {box}.bottom <= {inside}.bottom")
    chromium.eval("location.hash = 'v3'")
    chromium.until("document.getElementById('title').textContent === 'v3'")
    chromium.eval("location.hash = 'detail'")  # a place of the page
    chromium.eval("location.hash = 'nobody'")
    chromium.until("!document.getElementById('message').hidden")
    assert "no video named nobody" in chromium.eval("document.getElementById('message').textContent")
    assert chromium.eval("document.getElementById('title').textContent") == "v3"


@pytest.mark.browser
def test_a_dark_screen_gets_dark_paper_and_colours_that_stand_out(chromium: Page, long_list: Path) -> None:
    from affcli.palette import DARK_PAPER, ON_DARK, PALETTE

    pixel = "[...document.querySelector('#slider canvas').getContext('2d').getImageData(9, 9, 1, 1).data].slice(0, 3)"
    found = {}
    try:
        for scheme in ("light", "dark"):
            chromium.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            chromium.open(long_list, anchor="#v7")
            chromium.until("document.getElementById('title').textContent === 'v7'")
            paper = chromium.eval("getComputedStyle(document.body).backgroundColor")
            found[scheme] = (paper, bytes(chromium.eval(pixel)).hex())
        chromium.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        chromium.until(f"{pixel}.join() === '{','.join(map(str, bytes.fromhex(PALETTE['Sadness'][1:])))}'")
    finally:
        chromium.call("Emulation.setEmulatedMedia", features=[])
    assert found["light"] == ("rgb(255, 255, 255)", PALETTE["Sadness"][1:])
    assert found["dark"][0] == f"rgb({', '.join(map(str, bytes.fromhex(DARK_PAPER[1:])))})"
    assert found["dark"][1] == ON_DARK["Sadness"][1:]


@pytest.mark.browser
def test_a_file_that_no_browser_plays_has_no_player_but_a_way_to_one(
    chromium: Page, affcli: Affcli, tmp_path: Path
) -> None:
    (tmp_path / "x.flv").write_bytes(b"FLV")
    frames(x=[4] * 10).to_parquet(tmp_path / "F.parquet")
    affcli("report", "F.parquet", "-o", "r.html")
    chromium.open(tmp_path / "r.html")
    chromium.until("!document.getElementById('message').hidden")
    assert chromium.eval("document.getElementById('player').hidden") is True
    said = chromium.eval("document.getElementById('message').textContent")
    assert said.startswith("Browsers cannot play x.flv. affcli overlay out/ --videos DIR -o drawn/ makes an .mp4")


@pytest.mark.browser
def test_sound_plays_without_a_dark_box(chromium: Page, affcli: Affcli, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "x.wav")
    frames(x=[4] * 25).to_parquet(tmp_path / "F.parquet")
    affcli("report", "F.parquet", "-o", "r.html")
    chromium.open(tmp_path / "r.html")
    until_known(chromium)
    assert 0 < chromium.eval("document.getElementById('player').offsetHeight") < 70
    assert chromium.eval("document.getElementById('message').hidden") is True
