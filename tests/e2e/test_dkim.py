"""What receivers' verifiers say of mail that went through: dkimpy, and Mail::DKIM for RSA. One wrong octet is a bounce at every large receiver."""
import os
import re
import subprocess

import pytest
from kit import mail
from kit.dkim import Keys, signatures, tags
from kit.relay import smarthost
from kit.wait import until

HEADERS = {
    "plain": b"",
    "folds and blanks": b"X-Wide:  a\t b \r\n  c\r\nReferences: <a@b>\r\n\t<c@d>\r\n \t \r\n <e@f>\r\nReply-To:  eve@d.test \r\n",
    "blank before the colon": b"Reply-To : eve@d.test\r\nSubject\t: second\r\n",  # dkimpy reads no such field
    "8-bit": "X-Name: Jörg\r\nSender: \"Jörg\" <joe@sender.test>\r\n".encode(),
    "repeated": b"Comments: 1\r\nCc: a@d.test\r\nComments: 2\r\nCc: b@d.test\r\nList-Id: <l.sender.test>\r\n",
    "signed before": b"DKIM-Signature: v=1; a=rsa-sha256; d=sender.test; s=old;\r\n\th=from; bh=abc=; b=abc=\r\n",
    "to be removed": b"Bcc: secret@d.test\r\nReturn-Path: <x@y>\r\nX-Postwain-Tag: a=b\r\n",
}
BODIES = {
    "empty": b"",
    "line ends only": b"\r\n\r\n \r\n",
    "blanks at ends": b"a \t \r\n\t b  c\r\n",
    "empty lines at the end": b"a\r\n\r\n \r\n\r\n",
    "dots": b".\r\n..\r\n.a\r\n.\r\nend\r\n",
    "8-bit": "Grüße 🙂\r\n".encode(),
    "NUL": b"a\0b\r\n",
    "long lines": b"x" * 998 + b"\r\n" + b"y " * 400 + b"\r\n",
}


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "keys")


BOTH = {("sender.test", "r1"): True, ("sender.test", "e1"): True}


def both(keys):
    return keys.section("sender.test", r1="rsa", e1="ed25519")


def check(keys, raw, want=None):
    if b"blank before the colon" not in raw:
        assert {k: v for k, v in keys.verify(raw).items() if k[1] != "old"} == (want or BOTH), raw[:3000]
    perl = keys.verify_perl(raw)
    assert all(perl[k] for k in (want or BOTH) if k[1].startswith("r")), perl


def test_what_is_signed_verifies(relay, sink, keys):
    """Whatever the header and the body look like, and however they come: DATA, in pieces by BDAT, as a file of their own."""
    s = sink()
    r = relay(destinations=smarthost(s) + both(keys))
    sent = {}
    with r.smtp() as session:
        for name, headers in HEADERS.items():
            raw = mail.message(b"Hello.\r\n", headers=headers, subject="header " + name)
            sent[r.submit(session, raw, "ann@sender.test", "bob@rcpt.test")] = name
        for name, body in BODIES.items():
            raw = mail.message(body, subject="body " + name)
            sent[r.submit(session, raw, "ann@sender.test", "bob@rcpt.test")] = name
        big = b"".join(b"%d  \t.%s\r\n" % (i, b"z" * (i % 70)) for i in range(60000)) + b"\r\n\r\n"
        for n in (100_000, 236_000, 250_000, len(big)):
            sent[r.submit(session, mail.message(big[:n] + b"\r\n", subject=f"octets {n}"), "ann@sender.test", "bob@rcpt.test")] = n
        # In chunks whose ends stand anywhere.
        raw = mail.message(b"a \r\nb\r\n\r\n..\r\n.\r\n", subject="chunks")
        assert session.docmd("MAIL FROM:<ann@sender.test> BODY=8BITMIME")[0] == 250 and session.rcpt("bob@rcpt.test")[0] == 250
        for i in range(0, len(raw), 7):
            piece, last = raw[i:i + 7], i + 7 >= len(raw)
            session.send(b"BDAT %d%s\r\n" % (len(piece), b" LAST" if last else b"") + piece)
            code, text = session.getreply()
            assert code == 250, text
        sent["chunks"] = "chunks"
    for raw in s.wait(len(sent)):
        check(keys, raw)
    assert len(s.messages()) == len(sent)
    for raw in s.find("header signed before"):
        assert len(signatures(raw)) == 3 and "s=old" in signatures(raw)[2]  # ours are above it


