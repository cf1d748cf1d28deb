#!/bin/sh
# Starts PostgreSQL; an empty data folder is initialised first.
set -eu
bin=$(echo /usr/lib/postgresql/*/bin)
export PGDATA=/var/lib/postgresql/data
mkdir -p "$PGDATA" /run/postgresql
chown -R 999:999 /var/lib/postgresql /run/postgresql
chmod 700 "$PGDATA"
grep -q '^postgres:' /etc/passwd || echo 'postgres:x:999:999::/var/lib/postgresql:/bin/sh' >> /etc/passwd
as() { setpriv --reuid 999 --regid 999 --clear-groups "$@"; }
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" > "$password"
    chown 999 "$password"
    # Begun beside and renamed, so that what is there is whole.
    rm -rf /var/lib/postgresql/new
    as "$bin/initdb" --username postgres --pwfile "$password" --auth-host md5 --auth-local trust \
        --locale C.UTF-8 --encoding UTF8 --pgdata /var/lib/postgresql/new
    rm -f "$password"
    echo 'host all all all md5' >> /var/lib/postgresql/new/pg_hba.conf
    as "$bin/pg_ctl" --pgdata /var/lib/postgresql/new --options "-c listen_addresses=''" --wait start
    as "$bin/createdb" --username postgres --host /run/postgresql backend
    # Upstream's tests begin in this one and make their own from there.
    as "$bin/createdb" --username postgres --host /run/postgresql testing
    as "$bin/pg_ctl" --pgdata /var/lib/postgresql/new --wait stop
    version=$(cat /var/lib/postgresql/new/PG_VERSION)
    rm /var/lib/postgresql/new/PG_VERSION
    cp -a /var/lib/postgresql/new/. "$PGDATA/"
    # The file that says it is complete comes last.
    as sh -c "echo $version > $PGDATA/PG_VERSION"
    rm -rf /var/lib/postgresql/new
fi
# Compiled queries would need LLVM, which the image is without.
exec setpriv --reuid 999 --regid 999 --clear-groups "$bin/postgres" -D "$PGDATA" \
    -c listen_addresses='*' -c max_connections=256 -c jit=off
