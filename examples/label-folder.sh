#!/usr/bin/env bash
# A folder of videos and a trained model in, one label table out. Run it again to go on after an interruption, or after
# adding videos to the folder.
#
#   bash examples/label-folder.sh VIDEOS MODEL OUT [ENCODER-OPTIONS]
#
#   VIDEOS   a folder, searched for videos
#   MODEL    model.safetensors of affcli train
#   OUT      a folder for the tables; OUT/labels.parquet and OUT/labels.csv are the result
#
# VISUAL_MODEL and AUDIO_MODEL name the encoders the model was trained with (hub name, folder or mini).
#
#   VISUAL_MODEL=mini AUDIO_MODEL=mini bash examples/label-folder.sh clips/ quickstart-out/model.safetensors out/
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
videos=$1 model=$2 out=$3
visual_model=${VISUAL_MODEL:-microsoft/beit-base-patch16-224-pt22k-ft22k}
audio_model=${AUDIO_MODEL:-microsoft/wavlm-base-plus}
mkdir -p "$out"

# Exit status 3 says: done, but some videos failed (they were named). The others are worth labelling.
partly() { "$@" || [ $? -eq 3 ]; }

partly affcli extract-visual "$videos" --model "$visual_model" --update -o "$out/visual.parquet"
partly affcli extract-audio "$videos" --model "$audio_model" --frames-from "$out/visual.parquet" --update \
  -o "$out/audio.parquet"
affcli predict --model "$model" --visual "$out/visual.parquet" --audio "$out/audio.parquet" |
  affcli vote | affcli smooth --force -o "$out/labels.parquet"
affcli smooth --kernel 1 --format csv "$out/labels.parquet" >"$out/labels.csv"
echo "$out/labels.parquet and $out/labels.csv: one row a frame"
