"""One message in is one message out: end-of-data variants from outside, content that looks like an end on its way out, commands behind STARTTLS."""
import base64
import itertools
import ssl

import pytest

import proof
from kit.mail import body, message
from kit.relay import PASSWORD, queue_id
from kit.wait import until

# What some server, somewhere, has taken for the end of data, other than CR LF dot CR LF.
VARIANTS = [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r", b"\n.\r", b"\r.\n", b"\n\n.\r\n", b"\r\n.\r\r\n", b"\r\n\r.\r\n", b"\r\n.\n\r\n",
            b"\r\n\n.\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\0\n.\r\n", b"\0\r\n.\0\r\n", b"\n.\0\n", b"\r\n.\r\0\n", b"\r\n..\r\n", b"\r\n. \r\n",
            b"\r\n\x85.\r\n", b"\r\n.\xe2\x80\xa8", b"\x0b.\x0b", b"\x0c.\x0c", b"\x85.\x85"]
INJECTED = (b"MAIL FROM:<evil@injected.test>\r\nRCPT TO:<victim@injected.test>\r\nDATA\r\n"
            b"Subject: injected\r\n\r\ninjected\r\n.\r\n")
names = [repr(v)[2:-1] for v in VARIANTS]


def content(number, middle):
    return b"Subject: outer %d\r\n\r\nouter %d" % (number, number) + middle


def by_data(c, payload, trickle):
    c.envelope()
    c.say(b"DATA", 354)
    (c.trickle if trickle else c.send)(payload + b"\r\n.\r\n")


def by_bdat(c, payload, trickle):
    c.envelope()
    (c.trickle if trickle else c.send)(b"BDAT %d LAST\r\n" % len(payload) + payload)


def by_bdat_pieces(c, payload, trickle):
    """Chunks that end within the variant."""
    c.envelope()
    at = payload.index(b"MAIL FROM") - 2
    for piece, last in ((payload[:at], b""), (payload[at:at + 1], b""), (payload[at + 1:], b" LAST")):
        (c.trickle if trickle else c.send)(b"BDAT %d%s\r\n" % (len(piece), last) + piece)


@pytest.fixture
def pair(relay, sink):
    there = sink()
    return relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port)), there


def nothing_injected(r, there, ids):
    """What was answered 250 has arrived, each once, nothing else, and none of it was injected."""
    until(lambda: len(r.events("accepted")) >= len(ids), 20, "events of what was accepted")
    proof.wait_finished(r)
    got = there.messages()
    assert {e["queue_id"] for e in r.events("accepted")} == set(ids) and len(got) == len(ids), (len(got), ids)
    assert not r.events(recipient="victim@injected.test") and not r.events(sender="evil@injected.test")
    for m in got:
        assert b"victim@injected.test" not in m.split(b"\r\nSubject:")[0], m
        assert b"Subject: outer" in m.split(b"\r\n\r\n")[0], m
    return got


@pytest.mark.parametrize("trickle", (False, True), ids=("at-once", "by-octet"))
@pytest.mark.parametrize("how", (by_data, by_bdat, by_bdat_pieces))
def test_no_variant_of_the_end_is_one(pair, how, trickle):
    r, there = pair
    verdicts, ids = {}, []
    for n, variant in enumerate(VARIANTS):
        with proof.Raw(r.submission) as c:
            how(c, content(n, variant + INJECTED), trickle)
            c.send(b"\r\nQUIT\r\n")
            replies = c.replies()
            verdicts[names[n]] = [code for code, _ in replies]
            queued = [queue_id(text) for _, text in replies if "queued as" in text]
            assert len(queued) <= 1, (variant, replies)
            ids += queued
    assert all(v[-1] in (221, 421) for v in verdicts.values()), verdicts
    got = nothing_injected(r, there, ids)
    whole = [m for m in got if how is not by_data]
    for m in whole:  # BDAT carries the injected text as text: byte for byte, its dots included
        assert any(body(m).rstrip(b"\r\n") == body(content(n, v + INJECTED)).rstrip(b"\r\n") for n, v in enumerate(VARIANTS)), m


def test_the_real_end_is_one(pair):
    """The same harness sees a second message when there is one: after CR LF dot CR LF the rest is a transaction."""
    r, there = pair
    with proof.Raw(r.submission) as c:
        by_data(c, content(0, b"\r\n.\r\n" + INJECTED), False)
        c.send(b"QUIT\r\n")
        codes = [code for code, _ in c.replies()]
    assert codes[:1] == [250] and codes.count(354) == 1, codes
    there.wait(2)
    assert there.find("Subject: injected")


def test_split_anywhere(pair):
    """The end of one message and a second transaction, cut into two segments at each octet: always two messages."""
    r, there = pair
    stream = b"Subject: outer 1\r\n\r\n..\r\n.x\r\n.\r\n" + INJECTED.replace(b"injected", b"second") + b"QUIT\r\n"
    for at in range(len(stream)):
        with proof.Raw(r.submission) as c:
            c.envelope()
            c.say(b"DATA", 354)
            c.send(stream[:at])
            c.trickle(stream[at:at + 2])
            c.send(stream[at + 2:])
            assert [code for code, _ in c.replies()] == [250, 250, 250, 354, 250, 221], at
    got = there.wait(2 * len(stream), 60)
    assert len(got) == 2 * len(stream)
    assert {body(m) for m in got} == {b".\r\nx\r\n", b"second\r\n"}


# --- on the way out

WORDS = (b".", b"\r\n", b"a")


def patterns(words, longest):
    return [b"".join(p) for n in range(longest + 1) for p in itertools.product(words, repeat=n)]


