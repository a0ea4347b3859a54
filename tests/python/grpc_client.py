#!/usr/bin/env python3
"""Sends events over gRPC with a client generated from the proto, and prints what came of it as JSON.

Three unary calls (JSON, NDJSON, Arrow IPC); one stream with the same formats in turn, which is broken off after some
acknowledgements; a second stream that resumes above the last cumulative acknowledgement, with the keys of the first, and
also sends a request that must be refused. Events have the columns id (long), name (string), price (double); ids begin at
--first-id and have no holes. With --bad-table the server must answer NOT_FOUND with a Problem in the details.

{"unary": [{"format", "accepted", "receipt"}…], "stream": {"sent", "resumed_above", "acknowledged", "events", "refused",
 "window", "committed", "ended"}, "events": N, "errors": {name: {"code", "type"}}, "health": "SERVING", "services": […],
 "methods": […]}
"""

import argparse
import importlib
import json
import pathlib
import queue
import sys
import tempfile
import threading

import grpc

FORMATS = ["FORMAT_JSON", "FORMAT_NDJSON", "FORMAT_ARROW_IPC_STREAM"]
ROOT = pathlib.Path(__file__).resolve().parents[2] / "proto"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="host:port")
    parser.add_argument("--token", required=True)
    parser.add_argument("--stream", default="default")
    parser.add_argument("--table", required=True, help="namespace.table, or with the catalog in front")
    parser.add_argument("--bad-table", help="a table that does not exist")
    parser.add_argument("--first-id", type=int, default=1)
    parser.add_argument("--requests", type=int, default=30, help="requests of the stream")
    parser.add_argument("--events", type=int, default=10, help="events per request")
    parser.add_argument("--committed", action="store_true", help="ask for committed acknowledgements and wait for them")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each call")
    return parser.parse_args()


def generate(folder):
    """The messages and stubs of the proto, made in `folder`."""
    from grpc_tools import protoc

    name = "frazil/v1/ingest.proto"
    options = [f"-I{ROOT}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main(["protoc", *options, str(ROOT / name)]) != 0:
        sys.exit("protoc failed")
    sys.path.insert(0, folder)
    return importlib.import_module("frazil.v1.ingest_pb2"), importlib.import_module("frazil.v1.ingest_pb2_grpc")


def encode(format_name, first, count):
    """`count` events from id `first`, in one of the formats."""
    rows = [{"id": i, "name": f"näme {i}", "price": i / 4} for i in range(first, first + count)]
    if format_name == "FORMAT_JSON":
        return json.dumps(rows).encode()
    if format_name == "FORMAT_NDJSON":
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    import pyarrow as pa

    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("price", pa.float64())])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return sink.getvalue().to_pybytes()


def problem_of(pb, error):
    """The Problem in the details of an RpcError."""
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if details is None:
        return None
    # google.rpc.Status: field 3 holds Any messages, each a type in field 1 and a value in field 2.
    for _, any_bytes in fields(details, 3):
        parts = dict(fields(any_bytes))
        if parts[1].decode().endswith("/frazil.v1.Problem"):
            return pb.Problem.FromString(parts[2])
    return None


def fields(data, wanted=None):
    """The (number, value) pairs of an encoded message; enough of the wire format to need no proto for it."""

    def varint(at):
        value, shift = 0, 0
        while True:
            byte = data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    at = 0
    while at < len(data):
        key, at = varint(at)
        value, at = varint(at)
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        if wanted in (None, key >> 3):
            yield key >> 3, value


class Stream:
    """One IngestStream: sends without waiting, within the window, and keeps the numbers."""

    def __init__(self, pb, stub, metadata, timeout, committed):
        self.pb, self.outbox, self.number, self.window = pb, queue.Queue(), 0, None
        self.options = pb.StreamOptions(committed_acks=True) if committed else None
        self.acknowledged = self.committed = self.accepted = 0
        self.closing, self.error, self.refused = False, None, []
        self.changed = threading.Condition()
        self.call = stub.IngestStream(iter(self.outbox.get, None), metadata=metadata, timeout=timeout)
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self):
        try:
            for message in self.call:
                with self.changed:
                    self.acknowledged, self.window = message.acknowledged, message.window
                    self.committed, self.closing = message.committed, message.closing
                    self.refused += [(r.number, r.problem.type) for r in message.refused]
                    self.accepted += sum(r.response.accepted for r in message.results)
                    self.changed.notify_all()
        except grpc.RpcError as error:
            self.error = error
        with self.changed:
            self.closing = True
            self.changed.notify_all()

    def wait_for(self, condition):
        with self.changed:
            self.changed.wait_for(lambda: condition() or self.closing)
        if not condition():
            raise RuntimeError(f"the stream ended too early: {self.error}")

    def send(self, request):
        self.wait_for(lambda: self.window is not None and self.number - self.acknowledged < self.window)
        self.number += 1
        message = self.pb.IngestStreamRequest(number=self.number, request=request)
        if self.number == 1 and self.options is not None:
            message.options.CopyFrom(self.options)
        self.outbox.put(message)

    def finish(self):
        """Half-closes and returns how the stream ended."""
        self.outbox.put(None)
        self.listener.join()
        return self.call.code().name

    def break_off(self):
        self.call.cancel()
        self.listener.join()
        self.outbox.put(None)


