"""What many tests share: tiny encoders that are real checkpoints, and a way to run commands."""

from __future__ import annotations

import json
import logging
import os
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.browser import CHROMIUM
from helpers.runners import BEIT_PREPROCESSOR, Affcli, Extract
from helpers.tiny_encoders import save_tiny_beit, save_tiny_wavlm
from helpers.warm import warm_programs

# Before torch is imported: no test reaches the network, and tiny networks are slower on many threads than on one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Connections are refused here and in every process that a test starts, so that a test which needs one fails.
_NO_NETWORK = str(Path(__file__).parent / "helpers" / "no_network")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_NO_NETWORK, os.environ.get("PYTHONPATH"))))
runpy.run_path(f"{_NO_NETWORK}/sitecustomize.py")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One process, which starts at once, where somebody chooses tests; else pytest-xdist's own answer."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword
    return 0 if named or config.option.markexpr != "not campaign" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip("Chromium is not installed (Debian: chromium)"))


@pytest.fixture(scope="session")
def tiny_beit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEiT of two small layers, 32 × 32 pictures, 24-d features, saved as any checkpoint is."""
    return save_tiny_beit(tmp_path_factory.mktemp("checkpoints") / "tiny-beit")


@pytest.fixture(scope="session")
def headed_beit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a head of the eight classes, which stand in another order than ours."""
    import torch
    from transformers import BeitConfig, BeitForImageClassification

    from affcli.schema import CLASSES

    torch.manual_seed(3)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    names = dict(enumerate(CLASSES[::-1]))
    labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    config = BeitConfig(image_size=32, patch_size=8, use_relative_position_bias=True, **sizes, **labels)
    folder = tmp_path_factory.mktemp("checkpoints") / "headed-beit"
    BeitForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(BEIT_PREPROCESSOR))
    return folder


@pytest.fixture(scope="session")
def tiny_wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WavLM of three small layers with the real front end's steps, 16-d features."""
    return save_tiny_wavlm(tmp_path_factory.mktemp("checkpoints") / "tiny-wavlm")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `affcli` and `python` for scripts, which start at once."""
    return warm_programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture(autouse=True)
def fresh_logger() -> Iterator[None]:
    """Takes back what a command run in this process has changed of the library's logger, so that order never counts."""
    yield
    logger = logging.getLogger("affcli")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def affcli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Affcli:
    """Runs `affcli ARGUMENTS…` in the test's folder, in this process (torch is imported once for all tests).

    What it printed comes back; another exit status than `status` fails the test.
    """
    from affcli import cli
    from affcli.console import terminal

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        terminal.start("affcli")
        command = list(map(str, arguments))
        returned = cli.run(command)
        printed = capfd.readouterr()
        assert returned == status, f"exit status {returned}, not {status}: {printed.err}"
        return subprocess.CompletedProcess(command, returned, printed.out, printed.err)

    return run


@pytest.fixture
def visual(affcli: Affcli, tiny_beit: Path) -> Extract:
    """Runs extract-visual with the tiny encoder in fp32; what it said comes back."""

    def run(*arguments: object, output: str = "V.parquet", status: int = 0) -> str:
        options = ("--model", tiny_beit, "--precision", "fp32", "--batch-size", 4, "-o", output)
        return affcli("extract-visual", *options, *arguments, status=status).stderr

    return run


@pytest.fixture
def audio(affcli: Affcli, tiny_wavlm: Path) -> Extract:
    """Runs extract-audio with the tiny encoder in fp32; what it said comes back."""

    def run(*arguments: object, output: str = "A.parquet", status: int = 0) -> str:
        options = ("--model", tiny_wavlm, "--layers", 2, "--precision", "fp32", "-o", output)
        return affcli("extract-audio", *options, *arguments, status=status).stderr

    return run
