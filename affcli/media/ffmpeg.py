"""ffmpeg as a program: where it is, and the arguments and surroundings that let it open one file and nothing else.

Files are data. ffmpeg gets them as `file:` and an absolute path, so that a name is never read as a URL, an option or a
pattern; it may open nothing else (`-protocol_whitelist`), and only containers that hold their own media
(`-format_whitelist`): a playlist or a picture pattern named `.mp4` opens no other file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from affcli.errors import AffcliError, InstallationError, not_installed

# Demuxers that read one file and nothing else. Not here: playlists (hls, concat, dash, …), scripts, pictures.
_CONTAINERS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,apng,asf,asf_o,au,av1,avi,avs2,avs3,caf,cavsvideo,dhav,dirac,dnxhd,dts,dv,eac3,"
    "flac,flv,gif,gxf,h261,h263,h264,hevc,ivf,kux,live_flv,loas,m4v,matroska,mjpeg,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mpegvideo,mxf,nistsphere,nut,nuv,obu,ogg,rm,swf,tak,truehd,tta,vc1,vc1test,vivo,voc,vvc,w64,wav,webp_anim,wtv,wv,"
    "yuv4mpegpipe"
)
# Of one frame, 8192 × 8192: as RGB that is 200 MB, and ffmpeg holds several.
_MOST_PIXELS: Final = 1 << 26
_INSTALL: Final = "Install imageio-ffmpeg from a wheel, or name an ffmpeg (version 7 or newer) in IMAGEIO_FFMPEG_EXE."


class MediaError(AffcliError):
    """A file that cannot be decoded at all; `reason` is the message without the file's name."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def decoding_command(path: Path, reading: Sequence[str]) -> list[str]:
    """ffmpeg and its arguments up to the outputs; `reading` are options of the demuxer and the decoder."""
    quiet = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-y"]
    # -copyts: else ffmpeg moves the clock of some formats (MPEG-TS) to the start of the streams that are decoded, so
    # that sound and picture of one file, read in two passes, would each begin at 0.
    limits = ["-max_pixels", str(_MOST_PIXELS)]
    return [executable(), *quiet, "-copyts", *limits, *reading, *input_options(path)]


def input_options(path: Path) -> list[str]:
    """ffmpeg's arguments for one file to read, and nothing else that may be opened."""
    limits = ["-protocol_whitelist", "file,pipe", "-format_whitelist", _CONTAINERS]
    return [*limits, "-i", f"file:{path.absolute()}"]


def executable() -> str:
    """The ffmpeg that imageio-ffmpeg brings (or the one that IMAGEIO_FFMPEG_EXE names)."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except ImportError as error:
        raise not_installed(error) from error
    except RuntimeError as error:
        raise InstallationError(f"no ffmpeg was found. {_INSTALL}") from error


def not_started(error: OSError) -> AffcliError:
    """What to say where ffmpeg does not run: it is no program (InstallationError), or the machine lacks something."""
    kind = InstallationError if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOEXEC) else AffcliError
    return kind(f"ffmpeg cannot be started ({error}). {_INSTALL}")


def environment() -> dict[str, str]:
    """Ours, without what makes ffmpeg write log files or colour its messages."""
    kept = {key: value for key, value in os.environ.items() if key not in ("FFREPORT", "AV_LOG_FORCE_COLOR")}
    return {**kept, "AV_LOG_FORCE_NOCOLOR": "1"}


def check_file(path: Path) -> tuple[int, int, int]:
    """What changes when a file's content does (inode, size, time of change). Raises MediaError if it is unreadable."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
            raise MediaError(path, f"{what}, not a file; media are read more than once")
        path.open("rb").close()
    except OSError as error:
        raise MediaError(path, error.strerror or str(error)) from error
    return status.st_ino, status.st_size, status.st_mtime_ns
