#!/usr/bin/env bash
# A folder of videos and a trained model in, one label table out. Run it again to go on after an interruption, or after
# adding videos to the folder.
#
#   bash examples/label-folder.sh VIDEOS MODEL OUT
#
#   VIDEOS   a folder, searched for videos
#   MODEL    model.safetensors of affcli train
#   OUT      a folder: OUT/labels.parquet and OUT/labels.csv hold all frames, OUT/tables a table for each video and
#            summary.csv, a row a video
#
# The encoders are those that the model's card names; VISUAL_MODEL and AUDIO_MODEL name others, such as the folders of
# the same checkpoints on this machine. Exit status 3: done, but some videos failed (they were named).
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
videos=$1 model=$2 out=$3
encoders=(${VISUAL_MODEL:+--visual-model "$VISUAL_MODEL"} ${AUDIO_MODEL:+--audio-model "$AUDIO_MODEL"})
mkdir -p "$out"

failed=0 # after exit status 3 it goes on: the videos that did not fail are worth having
affcli label "$videos" --model "$model" ${encoders[@]+"${encoders[@]}"} --update -o "$out/tables" ||
  { [ $? -eq 3 ] && failed=3; }
affcli smooth "$out/tables" --kernel 1 --force -o "$out/labels.parquet" # a window of one frame: only gathers
affcli export "$out/labels.parquet" --to csv --force -o "$out/labels.csv"
echo "$out/labels.parquet and $out/labels.csv: one row a frame; $out/tables/summary.csv: one row a video"
exit $failed
