#!/usr/bin/env bash
# Label a folder of videos and build a page for browsing them: labels, captions, videos with the labels drawn in (as
# .mp4, which browsers play), and OUT/report.html.
#
#   bash examples/report.sh VIDEOS MODEL OUT
#   bash examples/report.sh                      the clips and the model of the quickstart, and a film of all six clips
#
#   VIDEOS   a folder, searched for videos
#   MODEL    model.safetensors of affcli train
#   OUT      a folder for everything; open OUT/report.html from disk
#
# Without arguments, OUT is ./quickstart-report, and quickstart.sh is run first if needed; the true labels of the film
# are in OUT/truth. OUT/timelines/ needs pip install 'affcli[plot]'.
set -euo pipefail
here=$(dirname "$0")

ffmpeg() { "$(python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" -nostdin -v error -y "$@"; }

film_of_the_quickstart() { # the six clips and a film of them in a row, in a folder $1; its truth in the folder $2
  local clips=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/affcli/crema-d} inputs=() pads="" count=0 clip
  rm -rf "$1" "$2" && mkdir -p "$1" "$2" && cp "$clips"/1001_DFA_*.flv "$1"
  for clip in "$1"/*.flv; do
    inputs+=(-i "$clip") pads+="[$count:v][$count:a]" count=$((count + 1))
    { [ -s "$2/film.txt" ] && tail -n +2 || cat; } <"$quickstart/labels/$(basename "$clip" .flv).txt" >>"$2/film.txt"
  done
  ffmpeg "${inputs[@]}" -filter_complex "${pads}concat=n=$count:v=1:a=1" "$1/film.mp4"
}

if [ $# -eq 0 ]; then
  quickstart=${OUT:-quickstart-out}
  [ -f "$quickstart/model.safetensors" ] || bash "$here/quickstart.sh"
  set -- quickstart-report/clips "$quickstart/model.safetensors" quickstart-report
  [ -f "$1/film.mp4" ] || film_of_the_quickstart "$1" quickstart-report/truth
fi
[ $# -eq 3 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
videos=$1 model=$2 out=$3

failed=0
bash "$here/label-folder.sh" "$videos" "$model" "$out" || { [ $? -eq 3 ] && failed=3; }

affcli export "$out/labels.parquet" --to vtt --min-seconds 0.5 --force -o "$out/captions"
affcli plot "$out/labels.parquet" --format svg --force -o "$out/timelines"

mkdir -p "$out/videos"
while IFS= read -r -d '' file; do
  name=$(basename "${file%.*}")
  affcli overlay "$file" "$out/labels.parquet" --force -o "$out/videos/$name.mp4" ||
    failed=3
done < <(find "$videos" -type f \( -name '*.mp4' -o -name '*.mov' -o -name '*.mkv' -o -name '*.webm' -o -name '*.avi' \
  -o -name '*.flv' \) -print0 | sort -z)

affcli report "$out/labels.parquet" --videos "$out/videos" --title "$(basename "$videos")" --force -o "$out/report.html"
echo "$out/report.html: open it in a browser; beside it captions/, timelines/ and videos/"
exit $failed
