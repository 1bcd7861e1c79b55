"""
Those who read the delivery log while it is written, put aside, compressed and removed: postwain log, the consumer of contrib/collectors. The log
is written by kit_events (the events room as a program) at 2,000 events a second, and by the daemon.
"""
import hashlib
import hmac
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest

import proof
from kit.mail import message
from kit.relay import ENVIRONMENT, POSTWAIN, ROOT, run_postwain, smarthost
from kit.wait import until

KIT = pathlib.Path(POSTWAIN).parent / "tests" / "kit_events"
CONSUMER = os.path.join(ROOT, "contrib/collectors/consumer.py")
RATE, SECONDS = 2000, 7


class Written:
    """A log that is being written: RATE events a second for SECONDS at least, put aside every 2 s, compressed a second later."""

    def __init__(self, folder, rate=RATE, seconds=SECONDS, rotate=2, compress=1):
        self.dir, self.conf, self.live = folder, folder / "postwain.conf", folder / "delivery.jsonl"
        self.conf.write_text(f'hostname = "kit.test"\nlog {{ deliveries = "{self.live}" }}\n')
        self.env = {**os.environ, **ENVIRONMENT, "POSTWAIN_CONFIG": str(self.conf), "POSTWAIN": POSTWAIN}
        self.how = [str(KIT), str(self.live), str(rate), str(seconds), str(rotate), str(compress)]

    def start(self):
        self.process = subprocess.Popen(self.how, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self

    def end(self):
        """The number of the last event."""
        out, err = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, err[-3000:]
        return int(out)

    def put_aside(self):
        return sorted(p.name for p in self.dir.glob("delivery-*"))


class Reader:
    """A program whose standard output is read as lines that tell a number, until it is ended."""

    def __init__(self, argv, env):
        self.process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.seqs = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            if m := re.match(rb'(?:\{"v":1,"seq":)?(\d+)', line):
                self.seqs.append(int(m.group(1)))

    def end(self, last, timeout=60):
        until(lambda: self.seqs and self.seqs[-1] >= last, timeout, lambda: f"{self.seqs[-3:]} of {last}: {self.process.poll()}")
        return self.kill()

    def kill(self, signum=signal.SIGTERM):
        self.process.send_signal(signum)
        self.process.wait(90)
        self.thread.join(90)
        return self.seqs


@pytest.fixture
def written(tmp_path):
    return Written(tmp_path)


def test_followers_miss_nothing(written):
    """2,000 events a second, a new file every two seconds, old ones compressed: each event comes once, in order, to postwain log and to the consumer."""
    written.start()
    until(written.live.exists, 20)
    follow = Reader([POSTWAIN, "log", "-f", "--since-seq", "0", "--json"], written.env)
    consumer = Reader([CONSUMER, str(written.dir / "checkpoint")], written.env)
    last = written.end()
    assert last >= RATE * SECONDS
    until(lambda: (written.dir / "checkpoint").exists() and (written.dir / "checkpoint").read_text() == f"{last}\n", 60)
    for name, reader in (("postwain log -f", follow), ("consumer.py", consumer)):
        got = reader.end(last)
        print(f"{name}: {len(got)} of {last} events, {len(written.put_aside())} files put aside")
        assert got == list(range(1, last + 1)), f"{name}: {len(got)} came, {last} were written"
    aside = written.put_aside()
    assert len(aside) >= 3 and any(n.endswith(".zst") for n in aside), aside


def test_a_consumer_that_dies_loses_nothing(written):
    """Killed again and again while files are put aside and compressed: what it has handled is all of it, and what came twice was behind its checkpoint."""
    written.start()
    until(written.live.exists, 20)
    checkpoint, got = written.dir / "checkpoint", []
    while written.process.poll() is None:
        reader = Reader([CONSUMER, str(checkpoint)], written.env)
        time.sleep(0.7)
        got += reader.kill(signal.SIGKILL)
    last = written.end()
    reader = Reader([CONSUMER, str(checkpoint)], written.env)
    until(lambda: checkpoint.exists() and checkpoint.read_text() == f"{last}\n", 60)
    got += reader.kill()
    assert set(got) == set(range(1, last + 1)), f"{last - len(set(got))} of {last} are missing"
    print(f"{len(got)} handled for {last} events")


def test_since_seq_reads_every_kind_of_file(tmp_path):
    """From any number on, whatever has become of its file; what is gone for good is told."""
    written = Written(tmp_path, seconds=4, rotate=1).start()
    last = written.end()
    files = written.put_aside()
    assert any(f.endswith(".zst") for f in files)
    for since in (0, 1, last // 3, last // 2, last - 1, last):
        done = run_postwain("log", "--since-seq", str(since), "--json", env=written.env)
        seqs = [e["seq"] for e in done.rows]
        assert seqs == list(range(since + 1, last + 1)) and done.code == (0 if seqs else 1), (since, done.err, len(seqs))
        assert "lacks" not in done.err
    one = run_postwain("log", "--since-seq", "0", "--json", "--to", f"user{last // 2}@*", env=written.env)
    assert [e["seq"] for e in one.rows] == [last // 2]
    assert run_postwain("log", "--since-seq", "0", "--code", "5xx", env=written.env).code == 1
    assert len(run_postwain("log", "--since-seq", str(last - 10), "--code", "2xx", "--newer-than", "1h", "--json", env=written.env).rows) == 10
    assert run_postwain("log", "--since-seq", "0", "--older-than", "1h", env=written.env).code == 1
    first = min(files, key=lambda name: int(re.search(r"Z-(\d+)", name).group(1)))
    gone = int(re.search(r"Z-(\d+)", first).group(1))
    for path in written.dir.glob(first.removesuffix(".zst") + "*"):
        path.unlink()
    done = run_postwain("log", "--since-seq", "5", "--json", env=written.env)
    assert [e["seq"] for e in done.rows] == list(range(gone + 1, last + 1))
    assert f"lacks 6 to {gone}" in done.err


def test_damaged_archive_is_told(tmp_path):
    """A compressed file that the disk has spoilt: an error that names it, not silence."""
    written = Written(tmp_path, rate=500, seconds=4, rotate=1).start()
    written.end()
    victim = next(written.dir / n for n in written.put_aside() if n.endswith(".zst"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0xff
    victim.write_bytes(data)
    done = run_postwain("log", "--since-seq", "0", "--json", env=written.env)
    assert done.code != 0 and victim.name in done.err, done.err


# --- with the daemon

def test_rotate_verb_and_logrotate(relay, sink, tmp_path):
    """`log rotate` ends the file before it answers, by itself or, for logrotate, after a renaming; nothing is lost, an empty file stays."""
    r = relay(destinations=smarthost(sink()))
    ids = [r.send(message()) for _ in range(2)]
    for id in ids:
        r.wait_final(id)
    done = r.rows("log", "rotate")
    aside = list(r.dir.glob("delivery-*.jsonl"))
    assert len(aside) == 1 and done[0]["log_seq"] >= 4, done
    lines = [json.loads(line) for line in aside[0].read_bytes().splitlines()]
    assert lines[-1]["event"] == "log_closed" and {e["queue_id"] for e in lines if e.get("final")} == set(ids)
    r.cli("log", "rotate")
    assert len(list(r.dir.glob("delivery-*.jsonl"))) == 1, "a file without an event was put aside"
    third = r.send(message())
    r.wait_final(third)
    script, state = tmp_path / "logrotate.conf", tmp_path / "state"
    script.write_text(f'{r.dir}/delivery.jsonl {{\n rotate 3\n nocreate\n extension .jsonl\n postrotate\n  POSTWAIN_CONFIG={r.conf} {POSTWAIN} log rotate\n endscript\n}}\n')
    script.chmod(0o600)
    if os.path.exists("/usr/sbin/logrotate"):
        r.dir.chmod(0o755)
        p = subprocess.run(["/usr/sbin/logrotate", "-f", "-s", str(state), str(script)], capture_output=True, text=True, env={**os.environ, **ENVIRONMENT})
        assert p.returncode == 0, p.stderr
    else:
        os.rename(r.dir / "delivery.jsonl", r.dir / "delivery.1.jsonl")
        r.cli("log", "rotate")
    moved = (r.dir / "delivery.1.jsonl").read_bytes().splitlines()
    assert json.loads(moved[-1])["event"] == "log_closed" and any(third.encode() in line for line in moved)
    fourth = r.send(message())
    r.wait_final(fourth)
    r.stop()
    os.rename(r.dir / "delivery.1.jsonl", next(r.dir.glob("delivery-*.jsonl")).with_name("delivery-20300101T000000Z-999999.jsonl"))


KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("mode", ("hashed", "domain"))
def test_recipients_are_not_shown(relay, sink, tmp_path, mode):
    """Privacy: neither the log, nor standard output, nor what a peer said about it names a recipient; hashed, one recipient can still be followed."""
    (tmp_path / "key").write_text(KEY + "\n")
    r = relay(destinations=smarthost(sink("--refuse", "secretname*")), log=f'recipients = "{mode}"  hash-key-file = "{tmp_path}/key"  stdout = true')
    id = r.send(message(), recipients=["secretname@rcpt.test", "OtherName@rcpt.test"])
    r.wait_final(id, n=2)
    until(lambda: len([e for e in r.events("delivered")]) >= 2, 20)  # the report, too
    r.stop()
    events = proof.check_log(r.dir)
    whole = b"".join(proof.log_lines(r.dir)).lower() + r.process.out.read_text().lower().encode()
    assert b"secretname" not in whole and b"othername" not in whole
    mine = [e for e in events if e.get("queue_id") == id and "rcpt" in e]
    assert {e["recipient_domain"] for e in mine} == {"rcpt.test"} and len(mine) >= 4
    digest = hmac.new(KEY.encode(), b"secretname@rcpt.test", hashlib.sha256).hexdigest()[:24]
    assert {e.get("recipient") for e in mine if e["rcpt"] == 0} == {f"{digest}@rcpt.test" if mode == "hashed" else "*@rcpt.test"}


def test_a_key_is_needed(relay, tmp_path):
    """recipients = "hashed" without a key, or with one that is guessed in a moment, is refused by check, by serve and by a reload."""
    r = relay(start=False, log='recipients = "hashed"')
    assert "hash-key-file" in r.cli("check", code=1).err + r.cli("check", code=1).out
    (tmp_path / "key").write_text("short")
    r.write(log=f'recipients = "hashed"  hash-key-file = "{tmp_path}/key"')
    with pytest.raises(AssertionError, match="hash-key-file"):
        r.start()
    r.write(log="")
    r.start()
    r.write(log=f'recipients = "hashed"  hash-key-file = "{tmp_path}/none"')
    assert "hash-key-file" in r.cli("reload", code=None).err
    r.write(log="")


def test_standard_output_has_each_event(relay, sink):
    """The second sink: the same octets as in the file; switched on and off by a reload."""
    r = relay(destinations=smarthost(sink()), log="stdout = true")
    for n in range(3):
        r.wait_final(r.send(message()))
    r.write(log="")
    r.cli("reload")
    r.wait_event("config_reloaded")
    silent = r.send(message())
    r.wait_final(silent)
    r.stop()
    out = [line for line in r.process.out.read_text().encode().splitlines() if line.startswith(b"{")]
    lines = [line for line in proof.log_lines(r.dir) if b'"seq"' in line[:12]]
    assert out == lines[:len(out)] and sum(b'"delivered"' in line for line in out) == 3
    assert not any(silent.encode() in line for line in out)


def test_settings_of_the_log_change_by_a_reload(relay, sink):
    r = relay(destinations=smarthost(sink()))
    r.wait_final(r.send(message()))
    r.write(log='rotate-size = "2K"  compress-after = "1s"')
    r.cli("reload")
    for n in range(3):
        r.wait_final(r.send(message()))
    until(lambda: list(r.dir.glob("delivery-*.jsonl.zst")), 20, "a file is put aside and compressed")


def test_full_log_disk_stops_accepting_not_delivering(relay, sink, disk):
    """Promise 6 for the log's own disk, checklist 100: below min-free new mail is 452, queued mail is delivered and logged; then all goes on by itself."""
    small, there = disk("ext4"), sink("--defer", "later*")
    r = relay(destinations=smarthost(there), log='min-free = "16M"', log_in=small.path, delivery='retry = { "1s" }')
    waiting = r.send(message(), recipients="later@rcpt.test")
    r.wait_event("deferred", queue_id=waiting)
    small.fill(leave=8 << 20)

    def refused():
        with r.smtp() as s:
            return s.mail("ann@sender.test")[0] == 452

    until(refused, 15, "new mail is refused")
    assert any("log.min-free" in w for w in r.rows("status")[-1]["warnings"])
    there.stop()
    there.start([])
    r.wait_event("delivered", queue_id=waiting)
    small.empty()
    until(lambda: not refused(), 15, "accepting goes on")
    r.wait_final(r.send(message()))


def test_full_log_disk_loses_no_event(relay, sink, disk):
    """Promise 11: nothing can be written for a while, far more than memory may hold; later the log has every event once, and the same is told again after a kill."""
    chance, small, there = proof.seed(), disk("ext4"), sink("--quiet")
    r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port, "connections = 5"), log='min-free = "0"', log_in=small.path,
              top='debug-log-memory = "48K"  debug-segment-bytes = "1M"', spool='min-free = "0"')
    load = proof.Submitters(r.submission, chance, threads=3, large=0)
    until(lambda: len(load.told) > 30, 20)
    small.fill(leave=0)
    until(lambda: "delivery_log_stuck" in r.process.errors(), 20)
    told = len(load.told)
    until(lambda: len(load.told) > told + 400, 60, "mail goes on")
    status = r.rows("status")[-1]
    assert any("delivery log cannot be written" in w for w in status["warnings"]) and status["last_seq"] > status["log_seq"] + 400
    small.empty()
    until(lambda: "delivery_log_goes_on" in r.process.errors(), 20)
    until(lambda: r.rows("status")[-1]["log_seq"] > status["last_seq"], 30, "the log catches up")
    r.kill()
    r.start()
    load.stop()
    proof.wait_finished(r, 60)
    r.stop()
    events = proof.check_log(small.path)
    assert not proof.unfinished(events)
    assert {t.id for t in load.told} <= {e["queue_id"] for e in events if e["event"] == "accepted"}
    assert "delivery_log_lacks" not in r.process.errors()
