#!/usr/bin/env python3
"""What users do to a table while Frazil writes it, one scene per run; afterwards every acknowledged event is counted.

An event may be a row, a dead letter, or a row that the user took away. Prints the counts as JSON; anything that is
twice or nowhere is an error here.
"""

import collections
import concurrent.futures
import json
import pathlib
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.table import StaticTable
from service import Service, parser

STREAM = "life"
SCHEMA = {
    "type": "struct",
    "schema-id": 0,
    "fields": [
        {"id": 1, "name": "id", "required": False, "type": "long"},
        {"id": 2, "name": "kind", "required": False, "type": "long"},
    ],
}
KINDS = 4
SENDERS, EVENTS, PAUSE = 2, 20, 0.1
LIMIT = 60


class Load:
    """A steady keyed load, some 300 events a second, whatever happens; a request is sent again until it is accepted."""

    def __init__(self, service, table):
        self.service, self.name = service, table
        self.acked, self.receipts, self.refused = [], {}, collections.Counter()
        self.ended, self.given_up = threading.Event(), threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(SENDERS)
        self.senders = [self.pool.submit(self.send, sender) for sender in range(SENDERS)]

    def send(self, sender):
        batch = sender
        while not self.ended.wait(PAUSE):
            ids = range(batch * EVENTS, (batch + 1) * EVENTS)
            body = "\n".join(json.dumps({"id": number, "kind": number % KINDS}) for number in ids)
            while (answer := self.post(body, f"{self.name}-{batch}")) is None:
                if self.given_up.wait(PAUSE):
                    return
            self.acked.extend(ids)
            self.receipts[sender] = answer["receipt"]
            batch += SENDERS

    def post(self, body, key):
        arguments = self.service.arguments
        headers = {"authorization": f"Bearer {arguments.token}", "content-type": "application/x-ndjson"}
        headers |= {"table": self.name, "idempotency-key": key}
        address = f"{arguments.url}/v1/streams/{STREAM}/events"
        try:
            with urllib.request.urlopen(urllib.request.Request(address, body.encode(), headers), timeout=15) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            self.refused[refusal.code] += 1
            assert refusal.code in (404, 429, 503), f"{refusal.code} {refusal.read()}"
            return None

    def events(self, count):
        """Waits until so many more are acknowledged."""
        until(lambda goal=len(self.acked) + count: len(self.acked) >= goal, f"{count} more events")

    def end(self):
        """Ends the load and waits until the fate of every event is decided; returns all acknowledged ids."""
        self.ended.set()
        self.pool.shutdown()
        for sender in self.senders:
            sender.result()
        for receipt in self.receipts.values():
            self.settled(receipt)
        assert len(self.acked) == len(set(self.acked))
        return set(self.acked)

    def give_up(self):
        self.ended.set()
        self.given_up.set()

    def settled(self, receipt):
        arguments = self.service.arguments
        address = f"{arguments.url}/v1/receipts/{urllib.parse.quote(receipt)}?wait=committed&timeout=50s"
        request = urllib.request.Request(address, headers={"authorization": f"Bearer {arguments.token}"})
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            state = json.load(answer)["state"]
        assert state == "committed", state


