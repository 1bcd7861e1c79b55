"""
What a message asks for on its way out: said where the receiver offers it, kept back where it does not, and what becomes of the mail
then. Items 71, 73, 74, 80 and 90 of the checklist; RFC 3030, 3461, 6531, 8689, 9422.
"""
import contextlib
import datetime
import email
import random
import re

import pytest

from kit import mail
from kit.certs import Authority
from kit.peer import ALL, Peer
from kit.relay import queue_id, smarthost
from kit.wait import until

RAW = mail.message(subject="plain")
UNTOLD = {"bob@rcpt.test": "NOTIFY=NEVER"}  # no report comes to the same receiver


def to_peers(*peers, host="127.0.0.1", extra="", domains="*"):
    """A destination that hands the mail to these, in order, or (host) by this name."""
    relays = ", ".join(f'"{host if host else p.address}:{p.port}"' for p in peers)
    return f'destination "peer" {{ domains = {{ "{domains}" }}  relay = {{ {relays} }}  {extra} }}\n'


def submit(r, raw=RAW, params="", rcpts=None, sender="ann@sender.test", chunks=False):
    """One transaction with parameters; rcpts: {address: parameters}. The queue id."""
    s = r.smtp()
    s.command_encoding = "utf-8"
    for line in [f"MAIL FROM:<{sender}> {params}".strip()] + [f"RCPT TO:<{a}> {p}".strip() for a, p in (rcpts or {"bob@rcpt.test": ""}).items()]:
        code, text = s.docmd(line)
        assert code == 250, (line, code, text)
    if chunks:
        half = len(raw) // 2
        s.send(b"BDAT %d\r\n" % half + raw[:half])
        assert s.getreply()[0] == 250
        s.send(b"BDAT %d LAST\r\n" % (len(raw) - half) + raw[half:])
        code, text = s.getreply()
    else:
        code, text = s.data(raw)
    assert code == 250, (code, text)
    s.quit()
    return queue_id(text.decode())


# --- parameters

def test_all_that_was_asked(relay):
    """The receiver is told what the sender asked for; xtext is quoted again (23)."""
    with Peer(ALL) as there:
        r = relay(destinations=to_peers(there))
        submit(r, params="RET=HDRS ENVID=a+2Bb+3Dc BY=3600;NT MT-PRIORITY=4 BODY=8BITMIME",
               rcpts={"bob@rcpt.test": "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bx@rcpt.test", "cy@rcpt.test": "NOTIFY=NEVER", "di@rcpt.test": ""})
        t, = there.wait()
        m = re.fullmatch(r"MAIL FROM:<ann@sender.test> SIZE=\d+ RET=HDRS ENVID=a\+2Bb\+3Dc BY=(\d+);NT MT-PRIORITY=4", t.mail)
        assert m and 3500 < int(m[1]) <= 3600, t.mail
        assert t.rcpts == ["RCPT TO:<bob@rcpt.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bx@rcpt.test",
                           "RCPT TO:<cy@rcpt.test> NOTIFY=NEVER", "RCPT TO:<di@rcpt.test>"]
        r.wait_event("delivered", recipient="bob@rcpt.test")


def test_nothing_is_offered(relay):
    """74: no parameter at all, the mail goes, and the success that nobody will tell is told as "relayed"."""
    with Peer() as there:
        r = relay(destinations=to_peers(there, domains="rcpt.test"))
        id = submit(r, params="RET=FULL ENVID=x BY=3600;R MT-PRIORITY=-2 SMTPUTF8 BODY=8BITMIME", raw=mail.message("größer\r\n".encode()),
                    rcpts={"bob@rcpt.test": "NOTIFY=SUCCESS ORCPT=rfc822;o@rcpt.test"})
        t, = there.wait()
        assert t.mail == "MAIL FROM:<ann@sender.test>" and t.rcpts == ["RCPT TO:<bob@rcpt.test>"]
        assert "größer".encode() in t.content, "72: 8-bit as it is"
        assert [e["event"] for e in r.wait_final(id)] == ["relayed"]


