"""Manual pages and --help say the same, and every command has a page."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from helpers.runners import Affcli

from affcli.cli import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAN = Path(__file__).parents[2] / "man"


def plain(roff: str) -> str:
    return roff.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


def test_pages_are_what_the_command_tree_says() -> None:
    pages = runpy.run_path(str(MAN / "make.py"))["pages"]()
    written = {path.name: path.read_text() for path in MAN.glob("*.1")}
    assert written == pages, "run: python man/make.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_options_and_defaults_of_help_and_page_are_the_same(name: str, affcli: Affcli) -> None:
    shown = affcli(name, "--help").stdout.split("\nOptions:\n")[1]
    page = plain((MAN / f"affcli-{name}.1").read_text())
    section = page.split(".SH OPTIONS\n")[1].split("\n.SH")[0]
    names = re.compile(r"^(?:  |\.B )((?:-\w, )?--?[\w-]+)", re.MULTILINE)
    assert names.findall(shown) == names.findall(section)
    defaults = re.compile(r"\[default: [^\]]*\]")
    assert defaults.findall(" ".join(shown.split())) == defaults.findall(" ".join(section.split()))


def test_the_wheel_installs_every_page() -> None:
    project = tomllib.loads((MAN.parent / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    pages = sorted(path.name for path in MAN.glob("*.1"))
    assert shared == {f"man/{page}": f"share/man/man1/{page}" for page in pages}


def test_help_lists_every_command_and_each_has_a_runnable_example(affcli: Affcli) -> None:
    overview = affcli("--help").stdout
    for name in COMMANDS:
        assert name in overview
        assert f"affcli {name}" in affcli(name, "--help").stdout
