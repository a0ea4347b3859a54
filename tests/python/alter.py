#!/usr/bin/env python3
"""A user who keeps altering a table with PyIceberg while it is written: adds, renames and drops columns of their own.

Runs until standard input ends; prints the number of changes made, as JSON.
"""

import json
import select
import sys

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.types import LongType, StringType
from service import Service, parser


def alterations(table, turn):
    """One change of the schema, the turn-th."""
    with table.update_schema() as change:
        step, number = turn % 4, turn // 4
        if step == 0:
            change.add_column(f"user_added_{number}", StringType())
        elif step == 1:
            change.rename_column(f"user_added_{number}", f"user_renamed_{number}")
        elif step == 2:
            change.add_column(f"user_long_{number}", LongType())
        else:
            change.delete_column(f"user_long_{number}")


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--table", required=True)
    arguments = arguments.parse_args()
    service = Service(arguments)
    turn, conflicts = 0, 0
    while not select.select([sys.stdin], [], [], 0.5)[0]:
        try:
            alterations(service.table(arguments.table), turn)
            turn += 1
        except CommitFailedException:
            conflicts += 1
    print(json.dumps({"changes": turn, "conflicts": conflicts}))


if __name__ == "__main__":
    sys.exit(main())
