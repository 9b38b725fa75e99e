#!/usr/bin/env bash
# Trains the small fusion network that comes with affcli as `mini`, as it was trained, and judges it.
#
#   CONFUSION=FILE bash examples/mini-fusion.sh FERPLUS EMODB OUT
#
#   FERPLUS   fer2013new.csv with FER2013Train/ and FER2013Valid/ beside it; the test part is not looked at
#   EMODB     the Berlin Database of Emotional Speech, SSTTTEv.wav
#   OUT       a folder for everything; OUT/mini/model.safetensors is what ships in affcli/models/mini/fusion
#
# CONFUSION=FILE   what the speech encoder takes strangers' speech for; examples/mini_audio.py writes it
# AUDIO=DIR        the speech encoder, if not `mini`
# SPEAKERS="11 13" Emo-DB's speakers to judge by, that the speech encoder has not heard
# CLIPS=DIR        videos of one class each, and labels.csv (video,class), to look at in the end
#
# Ended at any moment, the same command goes on with what is left; a folder OUT of other settings is not noticed.
set -euo pipefail
[ $# -eq 3 ] && [ -n "${CONFUSION:-}" ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(dirname "$0") out=$3 audio=${AUDIO:-mini}
mkdir -p "$out"

# shellcheck disable=SC2086 # several speakers
python "$here/mini_fusion.py" make "$1" "$2" "$out" --confusion "$CONFUSION" --speakers ${SPEAKERS:-11 13}

for set in train held-out; do
  affcli extract-audio "$out/$set/wav" --model "$audio" --frames-from "$out/$set/visual.parquet" \
    -o "$out/$set/audio.parquet"
done

# Without validation videos: nothing is chosen by the held-out ones, the last epoch is what ships.
affcli train --visual "$out/train/visual.parquet" --audio "$out/train/audio.parquet" --labels "$out/train/labels" \
  --dim 128 --layers 2 --heads 4 --dropout 0.2 --modality-dropout 0.25 --audio-dropout 0.25 --gamma 0 --stride 32 \
  --epochs 4 --lr 1e-3 --weight-decay 0.05 --patience 0 --log "$out/log.jsonl" -o "$out/model.safetensors"

python "$here/mini_fusion.py" pack "$out/model.safetensors" "$out/mini/model.safetensors"
python "$here/mini_fusion.py" judge "$out/mini/model.safetensors" "$out/held-out"
[ -z "${CLIPS:-}" ] || python "$here/mini_fusion.py" clips "$out/mini/model.safetensors" "$CLIPS" --audio-model "$audio"
