"""A load balancer in front: who the client is, everywhere, and from whom alone that is taken. (haproxy on loopback.)"""
import re
import smtplib
import socket
import ssl
import struct
import time

import pytest

from kit import mail
from kit.haproxy import Haproxy
from kit.relay import PASSWORD, smarthost
from kit.wait import until

BALANCER = 'proxy-protocol = { "127.0.0.1" }'
V2 = b"\r\n\r\n\0\r\nQUIT\n"
WAYS = {"v1": "send-proxy", "v2": "send-proxy-v2", "v2-crc": "send-proxy-v2 proxy-v2-options crc32c,unique-id"}


@pytest.fixture
def haproxy(tmp_path):
    made = []

    def make(relay):
        routes = {}
        for way, how in WAYS.items():
            routes[way] = (relay.submission, how)
            routes[way + "-tls"] = (relay.submissions, how)
        made.append(Haproxy(tmp_path / "haproxy", routes))
        return made[-1].start()

    yield make
    for h in made:
        h.stop()


def session(port, source, context=None, user=None):
    """From an address of the loopback network of our choice."""
    make = smtplib.SMTP if context is None else lambda *a, **k: smtplib.SMTP_SSL(*a, context=context, **k)
    s = make("localhost", port, "client.test", timeout=120, source_address=(source, 0))
    s.ehlo()
    if user:
        s.starttls(context=user)
        s.ehlo()
        s.login("app", PASSWORD)
    return s


def raw(port, data=b"", source="127.0.0.1"):
    s = socket.create_connection(("127.0.0.1", port), 120, source_address=(source, 0))
    if data:
        s.sendall(data)
    return s


def all_of(s):
    got = b""
    try:
        while part := s.recv(4096):
            got += part
    except ConnectionError:
        pass
    return got


def test_the_client_is_the_client(relay, sink, haproxy):
    """Received, the log and the rules name the balancer, so that everybody is trusted, or nobody."""
    s = sink()
    r = relay(listener=BALANCER + ' trust = { "127.0.0.5" }', destinations=smarthost(s))
    h = haproxy(r)
    ids = []
    for way in WAYS:
        for context in (None, r.trusting()):
            port = h.port[way + ("-tls" if context else "")]
            trusted = session(port, "127.0.0.5", context)
            ids.append(r.submit(trusted, mail.message(), "ann@sender.test", "bob@rcpt.test"))
            trusted.quit()
            stranger = session(port, "127.0.0.6", context)
            assert stranger.mail("ann@sender.test")[0] == 530
            stranger.quit()
    users = session(h.port["v2"], "127.0.0.6", user=r.trusting())
    ids.append(r.submit(users, mail.message(), "ann@sender.test", "bob@rcpt.test"))
    users.quit()
    for i, id in enumerate(ids):
        expected = "127.0.0.6" if i == len(ids) - 1 else "127.0.0.5"
        assert r.wait_event("accepted", queue_id=id)["client_ip"] == expected
        r.wait_final(id)
    for message in s.wait(len(ids)):
        received = message[: message.index(b"From: ")]
        assert re.search(rb"^Received: from client\.test \(\[127\.0\.0\.[56]\]\)", received, re.M), received
    assert "proxy_header_refused" not in r.process.errors()


def test_limits_are_the_clients(relay, haproxy):
    """One client behind the balancer takes the connections of all, or has none of its own to lose."""
    r = relay(listener=BALANCER + " max-connections-per-client = 2")
    port = haproxy(r).port["v2"]
    held = [session(port, "127.0.0.6") for _ in range(2)]
    with raw(port, source="127.0.0.6") as third:
        assert all_of(third).startswith(b"421 4.7.0")
    other = session(port, "127.0.0.7")
    for s in [*held, other]:
        assert s.noop()[0] == 250
        s.quit()


def test_from_strangers_no_header_counts(relay):
    """Anybody says he is a trusted address. (Promise 20.)"""
    r = relay(listener=BALANCER + ' trust = { "127.0.0.5" }')
    header = b"PROXY TCP4 127.0.0.5 127.0.0.1 1000 587\r\n"
    with raw(r.submission, source="127.0.0.9") as s:
        assert s.recv(1000).startswith(b"220 ")
        s.sendall(header + b"EHLO a\r\nMAIL FROM:<a@sender.test>\r\nQUIT\r\n")
        said = all_of(s)
        assert said.startswith(b"500 ") and b"\r\n530 " in said and b"2.1.0" not in said
    with raw(r.submissions, header, source="127.0.0.9") as s:
        assert b"220 " not in all_of(s)
    # XCLIENT is no way in, either
    with raw(r.submission, source="127.0.0.9") as s:
        s.recv(1000)
        s.sendall(b"EHLO a\r\nXCLIENT ADDR=127.0.0.5\r\nMAIL FROM:<a@sender.test>\r\nQUIT\r\n")
        said = all_of(s)
        assert b"XCLIENT" not in said.split(b"500 ")[0] and b"\r\n530 " in said


