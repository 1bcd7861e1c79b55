"""A listing of a large queue: as it comes, at constant memory on both sides, whoever reads it and however slowly; and mail comes and goes meanwhile."""
import collections
import json
import os
import re
import signal
import socket
import subprocess

import pytest

import proof
from kit.relay import ENVIRONMENT, POSTWAIN
from kit.wait import free_port, until

RECIPIENTS = 1100
GROWTH_MAX = 12 << 20  # a page, unsent answers, what allocators keep; all of it is 40 MB as text
# What the sanitizer keeps of freed memory is not the program's.
QUIET = {**ENVIRONMENT, "ASAN_OPTIONS": ENVIRONMENT["ASAN_OPTIONS"] + ":quarantine_size_mb=1"}


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        found = re.search(r"VmRSS:\s+(\d+)", status.read())  # one that has just ended has none
        return int(found.group(1)) << 10 if found else 0


def write_pairs(folder, messages):
    """An exported queue, as relay/cli/README.md has it."""
    folder.mkdir()
    content = b"Subject: listed\r\n\r\nx\r\n"
    for i in range(messages):
        id = f"001MF7BD{i:05d}"
        (folder / f"{id}.eml").write_bytes(content)
        (folder / f"{id}.json").write_text(json.dumps({
            "v": 1, "queue_id": id, "sender": "", "size": len(content), "expires": "2099-01-01T00:00:00Z",
            "recipients": [{"recipient": f"recipient{i}.{n}@a-domain-that-has-a-name-of-usual-length.test"} for n in range(RECIPIENTS)]}))


@pytest.fixture
def full(relay, tmp_path):
    """Makes a relay with so many messages of 1,100 recipients in its queue, all of them held."""
    def make(messages):
        write_pairs(tmp_path / "queue", messages)
        r = relay(delivery='lifetime = "9d"  retry = { "1h" }', listener=proof.TRUSTED + f"  max-recipients = {RECIPIENTS}",
                  destinations=f'destination "nowhere" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{free_port()}" }} }}\n')
        r.stop()
        r.process.start([POSTWAIN, "serve", "-c", str(r.conf)], env=QUIET)
        assert r.rows("queue", "import", tmp_path / "queue", "--hold")[-1]["recipients"] == messages * RECIPIENTS
        return r
    return make


class Reader:
    """A client of the control socket that reads when it likes."""

    def __init__(self, r, **args):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(r.dir / "control.sock"))
        self.file = self.socket.makefile("rb")
        assert json.loads(self.file.readline())["protocol"] == 1
        self.socket.sendall(json.dumps({"id": 1, "verb": "queue.list", "args": args}).encode() + b"\n")

    def rows(self, n=None):
        """So many; or all that are left, and the answer."""
        got = []
        while n is None or len(got) < n:
            line = json.loads(self.file.readline())
            if "done" in line:
                return got, line["done"]
            if "row" in line:
                got.append((line["row"]["queue_id"], line["row"]["recipient"]))
        return got


def slow_readers(r, rows):
    """Four who do not read on: how far the daemon's memory grows meanwhile, and until one has read all."""
    Reader(r).rows()  # pages of their largest size have been had
    before = resident(r.pid)
    readers = [Reader(r) for _ in range(4)]
    got = [reader.rows(10) for reader in readers]
    most = before
    for _ in range(5):  # the daemon answers others meanwhile
        assert r.rows("status")[-1]["held"] == rows
        most = max(most, resident(r.pid))
    for reader in readers[1:]:
        reader.socket.close()
        reader.file.close()
    rest, done = readers[0].rows()
    assert done["matched"] == rows == len(got[0]) + len(rest)
    return max(most, resident(r.pid)) - before


def begun(r, *how):
    """`queue list` of which 300 lines have been read."""
    p = subprocess.Popen([POSTWAIN, "queue", "list", *how, "-c", r.conf], stdout=subprocess.PIPE, env=QUIET)
    return p, sum(1 for _ in range(300) if p.stdout.readline())


def command(r, *how):
    """`queue list` read slowly at first: lines, and how much more memory it takes than one of 5,000 rows does behind its first 300."""
    few, _ = begun(r, *how, "--limit", "5000")  # it has more to say, and waits
    before = resident(few.pid)
    few.kill()
    few.communicate()
    p, n = begun(r, *how)
    most = resident(p.pid)
    for n, _ in enumerate(p.stdout, n + 1):
        if n % 10000 == 0:
            most = max(most, resident(p.pid))
    assert p.wait(30) == 0
    return n, most - before


