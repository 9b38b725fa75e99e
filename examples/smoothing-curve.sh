#!/usr/bin/env bash
# Which kernel should `affcli smooth` use? Score one frame table smoothed with several kernels, with paired intervals of
# the differences from the first one, which tell a gain from chance.
#
#   bash examples/smoothing-curve.sh F.parquet Validation_Set             kernels 1 11 31 51 101 201
#   bash examples/smoothing-curve.sh F.parquet Validation_Set 1 5 9       kernels of your own
#
# F.parquet is a table written by `affcli vote`, or any table with video, frame and one column of logits per class.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
frames=$(realpath "$1")
labels=$(realpath "$2")
shift 2
[ $# -gt 0 ] || set -- 1 11 31 51 101 201

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for kernel in "$@"; do
  affcli smooth "$frames" --kernel "$kernel" --output "k$kernel.parquet"
done
tables=("${@/#/k}")
affcli score "${tables[@]/%/.parquet}" --labels "$labels"
