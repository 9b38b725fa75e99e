"""Starts processes that have imported what affcli takes seconds to import: each is forked from this one.

It is started by `warm.py` as `python warm_server.py SOCKET` and ends when its standard input does. A client connects to
the socket and sends what to start: its length, three descriptors for the standard streams, and
`{"code", "arguments", "folder", "environment"}` in JSON. It gets back two numbers of 8 bytes: that of the process and,
at its end, its exit status. The process is killed when the client goes before.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

HEAVY = (
    "torch.distributed.run",
    *(
        f"transformers.models.{kind}.modeling_{kind}"
        for kind in ("beit", "dinov2", "mobilenet_v1", "wav2vec2", "wavlm", "whisper")
    ),
    "affcli.commands.label",
    "affcli.models.encoders.classifier",
    "affcli.models.fusion.task",
    "cv2",
    "imageio_ffmpeg",
    "retinaface",
    "scipy.ndimage",
)


def serve(address: str) -> dict[str, Any]:
    """Returns only in the processes that are started, with what each is to do."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(64)
        for name in HEAVY:
            with suppress(ImportError):  # what starts without torch is tested without torch, too
                import_module(name)
        gc.freeze()  # so that a collection in a process does not copy the pages of what is shared
        while True:
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if sys.stdin in select.select([server, sys.stdin], [], [])[0]:
                os._exit(0)
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                return keep(client)
            client.close()


def keep(client: socket.socket) -> dict[str, Any]:
    """Starts what a client asks for and tells it how that ends; returns in the process that is started."""
    size, streams, _, _ = socket.recv_fds(client, 8, 3)
    with client.makefile("rb") as rest:
        started: dict[str, Any] = json.loads(rest.read(int.from_bytes(size, "big")))
    child = os.fork()
    if child == 0:
        client.close()
        become(started, streams)
        return started
    for stream in (0, 1, 2, *streams):  # whoever reads the output waits for its last writer
        os.close(stream)
    threading.Thread(target=_kill_without, args=(client, child), daemon=True).start()
    _tell(client, child)
    _tell(client, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


def _tell(client: socket.socket, number: int) -> None:
    with suppress(OSError):  # it has gone
        client.sendall(number.to_bytes(8, "big", signed=True))


def _kill_without(client: socket.socket, child: int) -> None:
    with suppress(OSError):
        client.recv(1)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def become(started: dict[str, Any], streams: list[int]) -> None:
    """Makes this process look like one that was just started."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - what was read ahead is gone
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in a shell's background
    os.chdir(started["folder"])
    os.environ.clear()
    os.environ.update(started["environment"])
    sys.argv[:] = ["-c", *started["arguments"]]
    sys.path[0] = ""


def run(code: str) -> NoReturn:
    """Runs it and ends this process as Python ends one, except that memory is not tidied: that takes a second."""
    status = 1
    try:
        exec(code, {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    run(serve(sys.argv[1])["code"])
