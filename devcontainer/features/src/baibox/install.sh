#!/bin/sh
# Puts baibox and what it needs of the image's distribution into the image: as root, when the image is built.
# Options come as variables: https://containers.dev/implementors/features/
set -eu
here=$(cd "$(dirname "$0")" && pwd)
shared=/usr/local/share/baibox
user=${_REMOTE_USER:-root}
home=${_REMOTE_USER_HOME:-/root}
from=${FROM:-}
sha256=${SHA256:-}

fail() {
    printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
program=$scratch/baibox
case $from in
    '')
        carried=$here/bin/baibox-$(uname -m)
        [ -f "$carried" ] || fail "this copy of the Feature carries no program for $(uname -m)" \
            'package it with `devcontainer/package`, or name a program by the options `from` and `sha256`'
        cp "$carried" "$program"
        ;;
    http://* | https://*)
        [ -n "$sha256" ] || fail "\`$from\` is taken only with a digest" 'give the option `sha256`'
        if command -v curl > /dev/null; then
            curl --fail --silent --show-error --location --output "$program" "$from"
        elif command -v wget > /dev/null; then
            wget --quiet --output-document "$program" "$from"
        else
            fail 'the image has neither curl nor wget' 'use an image with one of them'
        fi
        ;;
    /*)
        [ -f "$from" ] || fail "the image has no file \`$from\`" 'give the option `from` a path in the image'
        cp "$from" "$program"
        ;;
    *) fail "\`$from\` is neither an address nor an absolute path" 'mend the option `from`' ;;
esac
if [ -n "$sha256" ]; then
    found=$(sha256sum "$program" | cut -d ' ' -f 1)
    [ "$found" = "${sha256#sha256:}" ] ||
        fail "the program has the digest $found, not $sha256" 'mend the options `from` and `sha256`'
fi
chmod 755 "$program"
"$program" --version || fail 'the program does not run in this image' \
    'take an image of Debian 12, Ubuntu 22.04 or newer, for the processor that the program was built for'
install -m 755 "$program" /usr/local/bin/baibox

# git, the engine's command and Compose. It knows what the distribution calls them.
XDG_CACHE_HOME=$scratch/cache baibox doctor --install
rm -rf /var/lib/apt/lists/*

# The store is a volume, so that it outlives the container; a new volume gets this folder's mode.
install -d -m 1777 /var/lib/baibox
install -d -o "$user" "$home/.cache"
ln -sfn /var/lib/baibox "$home/.cache/baibox"

install -d "$shared"
install -m 755 "$here/entrypoint.sh" "$here/same-path.sh" "$shared"
printf '%s\n' "$user" > "$shared/user"
