#!/usr/bin/env bash
# Trains the small image encoder that comes with affcli as `mini`, as it was trained: stage one of the paper, on FERPlus.
#
#   bash examples/mini-visual.sh FERPLUS OUT
#
#   FERPLUS   fer2013new.csv with FER2013Train/ and FER2013Valid/ beside it; the test part is not looked at
#   OUT       a folder for everything; OUT/mini is what ships in affcli/models/mini/visual
#
# About an hour and a half on one processor core with bf16, some minutes on a GPU. Ended at any moment, the same command
# goes on after the last finished epoch. Needs torch 2.9 or newer (Muon). The bytes are the same on the same machine with
# the same number of threads; elsewhere the figures agree to a point or so.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(dirname "$0") ferplus=$1 out=$2
mkdir -p "$out"

[ -d "$out/start" ] || python "$here/mini_visual.py" start "$ferplus" "$out/start"

affcli train-visual --stage static --data ferplus="$ferplus" --model "$out/start" --cache "$out/pictures" \
  --epochs 26 --batch-size 128 --optimizer muon --lr 2e-3 --warmup 0.05 --layer-decay 1 --drop-path 0.05 \
  --label-smoothing 0 --mixup 0.1 --augment 0.9 --class-power 0.7 --ema 0.998 \
  --log "$out/log.jsonl" -o "$out/trained"

python "$here/mini_visual.py" pack "$out/trained" "$out/mini"
python "$here/mini_visual.py" judge "$out/mini" "$ferplus"
