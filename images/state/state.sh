# What is done with the data of an environment, in a container beside its stack: `sh -c … state VERB …`.
#
# /state is the environment's own folder, /etcd the volume of etcd, /into where a snapshot goes.
# A restored state is made beside the old one and takes its place by renaming; as long as the
# old one is beside it (`before`), `undo` puts it back. Every verb may run again after it was cut off.
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
export PGHOST=127.0.0.1 PGUSER=postgres PGOPTIONS='--client-min-messages=warning'
sql() { "$bin/psql" --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }
exists() { [ "$(sql --dbname postgres --command "select 1 from pg_database where datname = '$1'")" = 1 ]; }
drop() { "$bin/dropdb" --if-exists "$1"; }
# A database that somebody is connected to, from the host too, cannot be renamed or dropped.
alone() { sql --dbname postgres --command "select pg_terminate_backend(pid) from pg_stat_activity where datname = '$1'" > /dev/null; }

save() {
    mkdir -p "/into/$1"
    cd "/into/$1"
    "$bin/pg_dump" --format custom --file database.dump backend
    sql --dbname backend --command 'select version_num from alembic_version' > revision
    mv /etcd/baibox.snapshot etcd.snapshot
    # 1: a file changed while it was read.
    tar --create --file vfolder.tar --numeric-owner --sparse --directory /state/vfolder . || [ $? = 1 ]
    chown -R "$(stat -c %u:%g /into)" .
}

# Makes the new state; etcd's is made by its own program.
prepare() {
    clean
    "$bin/createdb" backend_new
    "$bin/pg_restore" --exit-on-error --dbname backend_new "/into/$1/database.dump"
    # Compute containers are no part of a snapshot: no session goes on.
    sql --dbname backend_new --command "$2"
    mkdir /state/vfolder.new
    tar --extract --file "/into/$1/vfolder.tar" --numeric-owner --preserve-permissions --directory /state/vfolder.new
}

swap() {
    mv /state/vfolder /state/vfolder.before
    mv /state/vfolder.new /state/vfolder
    if [ -e /etcd/data ]; then mv /etcd/data /etcd/data.before; fi
    mv /etcd/data.new /etcd/data
    alone backend
    sql --dbname postgres --single-transaction \
        --command 'alter database backend rename to backend_before' \
        --command 'alter database backend_new rename to backend'
}

undo() {
    if exists backend_before; then
        if exists backend; then alone backend; drop backend; fi
        sql --dbname postgres --command 'alter database backend_before rename to backend'
    fi
    if [ -e /etcd/data.before ]; then rm -rf /etcd/data; mv /etcd/data.before /etcd/data; fi
    if [ -e /state/vfolder.before ]; then rm -rf /state/vfolder; mv /state/vfolder.before /state/vfolder; fi
    clean
}

# Removes what is left of a restore that came to its end, or did not get far.
clean() {
    drop backend_new
    drop backend_before
    # What agents remember of sessions is of another state.
    rm -rf /state/vfolder.new /state/vfolder.before /etcd/data.new /etcd/data.before /etcd/baibox.snapshot*
    rm -f /state/ipc/last_registry.*
}

# Files of services belong to root, whoever the environment is of.
empty() { rm -rf /state/vfolder /state/scratches /state/ipc/last_registry.*; }

verb=$1
shift
"$verb" "$@"