class Scene:
    """A table under load, and what of it is where."""

    def __init__(self, service, table):
        self.service, self.name = service, table
        self.create()
        self.load = Load(service, table)
        until(lambda: len(self.snapshots()) >= 3, "the first commits")
        # Until then the proxy may not have known the stream.
        self.load.refused.clear()

    def create(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as schema:
            schema.write(json.dumps(SCHEMA))
            schema.flush()
            self.service.frazil("table", "create", self.name, "--partition-by", "kind", "--schema", schema.name)

    def table(self):
        return self.service.table(self.name)

    def snapshots(self):
        """Snapshots of `main`, oldest first."""
        return ancestry(self.table())

    def change(self, work):
        """Does `work(table)`, again and again while other commits come first; returns the table after it."""
        def attempt():
            table = self.table()
            try:
                return (table, work(table))
            except (CommitFailedException, ValidationException):
                return None
        return until(attempt, "a commit of the user's")

    def checkpoints(self):
        """The sequence of each shard up to which the table is complete."""
        return checkpoints(self.table())

    def rows(self):
        return ids(self.table())

    def letters(self):
        """Ids of the dead letters, and their reasons."""
        name = f"{self.name}__dead_letter"
        if not self.service.catalog.table_exists(name):
            return [], set()
        letters = self.service.table(name).scan().to_arrow()
        payloads = letters.column("payload").to_pylist()
        return [json.loads(payload)["id"] for payload in payloads], set(letters.column("reason").to_pylist())

    def replay(self):
        """Brings the dead letters into the table, if there are any."""
        if not self.letters()[0]:
            return None
        report = self.service.frazil("dead-letter", "replay", self.name, "--json")
        return json.loads(report.splitlines()[-1])


def until(probe, what):
    """Polls a state outside of this process."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if found := probe():
            return found
        time.sleep(0.05)
    raise AssertionError(f"gave up waiting for {what}")


def ids(table, snapshot_id=None):
    return table.scan(snapshot_id=snapshot_id, selected_fields=("id",)).to_arrow().column("id").to_pylist()


def ancestry(table):
    snapshots, current = [], table.current_snapshot()
    while current is not None:
        snapshots.insert(0, current)
        current = table.snapshot_by_id(current.parent_snapshot_id) if current.parent_snapshot_id else None
    return snapshots


def checkpoints(table):
    prefix = f"frazil.checkpoint.{STREAM}."
    found = {key: value.split("@")[0] for key, value in table.properties.items() if key.startswith(prefix)}
    return {key: int(value.rpartition(":")[2]) for key, value in found.items()}


def once(where, found):
    twice = [number for number, count in collections.Counter(found).items() if count > 1]
    assert not twice, f"{len(twice)} events are twice in the {where}, such as {sorted(twice)[:5]}"
    return set(found)


def account(scene, acked, taken):
    """Every acknowledged event is exactly once a row or a dead letter, unless it is among `taken`."""
    rows, (letters, reasons) = once("table", scene.rows()), scene.letters()
    letters = once("dead letters", letters)
    both = rows & letters
    assert not both, f"{len(both)} events are rows and letters, such as {sorted(both)[:5]}"
    foreign = (rows | letters) - acked
    assert not foreign, f"{len(foreign)} events were never acknowledged, such as {sorted(foreign)[:5]}"
    lost = acked - rows - letters - taken
    assert not lost, f"{len(lost)} of {len(acked)} events are nowhere, such as {sorted(lost)[:5]}"
    return {"acked": len(acked), "rows": len(rows), "letters": len(letters), "reasons": sorted(reasons)}


def rollback(scene):
    """Three times back by two snapshots. What was in them is gone, and nothing else; checkpoints stay."""
    taken = set()
    for _ in range(3):
        scene.load.events(300)
        until(lambda: len(scene.snapshots()) >= 5, "snapshots to go back by")
        before = scene.checkpoints()

        def back(table):
            target = ancestry(table)[-3].snapshot_id
            table.manage_snapshots().rollback_to_snapshot(target).commit()
            return target

        table, target = scene.change(back)
        left = table.metadata.snapshot_log[-2].snapshot_id
        taken |= set(ids(table, left)) - set(ids(table, target))
        after = scene.checkpoints()
        assert all(after[key] >= value for key, value in before.items()), f"{before} to {after}"
    acked = scene.load.end()
    counts = account(scene, acked, taken)
    again = taken & set(scene.rows())
    assert not again, f"{len(again)} events that the user took away are back"
    return counts | {"taken": len(taken)}


def last_version(location):
    """The metadata file that a dropped table had last."""
    metadata = pathlib.Path(urllib.parse.urlsplit(location).path, "metadata")
    return str(max(metadata.glob("*.metadata.json"), key=lambda path: int(path.name.split("-")[0])))


def ids_of(metadata_file):
    return set(ids(StaticTable.from_metadata(metadata_file)))


def drop_and_recreate(scene):
    """Twice dropped, missing for a while, created again. A replay brings what came meanwhile into the new table."""
    dropped = set()
    for _ in range(2):
        scene.load.events(300)
        location = scene.table().location()
        scene.service.catalog.drop_table(scene.name)
        dropped |= ids_of(last_version(location))
        until(lambda: scene.letters()[0] or scene.load.refused[404], "a sign that the table is missing")
        scene.create()
        until(lambda: scene.rows(), "rows in the new table")
    acked = scene.load.end()
    counts = account(scene, acked, dropped)
    again = dropped & (set(scene.rows()) | set(scene.letters()[0]))
    replay = scene.replay()
    rows = once("table", scene.rows())
    assert rows == (acked - dropped) | again, f"{len(rows)} rows after the replay"
    return counts | {"dropped": len(dropped), "again": len(again), "replay": replay, "refused": scene.load.refused[404]}


def restore(scene):
    """The table goes back to a metadata file of some commits ago, as from a backup."""
    backup = scene.table()
    kept = set(ids(backup))
    scene.load.events(600)
    until(lambda: len(scene.rows()) > len(kept) + 300, "rows that the backup does not have")
    scene.service.catalog.drop_table(scene.name)
    left = last_version(backup.location())
    scene.service.catalog.register_table(scene.name, backup.metadata_location)
    taken = ids_of(left) - kept
    scene.load.events(600)
    acked = scene.load.end()
    counts = account(scene, acked, taken)
    present = set(scene.rows()) | set(scene.letters()[0])
    scene.replay()
    rows = once("table", scene.rows())
    assert rows == present, f"{len(rows)} rows after the replay of {len(present)}"
    return counts | {"taken": len(taken - present), "again": len(taken & present)}


def undrop(scene):
    """The table is dropped by mistake, missing for a while, and registered again as it was."""
    for _ in range(2):
        scene.load.events(300)
        location = scene.table().location()
        scene.service.catalog.drop_table(scene.name)
        newest = last_version(location)
        until(lambda: scene.letters()[0] or scene.load.refused[404], "a sign that the table is missing")
        scene.load.events(400)
        scene.service.catalog.register_table(scene.name, newest)
        scene.load.events(200)
    acked = scene.load.end()
    counts = account(scene, acked, set())
    replay = scene.replay()
    assert once("table", scene.rows()) == acked, f"{len(scene.rows())} rows after the replay"
    return counts | {"replay": replay}


def upkeep(scene):
    """Compaction in three manners, expiry of all but the newest snapshot with its files, tags and branches."""
    done = collections.Counter()
    tagged, end, turn = {}, time.monotonic() + 10, 0
    while time.monotonic() < end:
        before = scene.checkpoints()
        manner = COMPACTIONS[turn % len(COMPACTIONS)]
        scene.change(manner)
        done[manner.__name__] += 1
        if turn % 3 == 2:
            done["files"] += expire(scene)
            done["expiries"] += 1
        if turn % 4 == 3:
            tagged |= refer(scene, turn)
            done["references"] += 2
        after = scene.checkpoints()
        assert all(after[key] >= value for key, value in before.items()), f"{before} to {after}"
        turn += 1
    acked = scene.load.end()
    counts = account(scene, acked, set())
    table = scene.table()
    for name, (snapshot, rows) in tagged.items():
        assert table.metadata.refs[name].snapshot_id == snapshot, f"{name} has moved"
        assert sorted(ids(table, snapshot)) == rows, f"{name} shows other rows"
    return counts | dict(done)


def rewrite(table):
    table.overwrite(table.scan().to_arrow())


def delete_and_append(table):
    rows = table.scan().to_arrow()
    with table.transaction() as transaction:
        transaction.delete("id >= 0")
        transaction.append(rows)


def rewrite_a_partition(table):
    rows = table.scan(row_filter="kind = 1").to_arrow()
    table.dynamic_partition_overwrite(rows)


COMPACTIONS = [rewrite, delete_and_append, rewrite_a_partition]


def files_of(table):
    """Data files, manifests and manifest lists of all snapshots."""
    found = set()
    for snapshot in table.snapshots():
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            found.update(entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io, False))
    return found


def expire(scene):
    """Expires all but the newest snapshot and what tags and branches hold, deletes its files; returns how many."""
    def work(table):
        before = table.metadata
        kept = {reference.snapshot_id for reference in before.refs.values()}
        old = [snapshot.snapshot_id for snapshot in before.snapshots if snapshot.snapshot_id not in kept]
        files = files_of(table)
        table.maintenance.expire_snapshots().by_ids(old).commit()
        return files

    table, files = scene.change(work)
    unused = files - files_of(table)
    for file in unused:
        table.io.delete(file)
    return len(unused)


def refer(scene, turn):
    def work(table):
        snapshot = table.current_snapshot().snapshot_id
        manage = table.manage_snapshots().create_tag(snapshot, f"tag-{turn}")
        manage.create_branch(snapshot, f"branch-{turn}").commit()
        return snapshot

    table, snapshot = scene.change(work)
    rows = sorted(ids(table, snapshot))
    return {f"tag-{turn}": (snapshot, rows), f"branch-{turn}": (snapshot, rows)}


SCENES = {scene.__name__: scene for scene in (rollback, drop_and_recreate, restore, undrop, upkeep)}


def main():
    arguments = parser(__doc__)
    arguments.add_argument("scene", choices=SCENES)
    arguments = arguments.parse_args()
    service = Service(arguments)
    service.frazil("stream", "create", STREAM, "--shards", "2", "--on-missing-table", "not-found", "--max-bytes", "1GiB")
    scene = Scene(service, f"life.{arguments.scene}")
    try:
        print(json.dumps(SCENES[arguments.scene](scene)))
    finally:
        scene.load.give_up()


if __name__ == "__main__":
    sys.exit(main())
