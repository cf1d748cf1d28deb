#!/usr/bin/env bash
# Opening an environment in an editor: the reference CLI beside `baibox up`, on a running stack and on a
# stopped one; with BASE, an image of Debian 11, also beside the same stack as a plain dev container
# (`benches/plain.py`), and both from nothing, for which the engine's build cache is emptied. Prints medians.
# Needs hyperfine, jq, and @devcontainers/cli named by DEVCONTAINER.
#
#   benches/editors.sh ENVIRONMENT [BASE]
set -euo pipefail
id=$1
baibox=${BAIBOX:-baibox}
IFS=$'\t' read -r folder branch \
    < <("$baibox" ls --json | jq -r --arg id "$id" '.[] | select(.id == $id) | [.folder, .branch] | @tsv')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

measure() { # NAME ARGUMENTS-OF-HYPERFINE… COMMAND
    hyperfine --export-json "$scratch/one.json" --command-name "$@" > "$scratch/said" || { cat "$scratch/said"; exit 1; }
    jq -r '.results[0] | "\(.median * 100 | round / 100) s median of \(.times | length), \(.min * 100 | round / 100) to \(.max * 100 | round / 100): \(.command)"' \
        "$scratch/one.json"
}

echo "cores: $(nproc), load $(cut -d ' ' -f 1 /proc/loadavg), $("$baibox" --version)," \
    "engine $(docker info --format '{{.ServerVersion}} {{.Driver}}'), Compose $(docker compose version --short)"
edited="$DEVCONTAINER up --workspace-folder '$folder'"
"$baibox" up --env "$id"
measure 'devcontainer up, running' --warmup 1 --runs 5 "$edited"
measure 'baibox up, running' --warmup 1 --runs 5 "$baibox up --env $id"
measure 'devcontainer up, stopped' --runs 3 --prepare "$baibox stop --env $id" "$edited"
measure 'baibox start, stopped' --runs 3 --prepare "$baibox stop --env $id" "$baibox start --env $id"
[ $# -gt 1 ] || exit 0

"$(dirname "$0")/plain.py" "$folder" "$id" "$2"
graph="docker compose --project-name $id-plain --file '$folder/.baibox/$id/plain.yaml'"
plain="$DEVCONTAINER up --workspace-folder '$folder' --config '$folder/.devcontainer/plain/devcontainer.json'"
trap 'eval "$graph down --volumes --rmi local" || true; rm -rf "$scratch"' EXIT
# Both want the same ports and the same network.
docker compose --project-name "$id" --file "$folder/.baibox/$id/compose.yaml" down
# From nothing: no build cache there, no store here. Images that the engine has already are not sent again.
docker builder prune --all --force > /dev/null
measure 'plain: devcontainer up, nothing built' --runs 1 "$plain"
measure 'plain: devcontainer up, running' --warmup 1 --runs 5 "$plain"
measure 'plain: devcontainer up, stopped' --runs 3 --prepare "$graph stop" "$plain"
eval "$graph down"
export XDG_CACHE_HOME=$scratch/cache
measure 'baibox up --no-verify, empty store' --runs 1 \
    "$baibox up --branch $branch --env $id-cold --path '$scratch/environment' --source pypi --no-verify"
"$baibox" delete "$id-cold" --yes --force
