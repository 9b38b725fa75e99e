#!/usr/bin/env bash
# The paper's ablation on your own Aff-Wild2 tables: modality dropout p, width d, layers l. Prints accuracy and macro F1
# on the validation labels beside the paper's, and then the best setting with one part left out at a time, for which the
# paper has no figures. Run it again after an interruption: finished models are not trained again.
#
#   bash examples/ablation.sh V.parquet A.parquet Train_Set/ Validation_Set/ OUT [OPTIONS of affcli train]
set -euo pipefail
[ $# -ge 5 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
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

# NAME OPTIONS...: trains, predicts, scores; JSON of the score in $out/NAME.json
scored() {
  local name=$out/$1
  shift
  affcli train --visual "$visual" --audio "$audio" --labels "$labels" --val-labels "$val_labels" -q "$@" \
    --log "$name.jsonl" -o "$name.safetensors" </dev/null
  affcli predict --model "$name.safetensors" --visual "$visual" --audio "$audio" -q </dev/null |
    affcli vote -q | affcli smooth -q | affcli score --labels "$val_labels" --json -q --force -o "$name.json"
}

# NAME SETTING [PAPER'S FIGURES]: a line of the table
line() {
  python - "$out/$1.json" "${@:2}" <<'PY'
import json, sys

path, first, *paper = sys.argv[1:]
found = json.load(open(path))
print(f"{first:22} {found['accuracy']:<9.4f} {found['macro_f1']:<9.4f}", *(f" {figure:9}" for figure in paper))
PY
}

printf '%-22s %-9s %-9s  %-9s  %-9s\n' 'setting' accuracy F1 paper-acc paper-F1
while read -r p d l paper_accuracy paper_f1; do
  name=p$p-d$d-l$l
  scored "$name" --modality-dropout "$p" --dim "$d" --layers "$l" "$@"
  line "$name" "p $p d $d l $l" "$paper_accuracy" "$paper_f1"
done <<<"$grid"
for less in '--no-gates' '--no-cross-attention' '--gamma 0'; do
  name=less${less// /}
  # shellcheck disable=SC2086  # an option and its value
  scored "$name" $less "$@"
  line "$name" "$less"
done