def test_bad_headers(relay):
    """The balancer is set up wrongly: it must be told in the log, and nothing may be said or done before."""
    r = relay(listener=BALANCER)
    cases = {
        b"EHLO client.test\r\n": "no PROXY header",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\nEHLO a\r\n": "a port",
        b"PROXY TCP4 1.2.3.4\n": "CRLF",
        b"PROXY " + b"x" * 200: "107 octets",
        V2 + b"\x21\x11\xff\xff": "536 octets",
        V2 + b"\x21\x11\0\x13" + bytes(12) + b"\x03\0\x04abcd": "does not fit",
        bytes.fromhex("160301"): "no PROXY header",
    }
    for port in (r.submission, r.submissions):
        for header, words in cases.items():
            with raw(port, header) as s:
                assert all_of(s) == b""
            until(lambda: re.search(rf"event=proxy_header_refused proxy=127\.0\.0\.1 reason=\"[^\"]*{words}", r.process.errors()),
                  why=r.process.errors)
    # and from the balancer itself, about itself: the real address stays
    for header in (b"PROXY UNKNOWN\r\n", V2 + b"\x20\0\0\0", V2 + b"\x20\x11" + struct.pack("!H", 12) + b"\x7f\0\0\x05" * 3):
        with raw(r.submission, header) as s:
            assert s.recv(1000).startswith(b"220 ")
            s.sendall(b"QUIT\r\n")
            assert all_of(s).startswith(b"221 ")


def test_a_header_that_does_not_come(relay):
    """Connections that say nothing stay for ever, or half a header does."""
    r = relay(top="threads = 1", listener=BALANCER)
    begun = time.monotonic()
    with raw(r.submission) as silent, raw(r.submissions, b"PROXY TCP4 1.2.3.4") as half:
        assert all_of(silent) == b"" and all_of(half) == b""
    assert time.monotonic() - begun >= 4.99
    until(lambda: r.process.errors().count("no whole header within 5 s") == 2, why=r.process.errors)
    with raw(r.submission):
        pass  # a look whether the port is open is nothing to talk about
    with raw(r.submission, b"EHLO a\r\n") as last:
        assert all_of(last) == b""
    until(lambda: "no PROXY header" in r.process.errors(), why=r.process.errors)
    assert r.process.errors().count("proxy_header_refused") == 3


def test_split_anywhere(relay):
    """A header in pieces, the client's first bytes in its last piece."""
    r = relay(listener=BALANCER)
    header = b"PROXY TCP6 2001:db8::1 2001:db8::2 1000 587\r\n"
    for cut in range(1, len(header), 7):
        with raw(r.submission, header[:cut]) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            time.sleep(0.02)
            s.sendall(header[cut:])
            assert s.recv(1000).startswith(b"220 ")
    with raw(r.submissions, header[:10]) as s:
        s.sendall(header[10:])
        with r.trusting().wrap_socket(s, server_hostname="localhost") as tls:
            assert isinstance(tls, ssl.SSLSocket) and tls.recv(1000).startswith(b"220 ")


def test_open_relays_are_refused(relay):
    """A typing error makes an open relay. (Promise 20.)"""
    r = relay(start=False, listener='trust = { "0.0.0.0/0" }')
    for verb in ("check", "serve"):
        done = r.cli(verb, code=1)
        assert re.search(r"postwain\.conf:\d+: .*open relay", done.out + done.err), done
    r.write(listener='trust = { "127.0.0.5" } proxy-protocol = { "::/0" }')
    assert "makes an open relay" in r.cli("check", code=1).err
    r.write(listener='trust = { "0.0.0.0/0" }', top="i-want-an-open-relay = true")
    assert "OPEN RELAY" in r.cli("check").out
    r.start()
    assert r.process.errors().count("event=open_relay") == 2
    warnings = r.rows("status")[-1]["warnings"]
    assert [w for w in warnings if "is an open relay: everybody may send to everybody" in w] == warnings[:2]
    r.write(listener="", top="")
    r.cli("reload")
    assert not r.rows("status")[-1]["warnings"]
