"""A queue moves to another host: `queue export` there, `queue import` here, and the mail arrives once, byte for byte."""
import json
import os
import re
import shutil
import signal
import smtplib
import subprocess
import threading
import time

import pytest

from kit import mail
from kit.relay import ENVIRONMENT, POSTWAIN, run_postwain, smarthost
from kit.wait import free_port, until

ID = re.compile(r"^[0-9A-HJKMNP-TV-Z]{13}$")
EIGHT = mail.message("Grüße – 8-bit\r\n.\r\n..two dots\r\n".encode() + b"\xff\xfe\x80 not UTF-8\r\n" + b"x" * 998 + b"\r\n", "ann@a.test", "one@x.test")
LARGE = mail.message(b"".join(b"line %07d of a body of one megabyte\r\n" % i for i in range(26000)), "ben@b.test", "two@y.test")
SMALL = mail.message(b"three recipients\r\n", "cat@c.test", "first@z.test")


def dead_end():
    """A destination that nobody answers for."""
    return f'destination "sink" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{free_port()}" }} }}\n'


def pairs(folder):
    """{id: (envelope, content)}; every file must be part of a pair."""
    names = sorted(p.name for p in folder.iterdir() if p.name != "imported")
    ids = [n[:-5] for n in names if n.endswith(".json")]
    assert sorted([i + ".json" for i in ids] + [i + ".eml" for i in ids]) == names
    assert all(ID.match(i) for i in ids)
    return {i: (json.loads((folder / f"{i}.json").read_text()), (folder / f"{i}.eml").read_bytes()) for i in ids}


@pytest.fixture
def old(relay, sink):
    """A relay with three messages that wait; one of three recipients of the last is delivered: (relay, its sink, {id: raw})."""
    s = sink("--defer", "one@*", "--defer", "two@*", "--defer", "second@*", "--defer", "third@*")
    r = relay(destinations=smarthost(s), delivery='retry = { "1h" }', users=("app", "shop"))
    ids = {}
    ids[r.send(EIGHT, "ann@a.test", "one@x.test")] = EIGHT
    ids[r.send(LARGE, "ben@b.test", "two@y.test", user="shop")] = LARGE
    ids[r.send(SMALL, "", ["first@z.test", "second@z.test", "third@z.test"])] = SMALL
    until(lambda: len(r.queue("--state", "waiting")) == 4, 30, r.queue)
    s.wait(1)
    return r, s, ids


def test_move(old, relay, sink, tmp_path):
    """A message that moves is lost, comes twice, or comes with other bytes or for a recipient that had it already."""
    r, _, ids = old
    folder = tmp_path / "queue"
    done = r.rows("queue", "export", folder)
    assert done[-1]["exported"] == 3 and done[-1]["recipients"] == 4 and done[-1]["failed"] == 0
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in folder.iterdir())
    there = pairs(folder)
    assert set(there) == set(ids)
    for id, raw in ids.items():
        envelope, content = there[id]
        assert mail.below_trace(content) == raw and envelope["size"] == len(content)
        assert envelope["v"] == 1 and envelope["queue_id"] == id
        assert envelope["message_id"] == mail.message_id(raw)
        assert envelope["eight_bit"] == (raw is EIGHT)
        assert content == run_cat(r, id)
    e = {raw: there[id][0] for id, raw in ids.items()}
    assert e[LARGE]["user"] == "shop" and e[LARGE]["sender"] == "ben@b.test" and e[SMALL]["sender"] == ""
    assert [(x["rcpt"], x["recipient"], x["attempt"]) for x in e[SMALL]["recipients"]] == [(1, "second@z.test", 1), (2, "third@z.test", 1)]
    assert all((x["state"], x["smtp_code"], x["enhanced_status"]) == ("waiting", 450, "4.2.0") and "busy" in x["response"]
               for v in e.values() for x in v["recipients"])
    assert len(r.queue()) == 4, "exporting changed the queue"

    s = sink()
    new = relay(destinations=smarthost(s), delivery='retry = { "1h" } lifetime = "9d"')
    rows = new.rows("queue", "import", folder)
    assert rows[-1] == {"imported": 3, "refused": 0, "left": 0, "recipients": 4, "bytes": sum(len(c) for _, c in there.values())}
    names = {row["was"]: row["queue_id"] for row in rows[:-1]}
    assert set(names) == set(ids) and not set(names.values()) & set(ids)
    got = s.wait(3)
    new.wait_queue_empty()
    assert sorted(map(mail.below_trace, got)) == sorted(ids.values())
    assert [p.name for p in folder.iterdir()] == ["imported"]
    assert set(pairs(folder / "imported")) == set(ids)
    for id, raw in ids.items():
        new.wait_event("accepted", queue_id=names[id], n=len(there[id][0]["recipients"]))
        accepted = new.events("accepted", queue_id=names[id])
        assert len(accepted) == len(there[id][0]["recipients"])
        for a in accepted:
            assert a["listener"] == "import" and a["actor"] == "root" and id in a["reason"]
            assert a["message_id"] == mail.message_id(raw) and a.get("user") == there[id][0].get("user")
            assert abs(seconds(a["expires"]) - seconds(there[id][0]["expires"])) < 2, "the lifetime began again"
        assert len(new.wait_final(names[id], len(accepted))) == len(accepted)
    assert len(s.files()) == 3
    # It holds nothing more; said, not an error that a script takes for a refusal.
    assert "no messages" in new.cli("queue", "import", folder, code=1).err


