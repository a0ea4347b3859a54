"""The load of the soak: numbered events at a fixed rate, each batch sent until it is acknowledged.

The load is open: a batch is due at its time whether or not those before it were answered, and is timed from then on. One
batch of a second waits until its rows are committed, which gives the freshness.
"""

import concurrent.futures
import datetime
import http.client
import itertools
import json
import math
import threading
import time

BATCH = 100
SENDERS = 4
# Batches that may wait for their commit at the same time; more than that many seconds of freshness are not measured.
PROBES = 120
PROBE_LIMIT = 60
ANSWER_LIMIT = 90
# A batch that is not acknowledged for so many seconds ends the run.
GIVE_UP = 600


def lines(first, count):
    """Events as NDJSON."""
    sent = datetime.datetime.now(datetime.UTC).isoformat()
    return "\n".join(
        json.dumps({"id": n, "kind": f"k{n % 8}", "note": f"note {n * 7919 % 1000003}", "sent": sent})
        for n in range(first, first + count)
    ).encode()


class SoakLoad:
    """Sends `rate` events a second for `seconds` into a table."""

    def __init__(self, deployment, stream, table, rate, seconds):
        self.deployment, self.table, self.period = deployment, table, BATCH / rate
        self.path = f"/v1/streams/{stream}/events"
        self.batches, self.rate = int(seconds / self.period), rate
        self.numbers, self.lock = itertools.count(), threading.Lock()
        self.acked = self.refused = self.broken = 0
        self.latencies, self.freshness = [], []
        self.connections = threading.local()
        self.failure = None

    def run(self):
        """Returns when every batch is acknowledged and every probe answered."""
        self.began = time.monotonic()
        probes = concurrent.futures.ThreadPoolExecutor(PROBES)
        senders = [threading.Thread(target=self.send_all, args=(probes,)) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        probes.shutdown()
        if self.failure:
            raise self.failure

    def send_all(self, probes):
        try:
            while (number := next(self.numbers)) < self.batches and not self.failure:
                due = self.began + number * self.period
                time.sleep(max(0, due - time.monotonic()))
                if number % round(1 / self.period) == 0:
                    probes.submit(self.probe, number, due)
                else:
                    self.send(number, due, self.path)
                    self.latencies.append(time.monotonic() - due)
        except Exception as failure:
            self.failure = failure

    def probe(self, number, due):
        try:
            answer = self.send(number, due, f"{self.path}?wait=committed&timeout={PROBE_LIMIT}s")
            assert answer["state"] == "committed", f"batch {number} after {PROBE_LIMIT} s: {answer}"
            with self.lock:
                self.freshness.append(time.monotonic() - due)
        except Exception as failure:
            self.failure = failure

    def send(self, number, due, path):
        """Sends one batch, again under the same key until it is acknowledged; the answer."""
        body = lines(number * BATCH, BATCH)
        while True:
            status, answer = self.post(path, body, f"soak-{number}")
            if status == 200:
                break
            with self.lock:
                self.refused += status is not None
                self.broken += status is None
            assert status in (None, 429, 503), f"batch {number}: {status} {answer}"
            assert time.monotonic() < due + GIVE_UP, f"batch {number} is not acknowledged after {GIVE_UP} s: {answer}"
            time.sleep(0.2)
        assert answer["accepted"] == BATCH, answer
        with self.lock:
            self.acked += BATCH
        return answer

    def post(self, path, body, key):
        """Status and answer; no status if the connection broke."""
        headers = {"authorization": f"Bearer {self.deployment.token}", "content-type": "application/x-ndjson"}
        headers |= {"table": self.table, "idempotency-key": key}
        connection = getattr(self.connections, "open", None)
        try:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.deployment.proxy_port, timeout=ANSWER_LIMIT)
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            found = answer.status, json.load(answer)
            self.connections.open = connection
            return found
        except (OSError, http.client.HTTPException) as failure:
            self.connections.open = None
            connection.close()
            return None, str(failure)


def percentile(values, share):
    """The smallest value that at least this share of all are not above."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]
