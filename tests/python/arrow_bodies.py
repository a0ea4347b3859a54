"""Rows of canonical values (see `engines.py`) as an Arrow IPC stream, built without Frazil's help."""

import io

import pyarrow as pa
import pyarrow.ipc

PLAIN = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "timestamp_ns": pa.timestamp("ns"),
    "timestamptz_ns": pa.timestamp("ns", "UTC"),
    "string": pa.string(),
    "fixed[4]": pa.binary(4),
    "binary": pa.binary(),
}


def stream(schema, rows, batch=100):
    """The bytes of a stream with several record batches."""
    columns = [array(field["type"], [row[field["name"]] for row in rows]) for field in schema["fields"]]
    table = pa.table(columns, names=[field["name"] for field in schema["fields"]])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return sink.getvalue()


def array(kind, values):
    """One column, from the type's JSON of the Iceberg spec."""
    if isinstance(kind, str):
        return primitive(kind, values)
    missing = pa.array([value is None for value in values])
    if kind["type"] == "struct":
        fields = kind["fields"]
        children = [array(f["type"], [None if v is None else v[f["name"]] for v in values]) for f in fields]
        return pa.StructArray.from_arrays(children, names=[field["name"] for field in fields], mask=missing)
    offsets = pa.array(offsets_of(values), pa.int32())
    flat = [item for value in values if value is not None for item in value]
    if kind["type"] == "list":
        return pa.ListArray.from_arrays(offsets, array(kind["element"], flat), mask=missing)
    keys = array(kind["key"], [key for key, _ in flat])
    items = array(kind["value"], [item for _, item in flat])
    return pa.MapArray.from_arrays(offsets, keys, items, mask=missing)


def primitive(kind, values):
    if kind == "uuid":
        return pa.ExtensionArray.from_storage(pa.uuid(), pa.array(values, pa.binary(16)))
    if kind.startswith("decimal"):
        precision, scale = kind[len("decimal(") : -1].split(",")
        return pa.array(values, pa.decimal128(int(precision), int(scale)))
    target = PLAIN[kind]
    if kind == "date":
        return pa.array(values, pa.int32()).cast(target)
    return pa.array(values, pa.int64()).cast(target) if pa.types.is_temporal(target) else pa.array(values, target)


def offsets_of(values):
    offsets = [0]
    for value in values:
        offsets.append(offsets[-1] + (0 if value is None else len(value)))
    return offsets
