# What is done with the data of an environment, in a container beside its stack: `sh -c … state VERB …`.
# Databases come last in each; `backend` is the manager's, and has the revision that a snapshot is known by.
#
# /state is the environment's own folder, /etcd the volume of etcd, /into where a snapshot goes.
# A restored state is made beside the old one and takes its place by renaming; as long as the
# old one is beside it (`before`), `undo` puts it back. Every verb may run again after it was cut off.
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
export PGHOST=127.0.0.1 PGUSER=postgres PGOPTIONS='--client-min-messages=warning'
sql() { "$bin/psql" --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }
exists() {
    found=$(sql --dbname postgres --command "select 1 from pg_database where datname = '$1'") || exit
    [ "$found" = 1 ]
}
drop() { "$bin/dropdb" --if-exists "$1"; }
# A database that somebody is connected to, from the host too, cannot be renamed or dropped.
alone() { sql --dbname postgres --command "select pg_terminate_backend(pid) from pg_stat_activity where datname = '$1'" > /dev/null; }

# The dump of a database; the manager's is called as when there was no other.
dump() { [ "$1" = backend ] && echo database.dump || echo "$1.dump"; }

save() {
    mkdir -p "/into/$1"
    cd "/into/$1"
    shift
    for database; do
        # A service that makes its own may not have run yet.
        exists "$database" || continue
        "$bin/pg_dump" --format custom --file "$(dump "$database")" "$database"
    done
    sql --dbname backend --command 'select version_num from alembic_version' > revision
    mv /etcd/baibox.snapshot etcd.snapshot
    # 1: a file changed while it was read.
    tar --create --file vfolder.tar --numeric-owner --sparse --directory /state/vfolder . || [ $? = 1 ]
    chown -R "$(stat -c %u:%g /into)" .
}

# Makes the new state, of each database with what must be said to it first; etcd's is made by its own program.
prepare() {
    sweep
    from=/into/$1
    shift
    while [ $# -gt 0 ]; do
        drop_beside "$1"
        # What takes its place needs one that goes, also in a copy that never ran.
        exists "$1" || "$bin/createdb" "$1"
        "$bin/createdb" "$1_new"
        "$bin/pg_restore" --exit-on-error --dbname "$1_new" "$from/$(dump "$1")"
        # Compute containers are no part of a snapshot: no session goes on.
        sql --dbname "$1_new" --command "$2"
        shift 2
    done
    mkdir /state/vfolder.new
    tar --extract --file "$from/vfolder.tar" --numeric-owner --preserve-permissions --directory /state/vfolder.new
}

swap() {
    mv /state/vfolder /state/vfolder.before
    mv /state/vfolder.new /state/vfolder
    if [ -e /etcd/data ]; then mv /etcd/data /etcd/data.before; fi
    mv /etcd/data.new /etcd/data
    # All names change at once, or none does.
    renames=
    for database; do
        alone "$database"
        renames="$renames alter database $database rename to ${database}_before;"
        renames="$renames alter database ${database}_new rename to $database;"
    done
    sql --dbname postgres --single-transaction --command "$renames"
}

undo() {
    for database; do
        exists "${database}_before" || continue
        if exists "$database"; then alone "$database"; drop "$database"; fi
        sql --dbname postgres --command "alter database ${database}_before rename to $database"
    done
    if [ -e /etcd/data.before ]; then rm -rf /etcd/data; mv /etcd/data.before /etcd/data; fi
    if [ -e /state/vfolder.before ]; then rm -rf /state/vfolder; mv /state/vfolder.before /state/vfolder; fi
    clean "$@"
}

# Removes what is left of a restore that came to its end, or did not get far.
clean() {
    for database; do drop_beside "$database"; done
    sweep
}
drop_beside() { drop "$1_new"; drop "$1_before"; }
sweep() {
    rm -rf /state/vfolder.new /state/vfolder.before /etcd/data.new /etcd/data.before /etcd/baibox.snapshot*
    # What agents remember of sessions is of another state.
    rm -f /state/ipc/last_registry.*
}

# Files of services belong to root, whoever the environment is of.
empty() { rm -rf /state/vfolder /state/scratches /state/ipc/last_registry.*; }

verb=$1
shift
"$verb" "$@"
