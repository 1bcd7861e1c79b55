"""
A disk in trouble, on real small file systems and by injected errors: full, out of inodes, read-only, failing, frozen, out of descriptors.
What the client is told, that deliveries go on as far as they can be marked, that all goes on by itself afterwards, and that nothing
answered 250 is lost. (Promises 5, 6, 10, 33.)
"""
import collections
import datetime
import os
import re
import resource
import signal
import subprocess
import threading
import time

import pytest

import proof
from kit import mail
from kit.relay import POSTWAIN
from kit.wait import until

SEGMENTS = 400  # numbers of segments that a test may see


def told_line(name, refused):
    """What clients were told, once each, in the order of the first time."""
    said = collections.Counter(f"{code} {text.decode()}" for _, code, text in refused)
    print(f"\n{name}: " + ("; ".join(f"{n} x \"{text}\"" for text, n in said.items()) or "nobody was refused"))
    return said


def only(said, *beginnings):
    assert all(text.startswith(beginnings) for text in said), said


def relay_on(d, relay, port, start=True, top="", spool='min-free = "0"', connections=5, segment="4M"):
    """A spool on this disk in small segments, its log elsewhere; without a port nothing is delivered yet."""
    return relay(start=start, listener=proof.TRUSTED, spool_in=d.path, spool=spool, top=f'debug-segment-bytes = "{segment}"\n{top}',
                 delivery='retry = { "1s" }', destinations=proof.to_port(port, f"connections = {connections}"))


def one(relay, raw=None, timeout=60):
    """One message in a session of its own: the first reply that is not a yes, or the last."""
    with relay.smtp("clear", user=None, timeout=timeout) as s:
        for code, text in (s.mail("ann@sender.test"), s.rcpt("bob@rcpt.test")):
            if code != 250:
                return code, text.decode()
        code, text = s.data(raw or mail.message())
        return code, text.decode()


def accepts(relay):
    try:
        return one(relay)[0] == 250
    except (OSError, EOFError):
        return False


def nothing_lost(relay, load, sink, bounced=0):
    """Every 250 is delivered, whole, once; nothing bounced."""
    proof.wait_finished(relay, 60)
    there = proof.arrivals(sink)
    lost = [t for t in load.told if t.xid not in there]
    twice = [x for x, all in there.items() if len(all) > max(1, next((t.recipients for t in load.told if t.xid == x), 1))]
    print(f"{len(load.told)} answered 250, {len(lost)} lost, {len(twice)} came twice")
    assert not lost and not twice
    assert all(a.digest == load.sent[x] for x, all in there.items() for a in all)
    assert len(relay.events(("bounced", "expired"))) == bounced


class Deliverable(proof.Submitters):
    """Its messages carry X-Id; the test's own (one()) do not reach the sink's count."""


def warnings(relay, verb=("status",)):
    return [w for row in relay.rows(*verb) for w in row.get("warnings", [])]


# --- full

@pytest.mark.parametrize("min_free", ["8M", "0"])
def test_filled_from_outside(disk, relay, sink, min_free):
    """A full disk stops deliveries, or mail is taken that cannot be kept, or a restart is needed. (Promise 6, checklist 34, 100.)"""
    d, chance = disk("ext4"), proof.seed()
    there = sink("--quiet")
    os.kill(there.process.pid, signal.SIGSTOP)  # receives nothing for now
    r = relay_on(d, relay, there.port, spool=f'min-free = "{min_free}"')
    load = proof.Submitters(r.submission, chance, threads=3, large=0.02)
    until(lambda: len(load.told) >= 100, 20)
    d.fill()
    until(lambda: len(load.refused) >= 20, 20, lambda: f"{load.refused}")
    full = [w for w in warnings(r) if "452" in w]
    assert full, warnings(r)
    queued = len(r.queue())
    assert queued >= 100
    os.kill(there.process.pid, signal.SIGCONT)  # nothing was delivered yet: all is marked on a full disk
    until(lambda: len(there.files()) >= len(load.told), 40, lambda: f"{len(there.files())} of {len(load.told)}\n{r.cli('status').out}")
    r.wait_queue_empty(20)
    assert d.free_bytes < 4 << 20  # but for what large messages gave back
    assert not warnings(r)[len(full):], warnings(r)
    said = told_line(f"full, min-free {min_free}", load.refused)
    only(said, "452 4.3.1")
    before = len(load.told)
    d.empty()
    until(lambda: len(load.told) > before, 10)
    load.stop()
    nothing_lost(r, load, there)
    assert not warnings(r)


