"""man/licences.md names every package that the project requires, as the installed packages say."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
LISTED = dict(re.findall(r"^\| ([\w.-]+) \| (.+) \|$", (ROOT / "man/licences.md").read_text(), re.MULTILINE))
LISTED.pop("package")


def test_every_dependency_stands_in_the_list_with_a_licence() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.match(r"[\w.-]+", one).group().lower() for one in required]  # type: ignore[union-attr]
    assert [name for name in names if name not in LISTED] == []
    assert [name for name, licence in LISTED.items() if "UNKNOWN" in licence or not licence.strip()] == []


def test_the_list_says_what_the_installed_packages_say() -> None:
    script = runpy.run_path(str(ROOT / "man" / "licences.py"))
    found = script["packages"]()
    assert {"numpy", "torch", "click"} <= set(found)
    same = [name for name, one in found.items() if LISTED.get(name) == script["licence_of"](one)]
    assert len(same) > 0.8 * len(LISTED)  # versions installed elsewhere may say it in other words
