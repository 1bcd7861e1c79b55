"""The delivery log as its consumers see it: each kind of line, rotation and reopening, hostile words; and receivers that misbehave."""
import json
import os
import time

import pytest

import proof
from kit.mail import message, message_id
from kit.wait import until
from proof import Hostile

SUBMITTED = {"queue_id", "rcpt", "message_id", "sender", "recipient", "recipient_domain", "size", "queued_time"}
DONE = SUBMITTED | {"queue_seconds", "attempt", "destination", "site"}
SPOKEN = {"mx_host", "mx_ip", "mx_port", "source_ip", "reused", "smtp_code", "enhanced_status", "response", "command", "tls_policy"}
FIELDS = {
    "accepted": SUBMITTED | {"user", "client_ip", "client_helo", "listener", "session_id", "auth_mech", "expires"},
    "rejected": {"client_ip", "client_helo", "listener", "session_id", "smtp_code", "enhanced_status", "response"},
    "delivered": DONE | SPOKEN | {"final", "user", "data_ms", "tls_version", "tls_cipher", "tls_verified"},
    "deferred": DONE | SPOKEN | {"next_attempt", "expires", "class", "user"},
    "bounced": DONE | SPOKEN | {"final", "class", "user"},
    "expired": DONE | {"final", "class", "enhanced_status", "user"},
    "cancelled": SUBMITTED | {"final", "queue_seconds", "actor", "reason", "user"},
}
NEVER = {"accepted": {"final", "attempt", "next_attempt", "smtp_code"}, "rejected": {"final", "queue_id"}, "delivered": {"next_attempt", "error", "class"},
         "deferred": {"final"}, "bounced": {"next_attempt"}, "expired": {"next_attempt"}, "cancelled": {"next_attempt", "error"}}


def test_every_kind_of_event_carries_its_fields(relay, sink):
    there = sink("--refuse", "refused*", "--defer", "later*")
    r = relay(destinations=proof.to_port(there.port), delivery='retry = { "1s" } lifetime = "4s"')
    expiring = r.send(message(), recipients="later1@rcpt.test")
    cancelled = r.send(message(), recipients="later2@rcpt.test")
    r.send(message(), recipients=["good@Rcpt.Test", "refused@rcpt.test"])
    r.wait_event("deferred", queue_id=cancelled)
    until(lambda: r.cli("queue", "remove", cancelled, "--yes", "--reason", 'a "reason" of ours', code=None).code in (0, 5), 10, "remove")
    with r.smtp() as s:
        assert s.docmd("MAIL FROM:<x@sender.test>")[0] == 250
        assert s.docmd("RCPT TO:<nonsense@>")[0] == 501
        assert s.docmd("RCPT TO:<bob@rcpt.test>")[0] == 250
        assert s.docmd("DATA")[0] == 354
        s.send(b"Subject: x\r\n\r\nbare\nLF\r\n.\r\n")
        assert s.getreply()[0] == 550
    r.wait_final(expiring)
    r.wait_event("expired", queue_id=expiring)
    r.wait_event("cancelled", queue_id=cancelled)
    r.wait_event("rejected")
    proof.wait_finished(r)
    r.stop()
    events = proof.check_log(r.dir)
    for name, wanted in FIELDS.items():
        of_kind = [e for e in events if e["event"] == name and e.get("sender")]
        assert of_kind, f"no {name} event"
        for e in of_kind:
            if name in ("deferred", "bounced", "expired") and e.get("error"):
                continue
            missing, surplus = wanted - set(e), NEVER[name] & set(e)
            assert not missing and not surplus, f"{name}: lacks {missing}, has {surplus}: {json.dumps(e)}"
    one = {name: next(e for e in events if e["event"] == name and e.get("sender")) for name in FIELDS}
    assert one["delivered"]["recipient_domain"] == "rcpt.test" and one["delivered"]["recipient"] == "good@Rcpt.Test"
    assert one["delivered"]["rcpt"] == 0 and one["bounced"]["rcpt"] == 1 and one["delivered"]["queue_id"] == one["bounced"]["queue_id"]
    assert (one["bounced"]["smtp_code"], one["bounced"]["enhanced_status"], one["bounced"]["class"]) == (550, "5.1.1", "bad_mailbox")
    assert one["deferred"]["smtp_code"] == 450 and one["deferred"]["command"] == "rcpt"
    assert one["cancelled"]["reason"] == 'a "reason" of ours' and one["cancelled"]["queue_id"] == cancelled
    assert one["expired"]["class"] == "expired" and one["expired"]["queue_id"] == expiring
    attempts = [e["attempt"] for e in events if e.get("queue_id") == expiring and "attempt" in e]
    assert len(attempts) >= 2 and attempts == list(range(1, len(attempts) + 1)), "the last attempt belongs to the end of the lifetime (checklist 96)"
    assert {e["event"] for e in events} >= set(FIELDS) | {"service_started", "service_stopped", "dsn_queued"}


