"""Other programs that say what a face in a video shows, each in an environment of its own, with its package's weights.

`fer` (PyPI), `facex` (PyPI) and `@vladmandic/human` (npm). They are installed on demand with `--peers`, from the
network; what cannot be installed is said in the table, in place of a figure. Each takes all clips in one process and
writes a CSV for each: the strongest emotion of the largest face of every frame, nothing where it finds none.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import venv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 1800

# Reads the frames of every clip; `strongest` and what comes before it are the peer's.
_CLIPS: Final = """
out, *clips = sys.argv[1:]
for clip in clips:
    capture, rows = cv2.VideoCapture(clip), []
    while True:
        there, picture = capture.read()
        if not there:
            break
        rows.append([len(rows) + 1, strongest(picture)])
    with open(os.path.join(out, os.path.basename(clip) + ".csv"), "w", newline="") as file:
        csv.writer(file).writerows([["frame", "label"], *rows])
"""

_FER: Final = f"""
import csv, cv2, os, sys
from fer.fer import FER
detector = FER(mtcnn=False)
def strongest(picture):
    faces = detector.detect_emotions(picture)
    largest = max(faces, key=lambda face: face["box"][2] * face["box"][3], default=None)
    return "" if largest is None else max(largest["emotions"], key=largest["emotions"].get)
{_CLIPS}"""

_FACEX: Final = f"""
import csv, cv2, facex, os, sys
pool = facex.PoolManager(pool_size=1)
def strongest(picture):
    largest = max(pool.predict(picture) or [], key=lambda face: face["bbox"][2] * face["bbox"][3], default=None)
    return "" if largest is None else max(largest["emot"], key=largest["emot"].get)
{_CLIPS}
pool.shutdown()
"""

# By WebAssembly, as the compiled TensorFlow of tfjs-node comes from a place of its own; faces as PPM, which needs no
# decoder. Its weights are asked for over HTTP, so it gets them from itself.
_HUMAN: Final = """
const fs = require('fs'), http = require('http'), path = require('path');
const [out, ...folders] = process.argv.slice(2);
require('@tensorflow/tfjs');
require('@tensorflow/tfjs-backend-wasm');
const home = path.join(__dirname, 'node_modules', '@vladmandic', 'human');
const { Human } = require(path.join(home, 'dist', 'human.node-wasm.js'));
const off = { enabled: false };
const face = { enabled: true, emotion: { enabled: true }, mesh: off, iris: off, description: off };
const wasmPath = path.join(__dirname, 'node_modules', '@tensorflow', 'tfjs-backend-wasm', 'dist') + '/';
const config = { backend: 'wasm', wasmPath, face, filter: off, body: off, hand: off, object: off, gesture: off };
const server = http.createServer((asked, answer) => {
  answer.end(fs.readFileSync(path.join(home, 'models', path.basename(asked.url))));
});
server.listen(0, '127.0.0.1', async () => {
  const human = new Human({ ...config, modelBasePath: `http://127.0.0.1:${server.address().port}/` });
  await human.load();
  for (const folder of folders) {
    const rows = ['frame,label'];
    for (const [index, file] of fs.readdirSync(folder).sort().entries()) {
      const bytes = fs.readFileSync(path.join(folder, file));
      const [head, width, height] = /^P6\\s+(\\d+)\\s+(\\d+)\\s+255\\s/.exec(bytes.subarray(0, 40).toString('latin1'));
      const tensor = human.tf.tensor3d(new Uint8Array(bytes.subarray(head.length)), [+height, +width, 3], 'int32');
      const found = await human.detect(tensor);
      tensor.dispose();
      const size = (one) => one.box[2] * one.box[3];
      const [largest] = [...found.face].sort((one, other) => size(other) - size(one));
      rows.push(`${index + 1},${largest && largest.emotion.length ? largest.emotion[0].emotion : ''}`);
    }
    fs.writeFileSync(path.join(out, path.basename(folder) + '.csv'), rows.join('\\n') + '\\n');
  }
  process.exit(0);
});
"""

# Their words for the classes, in ours.
_CLASS_OF: Final = {
    **dict.fromkeys(("angry", "anger"), "Anger"),
    **dict.fromkeys(("disgust", "disgusted"), "Disgust"),
    **dict.fromkeys(("fear", "fearful"), "Fear"),
    **dict.fromkeys(("happy", "happiness"), "Happiness"),
    "neutral": "Neutral",
    **dict.fromkeys(("sad", "sadness"), "Sadness"),
    **dict.fromkeys(("surprise", "surprised"), "Surprise"),
}


@dataclass(frozen=True)
class Peer:
    """A peer that is ready to run: its command, to which the output folder and the clips are added; its version."""

    name: str
    version: str
    command: tuple[str, ...]
    takes_pictures: bool = False  # folders of pictures in place of videos


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


def commonest(table: Path) -> str | None:
    """The class that a peer names in most frames of a clip; None where it names none."""
    with table.open(newline="") as file:
        named = Counter(_CLASS_OF[row["label"].lower()] for row in csv.DictReader(file) if row["label"])
    return max(sorted(named), key=lambda name: named[name]) if named else None


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
    packages = ("@vladmandic/human", "@tensorflow/tfjs", "@tensorflow/tfjs-backend-wasm")
    _run([npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", *packages])
    (home / "human.cjs").write_text(_HUMAN)
    package = home / "node_modules" / "@vladmandic" / "human"
    version = _run([node, "-p", f"require('{package}/package.json').version"]).strip()
    return Peer("human", version, (node, str(home / "human.cjs")), True)


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