def test_success_is_told_by_the_receiver(relay, receiver):
    """Postfix offers DSN: it is asked, and tells the sender by itself, with the id and the address that were given."""
    r = relay(destinations=f'destination "postfix" {{ domains = {{ "*" }} relay = {{ "{receiver.address}:{receiver.port}" }} }}\n')
    id = submit(r, params="RET=HDRS ENVID=dsn+2B1", sender="box-dsn@sender.test",
                rcpts={"box-told@rcpt.test": "NOTIFY=SUCCESS ORCPT=rfc822;alias+2Bx@rcpt.test"})
    assert [e["event"] for e in r.wait_final(id)] == ["delivered"]
    report = email.message_from_bytes(receiver.wait_mail("box-dsn@sender.test")[0])
    text = report.as_string()
    assert report.get_content_type() == "multipart/report"
    assert "Original-Envelope-Id: dsn+2B1" in text or "Original-Envelope-Id: dsn+1" in text
    assert "Original-Recipient: rfc822;alias+2Bx@rcpt.test" in text or "Original-Recipient: rfc822;alias+x@rcpt.test" in text


def test_too_large_for_the_receiver(relay):
    """71: said here, before MAIL."""
    with Peer(["SIZE 1000"]) as there:
        r = relay(destinations=to_peers(there))
        id = submit(r, raw=mail.message(b"x" * 70 + b"\r\n" * 1000), rcpts=UNTOLD)
        event, = r.wait_final(id)
        assert (event["event"], event["error"], event["enhanced_status"]) == ("bounced", "too_big", "5.3.4")
        assert not there.transactions


# --- SMTPUTF8

def test_smtputf8_that_nobody_needs(relay):
    """73: asked for by a library that always asks, all of it ASCII: reaches a receiver without it."""
    with Peer(["8BITMIME"]) as there:
        r = relay(destinations=to_peers(there))
        id = submit(r, params="SMTPUTF8 BODY=8BITMIME", raw=mail.message("ä\r\n".encode()))
        t, = there.wait()
        assert t.mail == "MAIL FROM:<ann@sender.test> BODY=8BITMIME"
        assert r.wait_final(id)[0]["event"] == "delivered"


def test_smtputf8_at_the_second_host(relay):
    """73: the other hosts are asked."""
    with Peer(["8BITMIME"]) as first, Peer(["8BITMIME", "SMTPUTF8"]) as second:
        r = relay(destinations=to_peers(first, second))
        for id in (submit(r, params="SMTPUTF8", rcpts={"bä@rcpt.test": ""}),
                   submit(r, params="SMTPUTF8", raw=mail.message(headers="X-Name: ä\r\n".encode()))):
            assert r.wait_final(id)[0]["event"] == "delivered"
        assert not first.transactions
        a, b = sorted(second.wait(2), key=lambda t: "bä" in t.rcpts[0], reverse=True)
        assert a.mail.endswith(" SMTPUTF8") and a.rcpts == ["RCPT TO:<bä@rcpt.test>"]
        assert b.mail.endswith(" BODY=8BITMIME SMTPUTF8"), "73: by its header section"


def test_smtputf8_nowhere(relay):
    """73: 5.6.7 when all were asked; the recipient next to it is served."""
    with Peer(["8BITMIME"]) as first, Peer(["8BITMIME"]) as second:
        r = relay(destinations=to_peers(first, second))
        id = submit(r, params="SMTPUTF8", rcpts={"bä@rcpt.test": ""})
        event, = r.wait_final(id)
        assert (event["event"], event["error"], event["enhanced_status"]) == ("bounced", "smtputf8", "5.6.7")
        id = submit(r, params="SMTPUTF8", rcpts={"bä@rcpt.test": "", "bob@rcpt.test": ""})
        finals = {e["recipient"]: e for e in r.wait_final(id, 2)}
        assert finals["bob@rcpt.test"]["event"] == "delivered"
        assert (finals["bä@rcpt.test"]["event"], finals["bä@rcpt.test"]["enhanced_status"]) == ("bounced", "5.6.7")


