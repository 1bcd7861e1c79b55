"""What a 250 means: the order of system calls, a sync held back, one owner of a spool, a stop under load."""
import os
import re
import signal
import subprocess
import threading
import time

import pytest

import proof
from kit.mail import message, message_id
from kit.relay import ENVIRONMENT, POSTWAIN, run_postwain
from kit.wait import free_port, until

RELOADS = int(os.environ.get("PW_RELOADS", 30))

CALL = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+) +(\d+\.\d+) <\.\.\. (\w+) resumed>(.*)$")


class Call:
    """A system call: the lines of the trace at which it began and ended."""

    def __init__(self, name, began, ended, text):
        self.name, self.began, self.ended, self.text = name, began, ended, text
        self.ok = not re.search(r"= -1 ", text)

    def file(self):
        """The path or socket of its descriptor."""
        m = re.match(r"\d+<(.*?)>(?:\(deleted\))?\s*[,)]", self.text)
        return m.group(1) if m else ""


def calls_of(path):
    """strace -f: calls in the order in which they ended; a call cut in two by another thread's is put together."""
    calls, open_calls = [], {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines()):
        if m := CALL.match(line):
            pid, _, name, text = m.groups()
            if text.endswith("<unfinished ...>"):
                open_calls[pid] = (name, number, text[:-len("<unfinished ...>")])
            else:
                calls.append(Call(name, number, number, text))
        elif m := RESUMED.match(line):
            name, began, text = open_calls.pop(m.group(1))
            assert name == m.group(3)
            calls.append(Call(name, began, number, text + m.group(4)))
    return calls


