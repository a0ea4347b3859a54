#!/usr/bin/env python3
"""One request, many tables: by a rule over a field, with an allow-list, a fallback, and dead letters for the rest.

Prints counts as JSON.
"""

import json
import sys

from service import Service, parser


def ndjson(events):
    return "\n".join(json.dumps(event) for event in events)


def with_fallback(service):
    """Every event finds a table; names that are not allowed go to the fallback."""
    rule = ["--route", "frazil.routed.{kind.name}", "--route-allow", "frazil.routed.ok_*", "--route-fallback", "frazil.routed.rest"]
    service.frazil("stream", "create", "routed", "--on-missing-table", "create", "--max-bytes", "1GiB", *rule)
    service.known("routed")
    kinds = ["ok_a", "ok_b", "ok-c", "secret", None, 7, "ok_d.x"]
    events = [{"id": number, "kind": {"name": kinds[number % len(kinds)]}} for number in range(700)]
    answer = service.accept(None, ndjson(events), stream="routed", idempotency_key="one")
    assert answer["accepted"] == 700, answer
    tables = {"ok_a": 100, "ok_b": 100, "ok_c": 100, "ok_d_x": 100, "rest": 300}
    found = {part["table"]: part["accepted"] for part in answer["tables"]}
    assert found == {f"frazil.routed.{table}": count for table, count in tables.items()}, found
    # The same request again, as after a lost answer, adds nothing.
    service.accept(None, ndjson(events), stream="routed", idempotency_key="one")
    rows = {table: [row["id"] for row in service.rows(f"routed.{table}")] for table in tables}
    assert {table: len(ids) for table, ids in rows.items()} == tables, rows
    assert sorted(id for ids in rows.values() for id in ids) == list(range(700))
    # A table named by the request wins over the rule.
    service.accept("routed.named", ndjson(events[:10]), stream="routed")
    assert len(service.rows("routed.named")) == 10
    return len(events)


def without_fallback(service):
    """An event without a table is invalid: refused, or a dead letter of the stream."""
    rule = ["--route", "frazil.strict.{type}", "--on-missing-table", "create", "--max-bytes", "1GiB"]
    service.frazil("stream", "create", "strict", *rule)
    service.frazil("stream", "create", "lenient", "--on-invalid", "dead-letter", *rule)
    service.known("strict"), service.known("lenient")
    events = [{"id": 0, "type": "a"}, {"id": 1}, {"id": 2, "type": ["a"]}]
    status, answer = service.post(None, ndjson(events), stream="strict")
    assert status == 400 and [error["index"] for error in answer["errors"]] == [1, 2], answer
    assert {error["reason"] for error in answer["errors"]} == {"unroutable"}, answer
    answer = service.accept(None, ndjson(events), stream="lenient", idempotency_key="k-1")
    assert (answer["accepted"], answer["invalid"]) == (3, 2), answer
    assert [row["id"] for row in service.rows("strict.a")] == [0]
    letters = service.rows("frazil_system.lenient__dead_letter")
    assert [json.loads(letter["payload"])["id"] for letter in sorted(letters, key=lambda l: l["payload"])] == [1, 2], letters
    assert {(l["reason"], l["field"], l["request_key"]) for l in letters} == {("unroutable", "type", "k-1")}, letters
    return len(letters)


def main():
    service = Service(parser(__doc__).parse_args())
    print(json.dumps({"routed": with_fallback(service), "unroutable": without_fallback(service)}))


if __name__ == "__main__":
    sys.exit(main())
