"""`spool check [--repair]`, beside the running daemon and on a stopped spool, with bytes flipped on the disk."""
import os
import pwd
import re
import shutil
import subprocess
import threading

import pytest

from kit import mail
from kit.relay import run_postwain, smarthost
from kit.wait import free_port, until


@pytest.fixture
def waiting(relay, sink):
    """A relay of small segments with 60 messages and one large one that wait: (relay, sink, {recipient: (id, raw)})."""
    s = sink("--defer", "*")
    r = relay(top='debug-segment-bytes = "128K"', destinations=smarthost(s), delivery='retry = { "1h" }')
    there = {}
    session = r.smtp()
    for i in range(61):
        raw = mail.message(b"mark-%03d " % i + b"x" * 900 + b"\r\n" + b"y\r\n" * (300000 if i == 60 else 2000), "ann@a.test", f"n{i}@x.test")
        there[f"n{i}@x.test"] = r.submit(session, raw, "ann@a.test", f"n{i}@x.test"), raw
    session.quit()
    until(lambda: len(r.queue("--state", "waiting")) == 61, 60)
    yield r, s, there


def flip(spool, text):
    """One byte behind the first place of this text in a segment that is not the last; the segment's name."""
    for path in sorted(spool.glob("seg-*"))[:-1]:
        data = path.read_bytes()
        at = data.find(text)
        if at >= 0:
            with open(path, "r+b") as f:
                f.seek(at + 3)
                f.write(bytes([data[at + 3] ^ 0x20]))
            return path.name
    raise AssertionError(f"{text} is in no sealed segment")


def deliver(r, s, there, lost):
    """All but the lost ones arrive, once and as they were."""
    s.stop()
    s.start(options=[])
    r.cli("queue", "retry", "--all", "--yes", code=None)
    want = sorted(raw for to, (_, raw) in there.items() if to not in lost)
    until(lambda: not [row for row in r.queue() if row["recipient"] in there and row["recipient"] not in lost], 60, r.queue)
    got = [mail.below_trace(m) for m in s.messages()]
    marks = {re.search(rb"mark-\d+", raw).group(0) for raw in want}
    assert sorted(m for m in got if (found := re.search(rb"mark-\d+", m)) and found.group(0) in marks and b"report" not in m[:400]) == want


def test_stopped(waiting):
    """Damage of a stopped spool is not found, a repair makes it worse, or mail that was not hit is lost."""
    r, s, there = waiting
    r.stop()
    spool = r.dir / "spool"
    done = r.cli("spool", "check")
    assert "61 messages: all is well" in done.out
    before = {p.name: p.read_bytes() for p in spool.iterdir() if p.is_file()}
    name = flip(spool, b"n7@x.test")
    with open(spool / f"body/{there['n60@x.test'][0]}.body", "r+b") as f:
        f.seek(500000)
        f.write(b"?")
    found = r.cli("spool", "check", code=1)
    assert name in found.out and there["n60@x.test"][0] in found.out and "--repair" in found.out
    rows = r.cli("spool", "check", "--json", code=1).rows
    assert len(rows) >= 3 and all("finding" in row for row in rows[:-1])
    assert rows[-1]["damaged"] == len(rows) - 1 and rows[-1]["repaired"] == 0
    changed = {n for n, data in before.items() if (spool / n).read_bytes() != data}
    assert changed == {name}, "a check without --repair writes"
    mended = r.cli("spool", "check", "--repair", "--json", code=1).rows
    assert mended[-1]["repaired"] >= 1
    assert any((spool / "quarantine").iterdir())
    # What is left is content that nothing can mend: its senders will hear of it.
    after = r.cli("spool", "check", code=1)
    assert name not in after.out and there["n60@x.test"][0] in after.out
    r.start()
    deliver(r, s, there, {"n7@x.test", "n60@x.test"})
    r.wait_queue_empty(60)
    assert [e["event"] for e in r.wait_final(there["n60@x.test"][0])] == ["bounced"]
    r.stop()
    assert "all is well" in r.cli("spool", "check").out


