"""What operators do to mail that waits: given up, sent another way, put before other mail; and that it lasts."""
import email
import email.policy
import json
import threading

import pytest

import proof
from kit import mail
from kit.peer import Peer
from kit.relay import smarthost
from kit.wait import until


@pytest.fixture
def waiting(relay, sink):
    """Two messages that wait for an hour, to a receiver that takes only what goes back to their senders: (relay, sink, ids)."""
    s = sink("--defer", "*@x.test")
    r = relay(destinations=smarthost(s), delivery='retry = { "1h" }')
    ids = [r.send(mail.message(), "ann@a.test", recipient) for recipient in ("one@x.test", "two@x.test")]
    until(lambda: len(r.queue("--state", "waiting")) == 2, 20, r.queue)
    return r, s, ids


def report(sink):
    """The only DSN that has come: its human part, its fields for the recipient."""
    [raw] = sink.wait(1)
    message = email.message_from_bytes(raw if isinstance(raw, bytes) else raw.read_bytes(), policy=email.policy.default)
    parts = list(message.walk())
    status = next(p for p in parts if p.get_content_type() == "message/delivery-status")
    return next(p for p in parts if p.get_content_type() == "text/plain").get_content(), status.get_payload()[1]


def test_bounce_tells_the_sender(waiting):
    """Mail that an operator gives back is gone without a word, or its sender is not told why (checklist 92 to 94)."""
    r, s, ids = waiting
    answer = r.rows("queue", "bounce", ids[0], "--yes", "--reason", "the account is closed")[-1]
    assert (answer["matched"], answer["changed"], answer["in_flight"]) == (1, 1, 0)
    [event] = r.wait_final(ids[0])
    assert (event["event"], event["class"], event["reason"]) == ("bounced", "admin", "the account is closed")
    text, fields = report(s)
    assert "the account is closed" in text
    assert (fields["Action"], fields["Status"].split()[0], fields["Final-Recipient"]) == ("failed", "5.7.1", "rfc822; one@x.test")
    until(lambda: [q["queue_id"] for q in r.queue()] == [ids[1]], 20, r.queue)  # the report is under way for a moment yet


def test_expire_tells_what_was_said_last(waiting):
    """Mail that an operator lets expire ends otherwise than mail whose lifetime is over (checklist 94)."""
    r, s, ids = waiting
    r.cli("queue", "expire", "--to", "two@x.test", "--expect", "1", "--yes")
    [event] = r.wait_final(ids[1])
    assert event["event"] == "expired" and event["class"] == "expired" and event["smtp_code"] // 100 == 4
    _, fields = report(s)
    assert fields["Action"] == "failed" and fields["Status"].startswith("4.") and fields["Diagnostic-Code"]


def test_redirect_lasts(relay, sink):
    """Mail that was sent another way takes the old one again after a restart, or mail that was not meant goes with it."""
    s, backup = sink("--defer", "*"), sink()
    backup.stop()
    r = relay(destinations=smarthost(s) + smarthost(backup, "backup", "none.test"), delivery='retry = { "1h" }')
    ids = [r.send(mail.message(), "ann@a.test", recipient) for recipient in ("one@x.test", "two@x.test")]
    until(lambda: len(r.queue("--state", "waiting")) == 2, 20, r.queue)
    done = r.cli("queue", "redirect", "--all", "--to", "no-such-one", "--yes", code=2)
    assert "no-such-one" in done.err
    r.cli("queue", "redirect", "--recipient", "one@*", "--to", "backup", "--yes", "--reason", "the other is down")
    event = r.wait_event("rerouted", queue_id=ids[0])
    assert event["destination"] == "backup" and event["reason"] == "the other is down" and event["actor"]
    until(lambda: [q["attempt"] for q in r.queue("--id", ids[0])] == [2], 20, r.queue)  # at once
    r.restart()
    rows = {q["queue_id"]: q for q in r.queue()}
    assert rows[ids[0]]["redirected"] == "backup" and "redirected" not in rows[ids[1]]
    assert "backup" in r.cli("queue", "show", ids[0]).out
    backup.start([])
    r.cli("queue", "retry", ids[0], "--yes")
    assert r.wait_final(ids[0])[0]["destination"] == "backup" and len(backup.wait(1)) == 1
    r.cli("queue", "redirect", ids[1], "--to", "backup", "--yes")
    r.wait_final(ids[1])
    assert len(backup.wait(2)) == 2


