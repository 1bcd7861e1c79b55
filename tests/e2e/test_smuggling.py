"""Promise 18 (items 1 to 5 of the checklist), one message in is one message out: end-of-data variants from outside, content that looks like an end on its way out.
(Checklist 1, 8.)"""
import email
import itertools
import re

import pytest

import proof
from kit.mail import body, message
from kit.relay import PASSWORD, queue_id
from kit.wait import until

# What some server, somewhere, has taken for the end of data, other than CR LF dot CR LF.
VARIANTS = [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r", b"\n.\r", b"\r.\n", b"\n\n.\r\n", b"\r\n.\r\r\n", b"\r\n\r.\r\n", b"\r\n.\n\r\n",
            b"\r\n\n.\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\0\n.\r\n", b"\0\r\n.\0\r\n", b"\n.\0\n", b"\r\n.\r\0\n", b"\r\n..\r\n", b"\r\n. \r\n",
            b"\r\n\x85.\r\n", b"\r\n.\xe2\x80\xa8", b"\x0b.\x0b", b"\x0c.\x0c", b"\x85.\x85"]
INJECTED = (b"MAIL FROM:<evil@injected.test>\r\nRCPT TO:<box-victim@injected.test>\r\nDATA\r\n"
            b"Subject: injected\r\n\r\ninjected\r\n.\r\n")
BOB = b"bob@rcpt.test"
# And every pair of line ends, true and false, around a dot, less those that have the real end in them.
ENDS = [b"", b"\r", b"\n", b"\r\n", b"\n\r", b"\r\r\n", b"\r\0\n", b"\0", b"\r\n\0", b"\r\n\r", b"\x85", b"\xe2\x80\xa9"]
PAIRS = [a + b"." + b for a in ENDS for b in ENDS if b"\r\n.\r\n" not in a + b"." + b]


def content(number, middle):
    return b"Subject: outer %d\r\n\r\nouter %d" % (number, number) + middle


def put(c, trickle, data):
    """Octet by octet: the variant, and a little around it."""
    at = data.find(INJECTED)
    if trickle and at >= 0:
        c.send(data[:at - 12])
        c.trickle(data[at - 12:at + 12])
        c.send(data[at + 12:])
    else:
        c.send(data)


def by_data(c, payload, trickle, to=BOB):
    c.envelope(recipient=to)
    c.say(b"DATA", 354)
    put(c, trickle, payload + b"\r\n.\r\n")


def by_bdat(c, payload, trickle, to=BOB):
    c.envelope(recipient=to)
    put(c, trickle, b"BDAT %d LAST\r\n" % len(payload) + payload)


def by_bdat_pieces(c, payload, trickle, to=BOB):
    """Chunks that end within the variant."""
    c.envelope(recipient=to)
    at = payload.index(b"MAIL FROM") - 2
    for piece, last in ((payload[:at], b""), (payload[at:at + 1], b""), (payload[at + 1:], b" LAST")):
        chunk = b"BDAT %d%s\r\n" % (len(piece), last) + piece
        (c.trickle if trickle and len(piece) < 2 else c.send)(chunk)


def by_data_at_once(c, payload, trickle, to=BOB):
    """The whole transaction in one piece, content and all, before any reply."""
    put(c, trickle, b"MAIL FROM:<ann@sender.test>\r\nRCPT TO:<" + to + b">\r\nDATA\r\n" + payload + b"\r\n.\r\n")


@pytest.fixture
def pair(relay, sink):
    there = sink()
    return relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port)), there


@pytest.fixture
def recorded(relay):
    """The next hop keeps every octet that it hears."""
    with proof.Hostile() as there:
        yield relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port)), there


def session(r, tls):
    c = proof.Raw(r.submission)
    return c.secure(r.trusting(), ("app", PASSWORD)) if tls else c


def submit_all(r, how, variants, trickle=False, tls=False):
    """Each variant in a session of its own: (what was queued, the codes of the last replies)."""
    verdicts, ids = {}, []
    for n, variant in enumerate(variants):
        with session(r, tls) as c:
            how(c, content(n, variant + INJECTED), trickle)
            c.send(b"\r\nQUIT\r\n")
            replies = c.replies()
            verdicts[repr(variant)] = [code for code, _ in replies]
            queued = [queue_id(text) for _, text in replies if "queued as" in text]
            assert len(queued) <= 1, (variant, replies)
            ids += queued
    assert all(v and v[-1] in (221, 421, 554) for v in verdicts.values()), verdicts
    return ids