def run_unary(arguments, pb, stub, metadata, events):
    results = []
    for at, format_name in enumerate(FORMATS):
        first = arguments.first_id + at * events
        body = encode(format_name, first, events)
        request = pb.IngestRequest(stream=arguments.stream, table=arguments.table, format=format_name, events=body)
        request.idempotency_key = f"unary-{first}"
        answer = stub.Ingest(request, metadata=metadata, timeout=arguments.timeout)
        results.append({"format": format_name, "accepted": answer.accepted, "receipt": answer.receipt})
    return results


def run_streams(arguments, pb, stub, metadata, first_id):
    """Sends every request, breaking the stream once; what was not acknowledged is sent again on another one."""

    def request(index):
        first = first_id + index * arguments.events
        body = encode(FORMATS[index % len(FORMATS)], first, arguments.events)
        return pb.IngestRequest(
            stream=arguments.stream,
            table=arguments.table,
            format=FORMATS[index % len(FORMATS)],
            events=body,
            idempotency_key=f"stream-{first}",
        )

    half = arguments.requests // 2
    one = Stream(pb, stub, metadata, arguments.timeout, False)
    for index in range(half):
        one.send(request(index))
    one.wait_for(lambda: one.acknowledged >= half // 2)
    one.break_off()
    resumed_above = one.acknowledged
    two = Stream(pb, stub, metadata, arguments.timeout, arguments.committed)
    for index in range(resumed_above, arguments.requests):
        two.send(request(index))
    # Refused by its own number, without an end to the stream.
    two.send(pb.IngestRequest(stream=arguments.stream, table=arguments.table, events=b"{"))
    two.wait_for(lambda: two.acknowledged == two.number)
    if arguments.committed:
        two.wait_for(lambda: two.committed == two.number)
    ended = two.finish()
    return {
        "sent": arguments.requests,
        "resumed_above": resumed_above,
        "acknowledged": resumed_above + two.acknowledged,
        "events": one.accepted + two.accepted,
        "refused": [[resumed_above + number, kind] for number, kind in one.refused + two.refused],
        "window": two.window,
        "committed": two.committed,
        "ended": ended,
    }


def run_errors(arguments, pb, stub, metadata):
    """Code and problem type of calls that must fail."""
    one = pb.IngestRequest(stream=arguments.stream, table=arguments.table, events=b'{"id":1}')
    wrong = {
        "no_token": (one, []),
        "invalid_json": (pb.IngestRequest(stream=arguments.stream, table=arguments.table, events=b"{"), metadata),
    }
    if arguments.bad_table:
        wrong["bad_table"] = (pb.IngestRequest(stream=one.stream, table=arguments.bad_table, events=b"{}"), metadata)
    results = {}
    for name, (request, with_metadata) in wrong.items():
        try:
            stub.Ingest(request, metadata=with_metadata, timeout=arguments.timeout)
            results[name] = None
        except grpc.RpcError as error:
            problem = problem_of(pb, error)
            results[name] = {"code": error.code().name, "type": problem.type if problem else None}
    return results


def run_about(channel, timeout):
    """What health and reflection say."""
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    health = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service="frazil.v1.Ingest"), timeout=timeout)
    database = ProtoReflectionDescriptorDatabase(channel)
    service = DescriptorPool(database).FindServiceByName("frazil.v1.Ingest")
    return {
        "health": health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status),
        "services": sorted(database.get_services()),
        "methods": [method.name for method in service.methods],
    }


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder, grpc.insecure_channel(arguments.address) as channel:
        pb, services = generate(folder)
        stub = services.IngestStub(channel)
        metadata = [("authorization", f"Bearer {arguments.token}")]
        unary = run_unary(arguments, pb, stub, metadata, arguments.events)
        first_id = arguments.first_id + len(FORMATS) * arguments.events
        stream = run_streams(arguments, pb, stub, metadata, first_id)
        result = {
            "unary": unary,
            "stream": stream,
            # Ids from --first-id on; each in the table exactly once in the end.
            "events": (len(FORMATS) + arguments.requests) * arguments.events,
            "errors": run_errors(arguments, pb, stub, metadata),
            **run_about(channel, arguments.timeout),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
