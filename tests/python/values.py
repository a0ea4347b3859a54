"""Types of Iceberg with values that they take and refuse: the tests' own reading of the mapping rules.

A case is a JSON text and the value that must come out of the table, in the canonical form of `engines.py`. Random
schemas and events are built from the cases, so that what an event must become is known without asking Frazil.
"""

import datetime
import decimal
import json
import struct

D = decimal.Decimal
decimal.getcontext().prec = 60
DAY = 86_400


def micros(text):
    """Microseconds since the epoch of an ISO date and time; no offset counts as UTC."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)


def days(text):
    return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days


def single(value):
    """The nearest 32-bit float."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def same(*texts):
    """Cases of strings that stand for themselves."""
    return [(json.dumps(text), text) for text in texts]


def times(*texts, of=micros):
    return [(json.dumps(text), of(text)) for text in texts]


INSTANTS = ("1970-01-01T00:00:00", "1969-12-31T23:59:59.999999", "2024-02-29T12:34:56.789", "0001-01-01T00:00:00")
LAST = "9999-12-31T23:59:59.999999"
NANO = ("1677-09-22T00:00:00", "2262-04-11T00:00:00", "1970-01-01T00:00:00", "1969-12-31T23:59:59.999999")
WHOLE = [("0", 0), ("-0", 0), ("1.0", 1), ("1e3", 1000), ("-12.50e1", -125)]
NON_FINITE = [('"NaN"', float("nan")), ('"Infinity"', float("inf")), ('"-Infinity"', float("-inf"))]

