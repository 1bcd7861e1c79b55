"""
The relay on a real file system that is shut down under it, without flushing its log, at random moments under load with deliveries going on.
PW_CUTS=50 is the full proof.

Why this is a power cut in effect: after the ioctl nothing more goes to the device, neither dirty pages, nor what the file system's own log has
not written yet (creations, renames, sizes). What an fdatasync or fsync has answered for is on the device; all else is there only as far as it
happened to be written back. unmount and mount then start from the device alone, as a machine does that comes up again (log recovery included).
test_the_cut_drops_what_is_not_synced holds that. Two differences:
- The processor goes on, and the kernel answers 0 to many an fdatasync that was under way when the ioctl came, and whose data is lost (26 of 58,
  in 600 cuts of one thread that writes and syncs on ext4; xfs likewise; never one that had ended before). A machine without power would have
  answered nobody: so a promise is a 250 that the client had before the ioctl began.
- The device never loses or reorders what it has in a cache of its own. Any subset of the sectors since the last sync is tried on the fake disk
  (tests/unit/queue/crash.c, tests/sim).

The relay lives on for a moment after the cut, with EIO for everything, as one does whose disk has gone; then it is killed. Its delivery log stands
on the same file system.
"""
import datetime
import os
import re
import struct
import time

import pytest

import crash
import proof
from kit.relay import ENVIRONMENT, POSTWAIN, smarthost
from kit.wait import until

CUTS = int(os.environ.get("PW_CUTS") or 6)
CONNECTIONS = 5  # to each of two receivers
VALIDATED = 10000  # log lines held against the schema
# data=writeback, in a third of the cuts: a file's size may be durable before its data, so that files end in what was never written to them
KINDS = [("ext4", ""), ("xfs", ""), ("ext4", "data=writeback")]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_cut_drops_what_is_not_synced(disk, kind):
    """Without this the other tests would prove nothing: what was synced is there after the cut, what was only written is not."""
    d = disk(kind, options="commit=600" if kind == "ext4" else "")  # it writes nothing by itself while this test stands still
    with open(d.path / "synced", "wb") as file:
        file.write(b"s" * 10000)
        file.flush()
        os.fsync(file.fileno())
        with open(d.path / "written", "wb") as other:
            other.write(b"w" * 10000)
        file.write(b"+" * 10000)
        file.flush()
        os.rename(d.path / "synced", d.path / "renamed")
        d.shutdown()
        with pytest.raises(OSError):
            os.fsync(file.fileno())
    d.unmount()
    d.mount()
    left = {p.name: p.read_bytes() for p in d.path.iterdir() if p.is_file()}
    assert left == {"synced": b"s" * 10000}
    d.unmount()
    d.check()


def mixed(xid, chance):
    """Recipients of one message: most are taken at once, some later, a few never."""
    all = [f"r{n}.{xid}@rcpt.test" for n in range(3 if chance.random() < 0.15 else 1)]
    if chance.random() < 0.25:
        all.append(f"later.{xid}@slow.test")
    if chance.random() < 0.02 or xid.endswith("-2"):  # of each thread one, however little is sent
        all.append(f"bad.{xid}@rcpt.test")
    return all


def spool_kinds(spool):
    """What is in the log of a spool at rest: copies made by compaction, all records."""
    copies = records = 0
    for path in spool.glob("seg-*"):
        data, at, number = path.read_bytes(), 8192, int(path.name[4:], 16)
        while at + 44 <= len(data):
            length, head, segment, type = struct.unpack_from("<IIII", data, at)
            if segment != number or not 1 <= type <= 5 or not head <= length <= len(data) - at:
                at += 512 - at % 512  # a batch begins at a multiple of 512
                continue
            records += 1
            copies += type == 1 and bool(data[at + 44] & 2)
            at += (40 + length + 7) & ~7
    return copies, records