def head(r):
    """`queue list --json | head -1`: the command ends with its reader. Returns how many octets it had read by then, from the daemon above all."""
    p = subprocess.Popen([POSTWAIN, "queue", "list", "--json", "-c", r.conf], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **QUIET})
    assert json.loads(p.stdout.readline())["queue_id"]
    p.stdout.close()
    os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)
    with open(f"/proc/{p.pid}/io") as table:
        read = int(re.search(r"rchar: (\d+)", table.read()).group(1))
    assert not p.stderr.read() and p.wait() in (0, -signal.SIGPIPE)
    p.stderr.close()
    return read


@pytest.mark.long
def test_constant_memory(full):
    """
    Slow readers of a large queue, or those who go away, fill the daemon's memory or hold others up; the command keeps what it has listed, or waits
    for the last row before it shows the first.
    """
    rows = 100 * RECIPIENTS
    r = full(100)
    daemon = slow_readers(r, rows)
    n, json_growth = command(r, "--json")
    lines, table_growth = command(r)
    first = head(r)
    print(f"{rows} rows: the daemon grew by {daemon >> 10} kB, the command by {json_growth >> 10} kB (--json) and {table_growth >> 10} kB; "
          f"for head -1 it had read {first >> 10} kB")
    assert (n, lines) == (rows, rows + 1)
    assert max(daemon, json_growth, table_growth) < GROWTH_MAX
    assert first < 1 << 20, "a few pages, however many rows there are"


# What one round says of which recipients, of a queue of 60 messages. So many are enough: with each it may be over before a client has had a turn.
ROUNDS = {"priority": [(["priority", str(n)], "recipient*", 60) for n in range(1, 7)],
          "remove": [(["remove"], f"recipient{tens}?.*", 10) for tens in ("", *range(1, 6))]}


@pytest.mark.long
@pytest.mark.parametrize("verb, event", [("priority", "rescheduled"), ("remove", "cancelled")])
def test_mail_goes_on_while_all_is_changed(verb, event, full):
    """Promise 32: who hands in mail waits until an operator's verb has gone through a large queue. (With a million: tests/bench/spool.)"""
    r = full(60)
    load = proof.Submitters(r.submission, proof.seed(), threads=4, large=0)
    until(lambda: len(load.told) > 20, 60, lambda: load.refused)
    changed, between = 0, []
    for words, to, messages in ROUNDS[verb]:
        done = r.rows("queue", *words, "--to", to, "--yes")[-1]
        assert done["matched"] == done["changed"] == messages * RECIPIENTS
        r.wait_event(event, n=changed + done["changed"], timeout=60)
        seqs = [e["seq"] for e in r.events(event)[changed:]]
        changed += len(seqs)
        if between := [e for e in r.events("accepted") if seqs[0] < e["seq"] < seqs[-1]]:
            break
    load.stop()
    print(f"{verb}: {changed} changed; during the last of it {len(between)} messages taken")
    assert between, "no message was ever taken before all was changed"
    assert not load.lost and not load.refused


def test_cursor_while_mail_comes_and_goes(full):
    """What stays is left out or shown twice when a listing is under way, or its cursor is used, while other mail comes and goes."""
    r = full(12)
    slow = Reader(r)
    first = slow.rows(5)
    ids = [f["queue_id"] for f in r.rows("queue", "list", "--to", "recipient*.0@*") if "recipient" in f]
    assert len(ids) == 12 and ids == sorted(ids)
    page = r.cli("queue", "list", "--limit", "2000", "--json")
    cursor = re.search(r"--after (\S+)", page.err).group(1)
    assert cursor.startswith(ids[1])
    gone = [ids[0], ids[1], ids[7], ids[11]]  # read already, the cursor's own, ahead, the last
    r.cli("queue", "remove", *gone, "--yes")
    new = r.send(b"Subject: new\r\n\r\nx\r\n", "", "new@elsewhere.test")
    rest, done = slow.rows()
    seen = collections.Counter(first + rest)
    assert max(seen.values()) == 1
    stay = {id for id in ids if id not in gone}
    count = collections.Counter(id for id, _ in seen)
    assert all(count[id] == RECIPIENTS for id in stay) and done["matched"] == len(first + rest)
    pages = [row["queue_id"] for row in page.rows if "queue_id" in row]
    while cursor:
        part = r.cli("queue", "list", "--after", cursor, "--limit", "3000", "--json")
        pages += [row["queue_id"] for row in part.rows if "queue_id" in row]
        found = re.search(r"--after (\S+)", part.err)
        cursor = found and found.group(1)
    of = collections.Counter(pages)
    assert all(of[id] == RECIPIENTS for id in stay) and of[ids[1]] == 2000 - RECIPIENTS and of[new] <= 1
    until(lambda: int(r.cli("queue", "list", "--to", "recipient*", "--count").out) == 8 * RECIPIENTS, 20)
