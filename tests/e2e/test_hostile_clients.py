"""What no client does but a hostile one: after it the relay serves others as before, stops in peace, and no sanitizer has a word to say.
Seeds are fixed: what fails once fails again. (Promise 16; checklist 4, 6, 8, 9, 14.)"""
import base64
import contextlib
import random
import socket
import ssl
import struct
import threading

import pytest

from kit import mail
from kit.relay import PASSWORD, smarthost
from kit.wait import until

GREETED = b"EHLO hostile.test\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def call(port, source="127.0.0.1"):
    s = socket.create_connection(("127.0.0.1", port), 60, (source, 0))
    s.settimeout(60)
    return s


def all_of(s):
    """Until the relay closes; a reset ends it, too."""
    said = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while piece := s.recv(65536):
            said += piece
    return said


def give(s, data):
    """The relay may have closed already."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
        s.sendall(data)


def still_serves(r):
    s = r.smtp()
    assert r.submit(s, mail.message(), "ann@sender.test", "bob@rcpt.test")
    s.quit()


def garbage(chance):
    words = [b"EHLO a", b"HELO", b"MAIL FROM:<", b"RCPT TO:<a@b>", b"DATA", b"BDAT 5", b"BDAT 18446744073709551615 LAST", b"AUTH PLAIN", b"AUTH LOGIN =",
             b"*", b"RSET", b"NOOP", b"STARTTLS", b"HELP MAIL", b"VRFY x", b"QUIT", b".", b"", b"\0", b"\xff\xfe", b"=", b"A" * 3000, b"<>", b"SIZE=9" * 99]
    ends = [b"\r\n"] * 6 + [b"\n", b"\r", b"\r\r\n", b" ", b"\0\r\n"]
    return b"".join(chance.choice(words) + chance.choice(ends) for _ in range(chance.randrange(1, 200)))


def test_garbage(relay):
    """Words of the protocol in any order, with any ends and octets between them, in clear and within TLS."""
    r = relay()
    chance = random.Random(20)
    for n in range(40):
        with call(r.submissions if n % 2 else r.submission) as raw:
            s = r.trusting().wrap_socket(raw, server_hostname="localhost") if n % 2 else raw
            text = garbage(chance)
            while text:
                piece = chance.randrange(1, 4000)
                give(s, text[:piece])
                text = text[piece:]
            if s is raw:
                raw.shutdown(socket.SHUT_WR)
                all_of(s)
    still_serves(r)


def test_half_closed(relay, sink):
    """A client that says it is done, in the middle of anything, keeps its session, or a message that had no end is sent."""
    s = sink()
    r = relay(listener='trust = { "127.0.0.0/8" }', destinations=smarthost(s))
    envelope = b"MAIL FROM:<a@sender.test>\r\nRCPT TO:<b@rcpt.test>\r\n"
    for text in (b"", b"EH", GREETED, GREETED + b"STARTTLS\r\n", GREETED + envelope, GREETED + envelope + b"DATA\r\nhalf a line", GREETED + envelope +
                 b"DATA\r\nwhole\r\n.", GREETED + envelope + b"BDAT 10 LAST\r\nhalf", GREETED + envelope + b"BDAT 0\r\n"):
        with call(r.submission) as c:
            give(c, text)
            c.shutdown(socket.SHUT_WR)
            assert b"queued" not in all_of(c), text
    with call(r.submission) as c:  # and one that had its end is taken, though nobody waits for the answer
        give(c, GREETED + envelope + b"DATA\r\nSubject: whole\r\n\r\nx\r\n.\r\n")
        c.shutdown(socket.SHUT_WR)
        assert b"queued as" in all_of(c)
    assert len(s.wait(1)) == 1


@pytest.mark.parametrize("size", ["18446744073709551615", "18446744073709551616", "99999999999999999999999999", "-1", "0x10", "9223372036854775808 LAST", "1 LAST LAST", "1e9"])
def test_absurd_chunks(relay, size):
    """A size that overflows makes content of commands, or commands of content."""
    r = relay(listener='trust = { "127.0.0.0/8" }')
    with call(r.submission) as c:
        give(c, GREETED + b"MAIL FROM:<a@sender.test>\r\nRCPT TO:<b@rcpt.test>\r\nBDAT " + size.encode() + b"\r\nRSET\r\nNOOP\r\n" * 5)
        c.shutdown(socket.SHUT_WR)
        replies = [line[:3] for line in all_of(c).split(b"\r\n") if line[3:4] == b" "]
    assert replies[:4] == [b"220", b"250", b"250", b"250"]
    assert replies[4:] in ([b"552"], [b"501"], [b"421"]), replies
    assert r.queue() == []


def test_login_interleaved(relay):
    """A login that is broken off, empty, huge, or followed by commands without waiting leaves something behind for the next one."""
    r = relay()
    right = b"AUTH PLAIN " + base64.b64encode(f"\0app\0{PASSWORD}".encode())
    rows = [([b"AUTH PLAIN", b"*"], b"501"), ([b"AUTH LOGIN", b"*"], b"501"), ([b"AUTH LOGIN", b"YXBw", b"*"], b"501"), ([b"AUTH PLAIN", b""], b"535"),
            ([b"AUTH PLAIN ="], b"535"), ([b"AUTH LOGIN", b""], b"535"), ([b"AUTH PLAIN " + b"QUFB" * 500], b"535"),
            ([b"AUTH PLAIN", b"QUFB" * 3050], b"535"), ([b"AUTH PLAIN", b"QUFB" * 5000], b"500"), ([b"AUTH SCRAM-SHA-256 biwsbj1hcHA="], b"535"),
            ([b"AUTH LOGIN YXBw", b"\xff\xfe"], b"501"), ([b"AUTH PLAIN ===="], b"5")]
    for n, (lines, last) in enumerate(rows):
        with call(r.submissions, f"127.0.0.{n + 2}") as raw, r.trusting().wrap_socket(raw, server_hostname="localhost") as s:
            # the mail behind it is pipelined: it must not be sent by a login that did not work
            give(s, GREETED + b"".join(line + b"\r\n" for line in lines) + b"MAIL FROM:<a@sender.test>\r\n" + right + b"\r\nRSET\r\nQUIT\r\n")
            replies = [line for line in all_of(s).split(b"\r\n") if line[3:4] == b" "]
        assert replies[-5].startswith(last), (lines, replies)
        assert [line[:3] for line in replies[-4:]] == [b"530", b"235", b"250", b"221"], (lines, replies)


def test_tls_abused(relay):
    """Plain text or half a handshake behind STARTTLS, an alert, a renegotiation: the session hangs, or goes on in clear."""
    r = relay()
    for after in (b"MAIL FROM:<a@b.test>\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), b"\x15\x03\x03\x00\x02\x02\x28", b"\x80\x2e\x01\x00\x02", bytes(600)):
        with call(r.submission) as c:
            c.recv(1000)
            give(c, GREETED)
            c.recv(4000)
            give(c, b"STARTTLS\r\n")
            assert c.recv(1000).startswith(b"220 ")
            give(c, after)
            c.shutdown(socket.SHUT_WR)
            said = all_of(c)
            assert not any(line[:3].isdigit() for line in said.split(b"\r\n")), said
    still_serves(r)


def test_proxy_values(relay):
    """What a balancer adds to its header (TLVs of any kind and length) is no part of the dialogue, and no way out of the header."""
    r = relay(listener='proxy-protocol = { "127.0.0.1" }')
    ends = bytes((127, 0, 0, 9)) + bytes((127, 0, 0, 1)) + struct.pack("!HH", 4321, 587)
    chance = random.Random(21)

    def header(values, length=None):
        body = ends + values
        return V2 + b"\x21\x11" + struct.pack("!H", len(body) if length is None else length) + body

    for values in (b"", b"\x04\0\x08" + bytes(8), b"\x01\0\x02h2\x02\0\x04host", b"\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3", b"\xee\0\0" * 100):
        with call(r.submission) as c:
            give(c, header(values))
            assert c.recv(1000).startswith(b"220 "), values
            give(c, GREETED + b"QUIT\r\n")
            assert b"221 " in all_of(c)
    for _ in range(60):
        values = bytes(chance.randrange(256) for _ in range(chance.randrange(520)))
        with call(r.submission) as c:
            give(c, header(values, chance.choice((None, len(values), 0, 11, 65535))) + garbage(chance))
            c.shutdown(socket.SHUT_WR)
            all_of(c)
    with call(r.submission) as c:
        give(c, header(b""))
        assert c.recv(1000).startswith(b"220 ")


def test_everything_at_once(relay, sink):
    """Callers from hundreds of addresses, while users come and go and the configuration is read again: mail gets lost, or a login."""
    s = sink()
    r = relay(top='clients { allow = { "127.0.0.1" }  auth-failures = 3 }', destinations=smarthost(s))
    stop = threading.Event()
    chance = random.Random(22)

    def flood():
        while not stop.is_set():
            with contextlib.suppress(OSError), call(r.submission, f"127.{chance.randrange(1, 250)}.{chance.randrange(250)}.{chance.randrange(1, 250)}") as c:
                give(c, garbage(chance))

    def churn():
        n = 0
        while not stop.is_set():
            n += 1
            r.cli("user", "add", f"new{n}", "--password-stdin", stdin=b"a long enough word\n", code=None)
            r.cli("reload", code=None)
            r.cli("user", "remove", f"new{n}", code=None)

    threads = [threading.Thread(target=f) for f in (flood, flood, flood, churn)]
    for t in threads:
        t.start()
    try:
        for _ in range(20):
            still_serves(r)
    finally:
        stop.set()
        for t in threads:
            t.join()
    until(lambda: len(s.messages()) == 20, 30, "all twenty arrive")
