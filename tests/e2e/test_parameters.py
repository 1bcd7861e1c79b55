"""What MAIL and RCPT ask for: offered, taken, kept in the spool, or refused with a reason; seen by `queue export`."""
import datetime
import socket
import time

import pytest

from kit import mail
from kit.relay import queue_id, smarthost
from test_export import dead_end, pairs


def kept(r, folder):
    """The one message of the queue: (its envelope, its recipients, its content)."""
    r.rows("queue", "export", folder)
    (envelope, content), = pairs(folder).values()
    return envelope, {x["recipient"]: x for x in envelope["recipients"]}, content


def seconds_left(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() - time.time()


def say(session, line):
    session.send(line.encode() + b"\r\n")
    return session.getreply()


def transaction(session, params, rcpts, raw, chunks=None):
    """MAIL with these parameters; rcpts: {address: parameters}. Returns the last reply."""
    for line in [f"MAIL FROM:<ann@sender.test> {params}", *(f"RCPT TO:<{a}> {p}" for a, p in rcpts.items())]:
        reply = say(session, line)
        assert reply[0] == 250, (line, reply)
    if chunks is None:
        return session.data(raw)
    for piece in chunks:
        session.send(b"BDAT %d\r\n" % len(piece) + piece)
        assert session.getreply()[0] == 250
    session.send(b"BDAT 0 LAST\r\n")
    return session.getreply()


def test_what_is_offered(relay):
    """A client reads what it may ask for from EHLO; what is not there nobody uses. (Checklist 9: REQUIRETLS and AUTH inside TLS only.)"""
    r = relay(listener='max-hold = "1h" max-recipients = 200')
    clear = r.smtp("clear", user=None).esmtp_features
    inside = r.smtp().esmtp_features
    both = {"pipelining", "8bitmime", "enhancedstatuscodes", "chunking", "binarymime", "size", "smtputf8", "dsn", "futurerelease", "deliverby",
            "mt-priority", "limits"}
    assert set(clear) == both | {"starttls"}
    assert set(inside) == both | {"requiretls", "auth"}
    assert inside["limits"] == "RCPTMAX=200"
    seconds, until_time = inside["futurerelease"].split()
    assert seconds == "3600"
    assert 3400 < seconds_left(until_time) <= 3601


def test_all_is_kept(relay, tmp_path):
    """A parameter that the relay took is forgotten on the way to the spool. (Checklist 23, 24, 25, 31.)"""
    r = relay(destinations=dead_end())
    session = r.smtp()
    code, text = transaction(session, "SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=an+20id+2B REQUIRETLS MT-PRIORITY=-3 BY=7200;NT HOLDFOR=3600", {
        "bob@rcpt.test": "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@rcpt.test",
        "j\u00f6rg@rcpt.test": "NOTIFY=NEVER ORCPT=utf-8;j\\x{F6}rg@old.test",
        "bob@RCPT.test": "NOTIFY=NEVER",
        "plain@rcpt.test": ""}, mail.message(b"hello\r\n"))
    assert code == 250, text
    session.quit()
    envelope, rcpts, _ = kept(r, tmp_path / "q")
    assert envelope["envid"] == "an id+"
    assert set(rcpts) == {"bob@rcpt.test", "j\u00f6rg@rcpt.test", "plain@rcpt.test"}  # the second bob is the first
    assert rcpts["bob@rcpt.test"]["orcpt"] == "rfc822;Bob+x@rcpt.test"
    assert rcpts["j\u00f6rg@rcpt.test"]["orcpt"] == "utf-8;j\u00f6rg@old.test"
    assert "notify" not in rcpts["plain@rcpt.test"] and "orcpt" not in rcpts["plain@rcpt.test"]
    assert sorted(rcpts["bob@rcpt.test"]["notify"].upper().split(",")) == ["DELAY", "SUCCESS"]
    assert rcpts["j\u00f6rg@rcpt.test"]["notify"].upper() == "NEVER"
    told = {key: envelope[key] for key in ("body", "ret", "smtputf8", "requiretls", "priority", "by", "by_trace")}
    assert told == dict(body="8BITMIME", ret="HDRS", smtputf8=True, requiretls=True, priority=-3, by="N", by_trace=True)
    assert 3500 < seconds_left(envelope["release"]) <= 3600 and 7100 < seconds_left(envelope["deadline"]) <= 7200
    assert seconds_left(envelope["expires"]) > 86400  # to be told is not to be returned


def test_return_by(relay, tmp_path):
    """Mail that is of no use after its deadline is tried for days. (RFC 2852.)"""
    r = relay(destinations=dead_end())
    session = r.smtp()
    assert transaction(session, "BY=600;R", {"bob@rcpt.test": ""}, mail.message(b"hello\r\n"))[0] == 250
    session.quit()
    envelope, _, _ = kept(r, tmp_path / "q")
    assert envelope["by"] == "R" and 500 < seconds_left(envelope["expires"]) <= 600


def test_binary_content(relay, tmp_path):
    """An image sent as BINARYMIME is stored with other bytes, or a message without that word escapes the rules of lines. (Checklist 2, 13.)"""
    r = relay(destinations=dead_end())
    session = r.smtp()
    header = b"From: ann@sender.test\r\nDate: Fri, 27 Nov 2026 08:00:00 +0000\r\nMessage-ID: <b@c.test>\r\nMIME-Version: 1.0\r\nTo: bob@rcpt.test\r\n" \
             b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    body = bytes(range(256)) * 300 + b"\n.\n\r\n.\r\n\r" + b"x" * 5000
    pieces = [header[:10], header[10:] + body[:1], body[1:50000], body[50000:]]
    for line in ("MAIL FROM:<ann@sender.test> BODY=BINARYMIME", "RCPT TO:<bob@rcpt.test>"):
        assert say(session, line)[0] == 250
    assert say(session, "DATA") == (503, b"5.5.1 BODY=BINARYMIME comes with BDAT only")
    assert say(session, "RSET")[0] == 250
    assert transaction(session, "BODY=BINARYMIME", {"bob@rcpt.test": ""}, None, pieces)[0] == 250
    for line in ("MAIL FROM:<ann@sender.test> BODY=8BITMIME", "RCPT TO:<bob@rcpt.test>"):
        assert say(session, line)[0] == 250
    session.send(b"BDAT 3 LAST\r\na\nb")
    assert session.getreply()[0] == 550
    session.quit()
    envelope, _, content = kept(r, tmp_path / "q")
    assert envelope["body"] == "BINARYMIME"
    assert content.endswith(b"\r\n" + header + body) and content.startswith(b"Received:")


@pytest.mark.parametrize("line,status", [
    ("MAIL FROM:<ann@sender.test> HOLDFOR=3601", "501 5.5.4"),
    ("MAIL FROM:<ann@sender.test> HOLDUNTIL=2999-01-01T00:00:00Z", "501 5.5.4"),
    ("MAIL FROM:<ann@sender.test> HOLDFOR=1 HOLDUNTIL=2026-01-01T00:00:00Z", "501 5.5.4"),
    ("MAIL FROM:<ann@sender.test> BY=0;R", "501 5.5.4"),
    ("MAIL FROM:<ann@sender.test> BY=60;R HOLDFOR=60", "501 5.5.4"),
    ("MAIL FROM:<ann@sender.test> ENVID=a+0A", "501 5.5.4"),
    ("MAIL FROM:<ann@sender.test> MT-PRIORITY=10", "501 5.5.4"),
    ("MAIL FROM:<ann@sender.test> FOO", "555 5.5.4"),
    ("MAIL FROM:<j\u00f6rg@sender.test>", "553 5.6.7"),
])
def test_refused(relay, line, status):
    """A wrong parameter is taken in silence, or ends the session."""
    r = relay(listener='max-hold = "1h"')
    session = r.smtp()
    code, text = say(session, line)
    assert f"{code} {text.split()[0].decode()}" == status
    assert say(session, "MAIL FROM:<ann@sender.test>")[0] == 250
    session.quit()


def test_postmaster(relay, sink):
    """Mail to the postmaster, the one address that needs no domain, goes nowhere, or once to each spelling. (Checklist 19; RFC 5321 section 4.5.1.)"""
    s = sink()
    r = relay(destinations=smarthost(s))
    session = r.smtp()
    assert session.mail("ann@sender.test")[0] == 250
    for line in ("RCPT TO:<Postmaster>", "RCPT TO:<postmaster>", "RCPT TO:<postmaster@RELAY.test>"):
        assert session.docmd(line)[0] == 250
    assert session.docmd("RCPT TO:<webmaster>")[0] == 501
    code, text = session.data(mail.message())
    assert code == 250
    session.quit()
    [event] = r.wait_final(queue_id(text.decode()))
    assert (event["event"], event["recipient"]) == ("delivered", "postmaster@relay.test")


def test_a_greeting_that_waits(relay):
    """A client that talks first is served all the same, or one that waits is not."""
    r = relay(listener='greeting-delay = "60s"')
    with socket.create_connection(("127.0.0.1", r.submission), 40) as early:
        early.sendall(b"EHLO x\r\nMAIL FROM:<a@b.test>\r\n")
        said = b""
        while got := early.recv(1000):
            said += got
    assert said.startswith(b"554 5.5.1 ") and said.count(b"\r\n") == 1
    r.write(listener='greeting-delay = "1s"')
    r.cli("reload")
    begun = time.monotonic()
    session = r.smtp()
    assert time.monotonic() - begun > 0.99
    assert session.noop()[0] == 250
    session.quit()


def test_many_recipients_twice(relay, tmp_path):
    """Recipients told twice get the mail twice; a limit is passed by saying one again; a long list is slow. (Checklist 18, 31.)"""
    r = relay(listener="max-recipients = 2000", destinations=dead_end())
    session = r.smtp()
    names = [f"user{i}@rcpt.test" for i in range(1000)]
    session.send(b"MAIL FROM:<ann@sender.test>\r\n" + b"".join(b"RCPT TO:<%s>\r\n" % n.encode() for n in names + names + names[:1]))
    codes = [session.getreply()[0] for _ in range(2002)]
    assert codes == [250] * 2001 + [452]
    assert session.data(mail.message(b"hello\r\n"))[0] == 250
    session.quit()
    _, rcpts, _ = kept(r, tmp_path / "q")
    assert len(rcpts) == 1000