def test_smtputf8_to_postfix(relay, receiver):
    r = relay(destinations=f'destination "postfix" {{ domains = {{ "*" }} relay = {{ "{receiver.address}:{receiver.port}" }} }}\n')
    id = submit(r, params="SMTPUTF8", raw=mail.message(headers="X-Name: ä\r\n".encode()), rcpts={"box-utf8@rcpt.test": "NOTIFY=NEVER"})
    assert r.wait_final(id)[0]["event"] == "delivered"


# --- binary content

def binary(size, seed=1):
    data = random.Random(seed).randbytes(size)
    return (b"From: ann@sender.test\r\nTo: bob@rcpt.test\r\nSubject: binary\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
            b"Message-ID: <b%d@sender.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=sep\r\n\r\n"
            b"--sep\r\nContent-Type: text/plain\r\n\r\ntext\r\n"
            b"--sep\r\nContent-Type: application/x-data\r\nContent-Transfer-Encoding: binary\r\n\r\n" % size + data + b"\r\n--sep--\r\n")


def parts(raw):
    return [(p.get_content_type(), p.get_payload(decode=True)) for p in email.message_from_bytes(raw).walk() if not p.is_multipart()]


SIZES = (0, 1000, 700_000)  # in memory, and in a file that is read in pieces


@pytest.mark.parametrize("size", SIZES)
def test_binary_to_a_receiver_that_has_it(relay, size):
    """RFC 3030: octet by octet, in chunks."""
    raw = binary(size)
    with Peer(ALL) as there:
        r = relay(destinations=to_peers(there))
        id = submit(r, raw=raw, params="BODY=BINARYMIME", chunks=True)
        t, = there.wait()
        assert " BODY=BINARYMIME" in t.mail and t.chunks > (size > 300_000)
        assert mail.below_trace(t.content) == mail.below_trace(raw)
        assert r.wait_final(id)[0]["event"] == "delivered"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("keywords", ([], ["8BITMIME"], ["PIPELINING", "CHUNKING", "8BITMIME"]), ids=lambda k: "+".join(k) or "none")
def test_binary_to_a_receiver_that_lacks_it(relay, size, keywords):
    """RFC 3030: re-encoded; what a reader finds in each part is the same."""
    raw = binary(size)
    with Peer(keywords) as there:
        r = relay(destinations=to_peers(there))
        id = submit(r, raw=raw, params="BODY=BINARYMIME", chunks=True)
        t, = there.wait()
        assert "BINARYMIME" not in t.mail and "SIZE" not in t.mail and t.chunks == 0
        assert parts(t.content) == parts(raw)
        assert max(map(len, t.content.split(b"\r\n"))) <= 998 and b"\0" not in t.content
        assert r.wait_final(id)[0]["event"] == "delivered"


def test_binary_to_real_receivers(relay, receiver, sink):
    """Postfix has CHUNKING and no BINARYMIME; a sink has both, or what it is told to have."""
    raw = binary(5000)
    box = "box-binary@rcpt.test"
    with_it, without = sink(), sink("--offer", "PIPELINING,8BITMIME")
    r = relay(destinations=f'destination "a" {{ domains = {{ "rcpt.test" }} relay = {{ "{receiver.address}:{receiver.port}" }} }}\n'
                           f'destination "b" {{ domains = {{ "with.test" }} relay = {{ "127.0.0.1:{with_it.port}" }} }}\n'
                           f'destination "c" {{ domains = {{ "without.test" }} relay = {{ "127.0.0.1:{without.port}" }} }}\n')
    submit(r, raw=raw, params="BODY=BINARYMIME", chunks=True, rcpts={box: "", "x@with.test": "", "x@without.test": ""})
    assert parts(receiver.wait_mail(box)[0]) == [(k, d.replace(b"\r\n", b"\n") if k == "text/plain" else d) for k, d in parts(raw)] \
        or parts(receiver.wait_mail(box)[0]) == parts(raw)
    assert parts(with_it.wait(1)[0])[1] == parts(raw)[1]
    assert parts(without.wait(1)[0])[1] == parts(raw)[1]


