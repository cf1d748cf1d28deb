"""One-shot services of an environment: `etcd`, `schema`, `fixtures`, `app-proxy`. Each may run again at any time.

Upstream's programs take seconds to load. What `schema` and `fixtures` did last is noted in the database itself, so
that it goes where the data goes; while it still holds, they have nothing to do.
"""
import asyncio
import base64
import contextlib
import hashlib
import importlib.resources
import importlib.util
import json
import os
import pathlib
import sys
import urllib.request
from urllib.parse import quote

HERE = pathlib.Path(os.environ["BAIBOX_STATE"])
APP_PROXY = HERE / "app-proxy-coordinator"
WSPROXY = HERE / "wsproxy"
# Not in the schema that upstream's migrations are compared with.
NOTED = "CREATE SCHEMA IF NOT EXISTS baibox; CREATE TABLE IF NOT EXISTS baibox.done (work text PRIMARY KEY, state text NOT NULL)"


def etcd() -> None:
    # The JSON gateway, which needs no client library: releases have different ones.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    def put(prefix: str, value) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                put(f"{prefix}/{quote(name, safe='')}" if name else prefix, inner)
        else:
            pair = json.dumps({"key": encoded(prefix), "value": encoded(str(value))}).encode()
            opener.open("http://etcd:2379/v3/kv/put", pair, timeout=10).close()

    put("/sorna/local", json.loads((HERE / "etcd.json").read_text()))


def once(work, files) -> None:
    """Does the work, unless it was done by the same files and the schema is as it was left."""
    import asyncpg

    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())

    async def state(connection) -> str:
        there = await connection.fetchval("SELECT to_regclass('public.alembic_version')::text")
        revisions = await connection.fetch("SELECT version_num FROM public.alembic_version") if there else []
        return " ".join([digest.hexdigest(), *sorted(row[0] for row in revisions)])

    async def done(connection) -> bool:
        await connection.execute(NOTED)
        query = "SELECT state FROM baibox.done WHERE work = $1"
        return await connection.fetchval(query, work.__name__) == await state(connection)

    async def note(connection) -> None:
        query = "INSERT INTO baibox.done VALUES ($1, $2) ON CONFLICT (work) DO UPDATE SET state = excluded.state"
        await connection.execute(query, work.__name__, await state(connection))

    async def asked(ask):
        connection = await asyncpg.connect((HERE / "database.url").read_text().strip())
        try:
            return await ask(connection)
        finally:
            await connection.close()

    if not asyncio.run(asked(done)):
        work()
        asyncio.run(asked(note))


def migrations(package: str) -> list:
    # Found without loading it, which takes longer than all else here.
    place = importlib.util.find_spec(package).submodule_search_locations[0]
    return list(pathlib.Path(place, "models/alembic/versions").glob("*.py"))


def schema() -> None:
    os.chdir(HERE / "manager")
    from ai.backend.manager.cli.__main__ import main
    sys.argv = ["backend.ai", "schema", "oneshot"]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise


def upstreams(name: str) -> dict:
    # Where its installer has them, in the tree.
    return json.loads(importlib.resources.files("ai.backend.install.fixtures").joinpath(f"{name}.json").read_text())


def fixtures() -> None:
    from ai.backend.manager import models
    import sqlalchemy as sa

    data = json.loads((HERE / "fixtures.json").read_text())
    url = (HERE / "database.url").read_text().strip()

    async def populate() -> None:
        from ai.backend.manager.models.base import metadata, populate_fixture
        from sqlalchemy.ext.asyncio import create_async_engine

        # The loader of 23.09 looks for tables in `models`, which lacks those that are written as classes.
        for name, table in metadata.tables.items():
            vars(models).setdefault(name, table)
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
        for one in data:
            await populate_fixture(engine, upstreams(one) if isinstance(one, str) else one)
        # That leaves rows as they are, and the compute image may have been built anew.
        built = sa.text("UPDATE images SET name = :name, tag = :tag, config_digest = :config_digest WHERE id = CAST(:id AS uuid)")
        async with engine.begin() as connection:
            for row in (row for one in data if isinstance(one, dict) for row in one.get("images", ())):
                await connection.execute(built, {column: row[column] for column in ("id", "name", "tag", "config_digest")})

    if isinstance(data, list):
        # What upstream's own loader takes, one after the other.
        asyncio.run(populate())
        return

    def fill(connection) -> None:
        for name, rows in data.items():
            table = models.metadata.tables[name]
            for row in rows:
                for column in table.columns:
                    if column.name not in row:
                        continue
                    kind = getattr(column.type, "_enum_cls", None)
                    schema = getattr(column.type, "_schema", None)
                    if kind is not None:
                        by_name = type(column.type).__name__ == "EnumType"
                        row[column.name] = kind[row[column.name]] if by_name else kind(row[column.name])
                    elif hasattr(schema, "from_json"):
                        row[column.name] = schema.from_json(row[column.name])
                # One by one, since rows may leave out different columns.
                connection.execute(sa.dialects.postgresql.insert(table, row).on_conflict_do_nothing())

    async def fill_by_asyncpg() -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        async with create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:")).begin() as connection:
            await connection.run_sync(fill)

    try:
        engine = sa.create_engine(url)
    except ModuleNotFoundError:
        # Newer releases have no driver but the asynchronous one.
        asyncio.run(fill_by_asyncpg())
    else:
        with engine.begin() as connection:
            fill(connection)


def app_proxy_files() -> list:
    # Its configuration has the secrets, which a copy of an environment does not share.
    if WSPROXY.is_dir():
        return list(WSPROXY.iterdir())
    return [*APP_PROXY.iterdir(), *migrations("ai.backend.appproxy.coordinator")]


def app_proxy() -> None:
    import asyncpg
    from alembic.config import main

    url = (HERE / "database.url").read_text().strip()

    async def run(*statement) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(*statement)
        finally:
            await connection.close()

    if APP_PROXY.is_dir():
        with contextlib.suppress(asyncpg.DuplicateDatabaseError):
            asyncio.run(run("CREATE DATABASE appproxy"))
        main(["-c", str(APP_PROXY / "alembic.ini"), "upgrade", "head"])
    there = "UPDATE scaling_groups SET wsproxy_addr = $1, wsproxy_api_token = $2 WHERE name = 'default'"
    asyncio.run(run(there, os.environ["BAIBOX_APP_PROXY"], os.environ["BAIBOX_APP_PROXY_TOKEN"]))


WORK = {
    "etcd": etcd,
    "schema": lambda: once(schema, migrations("ai.backend.manager")),
    "fixtures": lambda: once(fixtures, [HERE / "fixtures.json"]),
    "app-proxy": lambda: once(app_proxy, app_proxy_files()),
}
WORK[sys.argv[1]]()
