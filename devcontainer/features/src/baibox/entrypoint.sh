#!/bin/sh
# At every start of the container: whoever develops may talk to the engine whose socket is mounted, whichever
# group of the host it belongs to. That is as much as being root on the engine's host.
user=$(cat /usr/local/share/baibox/user)
socket=/var/run/docker.sock

grant() {
    as_root=
    [ "$(id -u)" = 0 ] || as_root='sudo -n'
    number=$(stat -c %g "$socket")
    getent group "$number" > /dev/null || $as_root groupadd --gid "$number" baibox-engine || return
    $as_root usermod --append --groups "$(getent group "$number" | cut -d : -f 1)" "$user"
}

if [ -S "$socket" ] && [ "$user" != root ]; then
    grant || echo "baibox: $user cannot be given access to $socket: \`baibox doctor\` says what to do" >&2
fi
exec "$@"