def nothing_injected(r, got, ids):
    """What was answered 250 has arrived, each once, nothing else, and none of it was injected."""
    until(lambda: len(r.events("accepted")) >= len(ids), 20, "events of what was accepted")
    proof.wait_finished(r)
    assert {e["queue_id"] for e in r.events("accepted")} == set(ids)
    got = got()
    assert len(got) == len(ids), (len(got), ids)
    assert not r.events("accepted", recipient="box-victim@injected.test") and not r.events("accepted", sender="evil@injected.test")
    for m in got:
        assert b"box-victim@injected.test" not in m.split(b"\r\nSubject:")[0], m
        assert b"Subject: outer" in m.split(b"\r\n\r\n")[0], m
    return got


def carried_whole(got, variants):
    """BDAT carries the injected text as text: byte for byte, its dots included."""
    whole = {body(content(n, v + INJECTED)).rstrip(b"\r\n") for n, v in enumerate(variants)}
    for m in got:
        assert body(m).rstrip(b"\r\n") in whole, m


@pytest.mark.parametrize("trickle, tls", ((False, False), (True, False), (False, True), (True, True)),
                         ids=("at-once", "by-octet", "tls-at-once", "tls-by-octet"))
@pytest.mark.parametrize("how", (by_data, by_data_at_once, by_bdat, by_bdat_pieces))
def test_no_variant_of_the_end_is_one(pair, how, trickle, tls):
    r, there = pair
    ids = submit_all(r, how, VARIANTS, trickle, tls)
    got = nothing_injected(r, there.messages, ids)
    if how not in (by_data, by_data_at_once):
        carried_whole(got, VARIANTS)


@pytest.mark.parametrize("how", (by_data, by_bdat, by_bdat_pieces))
def test_no_pair_of_line_ends_is_one(recorded, how):
    """What the next hop hears, octet for octet: each transaction has one end, and there is no CR without LF, no LF without CR in it."""
    r, there = recorded
    ids = submit_all(r, how, PAIRS)
    got = nothing_injected(r, lambda: there.taken, ids)
    if how is not by_data:
        carried_whole(got, PAIRS)
        assert len(ids) > 20
    for heard in map(bytes, there.heard):
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n", heard), heard
    assert sum(heard.count(b"\r\n.\r\n") for heard in there.heard) == len(ids)
    assert not [c for c in there.commands if b"injected.test" in c]


def test_through_a_real_receiver(relay, receiver):
    """The same with Postfix behind: what was taken arrives once in its mailbox, and nobody else has mail."""
    r = relay(listener=proof.TRUSTED, destinations=proof.to_port(receiver.port, address=receiver.address))
    box, ids = "box-smuggled@smuggling.test", {}
    for how in (by_data, by_bdat, by_bdat_pieces):
        for n, variant in enumerate(VARIANTS):
            with proof.Raw(r.submission) as c:
                how(c, content(n, variant + INJECTED), False, box.encode())
                c.send(b"\r\nQUIT\r\n")
                ids.update((queue_id(text), how) for _, text in c.replies() if "queued as" in text)
    assert len(ids) > len(VARIANTS)
    got = receiver.wait_mail(box, len(ids), 90)
    proof.wait_finished(r)
    assert len(receiver.imap(box)) == len(ids)
    assert not receiver.imap("box-victim@injected.test")
    # Dovecot shows a NUL as 0x80.
    carried_whole([m for m in got if ids[queue_id_of(m)] is not by_data], [v.replace(b"\0", b"\x80") for v in VARIANTS])


def queue_id_of(message):
    """From our Received field."""
    return re.search(rb"\bid ([0-9A-HJKMNP-TV-Z]{13})\b", message).group(1).decode()


# --- BDAT's numbers

@pytest.mark.parametrize("size", (b"18446744073709551616", b"99999999999999999999999", b"4294967301", b"-5", b"+5", b"0x10", b"5 5", b"1e3", b"", b"\xb2", b"5,", b"5;LAST"))
@pytest.mark.parametrize("end", (b"\r\n", b" LAST\r\n"), ids=("more", "last"))
def test_a_chunk_without_a_size_is_never_commands(pair, size, end):
    """Item 14: where the chunk ends cannot be known, or is far beyond the limit: what stands in it is not carried out as commands."""
    r, there = pair
    with proof.Raw(r.submission) as c:
        c.envelope()
        c.send(b"BDAT " + size + end + b"Subject: outer 1\r\n\r\n" + INJECTED + b"QUIT\r\n")
        codes = [code for code, _ in c.replies()]
    assert codes and all(code >= 400 for code in codes), codes
    assert not r.events("accepted") and not there.files()


@pytest.mark.parametrize("last", (b"", b" LAST"), ids=("more", "last"))
def test_a_refused_chunk_is_consumed(pair, last):
    """Item 13: a chunk that cannot be taken (no envelope, no recipient) is read to its end, and only what stands behind it is a command."""
    r, there = pair
    for before in ((), (b"MAIL FROM:<ann@sender.test>",), (b"MAIL FROM:<ann@sender.test>", b"RCPT TO:<nobody>")):
        with proof.Raw(r.submission) as c:
            for line in before:
                c.say(line)
            c.send(b"BDAT %d%s\r\n" % (len(INJECTED), last) + INJECTED + b"NOOP\r\nQUIT\r\n")
            codes = [code for code, _ in c.replies()]
        assert codes[0] in (503, 554) and codes[1:] == [250, 221], (before, codes)
    assert not r.events("accepted") and not there.files()