def test_priority_lasts(waiting):
    """The priority that an operator gave is forgotten."""
    r, _, ids = waiting
    r.cli("queue", "priority", "10", ids[0], code=2)
    r.cli("queue", "priority", "-6", "--to", "one@*", "--yes")
    assert r.wait_event("rescheduled", queue_id=ids[0])["priority"] == -6
    r.restart()
    assert r.rows("queue", "show", ids[0])[-1]["priority"] == -6
    assert "priority" not in r.rows("queue", "show", ids[1])[-1]
    r.cli("queue", "priority", "-6", ids[0], "--yes")  # so it is already
    assert "1 skipped" in r.cli("queue", "priority", "-6", ids[0], "--yes").out


def test_show_has_the_message_id(waiting):
    """Who looks for a message by its Message-ID does not see that he has found it."""
    r, _, ids = waiting
    done = r.rows("queue", "show", ids[0])[-1]
    assert done["message_id"].startswith("<") and done["message_id"] in r.cli("queue", "show", ids[0]).out


def test_show_has_every_attempt(waiting):
    """What was tried, when, where and with what answer has to be put together from the log by hand."""
    r, s, ids = waiting
    r.cli("queue", "retry", ids[0], "--yes")
    until(lambda: [q["attempt"] for q in r.queue("--id", ids[0])] == [2], 20, r.queue)
    until(lambda: len(r.events("deferred", queue_id=ids[0])) == 2, 20, r.log)
    lines = r.cli("queue", "show", ids[0]).out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("TIME"))
    tried = [line for line in lines[head + 1:] if "deferred" in line]
    assert len(tried) == 2 and all("one@x.test" in line and s.address in line and " 4" in line for line in tried), lines
    assert any("rescheduled" in line for line in lines[head + 1:]) and not any("two@x.test" in line for line in lines)
    rows = r.rows("queue", "show", ids[0], "--attempts")
    assert [e["attempt"] for e in rows if e.get("event") == "deferred"] == [1, 2] and "event" not in rows[-1]
    assert not [e for e in r.rows("queue", "show", ids[0]) if "event" in e]


UNDER_WAY = {
    # recipient: what is said while its attempt is under way, and the events that follow `accepted` then
    "plain": ([], ["deferred"]),
    "hold": ([("hold",)], ["deferred", "held"]),
    "release": ([("hold",), ("release",)], ["deferred"]),
    "remove": ([("remove",)], ["deferred", "cancelled"]),
    "bounce": ([("bounce", "--reason", "closed")], ["deferred", "bounced"]),
    "expire": ([("remove",), ("expire",)], ["deferred", "expired"]),
    "redirect": ([("redirect", "--to", "backup")], ["deferred", "rerouted", "delivered"]),
    "back": ([("redirect", "--to", "backup"), ("redirect", "--to", "")], ["deferred"]),
    "both": ([("redirect", "--to", "backup"), ("hold",)], ["deferred", "rerouted", "held"]),
    "taken": ([("remove",)], ["delivered"]),
}


def test_what_is_said_of_mail_under_way(relay, sink):
    """
    What an operator said while an attempt was under way is forgotten, done to mail that has been delivered, or done though he took it back
    (checklist 98).
    """
    gate, backup = threading.Event(), sink()
    with Peer(["8BITMIME"], refuse={f"RCPT TO:<{name}@": "450 4.2.0 not now" for name in UNDER_WAY if name != "taken"}, gate=gate) as peer:
        r = relay(destinations=smarthost(peer) + smarthost(backup, "backup", "none.test"), delivery='retry = { "1h" }')
        id = r.send(mail.message(), "", [f"{name}@x.test" for name in UNDER_WAY])
        assert peer.asked.wait(30)
        assert len(r.queue("--state", "active")) == len(UNDER_WAY)
        for name, (words, _) in UNDER_WAY.items():
            for verb, *options in words:
                which = ["--id", id, "--recipient" if verb == "redirect" else "--to", f"{name}@*"]
                answer = r.rows("queue", verb, *options, *which, "--yes", code=None)[-1]
                assert (answer["matched"], answer["skipped"], answer["in_flight"]) == (1, 1, 1), (name, verb, answer)
        r.rows("queue", "priority", "5", "--id", id, "--yes")
        assert not r.events("held") and not r.events("cancelled") and not r.events("rerouted")
        gate.set()
        until(lambda: len(r.queue()) == 5, 30, lambda: (r.queue(), r.log()))
        until(lambda: len(r.events("delivered")) == 2, 30, r.log)
        peer.wait(1)
    for name, (_, events) in UNDER_WAY.items():
        seen = [e["event"] for e in r.log() if e.get("recipient") == f"{name}@x.test"]
        assert seen == ["accepted", "rescheduled", *events], name
    assert {q["recipient"].split("@")[0]: q["state"] for q in r.queue()} == {
        "plain": "waiting", "hold": "held", "release": "waiting", "back": "waiting", "both": "held"}
    r.cli("queue", "release", "--to", "both@*", "--yes")
    until(lambda: len(r.events("delivered")) == 3, 30, r.log)
    assert len(backup.wait(2)) == 2 and len(peer.wait(1)) == 1, "each once"


