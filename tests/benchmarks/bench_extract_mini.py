"""`extract-visual --model mini` against decoding and looking for faces alone, on a 480p clip.

python tests/benchmarks/bench_extract_mini.py [FOLDER]     (FOLDER keeps the clip; else a temporary one)

Frames/s, both in this process, taking turns; target at least 0.6: a small encoder must not cost much beside what comes
before it.
"""

from __future__ import annotations

from pathlib import Path

from bench_extract_visual import BATCH, FRAMES, clip, ours
from measure import in_folder, medians, verdict

from affcli.media.faces import FaceDetector
from affcli.media.sightings import watch_faces
from affcli.media.video import open_video
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.runtime import devices


def main(folder: Path) -> bool:
    """Prints the ratio; true where the target is met."""
    path, chosen = clip(folder, "480p"), devices.choose("cpu")
    encoder = VisualEncoder("mini", chosen, batch_size=BATCH)
    watch = watch_faces(FaceDetector(threads=1), "largest", encoder.preprocessing.input_size)

    def found() -> None:
        with open_video(path) as frames:
            for _ in watch(frames, None):
                pass

    found_s, ours_s = medians(found, ours(encoder, path, folder / "out.parquet"))
    what = f"480p: {FRAMES / ours_s:.1f} frames/s ({chosen.precision}) / decoding and detection {FRAMES / found_s:.1f}"
    return verdict(what, found_s / ours_s, least=0.6)


if __name__ == "__main__":
    in_folder(main)
