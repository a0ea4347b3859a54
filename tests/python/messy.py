#!/usr/bin/env python3
"""Sends a real data set and rebuilds every event from the table's columns and `__extra__`; nothing may be missing.

With `--first K` the table is made from events of which only every K-th field is left, so that most fields are unknown
when the whole events come. Prints counts as JSON.
"""

import datetime
import json
import sys

from service import Service, parser


def parse_arguments():
    arguments = parser(__doc__)
    arguments.add_argument("file")
    arguments.add_argument("--table", required=True)
    arguments.add_argument("--pointer", default="", help="name of the member that holds the events")
    arguments.add_argument("--first", type=int, default=1)
    return arguments.parse_args()


def thinned(value, keep, depth=0):
    """The value with every keep-th member of each object; the top level stays whole."""
    if isinstance(value, dict):
        members = [item for index, item in enumerate(value.items()) if depth == 0 or index % keep == 0]
        return {key: thinned(inner, keep, depth + 1) for key, inner in members}
    return value


def merged(column, extra):
    """A value of the table with what `__extra__` has for it; elements of lists are named by their index there."""
    if extra is None:
        return column
    if isinstance(column, list):
        return [merged(item, extra.get(str(index))) for index, item in enumerate(column)]
    known = column or {}
    return {**known, **{key: merged(known.get(key), extra[key]) if key in known else extra[key] for key in extra}}


def missing(sent, found, path=""):
    """Paths of what was sent and is not found."""
    if sent is None:
        return []
    if isinstance(sent, dict) and isinstance(found, dict):
        return [item for key in sent for item in missing(sent[key], found.get(key), f"{path}.{key}")]
    if isinstance(sent, list) and isinstance(found, list) and len(sent) == len(found):
        return [item for index, pair in enumerate(zip(sent, found)) for item in missing(*pair, f"{path}[{index}]")]
    return [] if equal(sent, found) else [f"{path}: {found!r}, sent {sent!r}"]


def equal(sent, found):
    if isinstance(found, datetime.datetime):
        return datetime.datetime.fromisoformat(sent.replace("Z", "+00:00")) == found
    if isinstance(found, str) and not isinstance(sent, str):
        return json.loads(found) == sent
    return found == sent


def main():
    arguments = parse_arguments()
    service = Service(arguments)
    with open(arguments.file, encoding="utf-8") as file:
        events = json.load(file)
    events = events[arguments.pointer] if arguments.pointer else events
    events = [{"row": row, **event} for row, event in enumerate(events)]
    head = [thinned(event, arguments.first) for event in events] if arguments.first > 1 else []
    for event in head:
        event["row"] = -1 - event["row"]
    for part in [head, events] if head else [events]:
        service.accept(arguments.table, "\n".join(json.dumps(event) for event in part))
    rows = {row["row"]: row for row in service.table(arguments.table).scan().to_arrow().to_pylist()}
    captured = 0
    for event in events:
        row = rows[event["row"]]
        extra = json.loads(row["__extra__"]) if row["__extra__"] else None
        captured += extra is not None
        lost = missing(event, merged({key: row[key] for key in row if not key.startswith("__")}, extra))
        assert not lost, f"row {event['row']}: {lost}"
    assert len(rows) == len(events) + len(head), f"{len(rows)} rows"
    print(json.dumps({"events": len(events), "with_captured_fields": captured}))


if __name__ == "__main__":
    sys.exit(main())
