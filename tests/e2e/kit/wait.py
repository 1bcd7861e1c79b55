"""
Ports, waiting and child processes.

No test may fail because the machine is slow, stands still for two seconds, or syncs its disk slowly. What holds however slow it is:

- something comes (until): waited for with a long bound, which costs nothing where it does come;
- something does not come before its time: a delay only ever makes it later. Its moment is told by who does it (the log, the receiver), and counts
  from a moment that we know to be before the beginning;
- what comes first: told by one peer, one log, or by a step that we hold back ourselves until the other is over;
- how much slower one is than another: both measured in turns, so that the machine is the same for both;
- a figure that the daemon itself has summed up (next_attempt, expires, seconds of a ban).
"""
import os
import random
import signal
import socket
import subprocess
import time

BLOCK = 64  # ports a process takes at once
PORTS = range(10048, 32704, BLOCK)  # below the range the kernel takes for outgoing connections
_mine = []  # the blocks of this process: their locks, which end with it
_left = []  # ports of them that nobody was given yet


def _take_block():
    """
    A block of ports that no other process of the tests has, nor takes while we live: each block has a name among the abstract Unix
    sockets, which are as wide as the ports (one network namespace) and are let go with their process, however it ends.
    """
    for first in random.sample(PORTS, len(PORTS)):
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0postwain-test-ports-{first}")
        except OSError:
            lock.close()
            continue
        _mine.append(lock)
        _left.extend(range(first, first + BLOCK))
        return
    raise AssertionError("every block of ports is taken")


def free_port(address="127.0.0.1"):
    """A port nobody listens on and no other test is given, whichever process it runs in."""
    while True:
        if not _left:
            _take_block()
        port = _left.pop()
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as s:
            try:
                s.bind((address, port))
            except OSError:
                continue
        return port


PATIENCE = 4  # times what it may take on a quiet machine; only a test that fails waits so long


def until(what, timeout=20.0, why=None, pause=0.02):
    """
    Calls what() until it returns something true, and returns that. timeout: seconds on a quiet machine. There is always a look behind the end,
    which may have come while nobody let us look.
    """
    end = time.monotonic() + PATIENCE * timeout
    while True:
        over = time.monotonic() > end
        if got := what():
            return got
        if over:
            detail = str(why() if callable(why) else why or what)[-4000:]
            raise AssertionError(f"not within {PATIENCE * timeout} s: {detail}")
        time.sleep(pause)


def answers(port, address="127.0.0.1"):
    try:
        socket.create_connection((address, port), 5).close()
        return True
    except OSError:
        return False


class Process:
    """A child with its standard output and error in files; ready when `ready` stands in the output."""

    def __init__(self, name, folder, ready="ready", timeout=30.0):
        self.name, self.ready, self.timeout = name, ready, timeout
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        self.child = None

    @property
    def running(self):
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self):
        return self.child.pid

    def errors(self):
        return self.err.read_text(errors="replace") if self.err.exists() else ""

    def start(self, argv, env=None):
        assert not self.running
        with open(self.out, "wb") as out, open(self.err, "ab") as err:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                          env={**os.environ, **(env or {})})
        until(self._is_ready, self.timeout, lambda: f"{self.name} is not ready:\n{self.errors()[-3000:]}")

    def _is_ready(self):
        if self.child.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.child.returncode}:\n{self.errors()[-3000:]}")
        return self.ready in self.out.read_text(errors="replace")

    def stop(self, sig=signal.SIGTERM, timeout=90.0):
        """The exit code."""
        if self.child.poll() is None:
            self.child.send_signal(sig)
        return self.wait(timeout)

    def wait(self, timeout=90.0):
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.name} did not end within {timeout} s:\n{self.errors()[-3000:]}")

    def kill(self):
        self.child.kill()
        self.child.wait()
