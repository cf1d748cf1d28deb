#!/bin/sh
# What a container that one develops in does while nobody is in it.
#
# The account `dev` first gets the number of whoever owns the mounted folder, also root's
# or one that Debian gave to a service of its own: what is written there is the owner's.
set -eu
owner=$(stat -c '%u %g' "$BAIBOX_OWNED")
user=${owner% *} group=${owner#* }
if [ "$(id -u dev) $(id -g dev)" != "$owner" ]; then
    # First in the file, since the first account of a number names its files.
    for file in passwd group; do
        case $file in
            passwd) line="dev:x:$user:$group::/home/dev:/bin/bash" ;;
            group) line="dev:x:$group:" ;;
        esac
        { echo "$line"; grep -v '^dev:' "/etc/$file"; } > "/etc/$file.new"
        mv "/etc/$file.new" "/etc/$file"
    done
    chown -R "$user:$group" /home/dev
fi
if [ -n "${BAIBOX_TEST_ENGINE:-}" ]; then
    # Upstream's tests call it by this name.
    printf '#!/bin/sh\nexec python -B "$BAIBOX_STATE/compat/baibox_docker.py" "$@"\n' > /usr/local/bin/docker
    chmod 755 /usr/local/bin/docker
    for folder in /tmp/backend.ai /home/dev/.cache; do
        [ ! -d "$folder" ] || chown -R "$user:$group" "$folder"
    done
fi
exec python3 "$BAIBOX_STATE/services/forward.py" "$@"
