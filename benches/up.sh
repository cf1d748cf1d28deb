#!/usr/bin/env bash
# Times the whole line: cold, again, stop and start. Needs an engine, GNU time, hyperfine and jq.
#
#   benches/up.sh [BINARY]
#
# "cold" has an empty store; images of the release must not be in the engine for a true figure.
set -euo pipefail
binary=$(realpath "${1:-target/release/baibox}")
scratch=$(mktemp -d)
id=bench-$$
export XDG_CACHE_HOME=$scratch/cache
trap '"$binary" --quiet delete "$id" --yes --force || true; rm -rf "$scratch"' EXIT

echo "cores: $(nproc), $("$binary" --version), engine $(docker info --format '{{.ServerVersion}} {{.Driver}}')"
echo "images of the release in the engine: $(docker images -q --filter label=ai.baibox.release=21.03 | wc -l)"
/usr/bin/time -f 'cold up: %e s, peak %M kB' \
    "$binary" up --branch 21.03 --env "$id" --path "$scratch/env" --source pypi
hyperfine --warmup 1 --export-json "$scratch/figures.json" \
    --command-name 'up, nothing changed' "$binary --quiet up --env $id" \
    --command-name 'build, nothing changed' "$binary --quiet build --env $id > /dev/null" \
    --command-name 'ls' "$binary ls > /dev/null"
/usr/bin/time -f 'stop: %e s' "$binary" --quiet stop --env "$id"
/usr/bin/time -f 'start to healthy: %e s' "$binary" --quiet start --env "$id"
jq --raw-output '.results[] | "\(.command): median \(.median * 1000 | round) ms"' "$scratch/figures.json"