class World:
    """One relay, its file system, its load and its receivers, from cut to cut."""

    def __init__(self, disk, relay, sink, kind, options):
        self.chance = proof.seed()
        self.disk = disk(kind, size="512M", options=options)
        self.there, self.slow = sink("--quiet", "--refuse", "bad.*"), sink("--quiet")
        self.relay = relay(start=False, listener=proof.TRUSTED, delivery='retry = { "1s" }', log='rotate-size = "1M"',
                           top='debug-segment-bytes = "256K"', spool_in=self.disk.path, log_in=self.disk.path,
                           destinations=smarthost(self.slow, "slow", "slow.test", f"connections = {CONNECTIONS}")
                           + smarthost(self.there, "there", "*", f"connections = {CONNECTIONS}"))
        self.load = proof.Submitters(self.relay.submission, self.chance, threads=4, recipients=mixed)
        self.cuts, self.gone, self.killed, self.ends, self.seen, self.told_by = [], [], [], [], [], []
        self.copies = self.highest = 0

    def told(self):
        """What was answered 250 while there was power."""
        during = list(zip(self.cuts, self.gone))
        return [t for t in list(self.load.told) if not any(t.at <= gone and t.answered >= cut for cut, gone in during)]

    def begin(self, number):
        """Every fifth life is cut while it opens its spool."""
        if number % 5 == 3:
            self.relay.process.ready = ""
            self.relay.process.start([POSTWAIN, "serve", "-c", str(self.relay.conf)], env=ENVIRONMENT)
            time.sleep(self.chance.uniform(0.0, 0.3))
            return
        self.relay.process.ready = "ready"
        self.relay.start()
        crash.check_books(self.relay, self.told())
        time.sleep(self.chance.uniform(0.1, 1.5))

    def cut(self, number):
        """Every fifth cut comes while the relay is stopping."""
        if number % 5 == 4:
            self.relay.process.child.terminate()
            time.sleep(self.chance.uniform(0.0, 0.1))
        self.seen.append(crash.Seen(self.disk.path))
        self.cuts.append(time.time())
        self.disk.shutdown()
        self.gone.append(time.time())
        time.sleep(self.chance.uniform(0.0, 0.5))
        self.relay.kill()
        self.killed.append(time.time())
        self.ends.append(crash.last_moment([self.there, self.slow]))
        time.sleep(0.1)  # replies that were on their way
        self.told_by.append(len(self.told()))
        late = [t for t in self.load.told if t.at > self.gone[-1]]
        assert not late, f"answered 250 with the disk gone: {late[:3]}"

    def power_on(self, number):
        self.disk.unmount()
        self.disk.mount()
        self.slow.stop()
        self.slow.start(["--quiet", "--defer", "*"] if number % 3 else ["--quiet"])
        spool = self.disk.path / "spool"
        self.copies += spool_kinds(spool)[0]
        self.highest = max([self.highest, *(int(p.name[4:], 16) for p in spool.glob("seg-*"))])

    def finish(self):
        self.relay.process.ready = "ready"
        self.relay.start()
        time.sleep(0.5)
        self.load.stop()
        self.slow.stop()
        self.slow.start(["--quiet"])
        proof.wait_finished(self.relay, 120 + CUTS)
        until(lambda: not self.unreported(), 60, lambda: f"no report of {self.unreported()}")
        proof.wait_finished(self.relay, 60)

    def unreported(self):
        """The last word about a recipient is in the log before its report is in the queue."""
        bounced = {e["queue_id"] for e in self.relay.events("bounced") if e.get("sender")}
        return bounced - {e["queue_id"] for e in self.relay.events("dsn_queued")}


def check_arrivals(world):
    """Every message answered 250 came to each of its recipients that its receiver takes, as it was sent."""
    arrived = proof.arrivals(world.there, world.slow)
    for xid, copies in arrived.items():
        assert xid in world.load.sent, f"nobody sent {xid}"
        assert {c.digest for c in copies} == {world.load.sent[xid]}, f"{xid} arrived, but changed"
    got = {}
    for address in crash.by_recipient(arrived):
        xid = address.split(".", 1)[1].split("@")[0]
        got[xid] = got.get(xid, 0) + 1
    return arrived, got