def seconds(text):
    return time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


def run_cat(r, id):
    p = subprocess.run([POSTWAIN, "queue", "cat", id], capture_output=True, check=True,
                       env={**os.environ, **ENVIRONMENT, "POSTWAIN_CONFIG": str(r.conf)})
    return p.stdout


def test_export_again_and_filters(old, tmp_path):
    """A second export of the same queue fails or makes other files; a filter is not the same as elsewhere."""
    r, _, ids = old
    folder = tmp_path / "queue"
    by_raw = {raw: id for id, raw in ids.items()}
    assert r.rows("queue", "export", folder, "--from", "ann@*")[-1]["exported"] == 1
    assert set(pairs(folder)) == {by_raw[EIGHT]}
    again = r.rows("queue", "export", folder)
    assert again[-1]["exported"] == 2 and again[-1]["kept"] == 1
    before = {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}
    assert "3 there already" in r.cli("queue", "export", folder).out
    assert before == {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}
    # Another content under the same id is never overwritten, and stops no other one.
    (folder / f"{by_raw[LARGE]}.eml").write_bytes(LARGE)
    (folder / f"{by_raw[EIGHT]}.eml").unlink()
    (folder / f"{by_raw[SMALL]}.json").unlink()
    done = r.cli("queue", "export", folder, "--json", code=5)
    assert (done.rows[-1]["failed"], done.rows[-1]["exported"]) == (2, 1)
    assert "differs" in done.err and (folder / f"{by_raw[LARGE]}.eml").read_bytes() == LARGE
    # Recipients that the filter leaves out are not in the envelope either.
    one = tmp_path / "one"
    r.cli("queue", "export", one, "--to", "third@*")
    assert [x["recipient"] for x in pairs(one)[by_raw[SMALL]][0]["recipients"]] == ["third@z.test"]
    two = tmp_path / "two"
    assert r.rows("queue", "export", two, by_raw[EIGHT], "--id", by_raw[LARGE])[-1]["exported"] == 2
    assert "nothing matched" in r.cli("queue", "export", tmp_path / "none", "--to", "nobody@*", code=1).err
    r.cli("queue", "export", code=2)
    r.cli("queue", "export", tmp_path / "no" / "such", code=1)


def test_hold(old, relay, sink, tmp_path):
    """With --hold mail goes out before the operator wants it, or never."""
    r, _, ids = old
    folder = tmp_path / "queue"
    r.cli("queue", "export", folder)
    s = sink()
    new = relay(destinations=smarthost(s))
    assert "3 messages for 4 recipients imported" in new.cli("queue", "import", folder, "--hold").out
    assert [row["state"] for row in new.queue()] == ["held"] * 4
    new.wait_event("held", n=4)
    assert len(new.events("held")) == 4
    new.restart()
    assert [row["state"] for row in new.queue()] == ["held"] * 4
    assert not s.files()
    new.cli("queue", "release", "--all", "--yes")
    new.wait_queue_empty()
    assert sorted(map(mail.below_trace, s.messages())) == sorted(ids.values())


