"""Live transcripts (`trace`): what matches is shown, in and out, without a secret or content; nobody waits for who looks on."""
import base64
import json
import os
import select
import signal
import smtplib
import subprocess
import threading

import pytest

from kit import mail
from kit.peer import Peer
from kit.relay import ENVIRONMENT, PASSWORD, POSTWAIN, smarthost
from kit.wait import until


class Trace:
    """`postwain trace --json` beside the test; begun when it looks."""

    def __init__(self, r, *options):
        self.log = open(r.dir / f"trace-{len(list(r.dir.glob('trace-*')))}", "w+")
        self.child = subprocess.Popen([POSTWAIN, "trace", "--json", *options, "-c", str(r.conf)], stdout=self.log, stderr=subprocess.PIPE,
                                      env={**os.environ, **ENVIRONMENT}, text=True)

    def text(self):
        with open(self.log.name) as f:
            return f.read()

    def rows(self):
        return [json.loads(line) for line in self.text().splitlines() if line.endswith("}")]

    def wait(self, what, timeout=30):
        until(lambda: what(self.rows()), timeout, self.text)
        return self.rows()

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.communicate(timeout=90)


def words(rows, direction):
    return [(row["who"][0].upper(), row.get("text", "")) for row in rows if row.get("direction") == direction]


@pytest.fixture
def trace():
    made = []

    def make(r, *options):
        made.append(Trace(r, *options))
        return made[-1]

    yield make
    for t in made:
        if t.child.poll() is None:
            t.end()


def looks(r, t):
    """Sends until something of it is seen."""
    def seen():
        with r.smtp(mode="clear", user=None):
            pass
        return t.rows()
    until(seen, 30, lambda: "nothing is traced")


def test_both_ways_of_a_message(relay, sink, trace):
    """An operator cannot see what is said; or sees a password, or a mail."""
    s = sink()
    r = relay(destinations=smarthost(s))
    t = trace(r)
    looks(r, t)
    id = r.send(mail.message(b"the secret of the content\r\n"))
    r.wait_final(id)
    rows = t.wait(lambda rows: any(row.get("direction") == "out" and row.get("text") == "closed" for row in rows))
    inward, outward = words(rows, "in"), words(rows, "out")
    for line in (("C", "MAIL FROM:<ann@sender.test> size="), ("C", "RCPT TO:<bob@rcpt.test>"), ("C", "AUTH PLAIN"), ("N", "TLS: TLSv1"), ("S", "354 ")):
        assert any(who == line[0] and text.lower().startswith(line[1].lower()) for who, text in inward), (line, inward)
    for line in (("S", "220 "), ("C", "EHLO relay.test"), ("C", "RCPT TO:<bob@rcpt.test>"), ("C", "QUIT"), ("N", "closed")):
        assert any(who == line[0] and text.startswith(line[1]) for who, text in outward), (line, outward)
    assert {row.get("queue_id") for row in rows if row.get("direction") == "out"} - {None} == {id}  # at first it only calls
    sent, = {row["session_id"] for row in rows if "RCPT TO" in row.get("text", "").upper() and row["direction"] == "in"}
    assert r.events("accepted", queue_id=id)[0]["session_id"] == sent
    assert any(row.get("hidden", 0) > 20 for row in rows)
    t.end()
    for secret in (PASSWORD, base64.b64encode(f"\0app\0{PASSWORD}".encode()).decode(), "the secret of the content"):
        assert secret not in t.text()


def test_connections_that_are_open_already(relay, trace):
    """Mail is stuck on a connection, an operator looks on, and that is the one connection he does not see; or he sees half a line, or content."""
    gate = threading.Event()
    with Peer(["PIPELINING"], gate=gate) as p:
        r = relay(destinations=smarthost(p, extra="connections = 1"), top="threads = 1")
        session = r.smtp()
        ids = [r.submit(session, mail.message(b"the secret of the content\r\n"), "ann@sender.test", f"bob{i}@rcpt.test") for i in range(2)]
        assert p.asked.wait(30)
        t = trace(r)
        looks(r, t)
        session.docmd("NOOP", "is anybody there")
        later = r.submit(session, mail.message(b"the secret of the content\r\n"), "ann@sender.test", "eve@rcpt.test")
        gate.set()
        for id in [*ids, later]:
            assert r.wait_final(id)[0]["event"] == "delivered"
        rows = t.wait(lambda rows: any(row.get("text") == "QUIT" and row["direction"] == "out" for row in rows))
        session.quit()
        assert p.connections == 1
    here = [row for row in rows if row.get("session_id") == r.events("accepted", queue_id=later)[0]["session_id"]]
    assert [row["text"] for row in here[:2]] == ["NOOP is anybody there", "250 2.0.0 Ok"], here
    assert any(row.get("text", "").startswith("rcpt TO:<eve@rcpt.test>") for row in here)
    out = words(rows, "out")
    assert out[0] == ("S", "250 2.0.0 taken"), out  # of the first one: its dot was the last that was said before
    for i in (1, 2):
        mine = [row["text"] for row in rows if row.get("queue_id") == [*ids, later][i] and "text" in row]
        assert any(text.startswith("MAIL FROM:<ann@sender.test>") for text in mine) and any(text.startswith("RCPT TO:<") for text in mine), mine
    assert not any("EHLO" in text for who, text in out) and "secret" not in t.text() and PASSWORD not in t.text()


