#!/usr/bin/env python3
"""Missing tables are made from what the stream declares: a JSON Schema, a partition spec, a sort order, properties.

Prints what PyIceberg sees, as JSON.
"""

import json
import pathlib
import sys
import tempfile

import pyarrow.parquet
from pyiceberg.exceptions import NoSuchTableError
from service import Service, parser

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["user_id", "event_time"],
    "properties": {
        "user_id": {"type": "integer", "description": "who"},
        "event_time": {"type": "string", "format": "date-time"},
        "kind": {"type": "string"},
        "place": {"type": "object", "properties": {"country": {"type": "string"}, "zip": {"type": ["integer", "null"]}}},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
OPTIONS = [
    *("--partition-by", "day(event_time), bucket(4, user_id), truncate(2, place.country)"),
    *("--sort-by", "kind, user_id desc nulls last"),
    *("--property", "write.parquet.compression-codec=zstd", "--property", "owner=e2e"),
]


def declare(service):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "schema.json")
        path.write_text(json.dumps(SCHEMA))
        create = ["--on-missing-table", "create", "--schema", str(path), "--max-bytes", "1GiB"]
        service.frazil("stream", "create", "declared", *create, *OPTIONS)
    service.frazil("stream", "create", "strictns", "--on-missing-table", "create", "--strict-namespace", "true", "--max-bytes", "1GiB")
    service.known("declared"), service.known("strictns")


def events():
    for number in range(600):
        yield {
            "user_id": number % 7,
            "event_time": f"2026-03-0{1 + number % 2}T00:00:{number % 60:02}Z",
            "kind": ["c", "a", None, "b"][number % 4],
            "place": {"country": ["NL", "NO"][number % 2], "zip": None},
            "tags": [str(number)],
        }


def sorted_within_files(table):
    """Number of data files; fails if one is not in the table's sort order."""
    files = [task.file for task in table.scan().plan_files()]
    for file in files:
        assert file.sort_order_id == table.metadata.default_sort_order_id, file
        rows = pyarrow.parquet.read_table(file.file_path.removeprefix("file://"), partitioning=None)
        keys = list(zip(rows.column("kind").to_pylist(), rows.column("user_id").to_pylist()))
        # Ascending is nulls first by default.
        assert keys == sorted(keys, key=lambda key: (key[0] is not None, key[0] or "", -key[1])), file.file_path
    return len(files)


def main():
    service = Service(parser(__doc__).parse_args())
    declare(service)
    bad = {"user_id": "x", "event_time": "2026-03-01T00:00:00Z"}
    status, answer = service.post("declared.t", json.dumps(bad), stream="declared")
    assert status == 400 and answer["errors"][0]["field"] == "user_id", answer
    try:
        service.table("declared.t")
        raise AssertionError("a request without a valid event has made a table")
    except NoSuchTableError:
        pass
    service.accept("declared.t", "\n".join(json.dumps(event) for event in events()), stream="declared")
    table = service.table("declared.t")
    assert len(service.rows("declared.t")) == 600
    assert table.schema().find_field("user_id").required and not table.schema().find_field("kind").required
    assert table.schema().find_field("user_id").doc == "who"
    assert table.properties["owner"] == "e2e"
    transforms = [str(field.transform) for field in table.spec().fields]
    assert transforms == ["day", "bucket[4]", "truncate[2]"], transforms
    status, answer = service.post("no_such_namespace.t", '{"a": 1}', stream="strictns")
    assert status == 404 and "namespace" in answer["detail"], answer
    print(json.dumps({"partitions": transforms, "files": sorted_within_files(table)}))


if __name__ == "__main__":
    sys.exit(main())
