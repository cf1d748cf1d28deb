#!/usr/bin/env bash
# From `baibox ci` to its first test: from nothing, from a registry, from the store, and with all there.
# Needs an engine, docker-registry, jq and bash 5.
#
#   benches/ci.sh [WORDS OF baibox ci]    such as --component storage-proxy --git-base URL -- tests/test_vfs.py
#
# A catalog whose package sets differ a little gives layers that the engine has not seen yet.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
binary=$(realpath "${BAIBOX:-$top/target/release/baibox}")
given=("$@")
[ $# -gt 0 ] || given=(--component storage-proxy -- tests/test_vfs.py)
scratch=$(mktemp -d)
registry= kept=
trap 'finish' EXIT
finish() {
    [ -z "$kept" ] || XDG_CACHE_HOME=$scratch/first "$binary" --quiet delete "$kept" --yes --force || true
    [ -z "$registry" ] || kill "$registry"
    rm -rf "$scratch"
}
cp -r "$top/images" "$scratch/images"
sed -i 's|^options.exclude = \[|&"usr/share/bug", "usr/share/lintian", |' "$scratch"/images/*/*/release.toml
export BAIBOX_IMAGES=$scratch/images

# Seconds until pytest has collected and runs its first test, then how they were spent.
measure() {
    local name=$1 store=$2 begin=$EPOCHREALTIME first= line
    shift 2
    while IFS= read -r line; do
        printf '%s\n' "$line" >> "$scratch/log"
        case $line in *"collected "*) [ -n "$first" ] || first=$EPOCHREALTIME ;; esac
    done < <(cd "$scratch" && XDG_CACHE_HOME=$scratch/$store "$binary" ci --branch 21.03 "$@" "${given[@]}" 2>&1)
    [ -n "$first" ] || { tail -n 20 "$scratch/log" >&2; exit 1; }
    printf '%-34s %6.1f s:' "$name" "$(bc <<< "$first - $begin")"
    jq --raw-output '[.phases[] | select(.[0] | startswith("test") or . == "remove" | not)
        | "\(.[0]) \(.[1] * 10 | round / 10)"] | " " + join(", ")' "$scratch/baibox-ci/result.json"
}
echo "cores: $(nproc), $("$binary" --version), engine $(docker info --format '{{.ServerVersion}} {{.Driver}}')"
measure 'from nothing' first --keep
kept=$(basename "$scratch"/first/baibox/ci/ci-*)
for _ in 1 2 3; do measure 'all there' first; done

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: "%s"}}\nhttp: {addr: "127.0.0.1:%s"}\n' \
    "$scratch/registry" "$port" > "$scratch/registry.yml"
docker-registry serve "$scratch/registry.yml" > /dev/null 2>&1 &
registry=$!
until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/v2/"; do :; done
XDG_CACHE_HOME=$scratch/first "$binary" --quiet push --env "$kept" "127.0.0.1:$port/bench"
XDG_CACHE_HOME=$scratch/first "$binary" --quiet delete "$kept" --yes --force
kept=
measure 'engine without the images' first
measure 'nothing but a registry' second --cache "127.0.0.1:$port/bench"