def test_only_what_matches(relay, sink, trace):
    """Among a thousand dialogues the one that is looked for is not found; or not from its beginning."""
    s = sink()
    r = relay(destinations=smarthost(s, "one", "one.test") + smarthost(s, "two", "two.test"))
    everything = trace(r)
    to, site = trace(r, "--to", "*@ONE.test"), trace(r, "--site", "two")
    looks(r, everything)
    ids = {"one": [], "two": []}

    def both_look():
        for who, mine in ids.items():
            mine.append(r.send(mail.message(), recipients=f"bob@{who}.test"))
            r.wait_final(mine[-1])
        return all(any(row["direction"] == "out" and row.get("text", "").startswith("RCPT") for row in t.rows()) for t in (to, site))

    until(both_look)
    rows = to.wait(lambda rows: any(row["direction"] == "out" and row.get("text") == "QUIT" for row in rows))
    assert "bob@one.test" in str(rows) and "bob@two.test" not in str(rows)
    assert {row["direction"] for row in rows} == {"in", "out"} and any(row["text"].upper().startswith("EHLO CLIENT.TEST") for row in rows if "text" in row)
    rows = site.wait(lambda rows: any(row.get("text") == "QUIT" for row in rows))
    assert {row["direction"] for row in rows} == {"out"} and "bob@one.test" not in str(rows) and set() < {row["queue_id"] for row in rows if "queue_id" in row} <= {*ids["two"]}
    for t in (everything, to, site):
        t.end()


def test_of_one_user(relay, sink, trace):
    """An application's mail does not come, and its operator sees everybody's dialogues, or none of those that failed to log in; or mail that went out on
    another's connection is taken for its own."""
    s = sink()
    r = relay(destinations=smarthost(s, extra="connections = 1"), top="threads = 1")
    r.user_add("shop", "xyzzy plugh")
    t = trace(r, "--user", "shop")

    def refused():
        with pytest.raises(smtplib.SMTPAuthenticationError):
            r.smtp(user="shop", password="guessed so")
        return any(row.get("text", "").startswith("535 ") for row in t.rows())
    until(refused, 30, t.text)
    session, theirs = r.smtp(user="shop", password="xyzzy plugh"), r.smtp()
    ids = [r.submit(c, mail.message(), f"ann@{who}.test", "bob@rcpt.test") for who, c in (("app", theirs), ("shop", session), ("app", theirs), ("shop", session))]
    for id in ids:
        r.wait_final(id)
    rows = t.wait(lambda rows: sum(row.get("text", "").startswith("MAIL FROM:<ann@shop.test>") for row in rows if row["direction"] == "out") == 2)
    session.quit(), theirs.quit()
    t.end()
    assert {row.get("user") for row in rows if row["direction"] == "out" and "MAIL" in row.get("text", "")} == {"shop"}
    assert "app.test" not in t.text() and "guessed so" not in t.text() and "xyzzy" not in t.text()
    first = {row["session_id"]: row["text"] for row in reversed(rows) if row["direction"] == "in" and "text" in row}
    assert first[r.events("accepted", queue_id=ids[1])[0]["session_id"]].startswith("220 ")  # what was said before the name is kept


def test_ends_and_bounds(relay, sink, trace):
    """It goes on for ever, or a fifth one pays for the other four; the daemon's end waits for those who look on."""
    r = relay(destinations=smarthost(sink()))
    done = r.cli("trace", "--for", "1s", "--json")
    assert done.rows[-1] == {"rows": 0, "lost": 0}
    counted = trace(r, "--count", "3")
    until(lambda: r.smtp(mode="clear", user=None).quit() and counted.child.poll() is not None, 30, counted.text)
    assert len(counted.rows()) == 4 and counted.rows()[-1]["rows"] == 3 and counted.child.returncode == 0
    four = [trace(r) for _ in range(4)]
    for t in four:
        looks(r, t)
    assert "four look on already" in r.cli("trace", code=1).err
    four[0].end()
    until(lambda: r.cli("trace", "--for", "1s", code=None).code == 0, 30, "its place is free again")
    for argv in (["--client", "nobody"], ["--id", "x"], ["--for", "2"], ["--count", "0"], ["word"]):
        r.cli("trace", *argv, code=2)
    r.stop()
    for t in four[1:]:
        t.child.communicate(timeout=90)


def test_ends_with_its_reader(relay, sink):
    """`trace | head -1` goes on for nobody, one of the four that may look on, though nothing is said any more."""
    r = relay(destinations=smarthost(sink()))
    for options in ([], ["--json"]):
        reader, writer = os.pipe()
        p = subprocess.Popen([POSTWAIN, "trace", *options, "-c", str(r.conf)], stdout=writer, stderr=subprocess.PIPE, env={**os.environ, **ENVIRONMENT})
        os.close(writer)
        os.close(reader)
        assert p.wait(90) == 0 and p.communicate()[1] == b""


def test_who_does_not_read_holds_nobody_up(relay, sink, trace):
    """Mail waits for an operator whose terminal stands still."""
    s = sink()
    r = relay(destinations=smarthost(s), top="threads = 1")
    reader, writer = os.pipe()
    p = subprocess.Popen([POSTWAIN, "trace", "--json", "-c", str(r.conf)], stdout=writer, env={**os.environ, **ENVIRONMENT})
    os.close(writer)
    other = trace(r)
    looks(r, other)

    def first_row():
        with r.smtp(mode="clear", user=None):
            pass
        return select.select([reader], [], [], 0)[0]

    until(first_row, 30, "nothing is traced")
    session = r.smtp()
    for _ in range(30):
        for _ in range(60):
            session.docmd("NOOP", "x" * 400)
        r.submit(session, mail.message(), "ann@sender.test", "bob@rcpt.test")
    session.quit()
    until(lambda: len(r.events("delivered")) == 30, 60, "thirty are delivered")
    text = b""
    while b'"lost":' not in text:
        piece = os.read(reader, 65536)
        assert piece, "it ended without a word of what is lost"
        text += piece
    p.terminate()
    p.wait(90)
    os.close(reader)
