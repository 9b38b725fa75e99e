#!/usr/bin/env bash
# From Aff-Wild2's own folders to the score on its validation set. Every step can be interrupted and run again.
#
#   bash examples/aff-wild2.sh AFF_WILD2 OUT
#
# AFF_WILD2 holds, as the data set is handed out (see https://ibug.doc.ic.ac.uk/resources/aff-wild2/):
#   cropped_aligned/<video>[_left|_right]/00001.jpg …        (or CROPPED=…)
#   videos/<video>.mp4|avi                                   (or VIDEOS=…)
#   EXPR_Recognition_Challenge/{Train_Set,Validation_Set}/<video>.txt   (or LABELS=…)
#
# VISUAL_MODEL, AUDIO_MODEL name the encoders; TRAIN adds options of affcli train.
#
# Disk and time, reckoned from 2.6 million frames (not run here: the data set needs a licence):
#   visual.parquet   1.5 kB a frame with a face (768 numbers in half precision): 4 GB
#   audio.parquet    as much: 4 GB
#   model            20 MB
#   extract-visual is the long step: 2.6 million frames at the encoder's speed. `affcli extract-visual` prints its
#   frames/s; BEiT-base made about 9 a second on two processor cores with bf16 (80 hours), a GPU makes hundreds.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,19s/^# \{0,1\}//p' "$0" >&2; exit 2; }
data=$1 out=$2
cropped=${CROPPED:-$data/cropped_aligned}
videos=${VIDEOS:-$data/videos}
labels=${LABELS:-$data/EXPR_Recognition_Challenge}
visual_model=${VISUAL_MODEL:-microsoft/beit-base-patch16-224-pt22k-ft22k}
audio_model=${AUDIO_MODEL:-microsoft/wavlm-base-plus}
mkdir -p "$out"

# Exit status 3: done, but some inputs failed (they were named). The others are worth going on with.
partly() { "$@" || [ $? -eq 3 ]; }

partly affcli extract-visual "$cropped" --videos "$videos" --model "$visual_model" -o "$out/visual.parquet"
partly affcli extract-audio "$videos" --model "$audio_model" -o "$out/audio.parquet"

# shellcheck disable=SC2086  # TRAIN is a list of options
affcli train --visual "$out/visual.parquet" --audio "$out/audio.parquet" --labels "$labels/Train_Set" \
  --val-labels "$labels/Validation_Set" --log "$out/log.jsonl" ${TRAIN:-} -o "$out/model.safetensors"

affcli predict --model "$out/model.safetensors" --visual "$out/visual.parquet" --audio "$out/audio.parquet" |
  affcli vote --force -o "$out/votes.parquet"
for kernel in 1 11 31 51 101; do
  affcli smooth "$out/votes.parquet" --kernel "$kernel" --force -o "$out/smooth-$kernel.parquet"
done
echo "== The paper's setting, a median over 11 frames (paper: accuracy .6079, macro F1 .5029)"
affcli score "$out/smooth-11.parquet" --labels "$labels/Validation_Set"
echo "== Other kernels, each against none, videos resampled together"
affcli score "$out"/smooth-{1,11,31,51,101}.parquet --labels "$labels/Validation_Set"