def test_the_field(relay, sink, keys):
    s = sink()
    r = relay(destinations=smarthost(s) + both(keys))
    r.send(mail.message(b"x\r\n", headers=b"X-Other: y\r\nList-Unsubscribe: <https://sender.test/u>\r\n"))
    [raw] = s.wait(1)
    text = raw.replace(b"\r\n", b"\n").decode()
    assert re.match(r"(?s)(Return-Path:[^\n]*\nDelivered-To:[^\n]*\n)?(Received: [^\n]*\n([ \t][^\n]*\n)*)+DKIM-Signature: v=1; a=rsa-sha256;", text), text
    for field in signatures(raw):
        t = tags(field)
        assert set(t) == {"v", "a", "c", "d", "s", "t", "h", "bh", "b"}  # no l=, x=, i=
        assert t["c"] == "relaxed/relaxed" and abs(int(t["t"]) - os.stat(s.files()[0]).st_mtime) < 60
        names = t["h"].split(":")
        for oversigned in ("from", "subject", "to", "date", "message-id"):
            assert names.count(oversigned) == 2, names
        for absent in ("cc", "reply-to", "mime-version", "content-type", "content-transfer-encoding", "list-unsubscribe"):
            assert names.count(absent) == 1, names
        assert not {"received", "return-path", "bcc", "x-other", "authentication-results", "dkim-signature"} & set(names)
        assert max(len(line.expandtabs(8)) for line in field.splitlines()) <= 78
    # Nothing can be changed, nor put above it by whoever sends it again.
    for old, new in [(b"Subject:", b"Subject: other\r\nSubject:"), (b"From:", b"From: <eve@evil.test>\r\nFrom:"), (b"To:", b"Cc: z@d.test\r\nTo:"),
                     (b"To:", b"Reply-To: eve@evil.test\r\nTo:"), (b"Date:", b"Content-Type: text/html\r\nDate:"), (b"\nx\r", b"\nx\r\nmore\r"),
                     (b"sender.test/u", b"evil.test/u")]:
        changed = mail.crlf(raw).replace(old, new, 1)
        assert changed != mail.crlf(raw) and not any(keys.verify(changed).values()), new
    # What relays do on the way changes nothing.
    changed = b"Received: from a by b; Fri, 02 Jan 2026 03:04:05 +0000\r\n" + mail.crlf(raw).replace(b"To: <", b"TO:\t <", 1) + b"\r\n\r\n"
    check(keys, changed.replace(b"X-Other: y", b"X-Other: z"))


def test_what_is_added_is_signed(relay, sink, keys):
    """Date, Message-ID and From come before the signature; a missing From is signed as the reverse-path's domain."""
    s = sink()
    r = relay(destinations=smarthost(s) + both(keys))
    r.send(b"Subject: little\r\n\r\nx\r\n")
    r.send(b"From: ann@sender.test\r\nno field\r\nx\r\n")
    r.send(b"From: ann@sender.test\r\n")
    for raw in s.wait(3):
        assert b"\nDate: " in raw and b"\nMessage-ID: " in raw
        check(keys, raw)


def test_who_signs(relay, sink, keys):
    """The domain of From:, nobody else's; below it where it says so, in any letter case, also written in Unicode."""
    s = sink()
    r = relay(destinations=smarthost(s) + both(keys) + keys.section("wide.test", "subdomains = true", r2="rsa")
              + keys.section("own.wide.test", e3="ed25519") + keys.section("müller.test", e4="ed25519"))
    keys.records["e4._domainkey.xn--mller-kva.test"] = keys.records["e4._domainkey.müller.test"]
    cases = {
        "ann@SENDER.test": ["sender.test r1", "sender.test e1"],
        "ann@a.sender.test": [],
        "ann@a.b.wide.test": ["wide.test r2"],
        "ann@own.wide.test": ["own.wide.test e3"],
        "ann@a.own.wide.test": ["wide.test r2"],
        "ann@other.test": [],
        "ann@xn--mller-kva.test": ["xn--mller-kva.test e4"],
        "Ann, who <ann@sender.test>": [],  # no address that everybody would read the same way
        '"ann@other.test" <ann@sender.test>, bob@other.test': ["sender.test r1", "sender.test e1"],
    }
    with r.smtp() as session:
        for author in cases:
            raw = mail.message(subject=f"from {author}").replace(b"<ann@sender.test>", author.encode(), 1)
            r.submit(session, raw, "bounces@sender.test", "bob@rcpt.test")
    for raw in s.wait(len(cases)):
        author = re.search(rb"Subject: from (.*?)\r?\n", raw).group(1).decode()
        found = keys.verify(raw)
        assert [f"{d} {s}" for d, s in found] == cases[author] and all(found.values()), (author, found)


