"""Opens picture files: the one place where Pillow does it, with an explicit list of formats and a limit of pixels."""

from __future__ import annotations

import functools
import importlib
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import PictureError

Pixels = NDArray[np.uint8]

# Formats that Pillow decodes by itself, and its modules for those that it does not know at once. Others (EPS) start
# programs, or have no use here.
FORMATS: Final = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_PLUGINS: Final = ("AvifImagePlugin", "Jpeg2KImagePlugin", "TiffImagePlugin", "WebPImagePlugin")
MOST_PIXELS: Final = 100_000_000  # 10,000 × 10,000; larger ones take gigabytes, and are hardly pictures of faces


def open_picture(source: Path | IO[bytes]) -> Pixels:
    """A picture, upright, as uint8 [height, width, 3] RGB; of an animation its first frame.

    Grey levels of 16 bits are scaled by the range of their type, floats from 0 to 1 by 255. Raises PictureError, with
    the reason alone, for what is damaged, of another format, of more than MOST_PIXELS, or has values without a known
    range; and OSError where the file itself cannot be read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(source, Path):
        with source.open("rb") as stream:
            return open_picture(stream)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow about sizes and damaged metadata
            with Image.open(source, formats=_formats()) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise PictureError(f"{width} × {height} pixels, more than {MOST_PIXELS:,}")
                return _rgb(ImageOps.exif_transpose(picture))
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"more than {MOST_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise PictureError("no picture in a format that is read") from error
    except Exception as error:  # whatever a decoder makes of damaged data: OSError, ValueError, RuntimeError, …
        raise PictureError(_first_line(error)) from error


def read_picture(path: Path) -> Pixels | None:
    """The same; None for what is not readable as a picture."""
    try:
        return open_picture(path)
    except (PictureError, OSError):
        return None


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow has."""
    from PIL import Image

    Image.preinit()
    for plugin in _PLUGINS:
        with suppress(ImportError):
            importlib.import_module(f"PIL.{plugin}")
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _rgb(picture: Any) -> Pixels:
    if picture.mode == "I" or picture.mode.startswith("I;16") or picture.mode == "F":
        grey = _scaled(np.asarray(picture), sixteen_bits=picture.mode != "F")
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(picture.convert("RGB"))


def _scaled(values: NDArray[Any], *, sixteen_bits: bool) -> Pixels:
    """Grey values [height, width] as uint8: 0 to 65535 by their type's range, 0 to 1 by 255.

    Integers of 32 bits are taken as those of 16, which many programs store so; larger ones have no range of use.
    """
    least, most = (values.min(), values.max()) if values.size else (0, 0)
    largest = 65_535 if sixteen_bits else 1
    if not (least >= 0 and most <= largest):
        raise PictureError(f"grey values from {least:g} to {most:g}; only those from 0 to {largest:,} are read")
    return np.asarray(np.rint(values.astype(np.float64) * (255 / largest)), np.uint8)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
