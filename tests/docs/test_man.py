"""The manual and --help say the same, every command has a page, and no generated page is stale."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.runners import Affcli
from helpers.shown_commands import PAGES

from affcli import __version__
from affcli.cli import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
MAN = ROOT / "man"
ROFF = sorted(MAN.glob("man?/*"))


def plain(roff: str) -> str:
    for escape, character in {"\\-": "-", "\\&": "", "\\(aq": "'", "\\(ti": "~", "\\(ha": "^", "\\e": "\\"}.items():
        roff = roff.replace(escape, character)
    return roff


def test_no_page_is_stale() -> None:
    pages = runpy.run_path(str(MAN / "make.py"))["pages"]()
    written = {str(path.relative_to(MAN)): path.read_text() for path in [*MAN.glob("affcli*.md"), *ROFF]}
    assert written == pages, "run: python man/make.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_options_and_defaults_of_help_and_page_are_the_same(name: str, affcli: Affcli) -> None:
    shown = affcli(name, "--help").stdout.split("\nOptions:\n")[1]
    page = plain((MAN / "man1" / f"affcli-{name}.1").read_text())
    section = page.split(".SH OPTIONS\n")[1].split("\n.SH")[0]
    names = re.compile(r"^(?:  |\.B )((?:-\w, )?--?[\w-]+)", re.MULTILINE)
    assert names.findall(shown) == names.findall(section)
    defaults = re.compile(r"\[default: [^\]]*\]")
    assert defaults.findall(" ".join(shown.split())) == defaults.findall(" ".join(section.split()))


def test_the_wheel_installs_every_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {f"man/{folder}": f"share/man/{folder}" for folder in ("man1", "man5", "man7")}
    assert {path.parent.name for path in ROFF} == {"man1", "man5", "man7"}


def test_help_lists_every_command_and_each_has_a_runnable_example(affcli: Affcli) -> None:
    overview = affcli("--help").stdout
    for name in COMMANDS:
        assert name in overview
        assert f"affcli {name}" in affcli(name, "--help").stdout


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")
def test_mandoc_finds_no_fault() -> None:
    done = subprocess.run(["mandoc", "-Tlint", *map(str, ROFF)], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 8192


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