def test_commands_behind_a_chunk(pair):
    """A second MAIL between two chunks is no second message, and what stands behind BDAT LAST in one piece with it is an ordinary transaction."""
    r, there = pair
    with proof.Raw(r.submission) as c:
        c.envelope()
        first, second = b"Subject: outer 1\r\n\r\nfirst\r\n", b"second\r\n"
        c.send(b"BDAT %d\r\n" % len(first) + first + b"MAIL FROM:<evil@injected.test>\r\nRCPT TO:<box-victim@injected.test>\r\nDATA\r\n"
               + b"BDAT %d LAST\r\n" % len(second) + second + b"NOOP\r\nQUIT\r\n")
        replies = c.replies()
    codes = [code for code, _ in replies]
    assert codes == [250, 503, 503, 503, 250, 250, 221], codes
    got = nothing_injected(r, there.messages, [queue_id(replies[4][1])])
    assert [body(m) for m in got] == [b"first\r\nsecond\r\n"]


def test_chunks_split_anywhere(recorded):
    """Two chunks, the border at each octet of a content that has everything in it: always the same one message."""
    r, there = recorded
    payload = content(1, b"\r\n.\r\n..\r\n" + INJECTED)
    for at in range(len(payload) + 1):
        with proof.Raw(r.submission) as c:
            c.envelope()
            c.send(b"BDAT %d\r\n" % at + payload[:at] + b"BDAT %d LAST\r\n" % (len(payload) - at) + payload[at:] + b"QUIT\r\n")
            assert [code for code, _ in c.replies()] == [250, 250, 221], at
    until(lambda: len(there.taken) == len(payload) + 1, 60, lambda: len(there.taken))
    proof.wait_finished(r)
    assert {body(m) for m in there.taken} == {body(payload)}


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


BINARY = [b"\n.\n", b"\r.\r", b"\r\n.\r\n", b"\0\r\n.\r\n\0", b"\n.\r\n", b"\r\n.\n", b"\r\r\n.\r\r\n", b"\xff\n.\n" + b"x" * 3000]


@pytest.mark.parametrize("label", (b"binary", b"8bit", b""), ids=("binary", "8bit", "unlabelled"))
@pytest.mark.parametrize("pieces", (False, True), ids=("whole", "pieces"))
def test_binary_content_is_one_message(recorded, label, pieces):
    """BODY=BINARYMIME takes any octets; the next hop, which takes lines only, hears lines with one end, and finds the octets in them (or nothing comes)."""
    r, there = recorded
    ids, sent = [], {}
    for n, variant in enumerate(BINARY):
        octets = b"begin" + variant + INJECTED + variant + b"end"
        head = b"Subject: outer %d\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n" % n
        payload = head + (b"Content-Transfer-Encoding: " + label + b"\r\n" if label else b"") + b"\r\n" + octets
        with proof.Raw(r.submission) as c:
            c.envelope(mail=b" BODY=BINARYMIME")
            at = payload.index(variant) + 1 if pieces else 0
            if pieces:
                c.send(b"BDAT %d\r\n" % at + payload[:at])
            c.send(b"BDAT %d LAST\r\n" % (len(payload) - at) + payload[at:] + b"QUIT\r\n")
            replies = c.replies()
        queued = [queue_id(text) for _, text in replies if "queued as" in text]
        assert len(queued) <= 1 and replies[-1][0] == 221, (variant, replies)
        ids += queued
        if queued:
            sent[n] = octets
    until(lambda: len([e for e in r.events(("delivered", "bounced")) if e["queue_id"] in ids]) == len(ids), 30, lambda: r.log()[-5:])
    bounced = {e["queue_id"] for e in r.events("bounced")}
    got = [m for m in there.taken if b"Subject: outer" in m.split(b"\r\n\r\n")[0]]
    assert len(got) == len(ids) - len(bounced) and (label != b"binary" or len(got) == len(BINARY))
    for m in got:
        parsed = email.message_from_bytes(m)
        number = int(parsed["Subject"].split()[-1])
        there_octets, here = parsed.get_payload(decode=True), sent[number]
        if parsed["Content-Transfer-Encoding"] in ("base64", "quoted-printable"):
            assert there_octets == here
    for heard in map(bytes, there.heard):
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n", heard) and max(map(len, heard.split(b"\r\n"))) <= 999, heard
    assert sum(heard.count(b"\r\n.\r\n") for heard in there.heard) == len(there.taken)
    assert not [c for c in there.commands if b"injected.test" in c] and not r.events("accepted", sender="evil@injected.test")


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