def test_binary_that_cannot_be_converted(relay):
    """Told to the sender, not damaged: its label says lines, and far behind it is none."""
    raw = binary(10).replace(b"\r\ntext\r\n", b"\r\n" + b"a line of text\r\n" * 10000 + b"a\0\nb\r\n")
    with Peer(["8BITMIME"]) as there:
        r = relay(destinations=to_peers(there))
        id = submit(r, raw=raw, params="BODY=BINARYMIME", chunks=True, rcpts=UNTOLD)
        event, = r.wait_final(id)
        assert (event["event"], event["error"], event["enhanced_status"]) == ("bounced", "conversion", "5.6.5")
        assert not any(t.done for t in there.transactions)


# --- limits of a receiver

def test_recipients_at_a_time(relay):
    """RFC 9422: as many transactions as it takes, in one attempt."""
    with Peer(["PIPELINING", "LIMITS RCPTMAX=2"], rcpt_max=2) as there:
        r = relay(destinations=to_peers(there))
        id = submit(r, rcpts={f"r{i}@rcpt.test": "" for i in range(5)})
        assert {(e["event"], e["attempt"]) for e in r.wait_final(id, 5)} == {("delivered", 1)}
        assert [len(t.rcpts) for t in there.wait(3)] == [2, 2, 1]
        assert not there.broken and there.connections == 1


def test_messages_a_connection(relay):
    with Peer(["LIMITS MAILMAX=1"], mail_max=1) as there:
        r = relay(destinations=to_peers(there, extra="connections = 1"))
        for id in [submit(r) for _ in range(3)]:
            assert r.wait_final(id)[0]["event"] == "delivered"
        assert not there.broken and there.connections == 3


def test_one_at_a_time(relay):
    """66, RFC 9422: whom a connection has no room for loses no attempt; the next pause would be an hour."""
    with Peer(["PIPELINING", "LIMITS RCPTMAX=1 MAILMAX=1"], rcpt_max=1, mail_max=1) as there:
        r = relay(destinations=to_peers(there, extra="connections = 2"), delivery='retry = { "1h" }')
        id = submit(r, rcpts={f"r{i}@rcpt.test": "" for i in range(5)})
        events = r.wait_final(id, 5)
        assert {(e["event"], e["attempt"]) for e in events} == {("delivered", 1)}
        assert sorted(t.rcpts for t in there.wait(5)) == [[f"RCPT TO:<r{i}@rcpt.test>"] for i in range(5)]
        assert not there.broken and there.connections == 5
        assert not r.events("deferred", queue_id=id)


def test_more_recipients_than_it_takes(relay):
    """66: a receiver that says 452 when its transaction is full gets the rest in the next one, on this connection."""
    with Peer(["PIPELINING"], rcpt_max=2) as there:
        r = relay(destinations=to_peers(there), delivery='retry = { "1h" }')
        id = submit(r, rcpts={f"r{i}@rcpt.test": "" for i in range(5)})
        assert {(e["event"], e["attempt"]) for e in r.wait_final(id, 5)} == {("delivered", 1)}
        assert [len(t.rcpts) for t in there.wait(3)] == [2, 2, 1]
        assert there.connections == 1


