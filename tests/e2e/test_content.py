"""
Content is carried byte for byte below our trace field, or refused clearly (promise 19); what is mended; and nothing of a client's words
becomes structure (promise 36).
"""
import base64
import email
import email.policy
import json
import re

import pytest

import proof
import torture
from kit import mail
from kit.relay import PASSWORD, queue_id, smarthost
from kit.wait import until
from test_export import dead_end

CHUNKS = (1, 7, 1000)
PLAIN = re.compile(rb"[\x20-\x7e\t\r\n]*")


@pytest.fixture
def pair(relay, sink):
    there = sink()
    return relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port)), there


def by_data(c, raw):
    return c.data(proof.stuffed(raw))


def by_bdat(c, raw):
    c.send(b"BDAT %d LAST\r\n" % len(raw) + raw)
    return c.reply()


def by_chunks(c, raw):
    """In chunks that end anywhere; the first refusal is the answer."""
    at, answer = 0, None
    for n, size in enumerate(CHUNKS + (len(raw),)):
        piece = raw[at:at + size]
        at += size
        last = b" LAST" if n == len(CHUNKS) else b""
        c.send(b"BDAT %d%s\r\n" % (len(piece), last) + piece)
        code, text = c.reply()
        if code >= 400 and answer is None:
            answer = code, text
    return answer or (code, text)


@pytest.mark.parametrize("how", (by_data, by_bdat, by_chunks))
def test_torture(pair, how):
    """A message that arrives is not the one that was sent, or is lost because it is odd."""
    r, there = pair
    expected, c = {}, proof.Raw(r.submission)
    for n, (name, raw, verdict, arrives) in enumerate(torture.corpus(proof.seed())):
        if how is by_data and not raw.endswith(b"\r\n"):
            continue
        c.envelope()
        code, text = how(c, raw)
        if verdict:
            assert f"{code} {text}".startswith(verdict), (name, code, text)
            assert c.say(b"RCPT TO:<bob@rcpt.test>")[0] == 503  # 12: the envelope is gone
        else:
            assert code == 250, (name, code, text)
            expected[n] = name, arrives
    c.say(b"QUIT", 221)
    assert len(expected) >= 140
    got = there.wait(len(expected), 120)
    assert len(got) == len(expected)
    for m in map(mail.below_trace, got):
        name, arrives = expected.pop(int(re.match(rb"X-Case: (\d+)\r\n", m).group(1)))
        assert m == arrives, (name, m[:300], arrives[:300])
    assert not expected


def test_without_a_header_section(pair):
    """A text without any header is taken for one, or loses its first line. (Checklist 104, 26.)"""
    r, there = pair
    texts = [b"hello\r\n", b"hello\r\n\r\nFrom: x\r\n", b" blank: first\r\n", b": no name\r\n", b"\r\nFrom: in the body\r\n", b"From a@b\r\nnot mbox\r\n",
             b"J\xf6rg: x\r\n", b"\0: x\r\n", b"<html>\r\n"]
    with proof.Raw(r.submission) as c:
        for text in texts:
            c.envelope()
            assert by_data(c, text)[0] == 250
    got = sorted(mail.body(m) for m in there.wait(len(texts)))
    assert got == sorted(t.removeprefix(b"\r\n") for t in texts)
    for m in there.messages():
        head = email.message_from_bytes(m, policy=email.policy.SMTP)
        assert head["From"] in ("ann@sender.test", "<ann@sender.test>"), m
        assert re.fullmatch(r"<[0-9A-Z]{13}@relay\.test>", head["Message-ID"]) and head["Date"] and len(head.get_all("Received")) == 1


def fields(raw, name):
    return [v.strip() for v in re.findall(rb"(?im)^" + name + rb"[ \t]*:((?:[^\n]|\n[ \t])*)\n", raw.split(b"\r\n\r\n")[0])]