def submit_bdat(c, raw, recipient=b"bob@rcpt.test"):
    c.envelope(recipient=recipient)
    c.send(b"BDAT %d LAST\r\n" % len(raw) + raw)
    return c.reply()[0]


def arrived_by_number(raws):
    return {int(m.split(b"\r\nX-Number: ")[1].split(b"\r\n")[0]): m for m in raws}


def compare(sent, got):
    """A message whose last line has no end gets one, by DATA; nothing else may differ."""
    assert sorted(sent) == sorted(got)
    for n, raw in sent.items():
        there, here = body(got[n]), body(raw)
        assert there in (here, here + (b"" if here.endswith(b"\r\n") or not here else b"\r\n")), (here, there)


def test_dots_leave_as_they_came(pair):
    """Every arrangement of up to five dots, line ends and letters, by BDAT (as it is) and by DATA (stuffed)."""
    r, there = pair
    sent, n = {}, 0
    with proof.Raw(r.submission) as c:
        for p in patterns(WORDS, 5):
            n += 1
            sent[n] = message(p, headers=b"X-Number: %d\r\n" % n)
            assert submit_bdat(c, sent[n]) == 250, p
            if n % 90 == 0:
                c.say(b"RSET", 250)
    with proof.Raw(r.submission) as c:
        for p in patterns(WORDS, 4):
            n += 1
            sent[n] = message(p + b"\r\n", headers=b"X-Number: %d\r\n" % n)
            c.envelope()
            assert c.data(proof.stuffed(sent[n]))[0] == 250, p
    got = there.wait(len(sent), 90)
    assert len(got) == len(sent)
    compare(sent, arrived_by_number(got))


def test_bare_line_ends_are_refused_or_carried(pair):
    """Every arrangement of up to four dots, CRs, LFs and letters: 250 and byte-equal, or 5xx and nothing."""
    r, there = pair
    sent, refused, n = {}, 0, 0
    every = patterns((b".", b"\r", b"\n", b"a"), 4)
    for chunk in (every[i:i + 50] for i in range(0, len(every), 50)):
        with proof.Raw(r.submission) as c:
            for p in chunk:
                n += 1
                raw = message(b"x" + p + b"y\r\n", headers=b"X-Number: %d\r\n" % n)
                code = submit_bdat(c, raw)
                bare = p.replace(b"\r\n", b"")
                assert code == (550 if b"\r" in bare or b"\n" in bare else 250), (code, p)
                refused += code != 250
                if code == 250:
                    sent[n] = raw
    assert refused > 100 and len(sent) > 30
    got = there.wait(len(sent), 60)
    assert len(got) == len(sent)
    compare(sent, arrived_by_number(got))


def test_dots_through_a_real_receiver(relay, receiver):
    """The same through Postfix and Dovecot: what the receiver's parser makes of our dots."""
    r = relay(listener=proof.TRUSTED, destinations=proof.to_port(receiver.port, address=receiver.address))
    sent, box = {}, "box-dots@smuggling.test"
    with proof.Raw(r.submission) as c:
        for n, p in enumerate(patterns(WORDS, 3)):
            sent[n] = message(b"first\r\n" + p + b"last\r\n" + p, headers=b"X-Number: %d\r\n" % n)
            assert submit_bdat(c, sent[n], box.encode()) == 250
    got = receiver.wait_mail(box, len(sent), 90)
    assert len(got) == len(sent)
    compare(sent, arrived_by_number(got))


# --- STARTTLS

PLAIN = base64.b64encode(b"\0app\0" + PASSWORD.encode())


def secure(r, c):
    """The client's side of the handshake; None: the server has closed the connection."""
    context = ssl.create_default_context(cafile=str(r.certificate.pem))
    try:
        c.socket = context.wrap_socket(c.socket, server_hostname="localhost")
    except (OSError, ssl.SSLError):
        return None
    return c


@pytest.mark.parametrize("behind", (b"NOOP\r\n", b"EHLO evil.test\r\n", b"AUTH PLAIN " + PLAIN + b"\r\n", b"MAIL FROM:<evil@injected.test>\r\n",
                                    b"MAIL FROM:<evil@injected.test>\r\nRCPT TO:<victim@injected.test>\r\nDATA\r\n", b"X", b"\r\n", b"\0"))
@pytest.mark.parametrize("whole", (True, False), ids=("one-segment", "first-octet-later"))
def test_commands_behind_starttls_are_never_carried_out(relay, sink, behind, whole):
    """Promise 17: what came in clear behind STARTTLS is not a command of the session under TLS."""
    there = sink()
    r = relay(destinations=proof.to_port(there.port))
    with proof.Raw(r.submission) as c:
        if whole:
            c.send(b"STARTTLS\r\n" + behind)
        else:
            c.send(b"STARTTLS\r")
            c.trickle(b"\n" + behind[:1], pause=0)
            c.send(behind[1:])
        codes = []
        try:
            codes.append(c.reply()[0])
            if codes == [220] and not c.seen and secure(r, c):
                # Not a word of it has been heard: the first reply is the one to our own EHLO, and the session knows nobody.
                c.say(b"EHLO client.test", 250)
                assert c.say(b"RCPT TO:<victim@injected.test>")[0] in (503, 530)
                assert c.say(b"MAIL FROM:<evil@injected.test>")[0] == 530
                assert c.say(b"QUIT", 221)
            else:
                codes += [code for code, _ in c.replies()]
        except proof.Gone:
            pass
        assert not [code for code in codes[1:] if code < 400 and code != 221], codes
    assert not r.events("accepted") and not there.files()
    assert not r.events(user="app")