def test_domains_a_session(relay):
    """RFC 9422 section 4.3: another session for each domain."""
    with Peer(["PIPELINING", "LIMITS RCPTDOMAINMAX=1"]) as there:
        r = relay(destinations=to_peers(there), delivery='retry = { "1h" }')
        id = submit(r, rcpts={f"r{i}@{d}.test": "" for i in range(2) for d in ("x", "y")})
        assert {(e["event"], e["attempt"]) for e in r.wait_final(id, 4)} == {("delivered", 1)}
        assert sorted(sorted(t.rcpts) for t in there.wait(2)) == [[f"RCPT TO:<r{i}@{d}.test>" for i in range(2)] for d in ("x", "y")]
        assert there.connections == 2


# --- TLS that is asked for

@pytest.fixture
def authority(tmp_path, monkeypatch):
    """The only one that the relay's machine knows."""
    a = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(a.pem))
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    return a


HOST = "mx.peer.test"
NAMED = dict(override=[f"{HOST} A 127.0.0.1"])


def no_mail_in_clear(*peers):
    """Promise 22."""
    for p in peers:
        verbs = {line.split(" ")[0] for line in p.in_clear}
        assert verbs <= {"EHLO", "STARTTLS", "QUIT"}, p.in_clear
        assert all(t.tls for t in p.transactions)


def test_requiretls(relay, authority):
    """90: verified, offered, said."""
    with Peer(["8BITMIME"], inside=["REQUIRETLS", "8BITMIME"], certificate=authority.issue("good", HOST)) as there:
        r = relay(destinations=to_peers(there, host=HOST), **NAMED)
        id = submit(r, params="REQUIRETLS")
        event, = r.wait_final(id)
        assert (event["event"], event["tls_policy"], event["tls_verified"]) == ("delivered", "verify", True)
        assert there.wait()[0].mail.endswith(" REQUIRETLS")
        no_mail_in_clear(there)


@pytest.mark.parametrize("peer", ({}, {"inside": ["8BITMIME"]}, {"inside": ["REQUIRETLS"], "clear": True}),
                         ids=("nothing", "tls-only", "no-tls"))
def test_requiretls_is_not_there(relay, authority, peer):
    """90: 5.7.30 when all hosts were asked, and nobody has heard the mail."""
    certificate = None if peer.get("clear") else authority.issue("good", HOST)
    with Peer(["REQUIRETLS"], inside=peer.get("inside", []), certificate=certificate) as first, \
            Peer([], certificate=certificate) as second:
        r = relay(destinations=to_peers(first, second, host=HOST), **NAMED)
        id = submit(r, params="REQUIRETLS", rcpts=UNTOLD)
        event, = r.wait_final(id)
        assert (event["event"], event["error"], event["enhanced_status"]) == ("bounced", "requiretls", "5.7.30")
        assert first.connections == second.connections == 1
        assert not first.transactions and not second.transactions
        no_mail_in_clear(first, second)


def bad_certificates(authority, certificate):
    return {"wrong name": authority.issue("wrong", "mx.other.test"), "expired": authority.issue("old", HOST, days=-1),
            "unknown authority": certificate}


@pytest.mark.parametrize("kind", ("wrong name", "expired", "unknown authority"))
@pytest.mark.parametrize("how", ("REQUIRETLS", "verify"))
def test_certificates_that_prove_nothing(relay, authority, certificate, kind, how):
    """90, 85: deferred, and not a byte of the mail in clear, nor on any later attempt."""
    with Peer(ALL, certificate=bad_certificates(authority, certificate)[kind]) as there:
        r = relay(destinations=to_peers(there, host=HOST, extra='tls = "verify"' if how == "verify" else ""), **NAMED)
        id = submit(r, params="REQUIRETLS" if how == "REQUIRETLS" else "")
        event = r.wait_event("deferred", queue_id=id, n=2)
        assert (event["error"], event["enhanced_status"], event["tls_policy"]) == ("tls_verify", "4.7.5", "verify")
        assert not event.get("tls_verified")
        assert not there.transactions
        no_mail_in_clear(there)


