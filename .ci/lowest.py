"""Prints the lowest versions that pyproject.toml allows, as requirements for pip, without torch and transformers.


Most commands run without those, and the lowest torch is gigabytes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LEFT_OUT = {"torch", "transformers", "huggingface-hub"}
project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    name, version = re.match(r"([\w-]+)[>=]=([\w.]+)", requirement).groups()
    if name not in LEFT_OUT:
        print(f"{name}=={version}")
