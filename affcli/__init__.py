"""affcli: the facial expression in every frame of a video, from its picture and its sound."""

from __future__ import annotations

__version__ = "0.1.0"
