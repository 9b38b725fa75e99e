"""What ffmpeg is asked for a picture track: pixels, and beside them strips that tell the shape of each frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from affcli.media.decoder import Outputs

# Every frame that the decoder gives, none doubled, none dropped, each in its own size (`-noautoscale`: else all take
# the size of the first). Without `-enc_time_base demux` the stamps snap to the nominal frame rate.
_EVERY_FRAME: Final = ("-fps_mode", "passthrough", "-enc_time_base", "demux", "-noautoscale")
_PIXELS: Final = (*_EVERY_FRAME, "-c:v", "rawvideo", "-pix_fmt", "rgb24", "-f", "image2pipe")
_STRIPS: Final = (*_EVERY_FRAME, "-c:v", "rawvideo")
_TIMES: Final = ("-fps_mode", "passthrough", "-enc_time_base", "demux", "-c:v", "wrapped_avframe")
# Raw pixels do not tell their shape. Beside each frame come strips of it in grey, whose sizes in bytes do. They have a
# filter graph of their own, so that nothing about them, such as their grey, can reach the pixels.
ROWS: Final = 2  # of the strip that is cut out, since no filter cuts chroma to less
_WIDTH: Final = f"crop=iw:{ROWS}:0:0:exact=1,scale,format=gray"  # its pixels keep the shape that the header states
_STRIP: Final = "scale=w={}:h={}:flags=neighbor,format=gray"
ASPECT_ONE: Final = 4096  # bytes of the strip that tells a pixel's shape, where pixels are square
_ASPECT: Final = f"'clip(round({ASPECT_ONE}*sar),1,65535)'"


def frame_outputs(
    reduced_to: int | None, sound: tuple[Sequence[str], ...], track: str, reading: tuple[str, ...]
) -> Outputs:
    """The pixels, also reduced where that is asked for, and strips that tell the shapes of both; and the sound."""
    data: list[tuple[str, ...]] = [("-map", track, *_PIXELS)]
    strips = [_WIDTH, _STRIP.format("1", "ih"), _STRIP.format(_ASPECT, "1")]
    if reduced_to is not None:
        width, height = _reduced_size(reduced_to)
        data.append(("-map", track, "-vf", f"scale=w={width}:h={height}:flags=area", *_PIXELS))
        strips += [_STRIP.format(width, "1"), _STRIP.format("1", height)]
    split = "".join(f"[s{number}]" for number in range(len(strips)))
    chains = [f"[s{number}]{strip}[t{number}]" for number, strip in enumerate(strips)]
    graph = ";".join([f"[{track}]split={len(strips)}{split}", *chains])
    stamps = tuple(("-map", f"[t{number}]", *_STRIPS) for number in range(len(strips)))
    return Outputs(tuple(data), stamps, reading, graph, counted=track, beside=sound)


def time_outputs(track: str, reading: tuple[str, ...]) -> Outputs:
    """The stamps of the same frames."""
    # No time depends on the filter that smooths blocks (a fifth of the work of decoding H.264).
    return Outputs((), (("-map", track, *_TIMES),), reading=("-skip_loop_filter", "all", *reading))


def _reduced_size(long_side: int) -> tuple[str, str]:
    """Width and height, for ffmpeg's filter `scale`, of a picture with square pixels; smaller ones stay as large as
    they are shown. Its `area` averages all that a pixel covers."""
    width, height = "iw*max(1,sar)", "ih*max(1,1/sar)"
    share = f"min(1,{long_side}/max({width},{height}))"
    return f"'max(1,round({width}*{share}))'", f"'max(1,round({height}*{share}))'"


def shapes(*strips: int) -> list[tuple[int, int]]:
    """Heights and widths, from the sizes of strips in bytes: width and height of each picture."""
    return [(height, width) for width, height in zip(strips[::2], strips[1::2], strict=True)]