def check_events(world, got):
    """Terminal events say what happened to each recipient; lines once seen never change."""
    told = world.told()
    events = proof.check_log(world.disk.path, max(1, 3 * len(told) // VALIDATED))
    assert not proof.unfinished(events), "accepted, and no terminal event"
    lines = crash.Seen(world.disk.path).lines
    for number, seen in enumerate(world.seen):
        changed = [seq for seq, line in seen.lines.items() if lines.get(seq) != line]
        assert not changed, f"lines seen before cut {number + 1} are gone or not the same: {changed[:5]}"
    finals = {}
    for e in events:
        if e.get("final"):
            finals.setdefault(e["queue_id"], []).append(e)
    refused = 0
    for t in told:
        assert len(finals.get(t.id, [])) == t.recipients, f"{t} has {finals.get(t.id)}"
        bounced = [e for e in finals[t.id] if e["event"] == "bounced"]
        assert {e["event"] for e in finals[t.id]} <= {"delivered", "bounced"}
        assert all(e["recipient"].startswith("bad.") for e in bounced), bounced
        assert got.get(t.xid, 0) == t.recipients - len(bounced), f"{t} came to {got.get(t.xid, 0)} recipients"
        refused += len(bounced)
    reports = [m for m in (path.read_bytes() for path in world.there.files() if proof.arrival(path) is None)]
    reported = {x for m in reports for x in re.findall(rb"\r\nX-Id: (\S+)", m)}
    unreported = [t.xid for t in told if any(e["event"] == "bounced" for e in finals[t.id]) and t.xid.encode() not in reported]
    assert not unreported, f"bounced, and the sender was never told: {unreported[:5]}"
    return refused


def damage_lines(world):
    """But for those of a relay that was opening its spool when the disk went: for it all of that is unreadable, and it says so."""
    def gone(line):
        at = datetime.datetime.fromisoformat(re.search(r"time=(\S+)", line).group(1)).timestamp()
        return any(cut - 0.001 <= at <= killed for cut, killed in zip(world.cuts, world.killed))
    return [line for line in world.relay.process.errors().splitlines() if "spool_damaged" in line and not gone(line)]


def enough(world, told, least):
    """Something was at stake in so many cuts: mail that was answered, and copies of a compaction."""
    return told > 20 * least and (world.copies or least < 6)


@pytest.mark.long
@pytest.mark.parametrize("kind, options", KINDS)
def test_a_power_cut_loses_nothing_that_was_answered_250(disk, relay, sink, kind, options):
    """0 lost; duplicates only of attempts in flight; one terminal event each; a cut is never taken for damage."""
    world = World(disk, relay, sink, kind, options)
    least, cuts = CUTS if not options else max(2, CUTS // 3), 0
    while cuts < least or (cuts < 20 * least and not enough(world, len(world.load.told), least)):  # a slow machine needs more of them
        world.begin(cuts)
        world.cut(cuts)
        world.power_on(cuts)
        cuts += 1
    world.finish()
    told = world.told()
    arrived, got = check_arrivals(world)
    lost = [t.xid for t in told if t.xid not in arrived]
    twice = crash.explain_duplicates(arrived, world.ends, [s.settled for s in world.seen], 2 * CONNECTIONS)
    for number in range(cuts):
        since = world.told_by[number - 1] if number else 0
        gone = [t for t in told[since:world.told_by[number]] if t.xid not in arrived]
        after = [first for first in twice[number] if first.at > world.cuts[number]]
        oldest = max([world.cuts[number] - first.at for first in twice[number]], default=0)
        print(f"cut {number + 1}: {world.told_by[number] - since} answered 250, {len(gone)} lost, {len(twice[number])} duplicates "
              f"({len(after)} first came with the disk gone, the first of all {oldest:.3f} s before)")
    print(f"{kind} {options}: {cuts} cuts, {len(told)} answered 250, {len(world.load.unknown)} without an answer, {len(world.load.told) - len(told)} by a sync under way at the cut, {len(lost)} lost, "
          f"{sum(map(len, twice))} duplicates; {world.highest} segments, {world.copies} copies found by compaction")
    assert not lost, (lost, [e for t in told if t.xid in lost for e in world.relay.events(queue_id=t.id)])
    refused = check_events(world, got)
    assert refused and enough(world, len(told), least), "too little happened to prove anything"
    assert not damage_lines(world), damage_lines(world)[:5]
    world.relay.stop()
    world.disk.unmount()
    world.disk.check()
    world.disk.mount()
