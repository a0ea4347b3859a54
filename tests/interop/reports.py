"""Metrics reports: what an engine logs of its scans and commits is what stands in Frazil's tables of reports.

The embedded catalog forwards the reports that it gets. Iceberg's Java library logs each report beside sending it, which gives
both sides to compare. Of engines that send none it is shown that none came.
"""

import collections
import json
import pickle
import re
import subprocess
import urllib.request

import coexistence
import matrix
import tables
from processes import until

# Scripts with scans and commits; the drivers of the other engines only scan.
SCRIPTS = {"spark35": "spark_reports.py", "spark40": "spark_reports.py", "trino": "trino_reports.py"}
REPORTERS = ("spark35", "spark40", "trino")
KINDS = {"scan": "ScanReport", "commit": "CommitReport"}
# Columns that have another name in the summaries of snapshots.
SUMMARY = {"removed_data_files": "deleted-data-files", "removed_records": "deleted-records"}
SUMMARY |= {"removed_files_size_in_bytes": "removed-files-size", "added_files_size_in_bytes": "added-files-size"}
SUMMARY |= {"total_files_size_in_bytes": "total-files-size"}
SUMMARY |= {"added_positional_deletes": "added-position-deletes", "removed_positional_deletes": "removed-position-deletes"}
SUMMARY |= {"total_positional_deletes": "total-position-deletes"}
SUMMARY |= {"added_positional_delete_files": "added-position-delete-files"}
SUMMARY |= {"removed_positional_delete_files": "removed-position-delete-files"}


def run(deployment, name):
    """The cells of one engine, whether it reports or not."""
    engine, table, before = matrix.ENGINES[name], f"reports_{name}", accepted(deployment)
    plain = tables.partitioned("identity")
    deployment.create(f"interop.{table}", tables.PLAIN, "kind")
    for stream, lines in plain.batches:
        deployment.accept(f"interop.{table}", lines, stream)
    path, result = deployment.folder / f"{table}.json", deployment.folder / f"{table}.result"
    task = {"setup": matrix.setup(deployment, engine.page), "jars": engine.jars, "table": f"interop.{table}"}
    task |= {"tables": [{"name": table, "schema": tables.PLAIN}], "totals": [table], "prune": None, "busy": None}
    path.write_text(json.dumps(task))
    try:
        said = matrix.run_python(deployment, engine, SCRIPTS.get(name, engine.driver), path, result)
    except (AssertionError, subprocess.TimeoutExpired) as failure:
        return {"scans": str(failure)[-1500:]}
    catalog = coexistence.pyiceberg(deployment)
    came = settle(deployment, catalog, name) - before - 1
    if name not in SCRIPTS and not pickle.loads(result.read_bytes())["tables"][table]["rows"]:
        return {"scans": "error: nothing was read"}
    if name not in REPORTERS:
        done = ("scans", "commits") if name in SCRIPTS else ("scans",)
        return dict.fromkeys(done, "none sent" if came == 0 else f"differs: {came} reports came")
    return {f"{kind}s": judge(catalog, table, kind, said) for kind in KINDS}


def judge(catalog, table, kind, said):
    """The reports of one kind that an engine logged, and their rows."""
    sent, rows = logged_reports(said, kind, table), stored(catalog, kind, table)
    wrong = compare(sent, rows) or (summaries(catalog, table, rows) if kind == "commit" else None)
    return wrong or (f"{len(rows)} equal" if rows else "differs: no report came")


def accepted(deployment):
    """Reports that the proxy has accepted so far."""
    with urllib.request.urlopen(f"{deployment.url}/metrics", timeout=10) as answer:
        found = re.findall(r"^frazil_proxy_iceberg_reports_total\{.*\} (\d+)$", answer.read().decode(), re.MULTILINE)
    return sum(map(int, found))


