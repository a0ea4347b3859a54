"""Steps of an engine that changes a table while Frazil writes it: each must succeed, and Frazil must go on after it."""

import json
import pathlib
import sys
import time

LIMIT = 90
# What engines say when a commit of somebody else came first.
CONFLICTS = ("onflict", "stale", "Failed to commit", "CommitFailed", "concurrently modified")


class Steps:
    """Runs steps one after the other and keeps what came of each."""

    def __init__(self, count):
        self.count, self.outcomes = count, {}

    def step(self, name, action, follows=None):
        """`action`, then rows of Frazil's beyond those before; `follows` is a condition that must come true, too."""
        try:
            action()
            before = self.count()
            self.until(lambda: self.count() > before, f"rows of Frazil's after {name}")
            if follows:
                self.until(follows, f"Frazil to follow {name}")
            self.outcomes[name] = "ok"
        except Exception as error:
            self.outcomes[name] = f"{type(error).__name__}: {error}"

    def refused(self, name, action):
        """What the catalog does not have: it must say so."""
        try:
            action()
            self.outcomes[name] = "was not refused"
        except Exception as error:
            line = next(line for line in str(error).splitlines() if line.strip())
            self.outcomes[name] = f"refused: {line[:160]}"

    @staticmethod
    def until(probe, what):
        ends = time.monotonic() + LIMIT
        while not probe():
            assert time.monotonic() < ends, f"gave up after {LIMIT} s waiting for {what}"
            time.sleep(0.5)


def task():
    return json.loads(pathlib.Path(sys.argv[1]).read_text())


def again(action, tries=10):
    """Tries again after a conflict with a commit of Frazil's, as the engine's user would."""
    for _ in range(tries - 1):
        try:
            return action()
        except Exception as error:
            if not any(word in str(error) for word in CONFLICTS):
                raise
    return action()


def save(outcomes):
    pathlib.Path(sys.argv[2]).write_text(json.dumps(outcomes))
