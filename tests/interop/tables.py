"""The tables of the matrix: schema, partitioning, events as JSON text, and the rows that must come of them.

Types and values are those of `tests/python/values.py`; values are in the canonical form of `tests/python/engines.py`.
"""

import dataclasses
import datetime
import decimal
import json
import random

import values

TYPES = [name for name in values.CASES if name not in values.NANOSECONDS]
NAMESPACE = "interop"
DAYS, PER_DAY = 5, 40
START = 1_772_323_200_000_000
DAY = 86_400_000_000


@dataclasses.dataclass
class Table:
    """A table, how it is sent, and what must be read: rows by the column `row`."""

    name: str
    about: str
    schema: dict
    # Each with the stream that it is sent to.
    batches: list
    rows: dict
    partition_by: str = "none"
    # The schema as it is in the end, if it is not the one that the table was made with.
    grown: dict | None = None

    @property
    def final(self):
        return self.grown or self.schema

    @property
    def columns(self):
        return [column["name"] for column in self.final["fields"]]

    def send(self, deployment):
        deployment.create(f"{NAMESPACE}.{self.name}", self.schema, self.partition_by)
        for stream, lines in self.batches:
            deployment.accept(f"{NAMESPACE}.{self.name}", lines, stream)


def type_table(name, seed):
    """A table of one type: plain, in a list of structs with a map, and as the key of a map where it can be one."""
    schema = values.every_type([name])
    generator = random.Random(f"{seed} {name}")
    maker = values.Values(generator)
    events = [maker.row(schema, number) for number in range(30)]
    for number, (text, value) in enumerate(values.CASES[name][0], start=len(events)):
        others = {field["name"]: None for field in schema["fields"]}
        events.append(('{"row": %d, "p0": %s}' % (number, text), {**others, "row": number, "p0": value}))
    table = "type_" + name.translate(str.maketrans("(,", "__", " )[]"))
    rows = {row["row"]: row for _, row in events}
    return Table(table, name, schema, [("default", [text for text, _ in events])], rows)


def field(number, name, kind):
    return {"id": number, "name": name, "required": name == "row", "type": kind}


PLAIN = {
    "type": "struct",
    "schema-id": 0,
    "fields": [
        field(1, "row", "long"),
        field(2, "kind", "string"),
        field(3, "at", "timestamptz"),
        field(4, "amount", "decimal(9, 2)"),
    ],
}
SPECS = {
    "none": "none",
    "identity": "kind",
    "bucket": "bucket(4, row)",
    "truncate": "truncate(3, kind)",
    "day": "day(at)",
    "hour": "hour(at)",
    "two": "day(at), bucket(2, kind)",
}


def instant(micros):
    moment = datetime.datetime.fromtimestamp(0, datetime.timezone.utc) + datetime.timedelta(microseconds=micros)
    return moment.isoformat().replace("+00:00", "Z")


def plain_row(number):
    """Event and row of the partitioned tables: five days, nulls in the partition columns too."""
    kind = None if number % 17 == 0 else f"kind-{number % 6}"
    at = START + (number // PER_DAY) * DAY + (number % PER_DAY) * 600_000_000
    amount = decimal.Decimal(number * 37 - 1000) / 100
    text = f'{{"row": {number}, "kind": {json.dumps(kind)}, "at": "{instant(at)}", "amount": {amount}}}'
    return text, {"row": number, "kind": kind, "at": at, "amount": amount}


def partitioned(name):
    events = [plain_row(number) for number in range(DAYS * PER_DAY)]
    # One commit for each day, so that every day has files of its own whatever the partitioning.
    batches = [("default", [text for text, _ in events[day * PER_DAY : (day + 1) * PER_DAY]]) for day in range(DAYS)]
    rows = {row["row"]: row for _, row in events}
    return Table(f"spec_{name}", SPECS[name], PLAIN, batches, rows, SPECS[name])


def evolved():
    """A table that grew with its events: an int, a float and a decimal became wider, columns and fields were added."""
    fields = [field(1, "row", "long"), field(2, "whole", "int"), field(3, "part", "float"), field(4, "money", "decimal(5, 2)")]
    place = {"type": "struct", "fields": [field(6, "city", "string")]}
    schema = {"type": "struct", "schema-id": 0, "fields": [*fields, field(5, "place", place)]}
    before = [
        (f'{{"row": {n}, "whole": {n}, "part": 0.5, "money": 1.25, "place": {{"city": "c{n}"}}}}', old_row(n)) for n in range(40)
    ]
    after = [(new_event(n), new_row(n)) for n in range(40, 80)]
    batches = [("evolving", [text for text, _ in part]) for part in (before, after)]
    rows = {row["row"]: row for _, row in before + after}
    place = {"type": "struct", "fields": [field(6, "city", "string"), field(8, "zip", "long")]}
    wider = [field(1, "row", "long"), field(2, "whole", "long"), field(3, "part", "double"), field(4, "money", "decimal(8, 2)")]
    grown = {**schema, "fields": [*wider, field(5, "place", place), field(7, "added", "string")]}
    return Table("evolved", "columns added, types widened", schema, batches, rows, grown=grown)


def old_row(number):
    place = {"city": f"c{number}", "zip": None}
    return {"row": number, "whole": number, "part": 0.5, "money": decimal.Decimal("1.25"), "place": place, "added": None}


def new_event(number):
    return (
        f'{{"row": {number}, "whole": 3000000000, "part": 1e300, "money": 123456.75, '
        f'"place": {{"city": "n", "zip": {number}}}, "added": "new {number}"}}'
    )


def new_row(number):
    money = decimal.Decimal("123456.75")
    place = {"city": "n", "zip": number}
    return {"row": number, "whole": 3_000_000_000, "part": 1e300, "money": money, "place": place, "added": f"new {number}"}


def compacted():
    table = partitioned("day")
    return dataclasses.replace(table, name="compacted", about="files rewritten by Spark, old snapshots expired")


def all_tables(seed):
    return [*(type_table(name, seed) for name in TYPES), *(partitioned(name) for name in SPECS), evolved(), compacted()]


# What is read through every catalog and from every store.
CORE = ["type_long", "type_string", "type_timestamptz", "spec_day", "spec_bucket", "evolved"]
