#!/usr/bin/env bash
# Opening a built environment: the reference CLI beside `baibox up`, on a running stack and on
# a stopped one. Needs hyperfine, and @devcontainers/cli named by DEVCONTAINER.
#
#   benches/editors.sh ENVIRONMENT
set -euo pipefail
id=$1
baibox=${BAIBOX:-baibox}
folder=$("$baibox" ls --json | jq -r --arg id "$id" '.[] | select(.id == $id) | .folder')
hyperfine --warmup 1 --runs 5 \
    --command-name 'devcontainer up, running' "$DEVCONTAINER up --workspace-folder '$folder'" \
    --command-name 'baibox up, running' "$baibox up --env $id"
hyperfine --runs 3 --prepare "$baibox stop --env $id" \
    --command-name 'devcontainer up, stopped' "$DEVCONTAINER up --workspace-folder '$folder'" \
    --command-name 'baibox start, stopped' "$baibox start --env $id"
