#!/usr/bin/env python3
"""Creates a table with the one column `id` (long) and the given `frazil.` properties."""

import sys

from service import Service, parser

SCHEMA = {"type": "struct", "schema-id": 0, "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--table", required=True)
    arguments.add_argument("properties", nargs="*", metavar="NAME=VALUE", help="without the prefix frazil.")
    arguments = arguments.parse_args()
    properties = dict(pair.split("=", 1) for pair in arguments.properties)
    Service(arguments).create(arguments.table, SCHEMA, **properties)


if __name__ == "__main__":
    sys.exit(main())