def submit_some(relay, bodies, threads=3):
    """Each body in a message of its own, in clear; {queue id: message}."""
    sent, lock = {}, threading.Lock()

    def run(mine):
        with relay.smtp("clear", user=None) as session:
            for body in mine:
                raw = message(body)
                id = relay.submit(session, raw, "ann@sender.test", "bob@rcpt.test")
                with lock:
                    sent[id] = raw

    workers = [threading.Thread(target=run, args=(bodies[n::threads],)) for n in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(120)
    assert len(sent) == len(bodies)
    return sent


def trace(relay, path):
    """Starts the relay below strace; the relay itself is our child (-D)."""
    relay.process.start(["strace", "-D", "-f", "-ttt", "-yy", "-s", "600000", "-o", str(path), "-e", "signal=none",
                         "-e", "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,fsync,fdatasync,rename,renameat",
                         POSTWAIN, "serve", "-c", str(relay.conf)],
                        env={**ENVIRONMENT, "ASAN_OPTIONS": ENVIRONMENT["ASAN_OPTIONS"] + ":detect_leaks=0"})


READS, WRITES = ("read", "readv", "recvfrom", "recvmsg"), ("write", "writev", "sendto", "sendmsg")


def prove_order(calls, id, raw):
    """
    read of the last octet < the record (with this Message-ID) written < a sync of that segment begun and ended well < the 250. For a body
    in a file of its own: all of that is synced, its name too, before the record is written.
    """
    reply = next(c for c in calls if c.name in WRITES and f"queued as {id}" in c.text)
    last_read = [c for c in calls if c.name in READS and c.file() == reply.file() and c.ended < reply.began and "= 0" != c.text[-3:]
                 and not re.search(r"= (-1 E\w+.*|0)$", c.text)][-1]
    record = [c for c in calls if c.name == "pwrite64" and re.search(r"/spool/(seg|free)-", c.file()) and message_id(raw) in c.text]
    assert record, f"the record of {id} is not seen on its way to the disk"
    record = record[0]
    assert last_read.ended < record.began, f"{id}: its record was written before its content had come"
    syncs = [c for c in calls if c.name == "fdatasync" and c.file() == record.file() and c.ok
             and record.ended < c.began and c.ended < reply.began]
    assert syncs, f"{id}: no completed fdatasync of {record.file()} between the record (line {record.ended}) and the 250 (line {reply.began})"
    body = [c for c in calls if c.name in ("pwrite64", "write") and f"/spool/body/{id}" in c.file()]
    if len(raw) <= 256 * 1024:
        assert not body
        return
    assert body, "the large body has no file"
    at = [c for c in calls if c.name in ("fsync", "fdatasync") and c.file() == body[0].file() and c.ok and body[-1].ended < c.began]
    assert at and at[0].ended < record.began, f"{id}: its body was not synced before its record"
    names = [c for c in calls if c.name == "fsync" and c.file().endswith("/spool/body") and c.ok and c.ended < record.began]
    assert names, f"{id}: the name of its body was not synced before its record"


def test_a_250_follows_a_sync_of_its_record(relay, sink, tmp_path):
    """Promise 1: read, record, fdatasync, 250: in this order, for every message."""
    there = sink()
    r = relay(start=False, listener=proof.TRUSTED, destinations=proof.to_port(there.port))
    path = tmp_path / "strace.out"
    trace(r, path)
    line = b"0123456789abcdef" * 4 + b"\r\n"
    sent = submit_some(r, [line * n for n in range(1, 31)] + [line * 5000, line * 9000])
    until(lambda: len(r.events("delivered")) == len(sent), 60, "delivered")
    assert r.process.stop() == 0
    until(lambda: re.search(rf"(?m)^{r.pid} .*\+\+\+ exited with 0 \+\+\+$", path.read_text(errors="replace")), 20, "the tracer ends a moment after us")
    calls = calls_of(path)
    for id, raw in sent.items():
        prove_order(calls, id, raw)


def test_no_250_while_the_sync_is_pending(relay, sink):
    """Promise 2: with each sync held back by 2 s the 250 comes no earlier, and other sessions do not wait for it."""
    there = sink()
    r = relay(listener=proof.TRUSTED, top='threads = 1  debug-sync-delay = "2s"', destinations=proof.to_port(there.port))
    waits = []

    def one():
        with proof.Raw(r.submission) as c:
            c.envelope()
            c.say(b"DATA", 354)
            began = time.monotonic()
            c.send(b"Subject: slow\r\n\r\nslow\r\n.\r\n")
            code, _ = c.reply()
            waits.append((code, time.monotonic() - began))

    for turn in range(1, 6):  # until the machine was quick enough to tell
        threads = [threading.Thread(target=one) for _ in range(4)]
        for t in threads:
            t.start()
        time.sleep(0.3)
        with proof.Raw(r.submission) as c:
            c.envelope()
            c.say(b"RSET", 250)
            aside = len(waits) == 4 * (turn - 1)
        for t in threads:
            t.join(180)
        assert [code for code, _ in waits] == [250] * 4 * turn
        assert min(t for _, t in waits) >= 2.0, waits
        if aside:
            break
    assert aside, "another session waits until the sync is over"
    there.wait(4 * turn)


def test_killed_before_the_sync_ends_nothing_was_promised(relay, sink):
    """The record may be there or not; what matters is that no 250 came, and that the spool opens."""
    there = sink()
    r = relay(listener=proof.TRUSTED, top='debug-sync-delay = "10m"', destinations=proof.to_port(there.port))
    with proof.Raw(r.submission) as c:
        c.envelope()
        c.say(b"DATA", 354)
        c.send(b"Subject: never\r\n\r\nnever\r\n.\r\n")
        time.sleep(1)
        r.kill()
        try:
            assert False, f"a reply without a sync: {c.reply()}"
        except proof.Gone:
            pass
    r.write(top="")
    r.start()
    r.send(message(b"afterwards\r\n"), mode="clear", user=None)
    until(lambda: there.find("afterwards"), 20, "delivery after the restart")


def second(relay, tmp_path):
    """A configuration with ports, log and socket of its own, and the same spool."""
    text = relay.conf.read_text()
    for name, value in (("submission", relay.submission), ("submissions", relay.submissions)):
        text = text.replace(f":{value}", f":{free_port()}")
    text = text.replace("/delivery.jsonl", "/delivery2.jsonl").replace("/control.sock", "/control2.sock")
    conf = tmp_path / "second.conf"
    conf.write_text(text)
    return conf


def test_two_processes_never_share_a_spool(relay, sink, tmp_path):
    """Promise 12: the second is told why; the first goes on; a kill frees the spool at once."""
    there = sink()
    r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port))
    conf = second(r, tmp_path)
    for path in (conf, r.conf):
        done = run_postwain("serve", "-c", path)
        assert done.code == 1, done
        assert "ready" not in done.out
        assert re.search(r"spool", done.err) and re.search(r"another|already|in use|lock", done.err), done.err
    r.send(message(b"the first goes on\r\n"), mode="clear", user=None)
    until(lambda: there.find("the first goes on"), 20, "delivery")
    r.kill()
    r.start()
    r.send(message(b"and after a kill\r\n"), mode="clear", user=None)
    until(lambda: there.find("and after a kill"), 20, "delivery")


def test_a_stop_that_is_asked_for_again_and_again(relay):
    """Promise 13: who is impatient, or has the log opened anew at that moment, kills the relay in the middle of its end; or in the moment it is ready."""
    r = relay()
    for signals in ((signal.SIGTERM,), (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)):
        while r.process.running:
            for one in signals:
                r.process.child.send_signal(one)
            time.sleep(0.005)
        assert r.process.wait() == 0, r.process.errors()[-3000:]
        r.no_reports()
        r.start()