def test_why_a_certificate_proves_nothing(relay, sink, authority, certificate, tmp_path):
    """Who looks for his mail sees at once what is wrong: in the event, in `log`, in `queue show`, and in the report to the sender."""
    yesterday = (datetime.datetime.utcnow() - datetime.timedelta(days=1)).date()
    tomorrow = (datetime.datetime.utcnow() + datetime.timedelta(days=1)).date()
    kinds = {"name": (authority.issue("wrong", "mx.other.test", "10.1.2.3"), "hostname mismatch, it is for mx.other.test 10.1.2.3"),
             "old": (authority.issue("old", HOST, days=-1), f"certificate has expired, it ended {yesterday}T"),
             "early": (authority.issue("early", HOST, begins=1), f"certificate is not yet valid, it begins {tomorrow}T"),
             "stranger": (Authority(tmp_path, "Somebody Else").issue("stranger", HOST),
                          "self-signed certificate in certificate chain, issued by /CN=Somebody Else"),
             "own": (certificate, "self-signed certificate")}
    reports = sink()
    with contextlib.ExitStack() as peers:
        ways = "".join(to_peers(peers.enter_context(Peer(ALL, certificate=files)), host=HOST, extra='tls = "verify"', domains=f"{name}.test")
                       .replace('"peer"', f'"{name}"') for name, (files, _) in kinds.items())
        r = relay(destinations=ways + smarthost(reports), delivery='retry = { "1h" }', **NAMED)
        id = submit(r, rcpts={f"bob@{name}.test": "" for name in kinds})
        for name, (_, why) in kinds.items():
            event = r.wait_event("deferred", recipient=f"bob@{name}.test")
            assert f"that can be trusted: {why}" in event["reason"], event
        for out in (r.cli("queue", "show", id).out, r.cli("log", "--id", id).out):
            assert not [why for _, why in kinds.values() if why not in out], out
        assert r.cli("log", "--json", "--reply", "hostname mismatch").out.count("\n") == 1
        r.cli("queue", "expire", id, "--yes")
        until(lambda: reports.find("multipart/report"))
        report, = reports.find("multipart/report")
        codes = re.sub(rb"\r\n[ \t]+", b" ", report)
        for _, why in kinds.values():
            assert re.search(rb"Diagnostic-Code: x-postwain;[^\r]*: " + re.escape(why.encode()), codes), report


def test_verify(relay, authority):
    """By name; by address where the destination names one."""
    for host, names in ((HOST, [HOST]), ("127.0.0.1", ["127.0.0.1"])):
        with Peer(["8BITMIME"], certificate=authority.issue("v" + host, *names)) as there:
            r = relay(destinations=to_peers(there, host=host, extra='tls = "verify"'), **NAMED)
            event, = r.wait_final(submit(r))
            assert (event["event"], event["tls_policy"], event["tls_verified"]) == ("delivered", "verify", True)
            no_mail_in_clear(there)


def test_authorities_are_read_again_by_a_reload(relay, authority, tmp_path):
    """A store that was renewed while the relay ran."""
    pem = authority.pem.read_bytes()
    authority.pem.write_bytes(Authority(tmp_path, "Somebody Else").pem.read_bytes())
    with Peer(["8BITMIME"], certificate=authority.issue("late", HOST)) as there:
        r = relay(destinations=to_peers(there, host=HOST, extra='tls = "verify"'), **NAMED)
        id = submit(r)
        assert r.wait_event("deferred", queue_id=id, n=2)["error"] == "tls_verify"
        authority.pem.write_bytes(pem)
        r.cli("reload")
        event, = r.wait_final(id)
        assert (event["event"], event["tls_verified"]) == ("delivered", True)
        no_mail_in_clear(there)


