"""Child processes with logs, free ports, and waiting for a state. Knows nothing of what the processes are."""

import contextlib
import pathlib
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

# Seconds; on a busy machine a Java server takes minutes.
READY = 300


class Process:
    """A child whose output goes to a file; killed by `stop`, at the latest when the run ends."""

    def __init__(self, name, command, folder, environment=None):
        self.name, self.log = name, pathlib.Path(folder, f"{name}.log")
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment
            )

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def stop(self):
        """Asks to end, waits, and kills what does not."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(20)
            self.child.kill()
        self.child.wait()

    def answers(self, url, statuses=(200,)):
        """Waits until a GET of `url` has one of these statuses."""

        def probe():
            assert self.child.poll() is None, f"{self.name} ended\n{self.tail()}"
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    return answer.status in statuses
            except urllib.error.HTTPError as refusal:
                return refusal.code in statuses
            except OSError:
                return False

        self.wait(probe, f"{self.name} at {url}")

    def listens(self, port):
        """Waits until somebody listens on a port."""

        def probe():
            assert self.child.poll() is None, f"{self.name} ended\n{self.tail()}"
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        self.wait(probe, f"{self.name} on port {port}")

    def wait(self, probe, what):
        """Waits for a state; a process that does not get there is stopped, since nobody has it yet."""
        try:
            until(probe, what, READY, self.tail)
        except BaseException:
            self.stop()
            raise


def until(probe, what, limit=READY, tail=lambda: ""):
    """Polls a state outside this process until `probe` yields something true, and returns that."""
    ends = time.monotonic() + limit
    while True:
        if found := probe():
            return found
        assert time.monotonic() < ends, f"gave up after {limit} s waiting for {what}\n{tail()}"
        time.sleep(0.1)


def free_port(companion=0):
    """A port that nobody listens on, nor on the one `companion` above it."""
    while True:
        port = random.randint(10_000, 21_999)
        with contextlib.ExitStack() as taken, contextlib.suppress(OSError):
            for number in {port, port + companion}:
                taken.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port
