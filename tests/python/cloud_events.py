#!/usr/bin/env python3
"""Sends CloudEvents with the official Python SDK, and with the JavaScript SDK by `--js`, and reads them back.

Every context attribute, extension and piece of data must be in the table. Prints the number of events, as JSON.
"""

import base64
import datetime
import json
import os
import subprocess
import sys

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from service import Service, parser

TABLE = "e2e.cloud_events"
ATTRIBUTES = ["id", "source", "specversion", "type", "subject", "datacontenttype", "data", "data_base64"]
TIME = datetime.datetime(2026, 2, 28, 23, 59, 59, 123_456, datetime.timezone.utc)


def schema():
    texts = [{"id": n, "name": name, "required": False, "type": "string"} for n, name in enumerate(ATTRIBUTES, 1)]
    return {"type": "struct", "schema-id": 0, "fields": [*texts, {"id": 99, "name": "time", "required": False, "type": "timestamptz"}]}


def with_python(service):
    """Sends with the Python SDK; returns what must be in the table."""
    binary = bytes(range(256))
    common = {"type": "com.example.python", "source": "/tests/python", "subject": "größe 😀", "time": TIME, "comexampleextension": "kept"}
    cases = [
        ("py-binary-json", to_binary_event, "application/json", {"n": 1, "list": [1.5, None, "ü"]}),
        ("py-binary-text", to_binary_event, "text/plain", "plain ü"),
        ("py-binary-bytes", to_binary_event, "application/octet-stream", binary),
        ("py-structured-json", to_structured_event, "application/json", {"n": 2}),
        ("py-structured-bytes", to_structured_event, "application/octet-stream", binary),
    ]
    expected = []
    for name, mode, content_type, data in cases:
        message = mode(CloudEvent({**common, "id": name, "specversion": "1.0", "datacontenttype": content_type}, data))
        headers = {key.lower(): value for key, value in message.headers.items()}
        service.accept(TABLE, message.body, headers.pop("content-type"), **headers)
        kept = {"data_base64": base64.b64encode(data).decode()} if isinstance(data, bytes) else {"data": data}
        expected.append({**common, "id": name, "specversion": "1.0", "datacontenttype": content_type, "time": TIME, **kept})
    return expected


def with_javascript(arguments):
    """Runs the JavaScript client; it prints what it sent."""
    command = ["node", arguments.js, arguments.url, arguments.token, TABLE]
    environment = {**os.environ, "NODE_PATH": arguments.node_path}
    events = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)
    for event in events:
        event["time"] = datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00"))
    return events


def check(row, event):
    """Compares one row with the event it must hold."""
    extra = json.loads(row["__extra__"] or "{}")
    for name, value in event.items():
        found = row[name] if name in row else extra[name]
        if name == "data" and not isinstance(value, str):
            found = json.loads(found)
        assert found == value, f"{event['id']}: {name} is {found!r}, sent {value!r}"
    for name in ("data", "data_base64"):
        assert name in event or row[name] is None, f"{event['id']}: {name} was not sent"


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--js", required=True, help="the JavaScript client")
    arguments.add_argument("--node-path", required=True, help="where its packages are")
    arguments = arguments.parse_args()
    service = Service(arguments)
    service.create(TABLE, schema())
    events = with_python(service) + with_javascript(arguments)
    rows = {row["id"]: row for row in service.table(TABLE).scan().to_arrow().to_pylist()}
    assert rows.keys() == {event["id"] for event in events}, rows.keys()
    for event in events:
        check(rows[event["id"]], event)
    print(json.dumps({"events": len(events)}))


if __name__ == "__main__":
    sys.exit(main())
