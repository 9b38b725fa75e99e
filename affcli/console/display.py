"""Shows what a run is at: a live line on a terminal, elsewhere a line a minute. The only importer of rich.live."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from affcli.console.live_line import Shown, line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

HEARTBEAT_S = 60.0
_REFRESHES_A_SECOND: Final = 4
_WIDE: Final = 1000  # columns of a line that goes into a file

Source = Callable[[], Shown]


class Display:
    """Shows what its source tells, from `start` to `stop`.

    `console` is where messages go while a live line is shown.
    """

    def __init__(self, title: str, say: Callable[[str], None]) -> None:
        """`say` prints a line where there is no terminal."""
        self._title, self._say = title, say
        self._stage, self._began_s = "starting", time.monotonic()
        self._source: Source = self._tell_stage
        self._live: Live | None = None
        self._ended = threading.Event()

    @property
    def console(self) -> Console | None:
        """None where no live line is shown."""
        return None if self._live is None else self._live.console

    def start(self) -> None:
        """Begins to show."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self._render,
                console=Console(stderr=True),
                refresh_per_second=_REFRESHES_A_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        else:
            threading.Thread(target=self._beat, name="affcli-heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Ends; the live line is gone. May be called again."""
        self._ended.set()
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def stage(self, what: str) -> None:
        """What goes on until something is counted, such as `loading networks`."""
        self._stage, self._began_s, self._source = what, time.monotonic(), self._tell_stage
        if self._live is not None:
            self._live.refresh()

    def show(self, source: Source) -> None:
        """From now on the source tells what is shown."""
        self._source = source

    def shown(self) -> Shown:
        """What there is to tell now."""
        return self._source()

    def _tell_stage(self) -> Shown:
        return Shown(self._title, self._stage, time.monotonic() - self._began_s)

    def _render(self) -> Text:
        from rich.text import Text

        live = self._live
        width = 80 if live is None else live.console.width
        return Text(line(self.shown(), width - 1), no_wrap=True, overflow="crop")

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            shown = self.shown()
            self._say(line(shown, _WIDE).removeprefix(f"{shown.title} ").removeprefix(f"{shown.title}: "))