def test_one_line_answers_why_it_was_slow(relay, sink):
    """With TLS, and with all that a sender may give: the delivered line has every field of its journey, on a second message of the connection those of its own."""
    there = sink()
    r = relay(destinations=proof.to_port(there.port, 'tls = "encrypt"'))
    with r.smtp() as s:
        for n in range(2):
            raw = b"X-Postwain-Tag: run=%d\r\n" % n + message()
            assert s.docmd("MAIL FROM:<ann@sender.test> ENVID=e+3D%d" % n)[0] == 250
            assert s.docmd("RCPT TO:<bob@rcpt.test> ORCPT=rfc822;bobby@rcpt.test")[0] == 250
            assert s.data(raw)[0] == 250
            r.wait_event("delivered", n=n + 1)
    first, second = r.events("delivered")
    wanted = {"envid", "orcpt", "tags", "user", "source_ip", "mx_host", "mx_ip", "mx_port", "tls_version", "tls_cipher", "tls_policy", "tls_verified",
              "connect_ms", "tls_ms", "data_ms", "queue_seconds", "attempt", "reused"}
    assert not wanted - set(first), (wanted - set(first), first)
    assert (first["envid"], first["orcpt"], first["tags"], first["tls_policy"], first["reused"]) == ("e=0", "rfc822;bobby@rcpt.test", {"run": "0"}, "encrypt", False)
    if second["reused"]:
        assert "connect_ms" not in second and "tls_ms" not in second and "data_ms" in second


def moved(path, to):
    """False: it is not there, for the daemon has just put it aside."""
    try:
        os.rename(path, to)
    except FileNotFoundError:
        return False
    return True


def test_rotation_and_reopening_lose_no_line(relay, sink):
    """Small files, moved away under the daemon's feet and by itself, with a restart between: seq goes on without a gap."""
    there = sink("--quiet")
    r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port), log='rotate-size = "20K"')
    load = proof.Submitters(r.submission, proof.seed(), threads=2, large=0, pause=0.005)
    aside = r.dir / "aside"
    aside.mkdir()
    for n in range(6):
        time.sleep(0.4)
        live = r.dir / "delivery.jsonl"
        until(lambda: moved(live, aside / f"{n}.jsonl"), 20, "the live file")  # as logrotate does
        r.reload()
        until(live.exists, 10, "a new live file after SIGHUP")
    until(lambda: len(list(r.dir.glob("delivery-*.jsonl"))) >= 3, 30, "it rotates by itself, too")
    load.stop()
    until(lambda: len(there.files()) == len(load.told), 30, "delivery")
    r.restart()
    until(lambda: not r.queue(), 20, "queue")
    time.sleep(1.2)
    r.stop()
    files = sorted(aside.glob("*.jsonl")) + sorted(r.dir.glob("delivery*.jsonl"))
    seqs, kinds = [], []
    for path in files:
        data = path.read_bytes()
        assert data.endswith(b"\n"), path
        lines = data.split(b"\n")[:-1]
        events = [proof.check_line(line) for line in lines]
        assert events[0]["event"] == "log_opened" and len(lines[0]) > 1024, path
        mine = [e["seq"] for e in events if "seq" in e]
        assert mine == sorted(mine)
        assert not mine or events[0]["next_seq"] == mine[0], path
        if events[-1]["event"] == "log_closed":
            assert not mine or events[-1]["next_seq"] == mine[-1] + 1
        seqs += mine
        kinds += [e["event"] for e in events]
    assert sorted(seqs) == list(range(1, len(seqs) + 1)), "seq has gaps or doubles"
    assert kinds.count("accepted") == kinds.count("delivered") == sum(t.recipients for t in load.told)
    assert len({path.read_bytes().split(b"\n")[0] for path in files}) == len(files), "first lines must differ from file to file"
    for n in range(6):
        os.rename(aside / f"{n}.jsonl", r.dir / f"delivery-aside-{n}.jsonl")  # the fixture looks at the whole log


