#!/usr/bin/env python3
"""Batches of which no event fits must not stall a shard, and after an ALTER TABLE a replay moves each into the table
exactly once. Prints counts as JSON."""

import json
import subprocess
import sys

from pyiceberg.types import LongType
from service import Service, parser

TABLE = "e2e.poison"
SCHEMA = {
    "type": "struct",
    "schema-id": 0,
    "fields": [
        {"id": 1, "name": "id", "required": False, "type": "long"},
        {"id": 2, "name": "v", "required": False, "type": "int"},
    ],
}
BATCHES, EVENTS = 10, 1000


def ids(service):
    return sorted(service.table(TABLE).scan().to_arrow().column("id").to_pylist())


def replay(service):
    return json.loads(service.frazil("dead-letter", "replay", TABLE, "--json").splitlines()[-1])


def main():
    service = Service(parser(__doc__).parse_args())
    service.create(TABLE, SCHEMA, on_invalid="dead_letter")
    for batch in range(BATCHES):
        events = [{"id": batch * EVENTS + number, "v": 3_000_000_000} for number in range(EVENTS)]
        answer = service.accept(TABLE, "\n".join(json.dumps(event) for event in events))
        assert (answer["accepted"], answer["invalid"]) == (EVENTS, EVENTS), answer
        assert answer["errors"][0]["field"] == "v" and len(answer["errors"]) == 100, answer["errors"][0]
    total = BATCHES * EVENTS
    service.accept(TABLE, json.dumps({"id": total, "v": 1}))
    assert ids(service) == [total]
    letters = service.table(f"{TABLE}__dead_letter").scan().to_arrow()
    assert letters.num_rows == total and set(letters.column("reason").to_pylist()) == {"out_of_range"}, letters.num_rows

    first = replay_refused(service)
    with service.table(TABLE).update_schema() as change:
        change.update_column("v", field_type=LongType())
    second, third = replay(service), replay(service)
    assert ids(service) == list(range(total + 1)), "not each event exactly once"
    print(json.dumps({"letters": total, "before_alter": first, "after_alter": second, "again": third}))


def replay_refused(service):
    """A replay before the table is altered: everything stays a letter."""
    try:
        service.frazil("dead-letter", "replay", TABLE, "--json")
    except subprocess.CalledProcessError as failed:
        assert failed.returncode == 1, failed
        return json.loads(failed.stdout.splitlines()[-1])
    raise AssertionError("nothing fits yet, and the replay says that all is well")


if __name__ == "__main__":
    sys.exit(main())