def test_verify_without_tls(relay, authority):
    """84: never in clear."""
    with Peer(["8BITMIME"]) as there:
        r = relay(destinations=to_peers(there, host=HOST, extra='tls = "verify"'), **NAMED)
        id = submit(r)
        assert r.wait_event("deferred", queue_id=id, n=2)["error"] == "tls_unavailable"
        assert not there.transactions
        no_mail_in_clear(there)


def test_requiretls_by_mx(relay, authority):
    """90: the name that an MX record gave is believed in the recipient's own domain, and where the administrator named it."""
    with Peer(ALL, certificate=authority.issue("mx", HOST)) as there:
        override = [f"peer.test MX 10 {HOST}", f"rcpt.test MX 10 {HOST}", *NAMED["override"]]
        for destination, recipient, final in (
                ('domains = { "*" } tls = "verify"', "bob@peer.test", "delivered"),
                ('domains = { "*" } tls = "verify"', "bob@rcpt.test", "bounced"),
                ('domains = { "*" }', "bob@peer.test", "bounced"),
                ('mx = { "*.peer.test" } tls = "verify"', "bob@rcpt.test", "delivered")):
            r = relay(destinations=f'destination "d" {{ {destination} port = {there.port} }}\n', override=override)
            id = submit(r, params="REQUIRETLS", rcpts={recipient: "NOTIFY=NEVER"})
            event, = r.wait_final(id)
            assert event["event"] == final, (destination, event)
            if final == "bounced":
                assert event["enhanced_status"] == "5.7.30"
        no_mail_in_clear(there)


def test_tls_required_no(relay, authority, certificate):
    """The sender says that it matters less than its arrival: any certificate will do; what the administrator wants encrypted stays so."""
    no = mail.message(headers=b"TLS-Required: No\r\n")
    with Peer(["8BITMIME"], certificate=certificate) as there, Peer(["8BITMIME"]) as clear:
        r = relay(destinations=to_peers(there, host=HOST, extra='tls = "verify"', domains="rcpt.test")
                  + to_peers(clear, host=HOST, extra='tls = "verify"').replace('"peer"', '"clear"'), **NAMED)
        id = submit(r, raw=no)
        event, = r.wait_final(id)
        assert (event["event"], event["tls_policy"], event["tls_verified"]) == ("delivered", "encrypt", False)
        # The connection that was good enough for it is not for the next one.
        id = submit(r)
        assert r.wait_event("deferred", queue_id=id)["error"] == "tls_verify"
        id = submit(r, raw=no, rcpts={"bob@clear.test": ""})
        assert r.wait_event("deferred", queue_id=id)["error"] == "tls_unavailable"
        no_mail_in_clear(there, clear)


def test_clear_facts_are_forgotten(relay, certificate):
    """80: what was offered in clear, perhaps by somebody in between, counts for nothing inside."""
    with Peer(ALL + ["LIMITS RCPTMAX=1"], inside=[], certificate=certificate) as there:
        r = relay(destinations=to_peers(there))
        id = submit(r, params="RET=FULL", rcpts={"bob@rcpt.test": "NOTIFY=FAILURE", "cy@rcpt.test": ""})
        r.wait_final(id, 2)
        t, = there.wait()
        assert (t.tls, t.mail, t.rcpts) == (True, "MAIL FROM:<ann@sender.test>", ["RCPT TO:<bob@rcpt.test>", "RCPT TO:<cy@rcpt.test>"])


def test_kept_connection_and_secrets(relay, authority):
    """68: a connection made for ordinary mail carries none that needs more."""
    with Peer(ALL, certificate=authority.issue("kept", HOST)) as there:
        r = relay(destinations=to_peers(there, host=HOST, extra="connections = 1"), **NAMED)
        assert r.wait_final(submit(r))[0]["tls_verified"] is False
        event, = r.wait_final(submit(r, params="REQUIRETLS"))
        assert (event["event"], event["tls_verified"], event["attempt"]) == ("delivered", True, 1)
        assert there.connections == 2
        until(lambda: len(there.wait(2)) == 2)
