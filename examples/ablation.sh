#!/usr/bin/env bash
# The paper's ablation on your own Aff-Wild2 tables: modality dropout p, width d, layers l. Prints accuracy and macro F1
# on the validation labels beside the paper's. Interrupted? Run it again: what is trained is not trained again.
#
#   bash examples/ablation.sh V.parquet A.parquet Train_Set/ Validation_Set/ OUT [OPTIONS of affcli train]
set -euo pipefail
[ $# -ge 5 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
visual=$1 audio=$2 labels=$3 val_labels=$4 out=$5
shift 5
mkdir -p "$out"

# p d l, and the paper's accuracy and F1
grid="0.00 256 2 .5677 .4628
0.00 512 2 .5820 .4739
0.00 256 3 .5824 .4764
0.00 512 3 .5730 .4626
0.10 256 3 .6079 .5029
0.10 256 4 .5981 .4814
0.15 256 3 .5815 .4819
0.20 256 3 .5935 .4734"

printf '%-5s %-4s %-2s  %-9s %-9s  %-9s %-9s\n' p d l accuracy F1 paper-acc paper-F1
while read -r p d l paper_accuracy paper_f1; do
  name=$out/p$p-d$d-l$l
  affcli train --visual "$visual" --audio "$audio" --labels "$labels" --val-labels "$val_labels" -q \
    --modality-dropout "$p" --dim "$d" --layers "$l" --log "$name.jsonl" "$@" -o "$name.safetensors" </dev/null
  affcli predict --model "$name.safetensors" --visual "$visual" --audio "$audio" -q </dev/null |
    affcli vote -q | affcli smooth -q | affcli score --labels "$val_labels" --json -q --force -o "$name.json"
  python - "$name.json" "$p" "$d" "$l" "$paper_accuracy" "$paper_f1" <<'PY'
import json, sys

path, p, d, l, accuracy, f1 = sys.argv[1:]
found = json.load(open(path))
print(f"{p:5} {d:4} {l:2}  {found['accuracy']:<9.4f} {found['macro_f1']:<9.4f}  {accuracy:9} {f1:9}")
PY
done <<<"$grid"