def test_what_goes_and_what_is_added(relay, sink):
    """Secret recipients are told to all, two Return-Paths arrive, or a receiver refuses what has no date. (Checklist 26, 27, 28.)"""
    there = sink()
    r = relay(destinations=smarthost(there))
    raw = (b"Return-Path: <forged@x.test>\r\nSubject: x\r\nBcc: secret@rcpt.test,\r\n\tother@rcpt.test\r\n"
           b"BCC : third@rcpt.test\r\nX-Postwain-Tag: campaign=spring\r\n"
           b"Resent-To: again@rcpt.test\r\nResent-Bcc: fourth@rcpt.test\r\n\r\nbody\r\n")
    id = r.send(raw, "ann@sender.test", ["bob@rcpt.test", "secret@rcpt.test"])
    r.wait_final(id, 2)
    got = there.messages()[0]
    assert not re.search(rb"(?i)secret|third|other|fourth|forged|campaign|\nbcc|x-postwain", mail.below_trace(got)), got
    own = mail.below_trace(got)
    assert [line.split(b":")[0] for line in own.split(b"\r\n\r\n")[0].split(b"\r\n")] == [
        b"Date", b"Message-ID", b"From", b"Subject", b"Resent-Date", b"Resent-Message-ID", b"Resent-From", b"Resent-To"]
    assert fields(got, b"message-id") == [f"<{id}@relay.test>".encode()]
    assert r.events("accepted", queue_id=id)[0]["message_id"] == f"<{id}@relay.test>"
    trace = fields(got, b"received")[-1]
    assert b"with ESMTPSA" in trace and f"id {id}".encode() in trace and b"app" not in trace.replace(b"client", b"") and b" for " not in trace, trace


def test_fixups_as_configured(relay, sink):
    """A configuration asks for strictness, or for silence, and gets the default."""
    there = sink()
    r = relay(listener='missing-date = "refuse" missing-message-id = "keep" missing-from = "keep" missing-to = "add"'
                       ' received-user = true received-client = false', destinations=smarthost(there))
    s = r.smtp()
    assert s.mail("ann@sender.test")[0] == s.rcpt("bob@rcpt.test")[0] == 250
    code, text = s.data(b"Subject: x\r\n\r\n")
    assert (code, text) == (554, b"5.6.0 the message has no Date: field")
    id = r.submit(s, b"Date: d\r\nSubject: x\r\n\r\n", "ann@sender.test", "bob@rcpt.test")
    s.quit()
    r.wait_final(id)
    got = there.messages()[0]
    assert mail.below_trace(got) == b"To: undisclosed-recipients:;\r\nDate: d\r\nSubject: x\r\n\r\n"
    trace = fields(got, b"received")[-1]
    assert trace.startswith(b"by relay.test with ESMTPSA") and b"(authenticated sender: app)" in trace and b"127.0.0.1" not in trace and b"client" not in trace


def export_one(r, folder):
    """The envelope of the one message that waits, as it is kept."""
    r.rows("queue", "export", folder)
    return json.loads(next(folder.glob("*.json")).read_text())


@pytest.mark.parametrize("said,optional", ((b"TLS-Required: No\r\n", True), (b"tls-required :\r\n no\r\n", True),
                                           (b"TLS-Required: Yes\r\n", False), (b"", False)))
def test_fields_that_speak_to_the_relay(relay, tmp_path, said, optional):
    """An application's tags, or its wish to be delivered without TLS, are carried to the receiver and not heard."""
    r = relay(destinations=dead_end())
    raw = mail.message(headers=b"X-Postwain-Tag: campaign=spring sale\r\nx-postwain-tag: mandant=J\xc3\xb6rg\r\n" + said)
    id = r.send(raw)
    envelope = export_one(r, tmp_path / "q")
    assert envelope["tags"] == {"campaign": "spring sale", "mandant": "J\u00f6rg"}
    assert envelope.get("tls_optional", False) is optional
    content = r.cli("queue", "cat", id).out
    assert "Postwain-Tag" not in content and said.decode() in content.replace("\n", "\r\n").replace("\r\r", "\r")


UTF8 = "Subject: Gr\u00fc\u00dfe\r\n".encode()


