#!/usr/bin/env bash
# Times what is done with many environments. Needs an engine, hyperfine and jq.
#
#   benches/environments.sh ID [BINARY]
#
# ID is an environment that is there; its record stands for twenty, which are listed and gone again.
set -euo pipefail
id=$1
binary=$(realpath "${2:-target/release/baibox}")
folder=$("$binary" ls --json | jq --raw-output --arg id "$id" '.[] | select(.id == $id) | .folder')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/baibox/environments"
for number in $(seq 1 20); do
    name=$id
    [ "$number" = 1 ] || name=bench-$number
    mkdir -p "$scratch/$name/.baibox/$name"
    jq --arg id "$name" --arg folder "$scratch/$name" '.id = $id | .folder = $folder' \
        "$folder/.baibox/$id/environment.json" > "$scratch/$name/.baibox/$name/environment.json"
    printf %s "$scratch/$name" > "$scratch/baibox/environments/$name"
done
echo "cores: $(nproc), containers: $(docker ps --all --quiet | wc -l)"
XDG_CACHE_HOME=$scratch hyperfine --warmup 2 --shell none --export-json "$scratch/figures.json" \
    --command-name 'ls, 20 environments' "$binary ls"
jq --raw-output '.results[] | "\(.command): median \(.median * 1000 | round) ms"' "$scratch/figures.json"
