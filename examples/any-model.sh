#!/usr/bin/env bash
# Smooth the per-frame logits of any model: CSV to CSV, without torch.
#
#   bash examples/any-model.sh IN.csv OUT.csv       your model's logits: one row per frame, one column per class
#   bash examples/any-model.sh                      a made-up example in EmotiEffLib's format
#
# The columns may have any names and the classes any order; name them with variables:
#
#   VIDEO=clip FRAME=idx CLASSES=Anger,Contempt,… bash examples/any-model.sh IN.csv OUT.csv
set -euo pipefail

video=${VIDEO:-video} frame=${FRAME:-frame}
classes=${CLASSES:-Anger,Contempt,Disgust,Fear,Happiness,Neutral,Sadness,Surprise} # EmotiEffLib's: alphabetical
kernel=${KERNEL:-11}

behind_your_model() { # average frames that have several rows (windows, crops, flips), then a median over time
  affcli vote "$1" --video-column "$video" --frame-column "$frame" --classes "$classes" --map Contempt=Other |
    affcli smooth --kernel "$kernel" --force -o "$2"
}

if [ $# -eq 2 ]; then
  behind_your_model "$1" "$2"
  exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
video=clip frame=idx
# 60 frames of happiness with a flicker of surprise at frame 30; every frame has two rows, as from a model that also sees
# the mirrored image.
awk 'BEGIN {
  print "clip,idx,Anger,Contempt,Disgust,Fear,Happiness,Neutral,Sadness,Surprise"
  for (i = 1; i <= 60; i++) for (flip = 0; flip < 2; flip++)
    printf "smile,%d,0.1,0.2,0,0,%.1f,1.0,0,%.1f\n", i, 3 - flip / 2, i == 30 ? 5 : 0.5
}' >"$work/logits.csv"
behind_your_model "$work/logits.csv" "$work/smoothed.csv"
echo "== The model's rows of frame 30, and affcli's of frames 29 to 31:"
grep '^smile,30,' "$work/logits.csv"
sed -n '1p;30,32p' "$work/smoothed.csv"