@pytest.mark.parametrize("params,header,recipient,protocol,kept", (
    ("SMTPUTF8 BODY=8BITMIME", UTF8, "bob@rcpt.test", "UTF8SMTPSA", True),
    ("SMTPUTF8 BODY=8BITMIME", b"", "j\u00f6rg@rcpt.test", "UTF8SMTPSA", True),
    ("SMTPUTF8 BODY=8BITMIME", b"", "bob@rcpt.test", "UTF8SMTPSA", False),  # System.Net.Mail, and others, ask with every message
    ("BODY=8BITMIME", UTF8, "bob@rcpt.test", "ESMTPSA", False)), ids=("header", "recipient", "neither", "not-asked"))
def test_smtputf8_is_kept_where_it_is_needed(relay, tmp_path, params, header, recipient, protocol, kept):
    """Plain mail cannot reach an old receiver because a library asks for SMTPUTF8; or an address breaks a Received field. (Checklist 11, 73.)"""
    r = relay(destinations=dead_end())
    s = r.smtp()
    for line in (f"MAIL FROM:<ann@sender.test> {params}", f"RCPT TO:<{recipient}>"):
        s.send(line.encode() + b"\r\n")
        assert s.getreply()[0] == 250
    code, text = s.data(mail.message("J\u00f6rg\r\n".encode(), headers=header))
    assert code == 250
    s.quit()
    assert export_one(r, tmp_path / "q").get("smtputf8", False) is kept
    content = next((tmp_path / "q").glob("*.eml")).read_bytes()
    trace, = fields(content, b"received")
    assert f"with {protocol} ".encode() in trace.replace(b"\r\n\t", b" ") and PLAIN.fullmatch(trace)
    assert (b"for <bob@rcpt.test>" in trace) is recipient.isascii()


@pytest.mark.parametrize("mode,user,greeting,protocol", (
    ("clear", None, "helo", "SMTP"), ("clear", None, "ehlo", "ESMTP"), ("starttls", None, "ehlo", "ESMTPS"), ("implicit", None, "ehlo", "ESMTPS"),
    ("starttls", "app", "ehlo", "ESMTPSA"), ("starttls", None, "helo", "SMTP")))
def test_received_says_how_it_came(relay, mode, user, greeting, protocol):
    """Whoever looks for the hop without TLS, or the one that let a stranger in, is told the wrong one. (Checklist 11; RFC 3848.)"""
    r = relay(listener='trust = { "127.0.0.0/8" }', destinations=dead_end())
    s = r.smtp(mode, user=user)
    assert getattr(s, greeting)("client.test")[0] == 250
    id = r.submit(s, mail.message(), "ann@sender.test", "bob@rcpt.test")
    s.quit()
    trace, = fields(r.cli("queue", "cat", id).out.encode(), b"received")
    assert re.search(rb"\bwith (\S+)\s+(\(using TLSv1\.3 )?", trace).groups() == (protocol.encode(), None if mode == "clear" else b"(using TLSv1.3 "), trace


def test_added_from_beyond_ascii(relay, tmp_path):
    """A From that the relay made of an address beyond ASCII is sent as if it were ASCII."""
    r = relay(destinations=dead_end())
    s = r.smtp()
    s.send("MAIL FROM:<j\u00f6rg@sender.test> SMTPUTF8\r\n".encode())
    assert s.getreply()[0] == 250 and s.rcpt("bob@rcpt.test")[0] == 250
    assert s.data(b"Subject: x\r\n\r\nbody\r\n")[0] == 250
    s.quit()
    envelope = export_one(r, tmp_path / "q")
    assert envelope["eight_bit"] and envelope["smtputf8"]
    assert "\r\nFrom: <j\u00f6rg@sender.test>\r\n".encode() in next((tmp_path / "q").glob("*.eml")).read_bytes()


