"""affcli: labels the facial expression in every frame of a video, from image and audio."""

from __future__ import annotations

__version__ = "0.2.0"
