#!/usr/bin/env python3
"""Holds Iceberg tables against the ledger of a load, with an engine that knows nothing of Frazil.

The ledger has a line `table,first,events,outcome` per request: ids first..first+events-1 were sent to the table, and
the outcome was `acked` (each id must be there exactly once), `unknown` (once or not at all) or `refused` (not at all).

    crash_check.py tables --ledger FILE --uri CATALOG [--property K=V]…   reads the tables with PyIceberg
    crash_check.py ids --ledger FILE --found FILE                         takes lines `table,id` instead of tables

Prints JSON: per table the counts and the first wrong ids, the times of all commits, and the versions of the engines.
PyIceberg reads the ids; DuckDB compares the sets, which it does for tens of millions, and counts the rows again itself.
"""

import argparse
import json
import sys
from importlib import metadata

from engines import connect_duckdb, load_catalog

SHOWN = 20


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=["tables", "ids"])
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--uri", help="Iceberg REST catalog")
    parser.add_argument("--property", action="append", default=[], help="catalog property, key=value")
    parser.add_argument("--found", help="file of lines `table,id`")
    return parser.parse_args()


def read_ledger(connection, path):
    """Makes the table `sent` of all ids; returns the names of the tables they were sent to."""
    connection.execute("create table found (id bigint)")
    connection.execute(
        f"create table sent as select name, outcome, unnest(range(first, first + events)) as id from read_csv('{path}', "
        "header = false, columns = {'name': 'varchar', 'first': 'bigint', 'events': 'bigint', 'outcome': 'varchar'})"
    )
    return [name for (name,) in connection.execute("select distinct name from sent order by name").fetchall()]


def judge(connection, name):
    """Compares the ids in the table `found` with what was sent to `name`."""
    connection.execute("create or replace temp table counted as select id, count(*) as rows from found group by id")
    connection.execute(
        f"create or replace temp table compared as select coalesce(counted.id, sent.id) as id, coalesce(rows, 0) as rows, "
        f"coalesce(outcome, 'foreign') as outcome from counted full join "
        f"(select id, outcome from sent where name = '{name}') as sent on counted.id = sent.id"
    )

    def number(what, where):
        return int(connection.execute(f"select coalesce({what}, 0) from compared where {where}").fetchone()[0])

    def ids(where, what="count(*)"):
        rows = connection.execute(f"select id from compared where {where} order by id limit {SHOWN}").fetchall()
        return {"count": number(what, where), "first": [identifier for (identifier,) in rows]}

    return {
        "table": name,
        "rows": number("sum(rows)", "true"),
        "acked": number("count(*)", "outcome = 'acked'"),
        "unknown": number("count(*)", "outcome = 'unknown'"),
        "unknown_found": number("count(*)", "outcome = 'unknown' and rows > 0"),
        "refused": number("count(*)", "outcome = 'refused'"),
        "lost": ids("outcome = 'acked' and rows = 0"),
        "doubled": ids("rows > 1", "sum(rows - 1)"),
        "refused_found": ids("outcome = 'refused' and rows > 0"),
        "foreign": ids("outcome = 'foreign'"),
    }


def find(connection, table):
    """Puts the ids of an Iceberg table into `found`, as PyIceberg reads them."""
    import pyarrow as pa

    connection.execute("delete from found")
    if table is None:
        return
    for batch in table.scan(selected_fields=("id",)).to_arrow_batch_reader():
        connection.register("batch", pa.Table.from_batches([batch]))
        connection.execute("insert into found select id from batch")
        connection.unregister("batch")


def check_tables(connection, names, uri, properties):
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    catalog = load_catalog(uri, properties)

    def load(name):
        try:
            return catalog.load_table(name)
        except (NoSuchTableError, NoSuchNamespaceError):
            return None

    for name in names:
        table, letters = load(name), load(f"{name}__dead_letter")
        find(connection, table)
        result = judge(connection, name)
        result["duckdb_rows"] = count_with_duckdb(connection, table) if table else 0
        result["dead_letters"] = letters.scan().count() if letters else 0
        result["commits_ms"] = [snapshot.timestamp_ms for snapshot in table.metadata.snapshots] if table else []
        yield result


def count_with_duckdb(connection, table):
    source = f"iceberg_scan('{table.metadata_location}')"
    return connection.execute(f"select count(*) from {source}").fetchone()[0]


def check_ids(connection, names, path):
    for name in names:
        connection.execute("delete from found")
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                table, identifier = line.rstrip("\n").split(",")
                if table == name:
                    connection.execute("insert into found values (?)", [int(identifier)])
        result = judge(connection, name)
        yield {**result, "duckdb_rows": result["rows"], "dead_letters": 0, "commits_ms": []}


def main():
    arguments = parse_arguments()
    properties = dict(item.split("=", 1) for item in arguments.property)
    connection = connect_duckdb(properties)
    names = read_ledger(connection, arguments.ledger)
    if arguments.source == "ids":
        tables = list(check_ids(connection, names, arguments.found))
    else:
        tables = list(check_tables(connection, names, arguments.uri, properties))
    versions = {name: metadata.version(name) for name in ("pyiceberg", "pyarrow", "duckdb")}
    json.dump({"tables": tables, "versions": versions}, sys.stdout)


if __name__ == "__main__":
    main()
