#!/usr/bin/env bash
# Times what is done with many environments. Needs an engine, hyperfine and jq.
#
#   benches/environments.sh ID [BINARY]
#
# ID is an environment that is there. Its record stands for twenty, which are listed and gone again; a second
# environment of its release is made, changed to and from, and deleted.
set -euo pipefail
id=$1
binary=$(realpath "${2:-target/release/baibox}")
IFS=$'\t' read -r folder branch \
    < <("$binary" ls --json | jq --raw-output --arg id "$id" '.[] | select(.id == $id) | [.folder, .branch] | @tsv')
scratch=$(mktemp -d)
second=$id-second
trap '"$binary" --quiet delete "$second" --yes --force 2> /dev/null || true; rm -rf "$scratch"' EXIT
store=${XDG_CACHE_HOME:-$HOME/.cache}/baibox
stored() { du --bytes --summarize --exclude environments "$store" | cut --fields 1; }
engine_holds() { docker system df --format '{{json .}}' | jq --raw-output 'select(.Type == "Images") | .Size'; }

mkdir -p "$scratch/baibox/environments"
for number in $(seq 1 20); do
    name=$id
    [ "$number" = 1 ] || name=bench-$number
    mkdir -p "$scratch/$name/.baibox/$name"
    jq --arg id "$name" --arg folder "$scratch/$name" '.id = $id | .folder = $folder' \
        "$folder/.baibox/$id/environment.json" > "$scratch/$name/.baibox/$name/environment.json"
    printf %s "$scratch/$name" > "$scratch/baibox/environments/$name"
done
echo "cores: $(nproc), load $(cut -d ' ' -f 1 /proc/loadavg), containers: $(docker ps --all --quiet | wc -l)"
XDG_CACHE_HOME=$scratch hyperfine --warmup 2 --shell none --export-json "$scratch/figures.json" \
    --command-name 'ls, 20 environments' "$binary ls" > "$scratch/said"
jq --raw-output '.results[] | "\(.command): median \(.median * 1000 | round) ms"' "$scratch/figures.json"

before="$(stored), $(engine_holds)"
begun=${EPOCHREALTIME/./}
"$binary" up --branch "$branch" --env "$second" --path "$scratch/second" --source pypi > "$scratch/said" 2>&1
took=$(((${EPOCHREALTIME/./} - begun) / 10000))
echo "a second environment, to hello world: ${took%??}.${took: -2} s, $(grep '^time: ' "$scratch/said")"
echo "store and engine's images: $before; then $(stored), $(engine_holds); its folder: $(du -sh "$scratch/second" | cut --fields 1)"

hyperfine --runs 3 --export-json "$scratch/figures.json" --command-name 'switch, until all are healthy' \
    --prepare "$binary --quiet switch $id" "$binary --quiet switch $second" > "$scratch/said"
jq --raw-output '.results[] | "\(.command): median \(.median * 100 | round / 100) s"' "$scratch/figures.json"
