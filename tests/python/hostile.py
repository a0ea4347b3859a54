#!/usr/bin/env python3
"""Bodies made to hurt: each gets its documented answer in bounded time, and the proxy's memory stays bounded.

Prints status, seconds and the proxy's peak memory after each, as JSON lines.
"""

import gzip
import json
import sys
import time
import zlib

import pyarrow as pa
from service import Service, parser

TABLE = "e2e.hostile"
FIELDS = [("id", "long"), ("d", "decimal(38, 2)"), ("x", "double"), ("s", "string")]
SCHEMA = {
    "type": "struct",
    "schema-id": 0,
    "fields": [{"id": n, "name": name, "required": False, "type": kind} for n, (name, kind) in enumerate(FIELDS, 1)],
}
MIB = 1 << 20
JSON = "application/json"


def event(field, text):
    return b'{"id": 1, "' + field + b'": ' + text + b"}"


def cases():
    """Name, body, headers, status and a word of the answer."""
    keys = b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}"
    zeros = bytes(100 * MIB)
    packed = gzip.compress(b'{"id": 1}')
    yield "100,000 unknown keys", keys, {}, 200, ""
    yield "100,000 keys, one of them twice", keys[:-1] + b',"k7":1}', {}, 400, "duplicate_field"
    yield "nested 10,000 deep", event(b"deep", b"[" * 10_000 + b"]" * 10_000), {}, 400, "too_deep"
    yield "nested 10,000 deep, unclosed", event(b"deep", b"[" * 10_000), {}, 400, "JSON"
    yield "10,000 deep objects", event(b"deep", b'{"a":' * 10_000 + b"1" + b"}" * 10_000), {}, 400, "too_deep"
    yield "string of 4.5 MB", event(b"s", b'"' + b"x" * 4_500_000 + b'"'), {}, 413, "one event may have"
    yield "string of 1 MB", event(b"s", b'"' + b"x" * 1_000_000 + b'"'), {}, 200, ""
    yield "string of 5 MB", event(b"s", b'"' + b"x" * 5_000_000 + b'"'), {}, 413, "larger than"
    yield "invalid UTF-8", event(b"s", b'"\xff\xfe"'), {}, 400, "UTF-8"
    yield "lone surrogate", event(b"s", b'"\\ud800"'), {}, 400, ""
    yield "long with 10,000 digits", event(b"id2", b"1" * 10_000).replace(b'"id": 1, "id2"', b'"id"'), {}, 400, "out_of_range"
    yield "decimal with 10,000 digits", event(b"d", b"0." + b"1" * 10_000), {}, 400, "decimal_digits"
    yield "double with 10,000 digits", event(b"x", b"0." + b"1" * 10_000), {}, 200, ""
    yield "exponent of 10 digits", event(b"d", b"1e9999999999"), {}, 400, "decimal_digits"
    yield "truncated gzip", packed[:-5], {"content_encoding": "gzip"}, 400, "gzip"
    yield "no gzip at all", b"hello", {"content_encoding": "gzip"}, 400, "gzip"
    yield "gzip bomb", gzip.compress(zeros), {"content_encoding": "gzip"}, 413, "larger than"
    yield "deflate bomb", zlib.compress(zeros), {"content_encoding": "deflate"}, 413, "larger than"
    yield "zstd bomb", pa.compress(zeros, "zstd", asbytes=True), {"content_encoding": "zstd"}, 413, "larger than"
    yield "200,000 events", b"{}\n" * 200_000, {}, 400, "at most"
    yield "two million opening brackets", b"[" * 2_000_000, {}, 400, "JSON"
    yield "the same key twice", b'{"id": 1, "id": 2}', {}, 400, "duplicate_field"


def peak(pid):
    """Peak resident memory of a process in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--proxy-pid", type=int, required=True)
    arguments = arguments.parse_args()
    service = Service(arguments)
    service.create(TABLE, SCHEMA)
    service.accept(TABLE, '{"id": 0}')
    wrong = []
    for name, body, headers, status, word in cases():
        started = time.monotonic()
        found, answer = service.post(TABLE, body, JSON, **headers)
        seconds, memory = time.monotonic() - started, peak(arguments.proxy_pid)
        print(json.dumps({"case": name, "status": found, "seconds": round(seconds, 2), "peak_mib": memory // MIB}))
        if found != status or word not in json.dumps(answer) or seconds > 30 or memory > 400 * MIB:
            wrong.append(f"{name}: {found} after {seconds:.1f} s, {memory // MIB} MiB: {str(answer)[:400]}")
    assert not wrong, "\n".join(wrong)
    service.accept(TABLE, '{"id": 2}')


if __name__ == "__main__":
    sys.exit(main())
