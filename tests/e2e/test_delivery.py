"""Delivery by MX look-up in a real DNS to a real Postfix, and what Dovecot gives back by IMAP and POP3."""
import pytest

from kit import mail
from kit.peer import Peer
from kit.relay import by_mx, mx_destination

DEAD = "127.0.0.66"  # nobody listens here
LIVE = "127.0.0.11"  # receiver.address


@pytest.fixture
def mx_relay(relay, dns, receiver):
    return lambda **pieces: relay(**{**by_mx(dns, receiver.port), **pieces})


ROUTES = {
    "plain": (["plain MX 10 mx.plain", f"mx.plain A {LIVE}"], "mx.plain.test"),
    "preference": (["pref MX 20 b.pref", "pref MX 10 a.pref", f"a.pref A {LIVE}", f"b.pref A {DEAD}"], "a.pref.test"),
    "first-dead": (["dead1 MX 10 a.dead1", "dead1 MX 20 b.dead1", f"a.dead1 A {DEAD}", f"b.dead1 A {LIVE}"], "b.dead1.test"),
    "second-address": (["two MX 10 mx.two", f"mx.two A {DEAD}", f"mx.two A {LIVE}"], "mx.two.test"),
    "first-without-address": (["noaddr MX 10 none.noaddr", "noaddr MX 20 mx.noaddr", f"mx.noaddr A {LIVE}"], "mx.noaddr.test"),
    "cname-of-mx": (["cmx MX 10 alias.cmx", "alias.cmx CNAME real.cmx", f"real.cmx A {LIVE}"], None),
    "cname-of-domain": (["cdom CNAME there.cdom", "there.cdom MX 10 mx.cdom", f"mx.cdom A {LIVE}"], "mx.cdom.test"),
    "implicit-mx": ([f"impl A {LIVE}"], "impl.test"),
    "aaaa-and-a": (["both MX 10 mx.both", f"mx.both A {LIVE}", "mx.both AAAA ::1"], "mx.both.test"),
    "aaaa-alone": (["six MX 10 mx.six", "mx.six AAAA ::1"], "mx.six.test"),
}


@pytest.mark.parametrize("route", ROUTES)
def test_route(route, mx_relay, dns, receiver):
    """Mail for a domain with DNS of this kind does not arrive, or goes to the wrong host."""
    records, host = ROUTES[route]
    dns.add(*records)
    domain = records[0].split()[0] + ".test"
    r = mx_relay()
    raw = mail.message(b"by way of " + route.encode() + b"\r\n")
    id = r.send(raw, recipients=f"box@{domain}")
    event = r.wait_event("delivered", queue_id=id)
    assert mail.below_trace(receiver.wait_mail(f"box@{domain}")[0]) == raw
    if host:
        assert event["mx_host"] == host
    if "aaaa" not in route:
        assert event["mx_ip"] == LIVE
    assert event["mx_port"] == receiver.port
    assert event["tls_version"] == "TLSv1.3" and event["smtp_code"] == 250  # Postfix offers STARTTLS


HARD = {
    "null-mx": ("nullmx", ["nullmx MX 0 ."], "5.1.10", "null_mx"),
    "nxdomain": ("there-is-no-such", [], "5.1.2", "dns_nxdomain"),
    "mx-without-address": ("lost", ["lost MX 10 nowhere.lost", f"lost A {LIVE}"], None, None),
}


@pytest.mark.parametrize("case", HARD)
def test_hopeless_domain_bounces(case, mx_relay, dns, receiver):
    """Mail to a domain that cannot receive any waits for days before its sender hears of it."""
    name, records, status, error = HARD[case]
    dns.add(*records)
    sender = f"box-{case}@sender.test"
    dns.add("sender MX 10 mx.sender", f"mx.sender A {LIVE}")
    r = mx_relay()
    id = r.send(mail.message(), sender=sender, recipients=f"box@{name}.test")
    [event] = r.wait_final(id)
    assert event["event"] == "bounced"
    if status:
        assert (event["enhanced_status"], event["error"]) == (status, error)
    assert b"multipart/report" in receiver.wait_mail(sender)[0]


def test_mail_that_would_come_back(relay):
    """41: mail goes round through this relay until its Received fields are too many: known by address and port, by the address of
    the NAT before it, by the name it is greeted with."""
    zone = ["port.test A 127.0.0.1", "nat.test MX 10 mx.nat.test", "mx.nat.test A 127.0.0.77", "name.test A 127.0.0.1"]
    with Peer(refuse={"EHLO": "250 relay.test"}) as us:
        r = relay(override=zone, delivery='own-addresses = { "127.0.0.77" }')
        r.write(destinations=f'destination "port" {{ domains = {{ "port.test" }} port = {r.submission} }}\n'
                             f'destination "name" {{ domains = {{ "name.test" }} port = {us.port} }}\n')
        r.cli("reload")
        for domain, command in (("port", None), ("nat", None), ("name", "ehlo")):
            event, = r.wait_final(r.send(mail.message(), recipients=f"bob@{domain}.test"))
            assert (event["event"], event["error"], event["enhanced_status"]) == ("bounced", "loop", "5.4.6"), event
            assert event.get("command") == command
        assert not us.transactions


