#!/usr/bin/env bash
# Label a folder of videos with a trained network and write one table. Run it again to continue after an interruption,
# or after adding videos to the folder.
#
#   bash examples/label-folder.sh VIDEOS MODEL OUT
#
#   VIDEOS   a folder, searched for videos
#   MODEL    model.safetensors of affcli train
#   OUT      a folder: OUT/labels.parquet and OUT/labels.csv hold all frames, OUT/tables/frames/ one table per video
#            and OUT/tables/summary.csv one row per video
#
# The encoders are those named by the model's card. VISUAL_MODEL and AUDIO_MODEL name others, such as local folders with
# the same checkpoints. Exit status 3: finished, but some videos failed; they are named.
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
videos=$1 model=$2 out=$3
encoders=(${VISUAL_MODEL:+--visual-model "$VISUAL_MODEL"} ${AUDIO_MODEL:+--audio-model "$AUDIO_MODEL"})
mkdir -p "$out"

failed=0 # with exit status 3, continue with the videos that did not fail
affcli label "$videos" --model "$model" ${encoders[@]+"${encoders[@]}"} --update -o "$out/tables" ||
  { [ $? -eq 3 ] && failed=3; }
affcli smooth "$out/tables" --kernel 1 --force -o "$out/labels.parquet" # a filter over one frame only gathers the tables
affcli export "$out/labels.parquet" --to csv --force -o "$out/labels.csv"
echo "$out/labels.parquet and $out/labels.csv: one row per frame; $out/tables/summary.csv: one row per video"
exit $failed
