"""Types of the fixtures in conftest.py that run commands, and how their tiny image encoder sees pictures."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Affcli = Callable[..., subprocess.CompletedProcess[str]]
Extract = Callable[..., str]

BEIT_PREPROCESSOR = {
    "image_processor_type": "BeitImageProcessor",
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "do_center_crop": False,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