def test_servfail_waits(mx_relay, dns):
    """A broken name server makes mail bounce, though the domain is fine tomorrow."""
    r = mx_relay(delivery='retry = { "1h" }')
    id = r.send(mail.message(), recipients="box@some.broken.test")
    event = r.wait_event("deferred", queue_id=id)
    assert event["error"] == "dns_servfail" and event["enhanced_status"].startswith("4.")
    assert not r.events(queue_id=id, final=True)
    assert [q["queue_id"] for q in r.queue()] == [id]


def test_dns_server_down_waits(relay, receiver):
    """A resolver that is down makes mail bounce."""
    r = relay(dns='servers = { "127.0.0.1:9" }  timeout = "1s"', delivery='retry = { "1h" }')
    id = r.send(mail.message(), recipients="box@some.test")
    assert r.wait_event("deferred", queue_id=id)["enhanced_status"].startswith("4.")
    assert not r.events(queue_id=id, final=True)


def test_dns_server_down_for_longer_than_the_lifetime(relay, dns, receiver):
    """Checklist 96: the resolver on this host has ended, and for that all mail bounces when its time is over."""
    dns.add("patient MX 10 mx.patient", f"mx.patient A {LIVE}")
    r = relay(dns='servers = { "127.0.0.1:9" }  timeout = "1s"', delivery='retry = { "1s" }  lifetime = "2s"', destinations=mx_destination(receiver.port))
    raw = mail.message()
    id = r.send(raw, recipients="box@patient.test")
    last = r.wait_event("deferred", queue_id=id, n=4)
    assert last["error"] == "local" and "name server" in r.rows("queue", "show", id)[0]["response"] and last["time"] > last["expires"]
    assert not r.events(queue_id=id, final=True) and not r.events("dsn_queued")
    assert "no_server" in r.cli("explain", "box@patient.test").out
    r.write(dns=f'servers = {{ "127.0.0.1:{dns.port}" }}')
    r.cli("reload")
    assert r.wait_final(id)[0]["event"] == "delivered"
    assert mail.below_trace(receiver.wait_mail("box@patient.test")[0]) == raw


def test_domain_moves(mx_relay, dns, receiver):
    """Mail that waited for a dead receiver is not taken up when the domain has moved to one that lives."""
    dns.add("moves MX 10 old.moves", f"old.moves A {DEAD}")
    r = mx_relay(delivery='retry = { "1h" }')
    raw = mail.message()
    id = r.send(raw, recipients="box@moves.test")
    assert r.wait_event("deferred", queue_id=id)["mx_host"] == "old.moves.test"
    dns.records.remove("moves MX 10 old.moves")
    dns.add("moves MX 10 new.moves", f"new.moves A {LIVE}")
    r.write(dns=r.pieces["dns"] + ' timeout = "4s"')  # another resolver: the present one knows the old answer for 30 s
    r.cli("reload")
    r.cli("queue", "retry", id, "--yes")
    assert r.wait_event("delivered", queue_id=id)["mx_host"] == "new.moves.test"
    assert mail.below_trace(receiver.wait_mail("box@moves.test")[0]) == raw