def test_expired_goes_back(relay, sink, tmp_path):
    """A message whose time is over lives again for five days on the new host; or is dropped without a word."""
    folder = tmp_path / "queue"
    folder.mkdir()
    write_pair(folder, "0D3S80XJ80001", SMALL, ["late@z.test"], expires="2020-01-01T00:00:00.000000Z", sender="ann@a.test")
    s = sink("--defer", "late@*")
    new = relay(destinations=smarthost(s), delivery='retry = { "1s" }')
    id = new.rows("queue", "import", folder)[0]["queue_id"]
    assert [e["event"] for e in new.wait_final(id)] == ["expired"]
    assert b"late@z.test" in s.wait(1)[0]


def write_pair(folder, id, raw, to, **changes):
    envelope = {"v": 1, "queue_id": id, "sender": "ann@a.test", "size": len(raw), "expires": "2099-01-01T00:00:00Z",
                "recipients": [{"recipient": r} for r in to], **changes}
    (folder / f"{id}.json").write_text(json.dumps({k: v for k, v in envelope.items() if v is not None}))
    (folder / f"{id}.eml").write_bytes(raw)


HOSTILE = [
    (dict(sender="ann@a.test\r\nRCPT TO:<x@y.test>"), "sender"),
    (dict(sender="no address"), "sender"),
    (dict(sender=None), "sender"),
    (dict(sender=7), "sender"),
    (dict(sender="a" * 400 + "@a.test"), "sender"),
    (dict(recipients=["x@y.test", "bad address"]), "recipient"),
    (dict(recipients=["x@y.test\n"]), "recipient"),
    (dict(recipients=["ü@y.test"]), "recipient"),
    (dict(recipients=[]), "recipients"),
    (dict(recipients=[{"recipient": "x@y.test", "orcpt": "rfc822;a\r\nb"}]), "orcpt"),
    (dict(recipients=[{"recipient": "x@y.test", "orcpt": "none"}]), "orcpt"),
    (dict(recipients=["x%d@y.test" % i for i in range(1001)]), "max-recipients"),
    (dict(recipients="x@y.test"), "recipients"),
    (dict(v=2), "version"),
    (dict(v=None), "v is missing"),
    (dict(size=len(SMALL) + 1), "octets"),
    (dict(size=-1), "size"),
    (dict(size=0), "size"),
    (dict(size=1e300), "size"),
    (dict(expires="tomorrow"), "expires"),
    (dict(user="no\tname"), "user"),
    (dict(envid="x" * 101), "envid"),
    (dict(queue_id="0D3S80XJ80002"), "queue_id"),
    (dict(queue_id="../../etc/passwd"), "queue_id"),
]


