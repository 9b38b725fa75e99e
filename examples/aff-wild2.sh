#!/usr/bin/env bash
# From Aff-Wild2's own folders to the validation score. Every step can be interrupted and run again.
#
#   bash examples/aff-wild2.sh AFF_WILD2 OUT
#
# AFF_WILD2 is the data set as distributed (see https://ibug.doc.ic.ac.uk/resources/aff-wild2/):
#   cropped_aligned/<video>[_left|_right]/00001.jpg …        (or CROPPED=…)
#   videos/<video>.mp4|avi                                   (or VIDEOS=…)
#   EXPR_Recognition_Challenge/{Train_Set,Validation_Set}/<video>.txt   (or LABELS=…)
#
# VISUAL_MODEL, AUDIO_MODEL name the encoders; TRAIN adds options of affcli train.
#
# Time and disk space, estimated for 2.6 million frames from speeds measured on two processor cores with bf16, BEiT-base
# and WavLM-base (the script has not been run on Aff-Wild2, which needs a licence). A GPU encodes hundreds of images per
# second. Each step prints the time it took.
#
#   step             time                                                  disk
#   extract-visual   80 hours (9 images per second)                        4 GB, twice that while the table is written
#   extract-audio    1.5 hours (24 hours of audio)                         4 GB, twice that while the table is written
#   train            1 hour per epoch (33 windows per second), at most 30  30 MB, 110 MB in training (5 GB of memory)
#   predict, vote    half an hour (1,400 frames per second)                0.1 GB, and 0.7 GB in TMPDIR for a time
#   smooth, score    minutes                                               0.5 GB
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,22s/^# \{0,1\}//p' "$0" >&2; exit 2; }
data=$1 out=$2
cropped=${CROPPED:-$data/cropped_aligned}
videos=${VIDEOS:-$data/videos}
labels=${LABELS:-$data/EXPR_Recognition_Challenge}
visual_model=${VISUAL_MODEL:-microsoft/beit-base-patch16-224-pt22k-ft22k}
audio_model=${AUDIO_MODEL:-microsoft/wavlm-base-plus}
mkdir -p "$out"

# FILE COMMAND...: makes the file, and says how long that took and how large it is.
# Exit status 3: done, but some inputs failed (they were named). The others are worth going on with.
step() {
  local began=$SECONDS file=$1
  shift
  "$@" || [ $? -eq 3 ]
  echo "== $file: $((SECONDS - began)) s, $(du -h "$file" | cut -f 1)" >&2
}
votes() {
  affcli predict --model "$out/model.safetensors" --visual "$out/visual.parquet" --audio "$out/audio.parquet" |
    affcli vote --force -o "$out/votes.parquet"
}

step "$out/visual.parquet" \
  affcli extract-visual "$cropped" --videos "$videos" --model "$visual_model" -o "$out/visual.parquet"
step "$out/audio.parquet" affcli extract-audio "$videos" --model "$audio_model" -o "$out/audio.parquet"
# shellcheck disable=SC2086  # TRAIN is a list of options
step "$out/model.safetensors" \
  affcli train --visual "$out/visual.parquet" --audio "$out/audio.parquet" --labels "$labels/Train_Set" \
    --val-labels "$labels/Validation_Set" --log "$out/log.jsonl" ${TRAIN:-} -o "$out/model.safetensors"
step "$out/votes.parquet" votes
for kernel in 1 11 31 51 101; do
  step "$out/smooth-$kernel.parquet" \
    affcli smooth "$out/votes.parquet" --kernel "$kernel" --force -o "$out/smooth-$kernel.parquet"
done
echo "== The paper's setting, a median over 11 frames (paper: accuracy .6079, macro F1 .5029)"
affcli score "$out/smooth-11.parquet" --labels "$labels/Validation_Set"
echo "== Other kernels, each against none, videos resampled together"
affcli score "$out"/smooth-{1,11,31,51,101}.parquet --labels "$labels/Validation_Set"
