"""Python objects of a database client in the canonical form of `tests/python/engines.py`, by the column's Iceberg type."""

import datetime
import struct

EPOCH = datetime.datetime(1970, 1, 1)
MICROSECOND = datetime.timedelta(microseconds=1)


def canonical_object(value, kind):
    if value is None:
        return None
    if isinstance(kind, str):
        return primitive(value, kind)
    if kind["type"] == "struct":
        return {field["name"]: canonical_object(item, field["type"]) for field, item in zip(kind["fields"], value)}
    if kind["type"] == "list":
        return [canonical_object(item, kind["element"]) for item in value]
    pairs = value.items() if isinstance(value, dict) else value
    return [(canonical_object(key, kind["key"]), canonical_object(item, kind["value"])) for key, item in pairs]


def primitive(value, kind):
    if kind == "float":
        return struct.unpack("<f", struct.pack("<f", value))[0]
    if kind == "uuid":
        return value.bytes if hasattr(value, "bytes") else value
    if isinstance(value, datetime.datetime):
        naive = value.astimezone(datetime.timezone.utc).replace(tzinfo=None) if value.tzinfo else value
        return (naive - EPOCH) // MICROSECOND
    if isinstance(value, datetime.date):
        return (value - EPOCH.date()).days
    if isinstance(value, datetime.time):
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value