def test_international_mail(relay, sink, keys):
    s = sink()
    r = relay(destinations=smarthost(s) + keys.section("müller.test", e1="ed25519"))
    keys.records["e1._domainkey.xn--mller-kva.test"] = keys.records["e1._domainkey.müller.test"]
    with r.smtp() as session:
        session.command_encoding = "utf-8"
        raw = mail.message("Grüße\r\n".encode(), subject="Grüße")
        raw = raw.replace(b"<ann@sender.test>", "Jörg <jörg@müller.test>".encode(), 1)
        for line, code in (("MAIL FROM:<jörg@müller.test> BODY=8BITMIME SMTPUTF8", 250), ("RCPT TO:<bob@rcpt.test>", 250)):
            assert session.docmd(line)[0] == code
        assert session.data(raw)[0] == 250
    [raw] = s.wait(1)
    assert keys.verify(raw) == {("xn--mller-kva.test", "e1"): True}


def test_reports_are_signed(relay, sink, keys):
    """Of mail that fails: by the domain of our postmaster."""
    s = sink("--refuse", "bad*")
    r = relay(destinations=smarthost(s) + keys.section("relay.test", r1="rsa", e1="ed25519"))
    r.wait_final(r.send(mail.message(), "ann@sender.test", "bad@rcpt.test"))
    [raw] = s.wait(1)
    assert b"multipart/report" in raw
    check(keys, raw, {("relay.test", "r1"): True, ("relay.test", "e1"): True})
    assert "from:from" in tags(signatures(raw)[0])["h"]


def test_sendmail_is_signed(relay, sink, keys):
    """Over the control socket, small and as a file of its own; what is imported from another queue has its signatures already."""
    s = sink()
    r = relay(destinations=smarthost(s) + both(keys))
    for n in (1, 20000):
        r.cli("sendmail", "-f", "ann@sender.test", "bob@rcpt.test",
              stdin=b"From: ann@sender.test\nSubject: by hand\n\n" + b"Hello  there, \n.\n" * n + b"\n\n")
    for raw in s.wait(2):
        check(keys, raw)


def test_binary_content_is_not_signed(relay, sink, keys):
    """It becomes base64 for most receivers, and a broken signature is worse than none."""
    s = sink()
    r = relay(destinations=smarthost(s) + both(keys))
    raw = mail.message(b"\x00\n\r\xff", headers=b"MIME-Version: 1.0\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n")
    with r.smtp() as session:
        assert session.docmd("MAIL FROM:<ann@sender.test> BODY=BINARYMIME")[0] == 250 and session.rcpt("bob@rcpt.test")[0] == 250
        session.send(b"BDAT %d LAST\r\n" % len(raw) + raw)
        assert session.getreply()[0] == 250
    [raw] = s.wait(1)
    assert not signatures(raw)


def test_a_session_that_stays_gets_new_keys(relay, sink, keys):
    """A connection pool stays for days: a key that was withdrawn, because somebody else has it, signs no more."""
    s = sink()
    r = relay(destinations=smarthost(s) + keys.section("sender.test", e1="ed25519"))
    with r.smtp() as session:
        for subject, key in (("old", "e1"), ("new", "e2"), ("none", None)):
            if subject != "old":
                r.write(destinations=smarthost(s) + (keys.section("sender.test", **{key: "ed25519"}) if key else ""))
                r.cli("reload")
            assert session.sendmail("ann@sender.test", ["bob@rcpt.test"], mail.message(subject=subject)) == {}
    s.wait(3)
    for subject, signed in (("old", {("sender.test", "e1"): True}), ("new", {("sender.test", "e2"): True}), ("none", {})):
        [raw] = s.find(f"Subject: {subject}\r\n") or s.find(f"Subject: {subject}\n")
        assert keys.verify(raw) == signed


