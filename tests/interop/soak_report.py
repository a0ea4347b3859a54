"""The figures of a soak as docs/soak.md, and what in them is not as it should be."""

import os

import matrix
from report import table
from snippets import ROOT
from soak_load import percentile

PAGE = ROOT / "docs/soak.md"
HEAD = """# Soak

Written by `./scripts/soak`, not by hand: a real deployment (nats-server, SeaweedFS, the embedded catalog, one proxy, one writer)
under a steady load into one table, while [Spark](engines/spark.md) compacts and expires it and [Trino](engines/trino.md) asks it.
All of it, the load included, ran on one machine with {cores} cores.
"""


def figures(arguments, load, found, counts, memory):
    """All that the page and the verdict need, as JSON."""
    return {
        "minutes": arguments.minutes,
        "rate": arguments.rate,
        "maintain_every": arguments.maintain_every,
        "cores": os.cpu_count(),
        "acked": load.acked,
        "sent": load.batches * 100,
        "refused": load.refused,
        "broken": load.broken,
        "acknowledgement": spread(load.latencies),
        "freshness": spread(load.freshness),
        "spark": found["spark35"],
        "trino": found["trino"],
        "counts": counts,
        "memory": {name: [values[len(values) // 6], max(values), values[-1]] for name, values in memory.items() if values},
    }


def spread(values):
    return {"n": len(values)} | {name: percentile(values, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))}


def problems(found):
    """What must not be, one line each."""
    wanted = {"rows": found["acked"], "ids": found["acked"], "low": 0, "high": found["acked"] - 1}
    wrong = [f"{name} counts {count}, expected {wanted}" for name, count in found["counts"].items() if count != wanted]
    if found["acked"] != found["sent"]:
        wrong.append(f"{found['acked']} of {found['sent']} events were acknowledged")
    rows = [answer["rows"] for answer in found["trino"]]
    if rows != sorted(rows) or (rows and rows[-1] > found["sent"]):
        wrong.append("Trino saw rows go away, or too many")
    if not all(done["rewritten_data_files_count"] for done in found["spark"]):
        wrong.append("Spark found nothing to compact")
    return wrong


def seconds(value):
    return f"{value:.2f} s"


def page(found):
    parts = [HEAD.format(cores=found["cores"]), result(found), latency(found), maintenance(found), memory(found)]
    return "\n".join(parts).rstrip() + "\n"


def result(found):
    text = f"**{found['rate']} events a second for {found['minutes']} minutes: {found['acked']} events acknowledged.** "
    text += f"{found['refused']} batches were refused (429 or 503) and {found['broken']} connections broke; their batches were sent again.\n"
    rows = [
        [matrix.ENGINES[name].title, *(str(count[key]) for key in ("rows", "ids", "low", "high"))]
        for name, count in found["counts"].items()
    ]
    verdict = problems(found)
    outcome = "Nothing is lost, nothing doubled:" if not verdict else "**Failed**: " + "; ".join(verdict) + ".\n"
    return f"{text}\n{outcome}\n\n" + table(["counted by", "rows", "different ids", "least id", "greatest id"], rows)


def latency(found):
    stale = [answer["stale_s"] for answer in found["trino"]]
    took = [answer["took_s"] for answer in found["trino"]]
    every = {
        "acknowledgement of a batch of 100": found["acknowledgement"],
        "freshness: from the event to its committed row, one batch of every second": found["freshness"],
        "age of the newest row when Trino asked": spread(stale),
        "Trino's answer to `count(*), max(sent)`": spread(took),
    }
    rows = [[name, str(of["n"]), *(seconds(of[key]) for key in ("p50", "p99", "max"))] for name, of in every.items()]
    text = "## Latency\n\nTimed from when a batch was due, by the client. Trino caches no metadata here.\n\n"
    return text + table(["", "samples", "p50", "p99", "greatest"], rows)


def maintenance(found):
    keys = ("rewritten_data_files_count", "added_data_files_count", "deleted_files", "files")
    rows = [
        [f"{done['at_s'] / 60:.0f}", *(str(done[key]) for key in keys), seconds(done["compaction_s"]), seconds(done["expiry_s"])]
        for done in found["spark"]
    ]
    head = ["minute", "files compacted", "into", "files deleted by expiry", "files afterwards", "compaction took", "expiry took"]
    text = f"## Spark's rounds\n\n`rewrite_data_files`, then `expire_snapshots`, every {found['maintain_every']} s.\n\n"
    return text + table(head, rows)


def memory(found):
    rows = [[name, *(f"{value} MiB" for value in values)] for name, values in found["memory"].items()]
    text = "## Memory\n\nResident memory, sampled every ten seconds. `log on disk` is JetStream's folder.\n\n"
    return text + table(["", "after a sixth of the time", "greatest", "at the end"], rows)
