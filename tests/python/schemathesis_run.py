#!/usr/bin/env python3
"""Sends what a proxy's own OpenAPI document allows, and what it does not, and checks every answer against it.

Checks: no answer with a status of 5xx that is not described, statuses, content types and bodies as described. The seed is
printed; the same seed sends the same requests. The exit code is 0 if nothing was found and every operation also succeeded.
"""

import argparse
import collections
import json
import random
import re
import sys

import schemathesis
from schemathesis.cli import schemathesis as command_line

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
]

# How long a request waits for a commit: the answer at the timeout is described too.
WAIT = "200ms"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="of the proxy")
    parser.add_argument("--token", required=True)
    parser.add_argument("--stream", default="default", help="a stream that creates missing tables")
    parser.add_argument("--table", default="frazil.schemathesis.events", help="full name of a table that may be filled")
    parser.add_argument("--receipt", help="a receipt of the stream, for the requests that ask for one")
    parser.add_argument("--max-examples", type=int, default=50, help="per operation and phase")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    return parser.parse_args()


@schemathesis.serializer("application/cloudevents+json", "application/cloudevents-batch+json")
def json_text(context, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@schemathesis.serializer("application/x-ndjson", "application/vnd.apache.arrow.stream")
def plain_bytes(context, value):
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else repr(value).encode()


def aim(arguments):
    """Most requests go to what exists, because names that nobody knows only ever get 404. Returns the answers' statuses,
    counted by operation."""
    chance = random.Random(arguments.seed)
    real = {"stream": arguments.stream, "table": arguments.table, "receipt": arguments.receipt}
    statuses = collections.Counter()

    @schemathesis.hook
    def before_call(context, case, kwargs):
        for values in (case.path_parameters, case.query, case.headers):
            for name in real.keys() & (values or {}).keys():
                if real[name] and chance.random() < 0.75:
                    values[name] = real[name]
        if case.query and re.fullmatch("[0-9]{1,9}(ms|s|m)?", str(case.query.get("timeout", "1s"))):
            case.query["timeout"] = WAIT

    @schemathesis.hook
    def after_call(context, case, response):
        statuses[case.operation.label, response.status_code] += 1

    return statuses


def main():
    arguments = parse_arguments()
    print(f"seed {arguments.seed}", flush=True)
    statuses = aim(arguments)
    line = ["run", f"{arguments.url}/openapi.json", "--checks", ",".join(CHECKS)]
    line += ["--header", f"Authorization: Bearer {arguments.token}", "--seed", str(arguments.seed)]
    line += ["--max-examples", str(arguments.max_examples), "--phases", "examples,coverage,fuzzing"]
    line += ["--generation-database", "none", "--suppress-health-check", "all", "--request-timeout", "30"]
    line += ["--continue-on-failure", "--no-color", "--warnings", "off"]
    try:
        code = command_line.main(args=line, prog_name="schemathesis", standalone_mode=False)
    except SystemExit as end:
        code = end.code
    for (operation, status), count in sorted(statuses.items()):
        print(f"{count:6} {status} {operation}")
    untaken = {label for label, _ in statuses} - {label for label, status in statuses if 200 <= status < 300}
    if untaken:
        print(f"never succeeded, so hardly tested: {', '.join(sorted(untaken))}")
    return code or int(bool(untaken))


if __name__ == "__main__":
    sys.exit(main())