# Type name -> (accepted cases, refused JSON texts).
CASES = {
    "boolean": ([("true", True), ("false", False)], ['"true"', "1", "0", "[]"]),
    "int": (
        WHOLE + [("2147483647", 2**31 - 1), ("-2147483648", -(2**31))],
        ["2147483648", "-2147483649", "1.5", '"1"', "true", "{}"],
    ),
    "long": (
        WHOLE + [("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("9007199254740993", 2**53 + 1)],
        ["9223372036854775808", "-9223372036854775809", "1e19", "0.1", '"1"', "false"],
    ),
    "float": (
        [("0.1", single(0.1)), ("-0.0", -0.0), ("3.4028235e38", single(3.4028235e38)), ("1.4e-45", single(1.4e-45))]
        + [("16777217", single(16777217.0)), ("7", 7.0)]
        + NON_FINITE,
        ["3.5e38", '"0.1"', '"nan"', "true"],
    ),
    "double": (
        [("0.1", 0.1), ("-0.0", -0.0), ("1.7976931348623157e308", 1.7976931348623157e308), ("5e-324", 5e-324), ("7", 7.0)]
        + NON_FINITE,
        ["1e309", '"1"', '"inf"', "[1]"],
    ),
    "decimal(38, 10)": (
        [(text, D(text)) for text in ("9999999999999999999999999999.9999999999", "-9999999999999999999999999999.9999999999")]
        + [("0.0000000001", D("1e-10")), ("1e5", D(100000)), ('"12.340"', D("12.34")), ("-0", D(0)), ("1.500e-2", D("0.015"))],
        ["10000000000000000000000000000", "0.00000000001", '"1,5"', "true", '"NaN"'],
    ),
    "decimal(9, 2)": (
        [("9999999.99", D("9999999.99")), ("-0.01", D("-0.01")), ("3", D(3))],
        ["10000000", "0.001", '""'],
    ),
    "decimal(38, 0)": (
        [("9" * 38, D("9" * 38)), ("-" + "9" * 38, D("-" + "9" * 38))],
        ["1" + "0" * 38, "0.5"],
    ),
    "date": (
        times("1970-01-01", "1969-12-31", "2024-02-29", "0001-01-01", "9999-12-31", of=days) + [("86400000", 1), ("-1", -1)],
        ['"2023-02-29"', '"10000-01-01"', '"0000-01-01"', '"1970-1-1"', "1.5", "true"],
    ),
    "time": (
        [('"00:00:00"', 0), ('"23:59:59.999999"', DAY * 10**6 - 1), ('"12:00:00.5"', 43_200_500_000), ("1", 1000)],
        ['"24:00:00"', '"12:00"', '"23:59:60"', "-1", "86400000"],
    ),
    "timestamp": (
        times(*INSTANTS, LAST) + [('"2024-02-29 01:02:03"', micros("2024-02-29T01:02:03")), ("-1", -1000)],
        ['"2024-02-30T00:00:00"', '"1970-01-01T00:00:00+01:00"', '"1970-01-01"', '"now"', "{}"],
    ),
    "timestamptz": (
        times(*(text + "Z" for text in INSTANTS), LAST + "+00:00", "1970-01-01T05:30:00+05:30", "1969-12-31T00:00:00-12:00")
        + [("1700000000000", 1_700_000_000_000_000)],
        ['"1970-01-01T00:00:00"', '"1970-01-01T00:00:00+24:00"', "1.5", "99999999999999999"],
    ),
    "timestamp_ns": (
        [(json.dumps(text), micros(text) * 1000) for text in NANO]
        + [('"1970-01-01T00:00:00.123456789"', 123_456_789), ('"1969-12-31T23:59:59.999999999"', -1)],
        ['"1677-01-01T00:00:00"', '"2263-01-01T00:00:00"', "true"],
    ),
    "timestamptz_ns": (
        [(json.dumps(text + "Z"), micros(text) * 1000) for text in NANO] + [('"1970-01-01T01:00:00.000000001+01:00"', 1)],
        ['"2263-01-01T00:00:00Z"', '"1970-01-01T00:00:00"'],
    ),
    "string": (
        same("", "a", "ß", "日本語", "😀🧊", "\u0000", '"\\/\b\f\n\r\t', "a" * 1000)
        + [('"\\ud83d\\ude00"', "😀"), ("17", "17"), ('{"a": [1, 2.50]}', '{"a": [1, 2.50]}'), ("true", "true")],
        ['"\\ud83d"', '"\\ude00x"', '"\\x"'],
    ),
    "uuid": (
        [('"%s"' % text, bytes.fromhex(text.replace("-", ""))) for text in ("f79c3e09-677c-4bbd-a479-3f349cb785e7",)]
        + [('"00000000-0000-0000-0000-000000000000"', bytes(16)), ('"FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"', b"\xff" * 16)],
        ['"f79c3e09677c4bbda4793f349cb785e7"', '"x"', "1"],
    ),
    "fixed[4]": ([('"00ff10Ab"', b"\x00\xff\x10\xab"), ('"00000000"', bytes(4))], ['"00ff10"', '"00ff10ab00"', '"zz000000"', "1"]),
    "binary": (
        [('""', b""), ('"AP8Q"', b"\x00\xff\x10"), ('"AA=="', b"\x00"), ('"AA"', b"\x00")],
        ['"a"', '"%%"', "1", "[]"],
    ),
}

NANOSECONDS = ("timestamp_ns", "timestamptz_ns")
# What can be a map's key in every engine of the tests.
KEY_TYPES = ("string", "int", "long", "date", "uuid")


class Ids:
    """Field ids of a schema, from 1."""

    def __init__(self):
        self.last = 0

    def next(self):
        self.last += 1
        return self.last


def random_type(random, depth, ids, names):
    """A type as JSON of the Iceberg spec, nested at most `depth` levels."""
    kind = random.choice(["primitive", "primitive", "struct", "list", "map"]) if depth else "primitive"
    if kind == "primitive":
        return random.choice(names)
    if kind == "struct":
        return struct_type(random, depth - 1, ids, names, random.randint(1, 4))
    if kind == "list":
        element = {"element-id": ids.next(), "element": random_type(random, depth - 1, ids, names)}
        return {"type": "list", **element, "element-required": random.random() < 0.3}
    key = {"key-id": ids.next(), "key": random.choice(KEY_TYPES)}
    value = {"value-id": ids.next(), "value": random_type(random, depth - 1, ids, names)}
    return {"type": "map", **key, **value, "value-required": random.random() < 0.3}


def struct_type(random, depth, ids, names, width):
    fields = []
    for index in range(width):
        field = {"id": ids.next(), "name": f"f{index}", "required": random.random() < 0.2}
        fields.append({**field, "type": random_type(random, depth, ids, names)})
    return {"type": "struct", "fields": fields}


def every_type(names):
    """A schema with every primitive, plain and nested three deep."""
    ids = Ids()

    def field(name, kind, required=False):
        return {"id": ids.next(), "name": name, "required": required, "type": kind}

    def listed(kind):
        return {"type": "list", "element-id": ids.next(), "element": kind, "element-required": False}

    def mapped(key, kind):
        return {"type": "map", "key-id": ids.next(), "key": key, "value-id": ids.next(), "value": kind, "value-required": False}

    fields = [field("row", "long", required=True)]
    for index, name in enumerate(names):
        fields.append(field(f"p{index}", name))
        inner = {"type": "struct", "fields": [field("v", name), field("m", mapped("string", name))]}
        fields.append(field(f"n{index}", listed(inner)))
        if name in KEY_TYPES:
            fields.append(field(f"k{index}", mapped(name, listed(name))))
    return {"type": "struct", "schema-id": 0, "fields": fields}


class Values:
    """Random values of types, as JSON text and as what must come out of the table."""

    def __init__(self, random):
        self.random = random
        # Set to a path once a refused value was put there.
        self.broken = None
        self.break_next = False

    def value(self, kind, path):
        if isinstance(kind, str):
            accepted, refused = CASES[kind]
            if self.break_next and refused:
                self.break_next, self.broken = False, path
                return self.random.choice(refused), None
            return self.random.choice(accepted)
        return {"struct": self.object, "list": self.array, "map": self.map}[kind["type"]](kind, path)

    def optional(self, kind, required, path):
        if not required and self.random.random() < 0.15:
            return "null", None
        return self.value(kind, path)

    def object(self, kind, path):
        texts, values = [], {}
        fields = kind["fields"]
        for field in self.random.sample(fields, len(fields)):
            name = field["name"]
            values[name] = None
            if not field["required"] and self.random.random() < 0.1:
                continue
            text, values[name] = self.optional(field["type"], field["required"], f"{path}.{name}" if path else name)
            texts.append(f'"{name}": {text}')
        return "{" + ", ".join(texts) + "}", {field["name"]: values[field["name"]] for field in fields}

    def array(self, kind, path):
        items = [
            self.optional(kind["element"], kind["element-required"], f"{path}[{index}]")
            for index in range(self.random.choice([0, 1, 2, 3]))
        ]
        return "[" + ", ".join(text for text, _ in items) + "]", [value for _, value in items]

    def map(self, kind, path):
        keys = {}
        for text, value in self.random.sample(CASES[kind["key"]][0], min(3, len(CASES[kind["key"]][0]))):
            keys.setdefault(value, text)
        if kind["key"] == "string":
            keys = {value: json.dumps(value) for value in keys}
        pairs = []
        for index, (key, text) in enumerate(keys.items()):
            place = f'{path}["{key}"]' if kind["key"] == "string" else f"{path}[{index}]"
            pairs.append((text, key, *self.optional(kind["value"], kind["value-required"], place)))
        if kind["key"] == "string":
            text = "{" + ", ".join(f"{key}: {value}" for key, _, value, _ in pairs) + "}"
        else:
            text = '{"keys": [%s], "values": [%s]}' % (", ".join(p[0] for p in pairs), ", ".join(p[2] for p in pairs))
        return text, [(key, value) for _, key, _, value in pairs]

    def row(self, schema, number, broken=False):
        """Event number `number`; `broken` puts one refused value somewhere, if there is a place for one."""
        self.broken, self.break_next = None, broken
        text, values = self.object(schema_without_row(schema), "")
        return '{"row": %d%s' % (number, "}" if text == "{}" else ", " + text[1:]), {"row": number, **values}


def schema_without_row(schema):
    return {"type": "struct", "fields": [field for field in schema["fields"] if field["name"] != "row"]}
