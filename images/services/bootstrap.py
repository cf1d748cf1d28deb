"""One-shot services of an environment: `etcd`, `schema`, `fixtures`. Each may run again at any time."""
import asyncio
import base64
import json
import os
import pathlib
import sys
import urllib.request
from urllib.parse import quote

HERE = pathlib.Path(os.environ["BAIBOX_STATE"])


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


def schema() -> None:
    os.chdir(HERE / "manager")
    from ai.backend.manager.cli.__main__ import main
    sys.argv = ["backend.ai", "schema", "oneshot"]
    main()


def fixtures() -> None:
    from ai.backend.manager import models
    import sqlalchemy as sa

    data = json.loads((HERE / "fixtures.json").read_text())
    url = (HERE / "database.url").read_text().strip()

    async def populate() -> None:
        from ai.backend.manager.models.base import populate_fixture
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
        for one in data:
            await populate_fixture(engine, one)

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


{"etcd": etcd, "schema": schema, "fixtures": fixtures}[sys.argv[1]]()
