"""onnxruntime without its telemetry: newer versions keep a device number, and hold code that reports their use."""

from __future__ import annotations

import os
import sys
from typing import Any


def onnxruntime() -> Any:
    """The library, which then writes nothing into the user's folders and opens no connection."""
    was_loaded = "onnxruntime" in sys.modules
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # is read while the library is loaded
    import onnxruntime as library

    if was_loaded:  # by a program that we are a part of: what it has begun ends
        library.disable_telemetry_events()
    return library
