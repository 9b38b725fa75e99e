#!/usr/bin/env bash
# Cross-validation and an ensemble: train N models, each without one part of the videos, and score all held-out
# predictions together. On new videos, `affcli vote` averages the N models.
#
#   bash examples/cross-validation.sh V.parquet A.parquet LABELS OUT [N] [-- OPTIONS of affcli train]
#   bash examples/cross-validation.sh V.parquet A.parquet Train_Set/ cv/ 5 -- --epochs 20
#
# Run the same command again after an interruption: finished models are kept, and an unfinished one continues.
# On new videos: for k in 1 2 3 4 5; do affcli predict --model cv/model-$k.safetensors … -o w$k.parquet; done
#                affcli vote w?.parquet | affcli smooth -o labels.parquet
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
visual=$1 audio=$2 labels=$3 out=$4
shift 4
parts=5
if [ $# -gt 0 ] && [ "$1" != -- ]; then parts=$1; shift; fi
[ "${1:-}" = -- ] && shift
mkdir -p "$out"

held_out=()
for ((k = 1; k <= parts; k++)); do
  affcli train --visual "$visual" --audio "$audio" --labels "$labels" --fold "$k/$parts" \
    --log "$out/log-$k.jsonl" -o "$out/model-$k.safetensors" "$@"
  affcli predict --model "$out/model-$k.safetensors" --visual "$visual" --audio "$audio" --held-out --force \
    -o "$out/held-out-$k.parquet"
  held_out+=("$out/held-out-$k.parquet")
done
affcli vote "${held_out[@]}" | affcli smooth --force -o "$out/held-out.parquet"
affcli score "$out/held-out.parquet" --labels "$labels"
