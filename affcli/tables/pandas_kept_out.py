"""Keeps pyarrow from importing pandas, which takes longer than all of a small `vote`."""

from __future__ import annotations

import functools
import importlib.abc
import sys

import pyarrow as pa


@functools.cache
def keep_pandas_out() -> None:
    """Makes pyarrow look for pandas now and not find it, unless somebody has imported it already.

    Where pandas is installed, pyarrow imports it at its first array; nothing here hands pandas anything. Anyone else in
    the process can still import it, and pyarrow finds it when a table is to become a data frame.
    """
    if "pandas" in sys.modules:
        return

    class Refused(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "pandas":
                raise ImportError(name)

    refused = Refused()
    sys.meta_path.insert(0, refused)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(refused)