def test_reload_changes_keys(relay, sink, keys):
    s = sink()
    r = relay(destinations=smarthost(s))
    r.send(mail.message(subject="none"))
    r.write(destinations=smarthost(s) + keys.section("sender.test", e1="ed25519"))
    r.cli("reload")
    r.send(mail.message(subject="first"))
    good = r.pieces["destinations"]
    # A key that is none changes nothing: the old configuration stays.
    bad = keys.folder / "bad.pem"
    bad.write_text("no key\n")
    bad.chmod(0o600)
    r.write(destinations=good.replace("sender.test.e1.pem", "bad.pem"))
    assert "no private key in it" in r.cli("reload", code=1).err
    r.send(mail.message(subject="still"))
    r.write(destinations=good + keys.section("other.test", e2="ed25519") + keys.section("sender2.test", r1="rsa"))
    r.cli("reload")
    r.send(mail.message(sender="ann@other.test", subject="second"))
    s.wait(4)
    want = {"none": {}, "first": {("sender.test", "e1"): True}, "still": {("sender.test", "e1"): True}, "second": {("other.test", "e2"): True}}
    for subject, signed in want.items():
        [raw] = s.find(f"Subject: {subject}\r\n") or s.find(f"Subject: {subject}\n")
        assert keys.verify(raw) == signed


def test_check_tells_what_is_wrong(relay, keys, tmp_path):
    path = keys.make("sender.test", "s1", "ed25519")
    small = keys.folder / "small.pem"
    subprocess.run(["openssl", "genrsa", "-out", small, "1000"], check=True, capture_output=True)
    small.chmod(0o600)
    open_to_all = keys.make("open.test", "s1", "ed25519")
    open_to_all.chmod(0o644)
    no_key = keys.folder / "none.pem"
    no_key.write_text("-----BEGIN PRIVATE KEY-----\n")
    no_key.chmod(0o600)
    r = relay(start=False)
    cases = [
        ('dkim "sender.test" { }', "has no key"),
        (f'dkim "sender.test" {{ key = "{path}" }}', "needs a key for each selector"),
        (f'dkim "sender.test" {{ selector = {{ "a", "b" }}  key = "{path}" }}', "needs a key for each selector"),
        (f'dkim "sender.test" {{ selector = "A_b"  key = "{path}" }}', "is not a selector"),
        (f'dkim "sender.test" {{ selector = {{ "a", "a" }}  key = {{ "{path}", "{path}" }} }}', "stands there twice"),
        (f'dkim "a b" {{ selector = "a"  key = "{path}" }}', "its title is not a domain"),
        (f'dkim "sender.test" {{ selector = "a"  key = "{path}" }}\ndkim "SENDER.test" {{ selector = "b"  key = "{path}" }}',
         'is the domain of dkim "sender.test"'),
        (f'dkim "sender.test" {{ selector = {{ "a", "b", "c", "d" }}  key = {{ "{path}", "{path}", "{path}", "{path}" }} }}', "more than 3 keys"),
        ('dkim "sender.test" { selector = "a"  key = "/there/is/none" }', "No such file"),
        (f'dkim "sender.test" {{ selector = "a"  key = "{keys.folder}" }}', "is not a file"),
        (f'dkim "sender.test" {{ selector = "a"  key = "{small}" }}', "less than 1024 bits"),
        (f'dkim "sender.test" {{ selector = "a"  key = "{open_to_all}" }}', "can be read by everyone"),
        (f'dkim "sender.test" {{ selector = "a"  key = "{no_key}" }}', "no private key"),
    ]
    for text, problem in cases:
        r.write(destinations=text)
        done = r.cli("check", code=1)
        assert problem in done.err and f"{r.conf}:" in done.err, (text, done.err)
        assert re.search(r"postwain.conf:\d+:", done.err), done.err
    r.write(destinations=f'dkim "sender.test" {{ selector = "a"  key = "{path}" }}')
    assert "ok" in r.cli("check").out


