"""What the proofs of crashes share: what the receivers got of each life, what was settled when it ended, and why something came twice."""
import collections
import functools
import re
import time

import proof
from kit.relay import log_bytes
from kit.wait import until


def sessions(port):
    """Connections on a port of ours that are not over on its side: neither listening nor waiting out their time."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return [r for r in rows if r[1].endswith(f":{port:04X}") and r[3] not in ("0A", "06")]


def last_moment(sinks):
    """After a kill: when the receivers, too, have no more of that life (they go on reading what was in flight)."""
    until(lambda: not any(sessions(s.port) for s in sinks), 10, "a receiver still has sessions of a killed relay", pause=0.005)
    return time.time()


# --- the delivery log as an operator sees it at one moment, torn lines and all

@functools.lru_cache(maxsize=None)
def _lines_of(path, inode, size, mtime_ns):
    """{seq: line} of the whole lines of one file, and the recipients that are delivered in it."""
    lines, delivered = {}, set()
    for line in log_bytes(path).split(b"\n")[:-1]:
        if m := re.search(rb'"seq":(\d+)', line):
            lines[int(m.group(1))] = line
        if b'"event":"delivered"' in line:
            delivered.add(line.split(b'"recipient":"')[1].split(b'"')[0].decode())
    return lines, delivered


class Seen:
    """lines: {seq: octets}; settled: recipients whose delivered line is there: nothing may ever be sent to them again."""

    def __init__(self, folder):
        until(lambda: self._read(folder), 10, "the log is put aside again and again", pause=0)

    def _read(self, folder):
        """False: a file was put aside under our hands."""
        self.lines, self.settled = {}, set()
        try:
            for path in proof.log_files(folder):
                at = path.stat()
                lines, delivered = _lines_of(path, at.st_ino, at.st_size, at.st_mtime_ns)
                self.lines.update(lines)
                self.settled |= delivered
        except FileNotFoundError:
            return False
        return True


# --- what came twice

def by_recipient(arrived):
    """{address: its copies}, oldest first; an address of Submitters is one recipient of one message."""
    by = collections.defaultdict(list)
    for copies in arrived.values():
        for copy in copies:
            for address in copy.to:
                by[address].append(copy)
    return by


SYNCED_WITHIN = 30.0  # seconds; a mark waits for the batch that is under way and for its own, on a disk that others sync, too


def explain_duplicates(arrived, ends, settled_at, connections):
    """
    The first copies of what each end of a life made arrive twice: every second copy needs an end between the first and itself, at which the
    first's attempt was in flight: on the wire, or answered and its mark not yet synced. Marks are synced in order, so such attempts are the
    last before the end: what came after the first of them came twice too, but for what the other connections did at the same time. That is
    not much, unless the thread of the first's connection stood still; and since a connection's next attempt comes behind its answer, there is
    one of these for each connection, however long it did.
    """
    firsts = [set() for _ in ends]
    by = by_recipient(arrived)
    for address, copies in by.items():
        for first, second in zip(copies, copies[1:]):
            between = [n for n, at in enumerate(ends) if first.at <= at < second.at]
            assert between, f"{address} got a message twice without a crash between: {copies}, {ends}"
            assert address not in settled_at[between[0]], f"{address} was logged as delivered and sent to again"
            firsts[between[0]].add(first)
    once = sorted(copies[0].at for copies in by.values() if len(copies) == 1)
    for at, twice in zip(ends, firsts):
        overtaken = []
        for first in twice:
            assert first.at > at - SYNCED_WITHIN, f"{first} was not marked for {at - first.at} s"
            later = [a for a in once if first.at < a < at]
            if len(later) > 2 * connections:
                overtaken.append(f"{first} arrived twice {at - first.at:.3f} s before the crash, and {len(later)} that came after it did not")
        assert len(overtaken) <= connections, "\n".join(overtaken)
    return firsts


# --- the books

def missing(relay, told):
    """
    Messages of `told` whose every recipient is not accounted for: neither queued now nor finished in the delivery log. The queue is asked
    first: what leaves it meanwhile is found in the log, a moment later.
    """
    queued = collections.Counter(row["queue_id"] for row in relay.queue())
    finals = collections.Counter(e["queue_id"] for e in relay.log() if e.get("final"))
    return [t for t in told if queued[t.id] + finals[t.id] < t.recipients]


def check_books(relay, told):
    """Nothing that was answered 250 is lost, right now."""
    until(lambda: not missing(relay, told), 10, lambda: f"answered 250 and lost: {missing(relay, told)[:5]}", pause=0.2)