BIG = b"".join(b"%07d %s\r\n" % (i, b"x" * 60) for i in range(20 * 1024 * 1024 // 70))

CONTENTS = {
    "simple": mail.message(b"Hello.\r\n"),
    "odd-folding": mail.message(b"Hello.\r\n", headers=(
        b"X-Folded: one\r\n two\r\n\tthree\r\n \t  four\r\nX-Tight:no blank\r\nX-Empty:\r\nX-Trailing: blank \r\n"
        b"X-Long: " + b"y" * 500 + b"\r\n " + b"z" * 500 + b"\r\nx-lower: case\r\nX-Folded: again\r\n"
        b"References: <a@b>\r\n\t<c@d>\r\n <e@f>\r\n")),
    "8-bit": mail.message(bytes(range(0x80, 0x100)) + b"\r\nGr\xc3\xbc\xc3\x9fe\r\n", headers=(
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n")),
    "8-bit-header": mail.message(b"Hello.\r\n", headers=b"X-Raw: Gr\xfc\xdfe \xe2\x82\xac\r\n"),
    "dots": mail.message(b".\r\n..\r\n...\r\n.a\r\n..b\r\n\r\n.\r\n\r\n a.\r\n.\r\n"),
    "control-characters": mail.message(bytes(c for c in range(1, 32) if c not in (10, 13)) + b"\x7f\r\n"),
    "empty-body": mail.message(b""),
    "empty-lines": mail.message(b"\r\n\r\n\r\n"),
    "trailing-blanks": mail.message(b"blanks  \r\ntab\t\r\n \r\n\t\r\nend\r\n"),
    "long-lines": mail.message(b"a" * 998 + b"\r\n" + b"b" * 997 + b"\r\n." + b"c" * 997 + b"\r\n" + b"d" * 998 + b"\r\n"),
    "from-lines": mail.message(b"From here on\r\n>From there\r\n"),
    "mime": mail.message(b"--b\r\nContent-Type: text/plain\r\n\r\none\r\n--b\r\nContent-Type: application/octet-stream\r\n"
                         b"Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\nepilogue\r\n",
                         headers=b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'),
    "300-kb": mail.message(BIG[: 300 * 1024 // 70 * 70]),
    "20-mb": mail.message(BIG),
}


def test_contents(mx_relay, dns, receiver):
    """Mail is changed on its way: a byte of it, a fold, a dot, its last line."""
    dns.add("bytes MX 10 mx.bytes", f"mx.bytes A {LIVE}")
    r = mx_relay()
    session = r.smtp()
    ids = {name: r.submit(session, raw, "ann@sender.test", f"box-{name}@bytes.test") for name, raw in CONTENTS.items()}
    session.quit()
    for name, raw in CONTENTS.items():
        assert r.wait_final(ids[name], timeout=60)[0]["event"] == "delivered", name
        [by_imap] = receiver.wait_mail(f"box-{name}@bytes.test")
        [by_pop3] = receiver.pop3(f"box-{name}@bytes.test")
        assert mail.below_trace(by_imap) == raw, name
        assert mail.below_trace(by_pop3) == raw, name


def test_no_final_newline(mx_relay, dns, receiver):
    """The last line of a message that does not end in a line end is lost. (SMTP itself ends it.)"""
    dns.add("bytes MX 10 mx.bytes", f"mx.bytes A {LIVE}")
    r = mx_relay()
    raw = mail.message(b"first\r\nlast, without an end")
    id = r.send(raw, recipients="box-no-newline@bytes.test")
    r.wait_event("delivered", queue_id=id)
    [got] = receiver.wait_mail("box-no-newline@bytes.test")
    assert mail.below_trace(got) == raw + b"\r\n"


def test_bdat_no_final_newline(mx_relay, dns, receiver):
    """The same by BDAT, where the content may really end without one, and in chunks of every kind."""
    dns.add("bytes MX 10 mx.bytes", f"mx.bytes A {LIVE}")
    r = mx_relay()
    raw = mail.message(b"first\r\n.\r\nlast, without an end")
    s = r.smtp()
    assert s.mail("ann@sender.test")[0] == 250
    assert s.rcpt("box-bdat@bytes.test")[0] == 250
    for piece in (raw[:1], raw[1:100], raw[100:-3]):
        s.send(b"BDAT %d\r\n" % len(piece) + piece)
        code, text = s.getreply()
        assert code == 250, text
    s.send(b"BDAT 3 LAST\r\n" + raw[-3:])
    code, text = s.getreply()
    assert code == 250 and b"queued as" in text
    s.quit()
    [got] = receiver.wait_mail("box-bdat@bytes.test")
    assert mail.below_trace(got) in (raw, raw + b"\r\n")


def test_header_only(mx_relay, dns, receiver):
    """A message without the empty line behind its header is refused or its header becomes a body."""
    dns.add("bytes MX 10 mx.bytes", f"mx.bytes A {LIVE}")
    r = mx_relay()
    raw = mail.message(b"")[:-2]
    assert not raw.endswith(b"\r\n\r\n")
    id = r.send(raw, recipients="box-header-only@bytes.test")
    r.wait_event("delivered", queue_id=id)
    [got] = receiver.wait_mail("box-header-only@bytes.test")
    assert mail.below_trace(got) == raw + b"\r\n"


def test_missing_fields_are_added(mx_relay, dns, receiver):
    """A bare message from a script arrives without Date and Message-ID, and is taken for spam."""
    dns.add("bytes MX 10 mx.bytes", f"mx.bytes A {LIVE}")
    r = mx_relay()
    raw = b"From: <ann@sender.test>\r\nSubject: bare\r\n\r\nHello.\r\n"
    id = r.send(raw, recipients="box-bare@bytes.test")
    event = r.wait_event("delivered", queue_id=id)
    [got] = receiver.wait_mail("box-bare@bytes.test")
    assert got.endswith(raw)
    assert b"\r\nDate: " in got and event["message_id"] == mail.message_id(got) == f"<{id}@relay.test>"


def test_many_recipients_of_one_domain_go_together(mx_relay, dns, receiver):
    """A message to fifty people of one company is sent fifty times."""
    dns.add("fifty MX 10 mx.fifty", f"mx.fifty A {LIVE}")
    r = mx_relay()
    raw = mail.message()
    id = r.send(raw, recipients=[f"box{i}@fifty.test" for i in range(50)])
    events = r.wait_final(id, 50)
    assert {e["event"] for e in events} == {"delivered"} and sorted(e["rcpt"] for e in events) == list(range(50))
    assert len({e["response"] for e in events}) == 1  # the one queue id that Postfix gave
    assert mail.below_trace(receiver.wait_mail("box49@fifty.test")[0]) == raw