def test_a_stop_under_load_loses_and_repeats_nothing(relay, sink):
    """Promise 13: SIGTERM, several times: exit 0 within its time, every dot that was received answered, each message arrives once."""
    chance = proof.seed()
    there = sink()
    r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port, "connections = 5"))
    load = proof.Submitters(r.submission, chance, threads=4, pause=0.01)
    slowest = 0
    for _ in range(4):
        time.sleep(chance.uniform(0.5, 1.5))
        began = time.monotonic()
        os.kill(r.pid, signal.SIGTERM)
        assert r.process.wait(40) == 0, r.process.errors()[-3000:]
        slowest = max(slowest, time.monotonic() - began)
        r.start()
    time.sleep(0.5)
    load.stop()
    proof.wait_finished(r, 60)
    arrived = proof.arrivals(there)
    lost = [t.xid for t in load.told if t.xid not in arrived]
    twice = [x for x, copies in arrived.items() if len(copies) > 1]
    print(f"{len(load.told)} answered 250, {len(lost)} lost, {len(twice)} twice, {len(load.unknown)} unanswered, slowest stop {slowest:.1f} s")
    assert not lost and not twice, (lost, twice)
    assert all(copies[0].digest == load.sent[x] for x, copies in arrived.items())
    assert not load.unknown, f"dots without an answer: {load.unknown}"
    assert not [x for x, *_ in load.refused if x in arrived], "refused, and delivered all the same"
    assert slowest < 35, slowest  # three stages of 10 s at most
    events = proof.check_log(r.dir)
    assert not proof.unfinished(events)
    assert not [e for e in events if e["event"] == "deferred"], "a stop made an attempt fail"


@pytest.mark.long
def test_reloads_drop_no_connection(relay, sink):
    """
    Promise 14: reloads under load, by signal and by the command, each with another configuration, some of them with an error: no session ends, no message
    is refused, lost or sent twice, and of a broken file nothing is taken. PW_RELOADS says how many.
    """
    chance = proof.seed()
    there = sink()
    r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port, "connections = 5"))
    session = r.smtp(mode="clear", user=None)
    load = proof.Submitters(r.submission, chance, threads=4, pause=0.01)
    reloaded = refused = 0
    for n in range(RELOADS):
        broken = n % 10 == 7
        r.write(delivery=f'retry = {{ "{1 + n % 3}s" }}  lifetime = "{1 + n % 4}d"', top='no-such-key = 1' if broken else "",
                destinations=proof.to_port(there.port, f"connections = {3 + n % 4}"))
        if broken:
            done = r.cli("reload", code=1)
            assert "no-such-key" in done.err
            r.reload()  # by signal it is refused just so, before the next file is there
            refused += 1
            until(lambda: r.process.errors().count("event=reload_refused") == refused, 20, lambda: r.process.errors()[-2000:])
        elif n % 2:
            r.cli("reload")
            reloaded += 1
        else:
            r.reload()
            until(lambda: len(r.events("config_reloaded")) > reloaded, 20, lambda: r.process.errors()[-2000:])
            reloaded += 1
    load.stop()
    assert session.noop()[0] == 250
    r.submit(session, message(b"a session as old as all of it\r\n"), "ann@sender.test", "bob@rcpt.test")
    session.quit()
    until(lambda: there.find("a session as old as all of it"), 20, "delivery")
    proof.wait_finished(r, 60)
    assert len(r.events("config_reloaded")) == reloaded
    arrived = proof.arrivals(there)
    print(f"{reloaded} reloads, {refused} refused, {len(load.told)} answered 250, {len(load.lost)} sessions lost, {len(load.refused)} refused")
    assert load.told and not load.lost and not load.refused and not load.unknown, (load.lost[:3], load.refused[:3])
    assert not [t.xid for t in load.told if t.xid not in arrived], "lost"
    assert not [x for x, copies in arrived.items() if len(copies) > 1], "twice"
    assert not [e for e in proof.check_log(r.dir) if e["event"] == "deferred"]


def blocks_hangups(pid):
    """The main thread of this process lets SIGHUP wait."""
    try:
        status = open(f"/proc/{pid}/status").read()
    except OSError:
        return False
    return bool(int(re.search(r"^SigBlk:\s*(\w+)", status, re.M)[1], 16) & 1)


def test_signals_at_both_ends_of_its_life(relay, tmp_path):
    """13, 14: a log that is rotated while the relay starts ends it, or is not heard; who asks twice for the end kills it in the middle of that."""
    r, early = relay(start=False), 0
    for n in range(30):  # this process may sleep through a start
        if early == 2:
            break
        with open(tmp_path / f"out{n}", "w+") as out:
            p = subprocess.Popen([POSTWAIN, "serve", "-c", str(r.conf)], stdout=out, stderr=out, env={**os.environ, **ENVIRONMENT})
            try:
                said = lambda: (tmp_path / f"out{n}").read_text()
                while not blocks_hangups(p.pid) and p.poll() is None and "ready" not in said():
                    pass
                early += blocks_hangups(p.pid)
                p.send_signal(signal.SIGHUP)
                until(lambda: "ready" in said() or p.poll() is not None, 30)
                assert p.poll() is None, (p.returncode, said())
                until(lambda: len(r.events("config_reloaded")) == n + 1, 30, said)
                while p.poll() is None:
                    p.send_signal(signal.SIGTERM)
                assert p.returncode == 0, (p.returncode, said())
            finally:
                if p.poll() is None:
                    p.kill()
                    p.wait()
    assert early == 2, "it never lets a SIGHUP wait while it starts"