def settle(deployment, catalog, name):
    """Waits until every report that the catalog has taken is a row; returns how many the proxy has accepted.

    The catalog forwards one after the other: when a report of this function's own is a row, all before it were accepted.
    """
    report = {"report-type": "scan-report", "table-name": f"last {name}", "snapshot-id": 1, "filter": True, "schema-id": 0}
    report |= {"projected-field-ids": [], "projected-field-names": [], "metrics": {}}
    address = f"{deployment.catalog.uri}/v1/namespaces/interop/tables/reports_{name}/metrics"
    request = urllib.request.Request(address, json.dumps(report).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()
    until(lambda: read(catalog, "scan", lambda found: found == f"last {name}"), "the last report")
    total = accepted(deployment)
    until(lambda: sum(len(read(catalog, kind, lambda _: True)) for kind in KINDS) >= total, f"{total} rows of reports", 60)
    return total


def read(catalog, kind, wanted):
    """The rows of a table of reports, those whose table's name is wanted."""
    name = f"frazil_system.iceberg_{kind}_report"
    if not catalog.table_exists(name):
        return []
    return [row for row in catalog.load_table(name).scan().to_arrow().to_pylist() if wanted(row["table_name"])]


def stored(catalog, kind, table):
    """The reports about a table as columns, and counters without a column under their own names."""
    found = []
    for row in read(catalog, kind, lambda name: same(name, table)):
        extra = json.loads(row["__extra__"])
        metrics = extra["report"].get("metrics", {})
        more = {key.replace("-", "_").lower(): value["value"] for key, value in metrics.items()}
        found.append(more | {key: value for key, value in row.items() if value is not None and not key.startswith("__")})
    return found


def logged_reports(text, kind, table):
    """The reports about a table that Iceberg's `LoggingMetricsReporter` has logged, by the names of the columns."""
    lines = re.findall(rf"metrics report: {KINDS[kind]}\{{(.*)\}}", text)
    found = [parsed(line, kind) for line in lines]
    return [report for report in found if same(report["table_name"], table)]


def same(name, table):
    """Whether an engine's name is that of a table, with quotes and catalog or without."""
    return name.replace('"', "").split(".")[-1] == table


def parsed(line, kind):
    """One logged report: its fields, timer and counters."""
    plain = {"tableName": str, "snapshotId": int, "schemaId": int, "sequenceNumber": int, "operation": str}
    found = {column(key): make(hit[1]) for key, make in plain.items() if (hit := re.search(rf"\b{key}=([^,]*),", line))}
    for key in ("projectedFieldIds", "projectedFieldNames"):
        if hit := re.search(rf"\b{key}=\[([^]]*)\]", line):
            found[column(key)] = hit[1].replace(", ", ",")
    if kind == "scan":
        found["filter_expression"] = re.search(r"\bfilter=(.*), schemaId=", line)[1]
    for key, duration in re.findall(r"(\w+)=TimerResult\{timeUnit=NANOSECONDS, totalDuration=(PT[^,]*),", line):
        found[f"{column(key)}_ns"] = nanoseconds(duration)
    found |= {column(key): int(value) for key, value in re.findall(r"(\w+)=CounterResult\{unit=\w+, value=(\d+)\}", line)}
    return found


def column(name):
    """The column of a name of Iceberg's Java classes."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def nanoseconds(duration):
    """A duration as Java prints it, such as `PT1M2.5S`."""
    hours, minutes, seconds = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", duration).groups("0")
    whole, _, fraction = seconds.partition(".")
    return (int(hours) * 3600 + int(minutes) * 60 + int(whole)) * 10**9 + int(fraction.ljust(9, "0") or 0)


def expression(value):
    """A filter of a report as Iceberg's Java library prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if value["type"] in ("and", "or"):
        return f"({expression(value['left'])} {value['type']} {expression(value['right'])})"
    signs = {"eq": "==", "not-eq": "!=", "lt": "<", "lt-eq": "<=", "gt": ">", "gt-eq": ">="}
    if value["type"] in signs:
        return f'ref(name="{value["term"]}") {signs[value["type"]]} "{value["value"]}"'
    return f'not_null(ref(name="{value["term"]}"))' if value["type"] == "not-null" else json.dumps(value)


def compare(sent, rows):
    """What is different; None if the rows are exactly what was logged, every field, timer and counter."""
    rows = [dict(row) for row in rows]
    for row in rows:
        if "filter_expression" in row:
            row["filter_expression"] = expression(json.loads(row["filter_expression"]))
    left, right = (collections.Counter(tuple(sorted(report.items())) for report in side) for side in (sent, rows))
    if left == right:
        return None
    missing, more = list((left - right).elements()), list((right - left).elements())
    if missing and more:
        return f"differs: logged {dict(set(missing[0]) - set(more[0]))}, stored {dict(set(more[0]) - set(missing[0]))}"
    return f"differs: {len(sent)} reports were logged, {len(rows)} are stored"


def summaries(catalog, table, rows):
    """What is different between the reports of commits and the summaries of the snapshots that they made."""
    snapshots = {snapshot.snapshot_id: snapshot for snapshot in catalog.load_table(f"interop.{table}").snapshots()}
    for row in rows:
        snapshot = snapshots[row["snapshot_id"]]
        summary = snapshot.summary.additional_properties | {"operation": snapshot.summary.operation.value}
        found = {key: summary.get(SUMMARY.get(key, key.replace("_", "-"))) for key in row}
        both = {key: (str(row[key]), value) for key, value in found.items() if value is not None}
        wrong = {key: pair for key, pair in both.items() if pair[0] != pair[1]}
        if wrong or len(both) < 8:
            return f"differs: report and summary of snapshot {row['snapshot_id']}: {wrong or both}"
    return None
