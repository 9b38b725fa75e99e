#!/usr/bin/env bash
# Pseudo-labels in folds: networks trained on labelled videos label further videos, and a network learns from both. No
# network labels what it was trained on: each fold's network is the ensemble's judge of the held-out videos, whose
# probabilities fit the temperature; all of them label the videos without labels.
#
#   bash examples/recipes/pseudo-labels.sh V.parquet A.parquet LABELS OUT [ROUNDS] [-- OPTIONS of affcli train]
#   bash examples/recipes/pseudo-labels.sh               made-up data: shows that all steps work, and nothing else
#
# The tables hold all videos, LABELS a text for each labelled one. FOLDS (3) and CONFIDENCE (0.9) may be set. Whether a
# round helped, OUT/round-N/held-out.parquet tells: it is scored on the true labels, never on pseudo-labels.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=1 options=()
if [ $# -ge 4 ]; then
  visual=$1 audio=$2 labels=$3 out=$4
  shift 4
  if [ $# -gt 0 ] && [ "$1" != -- ]; then rounds=$1; shift; fi
  [ "${1:-}" = -- ] && shift
  options=("$@")
elif [ $# -eq 0 ]; then
  out=${OUT:-recipe-pseudo} && data=$out/made-up
  python "$here/made_up.py" "$data"
  visual=$out/visual.parquet audio=$out/audio.parquet labels=$data/labels/Train_Set
  affcli extract-visual "$data/cropped_aligned" --fps 25 --model "$data/beit" -o "$visual"
  affcli extract-audio "$data/sound" --model "$data/wav2vec2" --frames-from "$visual" -o "$audio"
  options=(--dim 16 --heads 2 --layers 1 --window 16 --epochs 6 --lr 1e-2)
  FOLDS=${FOLDS:-2} CONFIDENCE=${CONFIDENCE:-0.15}
else
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
folds=${FOLDS:-3} confidence=${CONFIDENCE:-0.9}
tables=(--visual "$visual" --audio "$audio")

taught=$labels # the true labels, and from the second round on pseudo-labels beside them
for ((round = 0; round <= rounds; round++)); do
  now=$out/round-$round
  mkdir -p "$now"
  held_out=() everything=()
  for ((k = 1; k <= folds; k++)); do
    # The same seed deals the same recordings out, as long as the labels are the same; so folds are those of the true
    # labels, and the pseudo-labels of a round are added to each fold's training part.
    part=$now/labels-$k
    python - "$labels" "$taught" "$k" "$folds" "$part" <<'PY'
import shutil, sys
from pathlib import Path

from affcli.labels.folds import Fold
from affcli.labels.reader import read_labels

labels, taught, number, parts, out = sys.argv[1:]
held_out = Fold(int(number), int(parts)).held_out(read_labels(labels), seed=0)
shutil.rmtree(out, ignore_errors=True)
Path(out).mkdir()
for text in Path(taught).glob("*.txt"):
    if text.stem not in held_out:
        shutil.copy(text, out)
(Path(out).parent / f"held-out-{number}.list").write_text("\n".join(held_out) + "\n")
PY
    affcli train "${tables[@]}" --labels "$part" "${options[@]}" -o "$now/model-$k.safetensors"
    affcli predict --model "$now/model-$k.safetensors" "${tables[@]}" --force -o "$now/windows-$k.parquet"
    everything+=("$now/windows-$k.parquet") held_out+=("$now/held-out-$k.parquet")
    python - "$now/windows-$k.parquet" "$now/held-out-$k.list" "$now/held-out-$k.parquet" <<'PY'
import sys

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow as pa

windows, names, out = sys.argv[1:]
own = pa.array(open(names).read().split("\n")[:-1])
table = pq.read_table(windows)
pq.write_table(table.filter(pc.is_in(table["video"], own)), out)
PY
  done
  affcli vote "${held_out[@]}" --force -o "$now/held-out.parquet"
  affcli score "$now/held-out.parquet" --labels "$labels"
  [ "$round" -eq "$rounds" ] && break
  affcli calibrate "$now/held-out.parquet" --labels "$labels" --temperature --force -o "$now/temperature.json"
  affcli vote "${everything[@]}" --calibration "$now/temperature.json" --force -o "$now/all.parquet"
  affcli export "$now/all.parquet" --to labels --min-confidence "$confidence" --force -o "$now/pseudo"
  rm -rf "$now/taught"
  cp -r "$now/pseudo" "$now/taught" # true labels take the place of pseudo-labels of the same video
  cp "$labels"/*.txt "$now/taught/"
  taught=$now/taught
done