def test_show_says_what_is_missing(waiting):
    """A log whose beginning was moved away looks like all there is, and the first attempts seem never to have been made."""
    r, _, ids = waiting
    assert "may be missing" not in r.cli("queue", "show", ids[0]).err
    r.cli("log", "rotate")
    r.cli("queue", "retry", ids[0], "--yes")
    until(lambda: len(r.events("deferred", queue_id=ids[0])) == 2, 20, r.log)
    whole = r.cli("queue", "show", ids[0])
    assert whole.out.count("deferred") == 2 and not whole.err
    [aside] = r.log_in.glob("delivery-*")
    aside.rename(r.dir / "moved")
    part = r.cli("queue", "show", ids[0])
    assert part.out.count("deferred") == 1 and "may be missing" in part.err and f"log --since-seq 0 --id {ids[0]}" in part.err
    (r.dir / "moved").rename(aside)


def test_a_redirect_is_taken_back(waiting, sink):
    """The event of it is none by the schema, or the log does not say where mail was sent."""
    r, s, ids = waiting
    backup = sink()
    r.write(destinations=smarthost(s) + smarthost(backup, "backup", "none.test"))
    r.cli("reload")
    backup.stop()
    for to in ("backup", ""):
        r.cli("queue", "redirect", ids[0], "--to", to, "--yes")
    until(lambda: len(r.events("rerouted", queue_id=ids[0])) == 2, 20)
    there, back = r.events("rerouted", queue_id=ids[0])
    assert there["destination"] == "backup" and "destination" not in back
    for line in r.cli("log", "--event", "rerouted", "--json").out.encode().splitlines():
        proof.check_line(line)
    told = r.cli("log", "--event", "rerouted").out
    assert "to destination backup" in told and "back to the way of its domain" in told


def test_a_queue_moves_with_what_was_redirected(waiting, relay, sink, tmp_path):
    """Mail that an operator sent another way is lost when the queue moves, comes twice, or takes the usual way and nobody says so."""
    r, s, ids = waiting
    backup = sink()
    r.write(destinations=smarthost(s) + smarthost(backup, "backup", "none.test"))
    r.cli("reload")
    backup.stop()
    r.cli("queue", "redirect", "--recipient", "one@*", "--to", "backup", "--yes")
    until(lambda: sorted((q["attempt"], q["state"]) for q in r.queue()) == [(1, "waiting"), (2, "waiting")], 20, r.queue)
    r.cli("queue", "export", tmp_path / "queue")
    there = {id: json.loads((tmp_path / "queue" / f"{id}.json").read_text()) for id in ids}
    assert there[ids[0]]["recipients"][0]["redirected"] == "backup" and "redirected" not in there[ids[1]]["recipients"][0]
    end = sink()
    new = relay(destinations=smarthost(end), delivery='retry = { "1h" }')
    done = new.cli("queue", "import", tmp_path / "queue", "--json")
    rows = {row["was"]: row for row in done.rows if "was" in row}
    assert rows[ids[0]]["redirected_recipients"] == 1 and "redirected_recipients" not in rows[ids[1]]
    assert rows[ids[0]]["queue_id"] in done.err and rows[ids[1]]["queue_id"] not in done.err
    for id in ids:
        [event] = new.wait_final(rows[id]["queue_id"])
        assert event["event"] == "delivered"
    assert len(end.wait(2)) == 2
