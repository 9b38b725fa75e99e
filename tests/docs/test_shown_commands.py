"""Every command that the README and the manual show is parsed, and run unless it needs downloads, data or hours."""

from __future__ import annotations

import inspect
import re
import shutil
from importlib.resources import files
from pathlib import Path

import click
import pytest
from helpers.media_fixtures import H264, astronaut, ffmpeg
from helpers.shown_commands import PAGES, ROOT, Block, arguments_of_affcli, blocks, parse, run_block
from PIL import Image

from affcli.cli import COMMANDS, cli
from affcli.schema import CLASSES

SHELL = [block for page in PAGES for block in blocks(page, "sh")]
RUN = sorted({block.page for block in SHELL if block.runs and list(arguments_of_affcli(block.text))})
FRAMES = 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_commands_parse(page: Path) -> None:
    for block in (block for block in SHELL if block.page == page):
        for arguments in arguments_of_affcli(block.text):
            if arguments:
                parse(arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_the_help_stand_on_the_page(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    parts = re.findall(r"(?:^|\n)\x08\n((?:  .*(?:\n|$))+)", inspect.cleandoc(command.help or ""))
    shown = [a for block in blocks(ROOT / "man" / f"affcli-{name}.1.md", "sh") for a in arguments_of_affcli(block.text)]
    in_help = [arguments for part in parts for arguments in arguments_of_affcli(part)]
    assert in_help, "no example in --help"
    assert [arguments for arguments in in_help if arguments not in shown] == []


def video(path: Path) -> None:
    """A face that moves a little, and a voice-like tone."""
    face = Image.fromarray(astronaut()).resize((256, 256))
    path.parent.mkdir(parents=True, exist_ok=True)
    face.save(path.with_suffix(".png"))
    still = ("-loop", "1", "-framerate", "12", "-t", str(FRAMES / 12), "-i", path.with_suffix(".png"))
    tone = ("-f", "lavfi", "-i", f"aevalsrc='0.3*sin(900*t)*sin(30*t)':s=16000:d={FRAMES / 12}")
    ffmpeg(*still, *tone, *H264, "-c:a", "aac", "-frames:v", str(FRAMES), f"file:{path}")
    path.with_suffix(".png").unlink()


def label_file(path: Path, first: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = [str((first + i // 3) % len(CLASSES)) for i in range(FRAMES)]
    path.write_text("\n".join([",".join(CLASSES), *numbers]) + "\n")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the shown commands read, by the names that they use."""
    folder = tmp_path_factory.mktemp("prepared")
    video(folder / "clips" / "clip.mp4")
    for name in ("clips/second.mp4", "videos/interview-1.mp4", "interviews/interview-1.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "clips" / "clip.mp4", folder / name)
    ffmpeg("-i", folder / "clips" / "clip.mp4", "-vn", f"file:{folder / 'speech.wav'}")
    for number, name in enumerate(("clip", "second")):
        label_file(folder / "Validation_Set" / f"{name}.txt", number)
        label_file(folder / "labels" / f"{name}.txt", number)
    _logits(folder)
    shutil.copy(str(files("affcli.models") / "mini" / "fusion" / "model.safetensors"), folder / "model.safetensors")
    sample = [f"clip/{frame:05d}.jpg" for frame in range(1, FRAMES + 1)]
    (folder / "CVPR_EXPR_test_set_sample.txt").write_text("\n".join(["image_location", *sample]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_block(_PREPARE)
    for name in ("W_val", "W_test"):
        shutil.copy(folder / "W.parquet", folder / f"{name}.parquet")
    for name in ("a", "b", "k1", "k11", "k101", "frames"):
        shutil.copy(folder / "S.parquet", folder / f"{name}.parquet")
    return folder


_PREPARE = """
affcli label videos/ -o out/
affcli extract-visual clips/ --model mini -o V.parquet
affcli extract-audio clips/ --model mini --frames-from V.parquet -o A.parquet
affcli predict --model mini --visual V.parquet --audio A.parquet -o W.parquet
affcli vote W.parquet | affcli smooth -o S.parquet
affcli export S.parquet --to csv -o c.csv
"""


def _logits(folder: Path) -> None:
    """CSV of a model with other names of columns, and one with ours."""
    names = ["Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]
    rows = [
        [clip, i + 1, *(f"{(i * 7 + c * 3) % 5 / 2:.1f}" for c in range(len(names)))]
        for clip in ("clip", "second")
        for i in range(FRAMES)
    ]
    for file, head in (("logits.csv", ["clip", "idx"]), ("predictions.csv", ["video", "frame"])):
        lines = [",".join([*head, *names]), *(",".join(map(str, row)) for row in rows)]
        (folder / file).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_shown_commands_run(page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for block in (block for block in SHELL if block.page == page and block.runs):
        run_block(block.text)


@pytest.mark.parametrize("language", ["python", "sql"])
def test_the_tutorial_opens_the_tables_elsewhere(
    language: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(prepared / "out", tmp_path / "out")
    shutil.copy(prepared / "S.parquet", tmp_path / "smooth.parquet")
    monkeypatch.chdir(tmp_path)
    found = blocks(ROOT / "man" / "affcli-tutorial.7.md", language)
    assert found
    for block in found:
        _run_elsewhere(block)
    assert str(FRAMES) in capsys.readouterr().out


def _run_elsewhere(block: Block) -> None:
    if block.language == "sql":
        print(pytest.importorskip("duckdb").sql(block.text).fetchall())
        return
    for module in re.findall(r"^import (\w+)", block.text, re.MULTILINE):
        try:
            __import__(module)
        except ImportError:
            return
    exec(block.text, {})


def test_the_recipe_for_aff_wild2_runs_on_made_up_data_in_its_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (name, part) in enumerate([("1-30-1280x720", "Train_Set"), ("video2", "Validation_Set")]):
        video(tmp_path / "videos" / f"{name}.mp4")
        label_file(tmp_path / part / f"{name}_left.txt" if number else tmp_path / part / f"{name}.txt", number)
        crops = tmp_path / "cropped_aligned" / (f"{name}_left" if number else name)
        crops.mkdir(parents=True)
        for frame in range(1, FRAMES + 1):
            if frame != 5:  # no face was found there
                Image.fromarray(astronaut()).crop((170, 60, 282, 172)).save(crops / f"{frame:05d}.jpg")
    [recipe] = [block.text for block in blocks(ROOT / "README.md", "sh") if "cropped_aligned/" in block.text]
    mini = ["--model", "mini"]
    small = ["--dim", "8", "--heads", "2", "--layers", "1", "--epochs", "1"]
    run_block(recipe, {"extract-visual": mini, "extract-audio": mini, "train": small})
    assert (tmp_path / "model.safetensors").is_file()
