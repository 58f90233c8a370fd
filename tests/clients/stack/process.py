"""Child processes of the suite: started with a log file, waited for by an event they cause, ended by their own pid.

Knows nothing of what the process is. A process that dies while it is awaited fails the run with the end of its log.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0
POLL_SECONDS = 0.05


class ProcessDied(RuntimeError):
    """A child process ended, or did not become ready, before it was told to end."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def answers_ok(url: str) -> bool:
    """Whether a GET of `url` is answered with a 2xx status."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return 200 <= answer.status < 300
    except (urllib.error.URLError, OSError):
        return False


def accepts(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Child:
    """One running child process and its log."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self._output = log.open("wb")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=log.parent,
        )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Blocks until `ready` holds; raises when the process dies first or takes longer than the limit."""
        give_up = time.monotonic() + START_SECONDS_MAX
        while not ready():
            if self.process.poll() is not None:
                raise ProcessDied(f"{self.name} ended with {self.process.returncode}\n{self.log_end()}")
            if time.monotonic() > give_up:
                self.stop()
                raise ProcessDied(f"{self.name} was not ready after {START_SECONDS_MAX:.0f} s\n{self.log_end()}")
            time.sleep(POLL_SECONDS)

    def log_end(self, lines: int = 40) -> str:
        """The last lines of the process's output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def has_said_a_line(self) -> bool:
        """Whether the process has written a whole line."""
        return b"\n" in self.log.read_bytes()

    def first_line(self) -> str:
        """The first line the process wrote."""
        return self.log.read_text(errors="replace").splitlines()[0]

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def stop(self) -> int:
        """Asks the process to end, ends it when it does not, and hands back its exit code."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._output.close()
        return self.process.returncode
