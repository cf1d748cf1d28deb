"""One-shot services of an environment: `etcd`, `schema`, `fixtures`. Each may run again at any time."""
import json
import os
import pathlib
import sys
from urllib.parse import quote

HERE = pathlib.Path(os.environ["BAIBOX_STATE"])


def etcd() -> None:
    import etcd3

    client = etcd3.client(host="etcd", port=2379, timeout=10)

    def put(prefix: str, value) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                put(f"{prefix}/{quote(name, safe='')}" if name else prefix, inner)
        else:
            client.put(prefix, str(value))

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
    engine = sa.create_engine((HERE / "database.url").read_text().strip())
    with engine.begin() as connection:
        for name, rows in data.items():
            table = getattr(models, name)
            for row in rows:
                for column in table.columns:
                    kind = getattr(column.type, "_enum_cls", None)
                    if kind is not None and column.name in row:
                        by_name = type(column.type).__name__ == "EnumType"
                        row[column.name] = kind[row[column.name]] if by_name else kind(row[column.name])
                # One by one, since rows may leave out different columns.
                connection.execute(sa.dialects.postgresql.insert(table, row).on_conflict_do_nothing())


{"etcd": etcd, "schema": schema, "fixtures": fixtures}[sys.argv[1]]()