def test_beside_mail(waiting):
    """A check of a running spool stops mail, or takes what is being written for damage."""
    r, _, _ = waiting
    sent, stop = [], threading.Event()

    def send():
        session = r.smtp()
        while not stop.is_set():
            sent.append(r.submit(session, mail.message(), "ann@a.test", "later@x.test"))
        session.quit()
    sender = threading.Thread(target=send)
    sender.start()
    for _ in range(5):
        before = len(sent)
        assert r.rows("spool", "check")[-1]["damaged"] == 0
        until(lambda: len(sent) > before, 20)
    stop.set()
    sender.join()


def test_running(waiting):
    """A running daemon does not find the damage in its spool, or a repair takes mail that was not hit."""
    r, s, there = waiting
    assert r.rows("spool", "check")[-1]["damaged"] == 0
    # A body: its sender will hear of it. A record: what it costs is told, and it is mended.
    flip(r.dir / "spool", b"mark-009")
    found = r.cli("spool", "check", "--json", code=1)
    assert any(there["n9@x.test"][0] in row["finding"] for row in found.rows[:-1]), found.out
    name = flip(r.dir / "spool", b"n11@x.test")
    # In one go: as soon as a check has found a bad record, its segment's mail is copied elsewhere and the segment may be gone.
    both = r.rows("spool", "check", "--repair", code=1)
    told = " ".join(row["finding"] for row in both[:-1])
    assert name in told and there["n9@x.test"][0] in told and there["n11@x.test"][0] in told
    assert both[-1]["repaired"] >= 1
    assert name not in r.cli("spool", "check", code=1).out
    deliver(r, s, there, {"n9@x.test", "n11@x.test"})
    r.wait_queue_empty(60)
    assert [e["event"] for e in r.wait_final(there["n9@x.test"][0]) + r.wait_final(there["n11@x.test"][0])] == ["bounced"] * 2
    r.restart()
    assert "all is well" in r.cli("spool", "check").out


def test_two_at_once_and_gone(waiting):
    """A check that nobody listens to any more blocks the next one for ever."""
    r, _, _ = waiting
    for _ in range(20):
        p = subprocess.Popen(["nc", "-U", str(r.dir / "control.sock")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) \
            if shutil.which("nc") else None
        if p is None:
            import socket
            c = socket.socket(socket.AF_UNIX)
            c.connect(str(r.dir / "control.sock"))
            c.sendall(b'{"id":1,"verb":"spool.check"}\n')
            c.close()
        else:
            p.stdin.write(b'{"id":1,"verb":"spool.check"}\n')
            p.stdin.flush()
            p.kill()
            p.wait()
    until(lambda: r.cli("spool", "check", code=None).code == 0, 20)
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(r.cli("spool", "check", code=None))) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all(c.code == 0 or "another check" in c.err for c in codes) and any(c.code == 0 for c in codes)


def test_in_use_and_silent(waiting, tmp_path):
    """A check of a spool in use reads half-written records, or says that the daemon is not running."""
    r, _, _ = waiting
    (r.dir / "control.sock").rename(r.dir / "elsewhere.sock")
    for words in ([], ["--repair"]):
        done = r.cli("spool", "check", *words, code=3)
        assert "stop it" in done.err
    (r.dir / "elsewhere.sock").rename(r.dir / "control.sock")
    r.cli("spool", code=2)
    r.cli("spool", "check", "now", code=2)
    r.cli("spool", "mend", code=2)
    assert "--repair" in r.cli("spool", "check", "--help").out


def test_as_its_owner(waiting):
    """Root checks the stopped spool of another account, and the daemon cannot write there any more."""
    r, _, _ = waiting
    r.stop()
    spool = r.dir / "spool"
    uid = pwd.getpwnam("daemon").pw_uid
    for path in [spool, *spool.rglob("*")]:
        os.chown(path, uid, uid)
    for folder in [spool, *spool.parents]:
        if folder != folder.parent and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o711)
    flip(spool, b"n7@x.test")
    # The leak checker cannot look into a process that has changed its identity.
    r.cli("spool", "check", "--repair", code=1, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert {p.stat().st_uid for p in [spool, *spool.rglob("*")]} == {uid}
    for path in [spool, *spool.rglob("*")]:
        os.chown(path, 0, 0)
    assert "damaged record" not in run_postwain("spool", "check", "-c", r.conf).out


def test_no_spool(relay):
    """A typing error in the configuration makes a new, empty spool that is called well."""
    r = relay(start=False)
    done = r.cli("spool", "check", code=1)
    assert str(r.dir / "spool") in done.err and not (r.dir / "spool").exists()
