#!/bin/sh
# Makes the path by which the engine's host knows a folder lead to the folder here: `same-path.sh THERE HERE`.
# The engine mounts paths of its host, and in environments paths are the same inside and outside.
set -eu
there=$1
here=$2
[ "$there" != "$here" ] || exit 0
case $there in
    /*) ;;
    *)
        printf 'error: the engine does not know the workspace by the path `%s`\n\nhint: %s\n' "$there" \
            'open a folder of Linux, such as one of WSL' >&2
        exit 1
        ;;
esac
as_root=
[ "$(id -u)" = 0 ] || as_root='sudo -n'
if [ -e "$there" ] && [ ! -L "$there" ]; then
    printf 'error: the image has a `%s` of its own, which the workspace has on the host\n\nhint: %s\n' "$there" \
        'move the workspace on the host' >&2
    exit 1
fi
$as_root mkdir -p "$(dirname "$there")"
$as_root ln -sfn "$here" "$there"