def zone(out):
    """The record that `dkim key` prints, as the test's zone has it."""
    [record] = re.findall(r"(?ms)^(\S+\.)test\. IN TXT \((.*?) \)$", out)
    return record[0][:-1] + " TXT (" + record[1].replace("\n", " ") + " )", "".join(re.findall(r'"(.*?)"', record[1]))


def test_from_nothing_to_signed_mail(relay, sink, keys, dns):
    """What somebody does who has never heard of it: three commands, a record and a section, as they are printed."""
    s = sink()
    r = relay(destinations=smarthost(s), dns=f'servers = {{ "127.0.0.1:{dns.port}" }}')
    assert "No mail is signed" in r.cli("dkim", "list", code=1).err
    sections = ""
    for kind, selector in (("rsa", "s1"), ("ed25519", "e1")):
        done = r.cli("dkim", "key", "verb.test", "--type", kind, "--selector", selector)
        path = r.dir / f"dkim/verb.test.{selector}.pem"
        assert path.stat().st_mode & 0o777 == 0o600 and f"Made {path}" in done.out
        record, text = zone(done.out)
        keys.records[f"{selector}._domainkey.verb.test"] = text
        sections = re.search(r'(?ms)^dkim "verb.test" \{.*?^\}$', done.out).group(0)
        r.write(destinations=smarthost(s) + sections)
        assert f"{selector}._domainkey.verb.test: there is no TXT record" in r.cli("dkim", "check", code=1).out
        dns.add(record)
        assert f"{selector}._domainkey.verb.test: ok" in r.cli("dkim", "check", "verb.test").out
        assert f"dkim verb.test: s1{', e1' if selector == 'e1' else ''}" in r.cli("check").out
    r.cli("reload")
    r.send(mail.message(sender="ann@verb.test"))
    [raw] = s.wait(1)
    check(keys, raw, {("verb.test", "s1"): True, ("verb.test", "e1"): True})
    # The keys stay what they are.
    before = path.read_bytes()
    assert "exists" in r.cli("dkim", "key", "verb.test", "--selector", "e1", code=1).err and path.read_bytes() == before
    rows = r.rows("dkim", "list")
    assert [(x["selector"], x["type"], x["bits"]) for x in rows] == [("s1", "rsa", 2048), ("e1", "ed25519", 256)]
    assert {x["name"]: x["record"] for x in rows} == keys.records
    # Another key is published, and then two.
    dns.records = [x.replace("e1._domainkey", "x1._domainkey") for x in dns.records]
    dns.add('e1._domainkey.verb TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="')
    until(lambda: "it is of another key" in r.cli("dkim", "check", code=1).out, 20, pause=0.2)
    [bad] = [x for x in r.rows("dkim", "check", code=1) if not x["published"]]
    assert (bad["selector"], bad["problem"]) == ("e1", "it is of another key")
    dns.add(next(x for x in dns.records if x.startswith("x1._domainkey.verb ")).replace("x1", "e1", 1))
    until(lambda: "more than one TXT record" in r.cli("dkim", "check", code=1).out, 20, pause=0.2)


def test_wrong_usage(relay, keys):
    r = relay(start=False)
    for words, problem in [
        (["key"], "say for which domain"), (["key", "a b"], "is not a domain"), (["key", "a.test", "--type", "dsa"], "rsa or ed25519"),
        (["key", "a.test", "--bits", "1024"], "2048 to 4096"), (["key", "a.test", "--type", "ed25519", "--bits", "2048"], "one size"),
        (["key", "a.test", "--selector", "A b"], "--selector"), (["list", "a", "b"], "one domain"), (["show"], "there is no verb"),
    ]:
        assert problem in r.cli("dkim", *words, code=2).err, words
    assert not (r.dir / "dkim").exists()
    path = keys.make("short.test", "s1", "rsa", 1024)
    r.write(destinations=f'dkim "short.test" {{ selector = "s1"  key = "{path}" }}')
    assert f"note: dkim short.test: the RSA key in {path} has 1024 bits" in r.cli("check").out