NASTY = ['a"b', "a\\b", "x\x1b[31mred", "tab\there", "caf\u00e9", "{}", "\u202egnp", "a,b", "%s%n", "'; drop", "<script>", "nul\0", "cr\rlf", "d\x7f", "\xff\xfe"]


@pytest.mark.long
def test_hostile_words_of_a_client_never_break_a_line(relay, sink):
    """Whatever a client calls itself and its addresses: refused, or a JSON string."""
    there = sink()
    r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port))
    codes = []
    for word in NASTY:
        for raw in (word.encode(), word.encode("latin-1", "replace")):
            with proof.Raw(r.submission, greet=False) as c:
                c.reply()
                c.send(b"EHLO " + raw + b"\r\n")
                try:
                    codes.append(c.reply()[0])
                    c.seen = b""
                    for line in (b'MAIL FROM:<"' + raw + b'"@sender.test>', b'RCPT TO:<"' + raw + b'"@rcpt.test>', b"RCPT TO:<" + raw + b"@rcpt.test>",
                                 b"RCPT TO:<bob@" + raw + b">", b"RCPT TO:<plain@rcpt.test>", b"MAIL FROM:<" + raw + b"@sender.test>",
                                 b"RCPT TO:<fine@rcpt.test>"):
                        codes.append(c.say(line)[0])
                    code, _ = c.say(b"DATA")
                    if code == 354:
                        c.send(b"Message-ID: <" + raw.replace(b"\r", b"").replace(b"\0", b"") + b"@x>\r\nSubject: " + b"nasty\r\n\r\nbody\r\n.\r\n")
                        codes.append(c.reply()[0])
                except proof.Gone:
                    codes.append(0)
    for name in ('q"uote', "\x1b[2J", "caf\u00e9", "x" * 300, "new\nline"):
        try:
            r.smtp(user=name, password="wrong").close()
            assert False, "logged in"
        except Exception as problem:  # smtplib's own refusal of a name is as good as the server's
            assert "logged in" not in str(problem)
    assert 250 in codes and set(codes) & {500, 501, 553}
    until(lambda: r.events("accepted") and r.events("rejected"), 10, "events")
    proof.wait_finished(r)
    r.stop()
    events = proof.check_log(r.dir)
    assert any('"' in e.get("recipient", "") for e in events)
    for m in there.messages():
        head = m.split(b"\r\n\r\n")[0]
        assert b"\x1b" not in head.split(b"Message-ID")[0] and b"\0" not in head, head


@pytest.mark.parametrize("words", (b"\x1b[31mred\x07", b"caf\xe9 \xff\xfe", "caf\u00e9 \u202e \U0001f4a9".encode(), b'"quoted" \\ {"event":"delivered"}', b"nul\0here",
                                   b"tab\tand\x7fdel\x0b\x0c\x85", b"x" * 1500, b"caf\xc3\xa9" * 300, b"\xf0\x9f" * 700, b" ", b""),
                         ids=lambda w: repr(w[:12]))
@pytest.mark.parametrize("code", (250, 450, 550))
def test_hostile_words_of_a_receiver_are_a_string(relay, words, code):
    """Every reply text becomes one JSON string, cut at 1 KiB: promise 36."""
    with Hostile(eod=b"%d %s\r\n" % (code, words)) as there:
        r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port), delivery='retry = { "1h" }')
        id = r.send(message(), mode="clear", user=None, sender="")
        name = {250: "delivered", 450: "deferred", 550: "bounced"}[code]
        event = r.wait_event(name, queue_id=id)
        assert event["smtp_code"] == code and len(event.get("response", "").encode()) <= 1024
        assert bool(event.get("response_truncated")) == (len(words) > 1024 or len(event.get("response", "").encode()) < len(words.strip()) and len(words) > 1000)
        r.stop()
        proof.check_log(r.dir)


# --- receivers that misbehave: promises 26 and 38

LONG = b"x" * 100_000


def endless(s):
    """A reply without an end."""
    for _ in range(200):
        s.sendall(b"250-" + b"y" * 1000 + b"\r\n")
    while s.recv(65536):
        pass
    return Hostile.CLOSE