class Waiting:
    """A verb on its way, and what it has said on standard error."""

    def __init__(self, relay, *argv):
        # Ctrl-C works for who was started in a background that ignores it, too.
        self.process = subprocess.Popen([POSTWAIN, *argv, "-c", str(relay.conf)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.said = ""
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        for line in self.process.stderr:
            self.said += line

    def end(self):
        self.process.wait(30)
        self.thread.join()
        return self.process.returncode, self.process.stdout.read()


def test_an_operator_on_a_full_disk(disk, relay, sink):
    """Who changes the queue waits and is not told for what; or what he changed is lost; or who gives up waiting takes something back. (100)"""
    d = disk("ext4")
    r = relay_on(d, relay, sink().port, segment="256K")
    r.cli("destination", "suspend", "proof")
    r.send(mail.message(), recipients=[f"r{n}@rcpt.test" for n in range(100)])
    d.fill()
    for n in range(200):  # until the segments that are there are full
        state = ("hold", "release")[n % 2]
        verb = Waiting(r, "queue", state, "--all", "--yes")
        until(lambda: verb.process.poll() is not None or "waiting for the disk" in verb.said, 30)
        if verb.process.poll() is None:
            break
        assert verb.end()[0] == 0, verb.said
    assert "No space left on device" in verb.said, verb.said
    refused = r.cli("destination", "suspend", "proof", "--reason", "x" * 400, code=None)
    assert refused.code and "spool cannot be written" in refused.err, refused
    beside = Waiting(r, "queue", "remove", "--to", "r7@rcpt.test", "--yes")
    until(lambda: "waiting for the disk" in beside.said, 10)
    beside.process.send_signal(signal.SIGINT)
    beside.end()
    d.empty()
    code, out = verb.end()
    assert code == 0 and "100 changed" in out, (code, out, verb.said)
    r.wait_event("cancelled", recipient="r7@rcpt.test")
    r.kill()
    r.start()
    rows = r.queue()
    assert len(rows) == 99 and {row["state"] for row in rows} == {"held" if state == "hold" else "ready"}, rows[:3]


def test_out_of_inodes(disk, relay, sink):
    """Large content is begun that gets no file, and the client hears a 5xx, or nothing. (Promise 5.)"""
    d, chance = disk("ext4", inodes=400), proof.seed()
    there = sink("--quiet")
    r = relay_on(d, relay, there.port)
    load = proof.Submitters(r.submission, chance, threads=2, large=0)
    until(lambda: len(load.told) >= 30, 20)
    s = r.smtp("clear", user=None)
    assert s.mail("ann@sender.test")[0] == 250 and s.rcpt("bob@rcpt.test")[0] == 250 and s.docmd("DATA")[0] == 354
    load.paused.set()  # a segment that is freed meanwhile would give its inode back
    r.wait_queue_empty()
    d.fill_inodes()
    s.send(proof.stuffed(mail.message(b"x" * 70 + b"\r\n") * 8000) + b".\r\n")
    large = s.getreply()
    s.close()
    assert large[0] == 452 and large[1].startswith(b"4.3.1"), large
    load.paused.clear()
    until(lambda: load.refused, 10)
    until(lambda: "inode" in "".join(warnings(r)), 5)
    only(told_line("out of inodes", load.refused), "452 4.3.1")
    before = len(load.told)
    d.empty()
    until(lambda: len(load.told) > before + 10, 10)
    load.stop()
    nothing_lost(r, load, there)


# --- failing

def inject(relay, spool, rule, paths=None):
    """Makes system calls of the running relay on its segments (or only on `paths`) fail: strace's rule. Returns what ends it."""
    paths = paths or [f"{spool}/{kind}-{n:08x}" for n in range(SEGMENTS) for kind in ("seg", "free")]
    calls = rule.split(":")[0]
    p = subprocess.Popen(["strace", "-f", "-q", "-q", "-p", str(relay.pid), "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={rule}",
                          *(str(word) for path in paths for word in ("-P", path))], stderr=subprocess.PIPE, text=True)
    until(lambda: p.poll() is not None or tracer_of(relay.pid) == p.pid, 10)
    if p.poll() is not None:
        pytest.skip(f"strace cannot be attached here: {p.stderr.read()}")

    def end():
        p.terminate()
        p.communicate(timeout=20)

    return end


def tracer_of(pid):
    """Of its last thread: all are traced then."""
    tracers = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/status") as f:
                tracers.add(int(next(line for line in f if line.startswith("TracerPid:")).split()[1]))
        except (FileNotFoundError, ProcessLookupError):
            return 0  # it has ended meanwhile: the next look
    return tracers.pop() if len(tracers) == 1 else 0


@pytest.mark.parametrize("error, code", [("EIO", "451 4.3.0"), ("EROFS", "451 4.3.0"), ("EDQUOT", "452 4.3.1")])
def test_errors_for_a_while(relay, sink, tmp_path, error, code):
    """The disk fails for seconds: deliveries go on that cannot be marked, or nothing goes on after it. (Promise 5.)"""
    chance = proof.seed()
    there = sink("--quiet")
    r = relay(listener=proof.TRUSTED, top='debug-segment-bytes = "1M"', delivery='retry = { "1s" }', spool='min-free = "0"',
              destinations=proof.to_port(there.port, "connections = 5"))
    load = proof.Submitters(r.submission, chance, threads=3)
    until(lambda: len(load.told) >= 30, 20)
    end = inject(r, r.dir / "spool", f"pwrite64,fdatasync,fallocate:error={error}")
    try:
        until(lambda: len(load.refused) >= 10, 20)
        until(lambda: not any(row["state"] == "active" for row in r.queue()), 20)  # attempts under way end
        waits = [w for w in warnings(r) + warnings(r, ("queue",)) if w.startswith("spool cannot be written")]
        assert len(waits) == 2 and os.strerror(getattr(__import__("errno"), error)) in waits[0] and "deliveries wait" in waits[0], waits
        before, since, refused = len(there.files()), time.time(), len(load.refused)
        time.sleep(1)
        until(lambda: len(load.refused) >= refused + 10, 20)
        assert len(there.files()) == before, "an attempt that could not be marked"
        assert not [t for t in load.told if t.at > since]
        upto = time.time()
    finally:
        end()
    only(told_line(error, load.refused), code)
    told = len(load.told)
    until(lambda: len(load.told) > told + 10, 10)
    load.stop()
    nothing_lost(r, load, there)
    assert not warnings(r)
    # One line each time it begins and ends, which is more than once only while the threads of the relay come under strace one by one, and leave it so.
    lines = re.findall(r"time=(\S+) .*event=spool_write_(failed|recovered)", r.process.errors())
    assert [what for _, what in lines] == ["failed", "recovered"] * (len(lines) // 2) and lines, lines
    meanwhile = [at for at, _ in lines if since < datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp() < upto]
    assert len(meanwhile) <= 1, lines  # the one of its beginning, where its thread stood still


def test_a_failed_sync_is_not_repeated(relay, sink):
    """Syncs of the open segment fail: it is synced again, or clients hear 250, or more than this batch is refused. (Promise 5.)"""
    chance = proof.seed()
    there = sink("--quiet")
    r = relay(listener=proof.TRUSTED, delivery='retry = { "1s" }', destinations=proof.to_port(there.port, "connections = 5"))
    load = proof.Submitters(r.submission, chance, threads=3, large=0)
    until(lambda: len(load.told) >= 30, 20)
    load.paused.set()
    r.wait_queue_empty()
    os.kill(there.process.pid, signal.SIGSTOP)  # what is written from now on is new mail only
    load.paused.clear()
    told = len(load.told)
    until(lambda: len(load.told) > told, 20)
    segments = set(p.name for p in (r.dir / "spool").glob("seg-*"))
    end = inject(r, r.dir / "spool", "fdatasync:error=EIO", [r.dir / "spool" / max(segments)])
    try:
        until(lambda: load.refused, 20)
        told = len(load.told)
        until(lambda: len(load.told) > told + 30, 20)
    finally:
        end()
        os.kill(there.process.pid, signal.SIGCONT)
    load.stop()
    only(told_line("one failed sync", load.refused), "451 4.3.0")
    assert 1 <= len(load.refused) <= 3  # those of one batch
    assert set(p.name for p in (r.dir / "spool").glob("seg-*")) - segments, "the segment was not abandoned"
    nothing_lost(r, load, there)


def test_read_only_for_good(disk, relay, sink):
    """
    The file system gives up (errors=remount-ro) under load: the relay crashes, or what it had taken is gone. (Promise 5.) An fdatasync
    that is under way at that moment may be answered 0 although its data is lost: what was promised are the answers from before.
    """
    d, chance = disk("ext4"), proof.seed()
    there = sink("--quiet")
    r = relay_on(d, relay, there.port)
    load = proof.Submitters(r.submission, chance, threads=3)
    until(lambda: len(load.told) >= 30, 20)
    began = time.time()
    d.abort()
    until(lambda: len(load.refused) >= 10, 20)
    only(told_line("read-only", load.refused), "451 4.3.0")
    assert any("deliveries wait" in w for w in warnings(r))
    load.stop()
    r.kill()
    start = r.cli("serve", "-c", str(r.conf), code=None)
    assert start.code == 1 and f"{d.path}/spool" in start.err and "read-only" in start.err.lower(), start
    print(f"start on it: {start.err.splitlines()[-1]}")
    d.unmount()
    d.mount()
    r.start()
    r.wait_queue_empty(60)
    there_now = proof.arrivals(there)
    promised = [t for t in load.told if t.answered < began]
    lost = [t for t in promised if t.xid not in there_now]
    print(f"{len(promised)} answered 250 before, {len(lost)} lost; {len(load.told) - len(promised)} meanwhile")
    assert len(promised) >= 30
    assert not lost and not r.events(("bounced", "expired"))


# --- out of descriptors

def test_out_of_descriptors(relay, sink):
    """No descriptor is left: mail bounces, receivers get the blame, or it needs a restart. (Promises 10, 35.)"""
    chance = proof.seed()
    there = sink("--quiet")
    r = relay(listener=proof.TRUSTED, top='debug-segment-bytes = "1M"', delivery='retry = { "1s" }', spool='min-free = "0"',
              destinations=proof.to_port(there.port, "connections = 5  messages-per-connection = 3"))
    load = proof.Submitters(r.submission, chance, threads=3, large=0.2)
    until(lambda: len(load.told) >= 30, 20)
    before = resource.prlimit(r.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(r.pid, resource.RLIMIT_NOFILE, (10, before[1]))
    time.sleep(3)
    resource.prlimit(r.pid, resource.RLIMIT_NOFILE, before)
    told = len(load.told)
    until(lambda: len(load.told) > told + 10, 20)
    load.stop()
    only(told_line("no descriptors", load.refused), "451 4.3.0", "421")
    nothing_lost(r, load, there)
    blamed = {e.get("error") for e in r.events("deferred")} - {"local", "dns_servfail"}
    assert not blamed, blamed


# --- slow

def reply_after(relay, seconds, out):
    """Submits one message; appends (reply, how long after the end of data)."""
    with relay.smtp("clear", user=None) as s:
        assert s.mail("ann@sender.test")[0] == 250 and s.rcpt("bob@rcpt.test")[0] == 250 and s.docmd("DATA")[0] == 354
        time.sleep(seconds)
        raw = mail.message()
        began = time.monotonic()
        s.send(raw + b".\r\n")
        code, text = s.getreply()
        out.append((code, text.decode(), time.monotonic() - began, mail.message_id(raw)))


def test_slow_but_in_time(relay, sink):
    """A sync of 1.5 s is answered before it, or not at all. (Promise 33.)"""
    there = sink("--quiet")
    r = relay(listener=proof.TRUSTED, top='debug-sync-delay = "1500ms"', destinations=proof.to_port(there.port))
    out = []
    reply_after(r, 0, out)
    assert out[0][0] == 250 and out[0][2] >= 1.49, out


@pytest.mark.long
@pytest.mark.parametrize("how", ["delay", "freeze"])
def test_too_slow(disk, relay, sink, how):
    """
    The client gives up, sends it again, and it arrives twice; or one session waits behind another's clock. Here within 1 s instead of 30,
    each of three sessions by its own clock; what was told 451 ends as cancelled and is never sent. (Promise 33.)
    """
    there, slow = sink("--quiet"), 'debug-sync-delay = "8s"' if how == "delay" else ""
    d = disk("ext4") if how == "freeze" else None
    top = f'debug-reply-within = "1s"\n{slow}'
    r = (relay_on(d, relay, there.port, top=top) if d else
         relay(listener=proof.TRUSTED, top=top, destinations=proof.to_port(there.port)))
    if d:
        assert one(r)[0] == 250
        r.wait_queue_empty()
    out, frozen = [], bool(d)
    if d:
        subprocess.run(["fsfreeze", "-f", str(d.path)], check=True)
    try:
        sessions = [threading.Thread(target=reply_after, args=(r, 0.4 * n, out)) for n in range(3)]
        for s in sessions:
            s.start()
        for s in sessions:
            s.join(90)
            assert not s.is_alive(), "one is not answered"
    finally:
        if frozen:
            subprocess.run(["fsfreeze", "-u", str(d.path)], check=True)
    for code, text, seconds, _ in out:
        print(f"{how}: {code} {text} after {seconds:.2f} s")
        # Not behind the first one's sync, which ends after 8 s, or never.
        assert code == 451 and text.startswith("4.3.0") and seconds >= 0.99 and (d or seconds < 8), out
    assert len(out) == 3
    for _, _, _, id in out:
        e = r.wait_event("cancelled", message_id=id, timeout=40)
        assert e["reason"] == "the client was told 451 after 1 s"
        assert len(r.events("accepted", message_id=id)) == 1 and not r.events("delivered", message_id=id)
    r.wait_queue_empty()
    assert len(there.files()) == (1 if d else 0)