def test_hostile_folder(relay, sink, tmp_path):
    """One bad pair stops or harms the others; a name or a link leads out of the folder; what the front door refuses gets in."""
    s = sink()
    new = relay(destinations=smarthost(s), listener='max-message-size = "2M"')
    folder = tmp_path / "queue"
    folder.mkdir()
    ids = iter(f"0D3S80XJ8{i:04d}" for i in range(100, 1000))
    expected = {}

    def bad(words, id):
        expected[id] = words
    for changes, words in HOSTILE:
        id = next(ids)
        rcpts = changes.get("recipients", ["x@y.test"])
        if isinstance(rcpts, list):
            changes = {**changes, "recipients": [r if isinstance(r, dict) else {"recipient": r} for r in rcpts]}
        write_pair(folder, id, SMALL, [], **{"recipients": [{"recipient": "x@y.test"}], **changes})
        bad(words, id)
    for raw, words in ((SMALL.replace(b"\r\n", b"\n"), "LF without CR"), (SMALL + b"a\rb\r\n", "CR without LF"), (SMALL + b"\r", "CR without LF"),
                       (SMALL + b"x" * 999 + b"\r\n", "998"), (SMALL + b"x\r\n" * 700000, "max-message-size")):
        id = next(ids)
        write_pair(folder, id, raw, ["x@y.test"])
        bad(words, id)
    for text, words in (("", "JSON|expected|\\[|'"), ("[1]", "v is missing"), ("{" * 5000, "."), ('{"v":1,"v":1}', "duplicate"), ('{"v":1,"sender":"\\u0000"}', "NUL|0000"),
                        ('\xff', "."), ("null", ".")):
        id = next(ids)
        write_pair(folder, id, SMALL, ["x@y.test"])
        (folder / f"{id}.json").write_bytes(text.encode("latin-1"))
        bad(words, id)
    lonely = next(ids)
    write_pair(folder, lonely, SMALL, ["x@y.test"])
    (folder / f"{lonely}.eml").unlink()
    bad("eml", lonely)
    lonely = next(ids)
    write_pair(folder, lonely, SMALL, ["x@y.test"])
    (folder / f"{lonely}.json").unlink()
    bad("json", lonely)
    for part in ("json", "eml"):
        linked = next(ids)
        write_pair(folder, linked, SMALL, ["x@y.test"])
        (folder / f"{linked}.{part}").rename(tmp_path / f"outside.{part}")
        (folder / f"{linked}.{part}").symlink_to(tmp_path / f"outside.{part}")
        bad("not a file", linked)
    fifo = next(ids)
    write_pair(folder, fifo, SMALL, ["x@y.test"])
    (folder / f"{fifo}.eml").unlink()
    os.mkfifo(folder / f"{fifo}.eml")
    bad("not a file", fifo)
    # Not of a queue: passed over.
    for name in ("README", ".0D3S80XJ80009.json.tmp", "0D3S80XJ80009.json.bak", "0d3s80xj80009.json", "0D3S80XJ8000U.json"):
        (folder / name).write_text("{}")
    good = [next(ids) for _ in range(3)]
    write_pair(folder, good[0], SMALL, ["a@y.test", "a@y.test", "postmaster"])  # once, and ours
    write_pair(folder, good[1], EIGHT, ["b@y.test"], sender="", user="shop", unknown_key={"is": ["ignored"]})
    write_pair(folder, good[2], SMALL + b"no line end", ["c@y.test"])
    names = set(os.listdir(folder))
    done = new.cli("queue", "import", folder, "--json", code=5)
    refused = {row["was"]: row["reason"] for row in done.rows[:-1] if row["result"] == "refused"}
    assert set(refused) == set(expected)
    for id, words in expected.items():
        assert re.search(words, refused[id]), f"{words}: {refused[id]}"
        assert id in done.err
    assert done.rows[-1]["imported"] == 3 and done.rows[-1]["left"] == 0
    moved = {f"{id}.{part}" for id in good for part in ("eml", "json")}
    assert set(os.listdir(folder)) == names - moved | {"imported"}
    assert set(os.listdir(folder / "imported")) == moved
    new.wait_queue_empty()
    s.wait(3)
    got = s.messages()
    assert set(map(mail.below_trace, got)) == {SMALL, EIGHT, SMALL + b"no line end\r\n"}
    new.wait_event("accepted", n=4)
    assert sorted(e["recipient"] for e in new.events("accepted")) == ["a@y.test", "b@y.test", "c@y.test", "postmaster@relay.test"]
    # The same once more changes nothing, and nothing is sent again.
    assert new.rows("queue", "import", folder, code=1)[-1]["refused"] == len(expected)
    assert len(s.files()) == len(got)


def test_refused_while_it_cannot_be_taken(relay, sink, tmp_path):
    """A daemon that drains, or has no room, takes imported mail all the same; or the import does not say why it stops."""
    folder = tmp_path / "queue"
    folder.mkdir()
    for i in range(3):
        write_pair(folder, f"0D3S80XJ8010{i}", SMALL, [f"n{i}@y.test"])
    s = sink()
    full = relay(destinations=smarthost(s), spool='min-free = "900T"')
    until(lambda: not full.rows("status")[-1]["accepting"], 20)
    done = full.cli("queue", "import", folder, code=1)
    assert "min-free" in done.err and "0 done, 3 left; run the same command again" in done.err
    full.stop()
    stopped = full.cli("queue", "import", folder, code=3)
    assert "postwain serve" in stopped.err
    new = relay(destinations=smarthost(s))
    new.cli("drain")
    assert "drains" in new.cli("queue", "import", folder, code=1).err
    new.restart()
    assert new.rows("queue", "import", folder)[-1]["imported"] == 3
    new.wait_queue_empty()
    assert len(s.wait(3)) == 3