MISBEHAVIOUR = {
    **{f"closes at {p}": {p: Hostile.CLOSE} for p in ("banner", "ehlo", "mail", "rcpt", "data", "eod")},
    **{f"resets at {p}": {p: Hostile.RESET} for p in ("banner", "ehlo", "mail", "rcpt", "data", "eod")},
    **{f"421 at {p}": {p: b"421 4.3.2 going away\r\n"} for p in ("banner", "ehlo", "mail", "rcpt", "data", "eod")},
    **{f"garbage at {p}": {p: b"\x00\xff\x1b[31m garbage\r\n"} for p in ("banner", "ehlo", "mail", "rcpt", "data", "eod")},
    **{f"endless at {p}": {p: endless} for p in ("banner", "ehlo", "mail", "rcpt", "data", "eod")},
    **{f"long line at {p}": {p: b"250 " + LONG + b"\r\n"} for p in ("banner", "ehlo", "mail", "rcpt", "eod")},
    "http": {"banner": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"},
    "ssh": {"banner": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"},
    "554 greeting": {"banner": b"554 5.7.1 go away\r\n"},
    "code 999": {"mail": b"999 what\r\n"},
    "code 100": {"rcpt": b"100 what\r\n"},
    "250 to DATA": {"data": b"250 2.0.0 fine\r\n"},
    "354 to MAIL": {"mail": b"354 go on\r\n"},
    "codes differ": {"mail": b"250-a\r\n550 b\r\n"},
}
MISBEHAVIOUR["bare LF banner"] = {"banner": lambda s: s.sendall(b"220-x\n" * 3000) or Hostile.CLOSE}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_a_misbehaving_receiver_defers(relay, name):
    """Whatever it does short of a clear no: the mail waits, the daemon lives, the next attempt delivers."""
    with Hostile(**MISBEHAVIOUR[name]) as there:
        r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port), delivery='retry = { "1s" }')
        raw = message(b"patience\r\n")
        id = r.send(raw, mode="clear", user=None)
        event = r.wait_event(("deferred", "bounced", "delivered"), queue_id=id)
        assert event["event"] == "deferred", event
        there.script.clear()
        r.wait_event("delivered", queue_id=id)
        ours = [t for t in there.taken if message_id(raw).encode() in t]
        # Only where the whole content had been taken before the answer went wrong may it come twice.
        assert len(ours) == 1 or (name.endswith(" eod") and len(ours) > 1), len(ours)


@pytest.mark.parametrize("ending", ({"quit": b"421 4.3.2 too late\r\n"}, {"quit": Hostile.CLOSE}, {"quit": Hostile.RESET}, {"quit": Hostile.SILENCE},
                                    {"quit": b"\xff\x00 garbage\r\n"}, {"eod": b"250 2.0.0 taken\r\n421 4.3.2 idle\r\n"},
                                    {"eod": b"250 2.0.0 taken\r\n500 surplus\r\n"}, {"eod": lambda s: s.sendall(b"250 2.0.0 taken\r\n") or Hostile.CLOSE},
                                    {"eod": lambda s: s.sendall(b"250 2.0.0 taken\r\n") or Hostile.RESET}),
                         ids=("421", "close", "reset", "silence", "garbage", "421-behind", "surplus-behind", "close-behind", "reset-behind"))
def test_what_follows_a_yes_changes_nothing(relay, ending):
    """Promise 38: 2xx to the dot is delivered, once, whatever comes after it."""
    with Hostile(**ending) as there:
        r = relay(listener=proof.TRUSTED, delivery='retry = { "1s" }', destinations=proof.to_port(there.port, "messages-per-connection = 1"))
        ids = [r.send(message(b"once\r\n"), mode="clear", user=None) for _ in range(3)]
        for id in ids:
            assert [e["event"] for e in r.wait_final(id)] == ["delivered"]
        time.sleep(1.5)
        r.stop()
        assert len(there.taken) == 3, len(there.taken)
        assert not [e for e in proof.check_log(r.dir) if e["event"] == "deferred"]


def test_nothing_in_clear_behind_starttls_is_believed(relay):
    """Promise 17, our side as a client: replies that came in clear behind the 220 are not replies of the session under TLS."""
    with Hostile(ehlo=b"250-mx.hostile.test\r\n250 STARTTLS\r\n", rset=b"220 go\r\n250-mx\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n") as there:
        r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port, 'tls = "encrypt"'), delivery='retry = { "1s" }')
        id = r.send(message(), mode="clear", user=None)
        event = r.wait_event(("deferred", "delivered", "bounced"), queue_id=id)
        assert event["event"] == "deferred" and event.get("error") in ("tls_handshake", "smtp_protocol", "conn_lost"), event
        assert not there.taken
