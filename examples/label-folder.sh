#!/usr/bin/env bash
# A folder of videos and a trained model in, one label table out. Run it again to go on after an interruption, or after
# adding videos to the folder.
#
#   bash examples/label-folder.sh VIDEOS MODEL OUT
#
#   VIDEOS   a folder, searched for videos
#   MODEL    model.safetensors of affcli train
#   OUT      a folder for the tables; OUT/labels.parquet and OUT/labels.csv are the result
#
# The encoders are those that the model's card names; VISUAL_MODEL and AUDIO_MODEL name others, such as the folders of
# the same checkpoints on this machine. Exit status 3: done, but some videos failed (they were named).
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
videos=$1 model=$2 out=$3

encoder_of() { # visual or audio: the name in the model's card
  affcli info "$model" --json | python -c 'import json, sys; print(json.load(sys.stdin)["encoders"][sys.argv[1]]["name"])' "$1"
}
visual_model=${VISUAL_MODEL:-$(encoder_of visual)}
audio_model=${AUDIO_MODEL:-$(encoder_of audio)}
mkdir -p "$out"

failed=0
partly() { # goes on after exit status 3; the videos that did not fail are worth labelling
  "$@" || { [ $? -eq 3 ] && failed=3; }
}

partly affcli extract-visual "$videos" --model "$visual_model" --update -o "$out/visual.parquet"
partly affcli extract-audio "$videos" --model "$audio_model" --frames-from "$out/visual.parquet" --update \
  -o "$out/audio.parquet"
affcli predict --model "$model" --visual "$out/visual.parquet" --audio "$out/audio.parquet" |
  affcli vote | affcli smooth --force -o "$out/labels.parquet"
affcli export "$out/labels.parquet" --to csv --force -o "$out/labels.csv"
echo "$out/labels.parquet and $out/labels.csv: one row a frame"
exit $failed