def test_authors_beyond_ascii(relay, tmp_path):
    """A user's pattern is passed by letters that his pattern does not know, or does not know his own. (Checklist 30.)"""
    r = relay(destinations=dead_end(), users=())
    r.user_add("shop", PASSWORD, "--from", "*@shop.test")
    s = r.smtp(user="shop")
    utf8 = "SMTPUTF8 BODY=8BITMIME"
    for params, author, verdict in ((utf8, "j\u00f6rg@shop.test", 250), (utf8, "x@sh\u00f6p.test", 550), ("", "j\u00f6rg@shop.test", 550),
                                    ("", "J\u00f6rg <x@shop.test>", 250), (utf8, "x@shop.test\u2028, y@other.test", 550)):
        s.send(f"MAIL FROM:<x@shop.test> {params}\r\n".encode())
        assert s.getreply()[0] == 250 and s.rcpt("bob@rcpt.test")[0] == 250
        assert s.data(f"From: {author}\r\nTo: bob@rcpt.test\r\n\r\nbody\r\n".encode())[0] == verdict, (params, author)
    s.quit()


def test_binary_content_has_a_header_of_lines(pair):
    """A field of one reader is the text of another, because BINARYMIME lets bare line ends through. (Checklist 2, 7.)"""
    r, there = pair
    mime = b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    subjects = {b"a\nBcc: b": 554, b"a\rFrom: b": 554, b"s" * 1000: 554, b"fine": 250}
    with proof.Raw(r.submission) as c:
        for subject, verdict in subjects.items():
            c.envelope(mail=b" BODY=BINARYMIME")
            code, text = by_bdat(c, torture.HEAD % 0 + b"Subject: " + subject + b"\r\n" + mime + bytes(range(256)))
            assert code == verdict, (subject, code, text)


# --- promise 36

HOSTILE = {
    "CR LF": b"a\r\nX-Injected: yes", "LF": b"a\nX-Injected: yes", "CR": b"a\rX-Injected: yes", "NUL": b"a\0b", "DEL": b"\x7f\x7f",
    "ESC": b"\x1b[31m\x1b]0;owned\x07", "8-bit": b"\xff\xfe\x80\x9b31m", "UTF-8": "\u202e\u2028\u00f6\U0001f4a9".encode(), "C1": b"\xc2\x9b31m",
    "60 kB": b"x" * 60_000, "comment": b"a) (b", "quotes": b'"\\"', "JSON": b'","event":"delivered","x":"', "logfmt": b'x" level=error event=bug',
    "format": b"%s%n%x"}


def try_places(r, word):
    """The word in each place where a client may put words. Refusals are as good as anything."""
    before = word.split(b"\n")[0].split(b"\r")[0]
    with proof.Raw(r.submission, greet=False) as c:
        try:
            c.reply()
            c.send(b"EHLO " + word + b"\r\n")
            c.reply()
            c.send(b"HELO " + before[:400] + b"\r\nMAIL FROM:<\"" + word + b"\"@sender.test>\r\nRCPT TO:<\"" + word + b"\"@rcpt.test>\r\nRSET\r\n"
                   b"VRFY " + word + b"\r\n" + word + b"\r\nAUTH " + word + b"\r\nNOOP " + word + b"\r\nRSET\r\nQUIT\r\n")
            c.replies()
        except proof.Gone:
            pass
    folded = word.replace(b"\r\n", b"\r\n ").replace(b"\0", b"")
    long = [folded[i:i + 900] for i in range(0, len(folded), 900)] or [b""]
    value = b"\r\n ".join(long)
    for recipient in (b"bob@rcpt.test", b"bad@rcpt.test"):
        with proof.Raw(r.submission, greet=False) as c:
            try:
                c.reply()
                c.send(b"EHLO " + before.replace(b"\0", b"")[:200] + b"\r\n")
                c.reply()
                c.envelope(recipient=recipient)
                c.data(proof.stuffed(b"Message-ID: <" + value + b">\r\nFrom: " + value + b" <ann@sender.test>\r\nSubject: " + value + b"\r\n\r\nbody\r\n"))
                c.envelope(recipient=recipient)
                c.data(proof.stuffed(b"X-Postwain-Tag: a=" + value + b"\r\nFrom: a@b.test\r\n\r\nbody\r\n"))
                c.envelope(recipient=recipient)
                c.data(proof.stuffed(b"From: a@b.test\r\nFrom: " + value + b"\r\n\r\nbody\r\n"))
            except (proof.Gone, AssertionError):
                pass


