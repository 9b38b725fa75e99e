"""A headless Chromium, driven over its debugging pipe (DevTools protocol) with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 30


class Page:
    """One tab. `requests` are the addresses that it asked for, `problems` what its script and policy complained of.

    `events` are those of a trace, while one is recorded.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._out, self._in = to_browser, os.fdopen(from_browser, "rb")
        self._waiting = b""
        self._number = 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._traced = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            data = os.read(self._in.fileno(), 1 << 16)
            assert data, "the browser has gone"
            self._waiting += data
        line, _, self._waiting = self._waiting.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        parameters = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif message.get("method") == "Tracing.dataCollected":
            self.events += parameters["value"]
        elif message.get("method") == "Tracing.tracingComplete":
            self._traced = True
        elif message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])
        return message

    def open(self, path: Path, *, width: int = 1280, height: int = 900, anchor: str = "") -> None:
        """Shows a file; returns when it has loaded."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=path.as_uri() + anchor)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def eval(self, expression: str) -> Any:
        """The value of an expression, or what its promise brings."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits for an expression to be true."""
        end_s = time.monotonic() + PATIENCE_S
        while not self.eval(expression):
            assert time.monotonic() < end_s, f"not within {PATIENCE_S} s: {expression}"
            time.sleep(0.02)

    def until_told(self, what: Callable[[], object]) -> None:
        """Waits for the browser to report something, such as one of `problems`."""
        end_s = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < end_s
            self.eval("1")  # what was reported meanwhile comes before the answer
            time.sleep(0.02)

    @contextmanager
    def traced(self, categories: str) -> Iterator[list[dict[str, Any]]]:
        """Chromium's own record of what it does meanwhile; complete at the end."""
        self.events, self._traced = [], False
        self.call("Tracing.start", transferMode="ReportEvents", categories=categories)
        yield self.events
        self.call("Tracing.end")
        while not self._traced:
            self._receive()

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key of the keyboard, by its name and its (Windows) code."""
        what = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **what)
        self.call("Input.dispatchKeyEvent", type="keyUp", **what)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A screenshot, of the whole page or of what is in view."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def tree(self) -> list[tuple[str, str]]:
        """What a screen reader is told: role and name of everything that is not hidden from it."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        seen = [node for node in nodes if not node["ignored"]]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in seen]


@contextmanager
def browser() -> Iterator[Page]:
    """A browser of its own with one page; without sandbox, as root in a container has none."""
    assert CHROMIUM is not None
    (their_in, to_browser), (from_browser, their_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="affcli-browser-", ignore_cleanup_errors=True) as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio"]
        flags += ["--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        flags += ["--autoplay-policy=no-user-gesture-required", "--disable-background-networking"]
        process = subprocess.Popen(
            [CHROMIUM, *flags, "about:blank"],
            preexec_fn=_as_3_and_4(their_in, their_out),
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(their_in)
        os.close(their_out)
        try:
            page = Page(to_browser, from_browser)
            yield page
            page._session = None
            page.call("Browser.close")
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            os.close(to_browser)


def _as_3_and_4(reading: int, writing: int) -> Callable[[], None]:
    """The browser reads its orders from descriptor 3 and answers on 4."""

    def arrange() -> None:
        high = [os.dup(reading), os.dup(writing)]  # so that neither overwrites the other
        while min(high) < 5:
            high = [os.dup(one) for one in high]
        for place, one in zip((3, 4), high, strict=True):
            os.dup2(one, place)
            os.set_inheritable(place, True)

    return arrange
