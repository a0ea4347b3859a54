"""Readings that are wrong on purpose: before a run, its judge must find every one of them."""

import copy

import matrix
import reports
import tables

REPORT = {"snapshot_id": 7, "result_data_files": 1}


def read(table, change):
    """What is said of a reading that is right but for one change."""
    rows = copy.deepcopy(list(table.rows.values()))
    return matrix.judge(table, {"rows": change(rows), "errors": {}})


def first(rows, **values):
    """The rows with other values in the first."""
    return [rows[0] | values, *rows[1:]]


def check():
    long, day = tables.type_table("long", 1), tables.partitioned("day")
    values = {"rows": day.rows.values()}
    total = len(day.rows), sum(row["row"] for row in values["rows"]), sum(row["amount"] for row in values["rows"])
    right = [
        read(long, lambda rows: rows),
        matrix.judge_busy([([1, 2, 3], None), ([1, 2, 3, 4], None)], 3, 10),
        matrix.judge_totals({"spec_day": (total, None)}, [day]),
        reports.compare([REPORT], [REPORT]) or "ok",
    ]
    assert right == ["ok"] * len(right), right
    wrong = {
        "another value": read(long, lambda rows: first(rows, p0=12345)),
        "a missing value": read(long, lambda rows: [{"row": rows[0]["row"]}, *rows[1:]]),
        "a missing row": read(long, lambda rows: rows[:-1]),
        "a row twice": read(long, lambda rows: rows[:-1] + rows[:1]),
        "another type": read(long, lambda rows: first(rows, p0=float(rows[1]["p0"] or 0))),
        "an id twice": matrix.judge_busy([([1, 2, 2], None)], 2, 10),
        "an id that was visible": matrix.judge_busy([([1, 2], None)], 3, 10),
        "an id that went away": matrix.judge_busy([([1, 2, 3], None), ([1, 2, 4], None)], 3, 10),
        "an id that was not sent": matrix.judge_busy([([1, 2, 30], None)], 3, 10),
        "a wrong count": matrix.judge_totals({"spec_day": ((total[0] + 1, *total[1:]), None)}, [day]),
        "a wrong sum": matrix.judge_totals({"spec_day": ((*total[:2], 0), None)}, [day]),
        "another figure in a report": reports.compare([REPORT], [REPORT | {"result_data_files": 2}]),
        "a figure that a report has not": reports.compare([REPORT], [REPORT | {"skipped_data_files": 0}]),
        "a missing report": reports.compare([REPORT, REPORT], [REPORT]),
        "a report twice": reports.compare([REPORT], [REPORT, REPORT]),
        "too few rows for a day": matrix.judge_pruned({"rows": 1, "files": 1, "of": 5}, None),
    }
    missed = [name for name, outcome in wrong.items() if not outcome.startswith("differs") and "rows" not in outcome]
    assert not missed, f"the judge does not find {missed}"
