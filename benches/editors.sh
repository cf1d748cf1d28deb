#!/usr/bin/env bash
# Opening an environment in an editor: the reference CLI beside `baibox up`, on a running stack and on a
# stopped one; with BASE, an image of Debian 11, also beside the same stack as a plain dev container
# (`benches/plain.py`), and both from nothing. Needs hyperfine, jq, and @devcontainers/cli named by DEVCONTAINER.
#
#   benches/editors.sh ENVIRONMENT [BASE]
set -euo pipefail
id=$1
baibox=${BAIBOX:-baibox}
IFS=$'\t' read -r folder branch \
    < <("$baibox" ls --json | jq -r --arg id "$id" '.[] | select(.id == $id) | [.folder, .branch] | @tsv')
echo "cores: $(nproc), load $(cut -d ' ' -f 1 /proc/loadavg), $("$baibox" --version)," \
    "engine $(docker info --format '{{.ServerVersion}} {{.Driver}}'), Compose $(docker compose version --short)"
hyperfine --warmup 1 --runs 5 \
    --command-name 'devcontainer up, running' "$DEVCONTAINER up --workspace-folder '$folder'" \
    --command-name 'baibox up, running' "$baibox up --env $id"
hyperfine --runs 3 --prepare "$baibox stop --env $id" \
    --command-name 'devcontainer up, stopped' "$DEVCONTAINER up --workspace-folder '$folder'" \
    --command-name 'baibox start, stopped' "$baibox start --env $id"
[ $# -gt 1 ] || exit 0

"$(dirname "$0")/plain.py" "$folder" "$id" "$2"
graph="docker compose --project-name $id-plain --file '$folder/.baibox/$id/plain.yaml'"
plain="$DEVCONTAINER up --workspace-folder '$folder' --config '$folder/.devcontainer/plain/devcontainer.json'"
scratch=$(mktemp -d)
trap 'eval "$graph down --volumes --rmi local" || true; rm -rf "$scratch"' EXIT
# Both want the same ports and the same network.
docker compose --project-name "$id" --file "$folder/.baibox/$id/compose.yaml" down
# From nothing: no build cache there, no store here. Images that the engine has already are not sent again.
docker builder prune --all --force > /dev/null
hyperfine --runs 1 --command-name 'plain: devcontainer up, nothing built' "$plain"
hyperfine --warmup 1 --runs 5 --command-name 'plain: devcontainer up, running' "$plain"
hyperfine --runs 3 --prepare "$graph stop" --command-name 'plain: devcontainer up, stopped' "$plain"
eval "$graph down"
export XDG_CACHE_HOME=$scratch/cache
hyperfine --runs 1 --command-name 'baibox up --no-verify, empty store' \
    "$baibox up --branch $branch --env $id-cold --path '$scratch/environment' --source pypi --no-verify"
"$baibox" delete "$id-cold" --yes --force