def test_killed_in_the_middle(relay, sink, tmp_path):
    """A daemon killed in the middle of an import: a message is lost, or one that was reported comes twice."""
    folder = tmp_path / "queue"
    folder.mkdir()
    total = 800
    for i in range(total):
        raw = mail.message(b"y\r\n" * (120000 if i % 50 == 7 else 10), "ann@a.test", f"n{i}@y.test")
        write_pair(folder, f"0D3S80XJ9{i:04d}", raw, [f"n{i}@y.test"])
    new = relay(destinations=dead_end(), delivery='retry = { "1h" }')
    reported = {}
    kills = 0
    # It cannot run far ahead of what we have read of it: its pipe is small.
    for lines, who in ((1, new.process), (20, new.process), (45, new.process), (10, None), (30, new.process)):
        p = subprocess.Popen([POSTWAIN, "queue", "import", str(folder), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**os.environ, **ENVIRONMENT, "POSTWAIN_CONFIG": str(new.conf)}, bufsize=0, pipesize=4096)
        read = b"".join(p.stdout.readline() for _ in range(lines))
        (who or p).kill()
        out, err = p.communicate(timeout=180)
        reported.update(imported(read + out))
        if who and p.returncode != 0:
            kills += 1
            assert p.returncode in (3, 5) and re.search(b"run the same command again|cannot be reached|went away", err), err
        if not new.process.running:
            new.start()
    done = new.cli("queue", "import", folder, "--json", code=None)
    reported.update(imported(done.out.encode()))
    assert kills >= 1, "the import was never hit"
    assert done.code == 0 or "no messages" in done.err
    assert sorted(os.listdir(folder)) == ["imported"] and len(os.listdir(folder / "imported")) == 2 * total
    rows = new.queue()
    there = {}
    for row in rows:
        there.setdefault(row["recipient"], []).append(row["queue_id"])
    assert len(there) == total, "lost"
    was = {row["was"]: row["queue_id"] for row in reported.values()}
    for i in range(total):
        ids = there[f"n{i}@y.test"]
        old = f"0D3S80XJ9{i:04d}"
        assert was.get(old, ids[-1]) in ids, "reported, and not there"
        # A second copy only of what was answered to nobody when one of the two was killed.
        assert len(ids) == 1 or was.get(old) in (None, ids[-1])
    print(f"{len(rows) - total} of {total} twice, after {kills} kills")
    assert len(rows) - total <= 16 * (kills + 1)


def imported(out):
    rows = [json.loads(line) for line in out.splitlines() if line.startswith(b"{") and line.endswith(b"}")]
    return {row["was"]: row for row in rows if row.get("result") == "imported"}


def test_leaves_meanwhile(relay, sink, tmp_path):
    """Mail that is delivered while it is exported makes the export fail, or leaves half a message."""
    s = sink("--defer", "*")
    r = relay(destinations=smarthost(s), delivery='retry = { "1h" }')
    session = r.smtp()
    for i in range(150):
        r.submit(session, mail.message(b"z" * 900 + b"\r\n", "ann@a.test", f"n{i}@y.test"), "ann@a.test", f"n{i}@y.test")
    session.quit()
    until(lambda: len(r.queue("--state", "waiting")) == 150, 30)
    s.stop()
    s.start(options=[])
    folder = tmp_path / "queue"
    threading.Thread(target=lambda: r.cli("queue", "retry", "--all", "--yes")).start()
    done = r.cli("queue", "export", folder, "--json", code=None)
    assert done.code in (0, 1), done.err
    r.wait_queue_empty()
    if done.rows[-1]["exported"]:
        there = pairs(folder)
        assert len(there) == done.rows[-1]["exported"]
        assert all(len(content) == envelope["size"] for envelope, content in there.values())
    assert done.rows[-1]["failed"] == 0
    assert len(s.wait(150)) == 150
