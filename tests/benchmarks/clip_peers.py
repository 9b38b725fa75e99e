"""Other programs that say what a face in a video shows, each in an environment of its own, with its package's weights.

`fer` (PyPI), `facex` (PyPI) and `@vladmandic/human` (npm). They are installed on demand with `--peers`, from the
network; what cannot be installed is said in the table, in place of a figure.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 1800

_FER: Final = """
import sys, csv, cv2
try:
    from fer.fer import FER
except ImportError:
    from fer import FER
detector, rows = FER(mtcnn=False), []
capture = cv2.VideoCapture(sys.argv[1])
frame = 0
while True:
    there, picture = capture.read()
    if not there:
        break
    frame += 1
    faces = detector.detect_emotions(picture)
    largest = max(faces, key=lambda face: face["box"][2] * face["box"][3], default=None)
    rows.append([frame, "" if largest is None else max(largest["emotions"], key=largest["emotions"].get)])
with open(sys.argv[2], "w", newline="") as out:
    csv.writer(out).writerows([["frame", "label"], *rows])
"""

_FACEX: Final = """
import sys, csv, cv2, facex
pool, rows = facex.PoolManager(pool_size=1), []
capture = cv2.VideoCapture(sys.argv[1])
frame = 0
while True:
    there, picture = capture.read()
    if not there:
        break
    frame += 1
    faces = pool.predict(picture) or []
    largest = max(faces, key=lambda face: face["bbox"][2] * face["bbox"][3], default=None)
    rows.append([frame, "" if largest is None else largest["emot"]])
pool.shutdown()
with open(sys.argv[2], "w", newline="") as out:
    csv.writer(out).writerows([["frame", "label"], *rows])
"""

_HUMAN: Final = """
const fs = require('fs'), tf = require('@tensorflow/tfjs-node'), { Human } = require('@vladmandic/human');
const [folder, out, models] = process.argv.slice(2);
const off = { enabled: false };
const face = { enabled: true, emotion: { enabled: true }, mesh: off, iris: off, description: off };
const config = { backend: 'tensorflow', modelBasePath: 'file://' + models, filter: off, face, body: off, hand: off };
(async () => {
  const human = new Human({ ...config, gesture: off });
  await human.load();
  const rows = ['frame,label'];
  for (const [index, file] of fs.readdirSync(folder).sort().entries()) {
    const tensor = tf.node.decodeImage(fs.readFileSync(folder + '/' + file), 3);
    const found = await human.detect(tensor);
    tensor.dispose();
    const emotions = found.face.length ? found.face[0].emotion : [];
    rows.push(`${index + 1},${emotions.length ? emotions[0].emotion : ''}`);
  }
  fs.writeFileSync(out, rows.join('\\n') + '\\n');
})();
"""


@dataclass(frozen=True)
class Peer:
    """A peer that is ready to run: the command for a clip, but for the clip and the output; its version."""

    name: str
    version: str
    command: tuple[str, ...]
    takes_pictures: bool = False  # a folder of pictures in place of a video
    after: tuple[str, ...] = ()


class NotInstalledError(Exception):
    """Why a peer cannot be measured here."""


def prepared(name: str, folder: Path) -> Peer:
    """The peer, installed below `folder` if it is not yet. Raises NotInstalledError with the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "human":
        return _human(folder / "human")
    if name in ("fer", "facex"):
        return _python_peer(name, folder / name)
    raise NotInstalledError(f"no peer of that name: {name}")


def _python_peer(name: str, home: Path) -> Peer:
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    _run([str(python), "-m", "pip", "install", "-q", name])
    shown = _run(
        [str(python), "-c", f"from importlib.metadata import version; import {name}; print(version('{name}'))"]
    )
    return Peer(name, shown.strip().splitlines()[-1], (str(python), "-c", _FER if name == "fer" else _FACEX))


def _human(home: Path) -> Peer:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise NotInstalledError("needs node and npm, which are not on this machine")
    home.mkdir(exist_ok=True)
    packages = ("@vladmandic/human", "@tensorflow/tfjs-node")
    _run([npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", *packages])
    (home / "human.cjs").write_text(_HUMAN)
    package = home / "node_modules" / "@vladmandic" / "human"
    version = _run([node, "-p", f"require('{package}/package.json').version"]).strip()
    return Peer("human", version, (node, str(home / "human.cjs")), True, (f"{package}/models/",))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise NotInstalledError(f"{Path(command[0]).name} took longer than {_TIMEOUT_S} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise NotInstalledError(f"{' '.join(command[1:5])}: {said[-1][:200]}")
    return done.stdout


if __name__ == "__main__":
    print(prepared(sys.argv[1], Path(sys.argv[2])))