def log_in_as(r, name, mechanism):
    """A user's name, as far as a mechanism lets it through; then a good login, so that the next bad one is not made to wait."""
    text = base64.b64encode(b"\0" + name[:8000] + b"\0wrong" if mechanism == "PLAIN" else name[:8000]).decode()
    s = r.smtp(user=None)
    if s.docmd("AUTH", f"{mechanism} {text}")[0] == 334:
        s.docmd(base64.b64encode(b"wrong").decode())
    s.close()
    r.smtp().quit()


SHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # nothing of this reaches a terminal


@pytest.mark.long
def test_no_word_becomes_structure(relay, sink):
    """Somebody writes a header field, a log line or a terminal's colours by the name that he gives himself."""
    there = sink("--refuse", "bad*")
    r = relay(listener=proof.TRUSTED + ' idle-timeout = "30s"', destinations=smarthost(there))
    for n, word in enumerate(HOSTILE.values()):
        try_places(r, word)
        log_in_as(r, word, ("PLAIN", "LOGIN")[n % 2])
    r.send(mail.message())
    proof.wait_finished(r)
    reports = there.find("multipart/report")
    assert len(there.messages()) > 25 and len(reports) > 10 and r.process.errors().count("auth_failed") > 5  # the words did get in
    for m in there.messages():
        head = m[:len(m) - len(mail.below_trace(m))]
        assert PLAIN.fullmatch(head), head
        assert b"X-Injected" not in head and not fields(m, b"x-injected"), m
        if b"multipart/report" in m[:2000]:
            report = m[:m.index(b"Content-Type: message/rfc822") if b"Content-Type: message/rfc822" in m else m.index(b"text/rfc822-headers")]
            assert PLAIN.fullmatch(report), report
    for verb in (("log", "--since-seq", "0"), ("queue",), ("queue", "list"), ("status",)):
        assert not SHOWN.search(r.cli(*verb, code=None).out), verb
    r.stop()
    proof.check_log(r.dir)
    own = r.process.err.read_bytes()
    for line in own.split(b"\n"):
        assert not SHOWN.search(line.decode("utf-8", "strict")) and (not line or line.startswith((b"level=", b"time="))), line
    assert b"event=bug" not in re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', own)


def test_no_word_reaches_a_terminal(relay):
    """Somebody who looks at the queue has the screen rewritten by who wrote the mail that waits."""
    r = relay(listener=proof.TRUSTED, destinations=dead_end())
    for word in HOSTILE.values():
        try_places(r, word)
    until(lambda: len(r.queue()) > 25, 20, "what waits")
    ids = sorted({row["queue_id"] for row in r.queue()})
    for verb in (("queue",), ("queue", "list"), ("status",), ("log", "--since-seq", "0"), *(("queue", "show", id) for id in ids[::5])):
        shown = r.cli(*verb, code=None).out
        assert shown and not SHOWN.search(shown), verb


def test_hostile_words_stay_words_in_a_report(relay, sink):
    """What the sender of a bounce reads is what the client wrote into it as fields."""
    there = sink("--refuse", "*bad*")
    r = relay(listener=proof.TRUSTED, destinations=smarthost(there))
    with proof.Raw(r.submission) as c:
        c.envelope(recipient=b'"bad \\"quoted\\" <x> (y)"@rcpt.test')
        code, text = c.data(b"Subject: \x1b[31m\xff\r\n\r\nbody\r\n")
    assert code == 250
    assert r.wait_final(queue_id(text))[0]["event"] == "bounced"
    report = email.message_from_bytes(there.wait(1)[0], policy=email.policy.SMTP)
    assert report.get_content_type() == "multipart/report" and len(list(report.iter_parts())) == 3
