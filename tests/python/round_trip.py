#!/usr/bin/env python3
"""Sends events of generated schemas and reads the tables back value by value with engines that know nothing of Frazil.

Every row is built from cases of `values.py`, so the expected value is known without asking Frazil. Rows with one refused
value must be refused at exactly that place. Prints what was compared, as JSON.
"""

import json
import random
import sys

import arrow_bodies
import pyarrow.parquet
import values
from engines import canonical_rows, connect_duckdb, differs, duckdb_rows
from service import Service, parser


def parse_arguments():
    arguments = parser(__doc__)
    arguments.add_argument("kind", choices=["types", "types-ns", "random"])
    arguments.add_argument("--transport", choices=["json", "arrow", "grpc"], default="json")
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--schemas", type=int, default=1)
    arguments.add_argument("--rows", type=int, default=200)
    return arguments.parse_args()


def rows_of(service, table, engine):
    """The rows as an engine sees them, by number."""
    loaded = service.table(table)
    if engine == "pyiceberg":
        found = canonical_rows(loaded.scan().to_arrow())
    elif engine == "pyarrow":
        files = [task.file.file_path.removeprefix("file://") for task in loaded.scan().plan_files()]
        found = [row for file in files for row in canonical_rows(pyarrow.parquet.read_table(file, partitioning=None))]
    else:
        # DuckDB's Iceberg reader does not know timestamptz_ns; its Parquet reader does.
        files = None if engine == "duckdb" else [task.file.file_path for task in loaded.scan().plan_files()]
        found = canonical_rows(duckdb_rows(connect_duckdb({}), loaded, files))
    return {row["row"]: row for row in found}


def as_pyiceberg_reads(kind, value):
    """PyIceberg 0.12 reads a null list or map that holds structs as an empty one; pyarrow and DuckDB show the null."""
    if isinstance(kind, str):
        return value
    if kind["type"] == "struct":
        fields = kind["fields"]
        return value and {field["name"]: as_pyiceberg_reads(field["type"], value[field["name"]]) for field in fields}
    inner = kind["element"] if kind["type"] == "list" else kind["value"]
    if isinstance(inner, str) or inner["type"] != "struct":
        return value
    if value is None:
        return []
    if kind["type"] == "list":
        return [as_pyiceberg_reads(inner, item) for item in value]
    return [(key, as_pyiceberg_reads(inner, item)) for key, item in value]


def schemas(arguments, generator):
    """Names and schemas of the tables to fill."""
    plain = [name for name in values.CASES if name not in values.NANOSECONDS]
    if arguments.kind == "types":
        yield f"types.v2_{arguments.transport}", values.every_type(plain)
    elif arguments.kind == "types-ns":
        yield f"types.v3_{arguments.transport}", values.every_type(values.NANOSECONDS)
    else:
        for index in range(arguments.schemas):
            ids = values.Ids()
            row = {"id": ids.next(), "name": "row", "required": True, "type": "long"}
            schema = values.struct_type(generator, 3, ids, plain, generator.randint(1, 8))
            yield f"types.r{index}_{arguments.transport}", {**schema, "fields": [row, *schema["fields"]]}


def exhaust(schema, start):
    """Every case of every plain column in turn, the other columns null: no case is left to chance."""
    number = start
    for field in schema["fields"]:
        for text, value in values.CASES[field["type"]][0] if str(field["type"]) in values.CASES else ():
            if field["name"] == "row":
                continue
            others = {other["name"]: None for other in schema["fields"]}
            yield '{"row": %d, "%s": %s}' % (number, field["name"], text), {**others, "row": number, field["name"]: value}
            number += 1


def accept(service, transport, table, schema, maker, rows):
    """Posts valid rows; returns what must be in the table."""
    events = [maker.row(schema, number) for number in range(rows)]
    if not any(field["required"] for field in schema["fields"] if field["name"] != "row"):
        events += exhaust(schema, rows)
    if transport == "arrow":
        body, content_type = arrow_bodies.stream(schema, [row for _, row in events]), "application/vnd.apache.arrow.stream"
    else:
        body, content_type = "\n".join(text for text, _ in events), "application/x-ndjson"
    if transport == "grpc":
        answer = service.accept_by_grpc(table, body.encode(), "FORMAT_NDJSON")
    else:
        answer = service.accept(table, body, content_type)
    assert answer["accepted"] == len(events), answer
    return {row["row"]: row for _, row in events}


def refuse(service, table, schema, maker, rows):
    """Posts rows with one refused value each; returns how many there were."""
    count = 0
    for number in range(rows):
        text, _ = maker.row(schema, -1 - number, broken=True)
        if maker.broken is None:
            continue
        status, answer = service.post(table, text, "application/json")
        assert status == 400, f"{text} was not refused: {status} {answer}"
        for error in answer.get("errors", []):
            assert at(error["field"], maker.broken) and error["reason"], f"{text}: {error}, expected {maker.broken}"
        count += 1
    return count


def zoned(field):
    """Whether a column holds timestamptz_ns, which DuckDB reads as microseconds."""
    return "timestamptz_ns" in json.dumps(field["type"])


def at(found, broken):
    """Whether a path is the broken one; long ones are cut."""
    return broken.startswith(found[:-1]) if found.endswith("…") else found == broken


def compare(service, table, schema, expected):
    """Fails at the first difference between what was sent and what an engine reads."""
    nanoseconds = any(field["type"] in values.NANOSECONDS for field in schema["fields"] if isinstance(field["type"], str))
    for engine in ("pyarrow", "duckdb-parquet" if nanoseconds else "duckdb", "pyiceberg"):
        found = rows_of(service, table, engine)
        assert found.keys() == expected.keys(), f"{engine}: {table} has other rows than were sent"
        for number, row in expected.items():
            if engine == "pyiceberg":
                row = as_pyiceberg_reads(schema, row)
            elif engine == "duckdb-parquet":
                row = {field["name"]: row[field["name"]] for field in schema["fields"] if not zoned(field)}
            difference = differs(row, {key: found[number].get(key) for key in row})
            assert difference is None, f"{engine}: {table} row {number}{difference}"


def main():
    arguments = parse_arguments()
    generator = random.Random(arguments.seed)
    service = Service(arguments)
    totals = {"tables": 0, "rows": 0, "refused": 0}
    for table, schema in schemas(arguments, generator):
        service.create(table, schema, non_finite="accept")
        maker = values.Values(generator)
        expected = accept(service, arguments.transport, table, schema, maker, arguments.rows)
        totals["refused"] += refuse(service, table, schema, maker, max(20, arguments.rows // 10))
        compare(service, table, schema, expected)
        totals["tables"] += 1
        totals["rows"] += len(expected)
    print(json.dumps(totals))


if __name__ == "__main__":
    sys.exit(main())
