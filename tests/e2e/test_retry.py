"""What cannot be delivered now waits, is tried again when it is due, and ends in a delivery or a report."""
import datetime
import email
import email.policy
import time

import pytest

import proof
from kit import mail
from kit.relay import mx_destination, smarthost
from kit.wait import until

SHOWN = ("queue_id", "rcpt", "sender", "recipient", "size", "attempt", "next_attempt", "queued_time", "expires", "state", "response")


def shown(rows):
    return [{k: row.get(k) for k in SHOWN} for row in sorted(rows, key=lambda q: (q["queue_id"], q.get("rcpt", 0)))]


def test_deferred_then_retried_by_hand(relay, sink):
    """A receiver says "try later"; the operator who knows that it is well again cannot make the mail go now."""
    s = sink("--defer", "slow*")
    r = relay(destinations=smarthost(s), delivery='retry = { "1h" }')
    raw = mail.message()
    id = r.send(raw, recipients=["slow@away.test", "quick@away.test"])
    event = r.wait_event("deferred", queue_id=id)
    assert 400 <= event["smtp_code"] < 500 and event["attempt"] == 1 and event["recipient"] == "slow@away.test"
    assert r.wait_event("delivered", queue_id=id)["recipient"] == "quick@away.test"
    until(lambda: [(q["recipient"], q["state"], q["attempt"]) for q in r.queue()] == [("slow@away.test", "waiting", 1)], 20, r.queue)
    s.stop()
    s.start([])
    r.cli("queue", "retry", id, "--yes")
    delivered = r.wait_event("delivered", queue_id=id, recipient="slow@away.test")
    assert delivered["attempt"] == 2
    assert len(s.find(mail.message_id(raw))) == 2
    r.wait_queue_empty()


@pytest.mark.long
def test_receiver_down_then_up(relay, sink):
    """A receiver is restarted; mail that came meanwhile is lost or waits for hours. (A dead receiver is probed after 15 s.)"""
    s = sink(start=False)
    r = relay(destinations=smarthost(s), delivery='retry = { "1s", "2s" }')
    ids = [r.send(mail.message()) for _ in range(5)]
    event = r.wait_event("deferred", queue_id=ids[0])
    assert event["error"] == "connect_refused" and event["enhanced_status"].startswith("4.")
    r.wait_event("deferred", n=3)
    s.start()
    for id in ids:
        assert r.wait_final(id)[0]["event"] == "delivered"
    assert len(s.wait(5)) == 5 and len(s.files()) == 5
    attempts = [e["attempt"] for e in r.events("deferred", queue_id=ids[0])]
    assert attempts == list(range(1, len(attempts) + 1))


def test_receiver_restarts_under_load(relay, sink):
    """Connections that break in the middle lose mail, or send it twice."""
    s = sink()
    r = relay(destinations=smarthost(s), delivery='retry = { "1s" }')
    ids, session = [], r.smtp()
    for i in range(60):
        ids.append(r.submit(session, mail.message(b"line\r\n" * 200), "ann@sender.test", f"u{i}@away.test"))
        if i % 20 == 10:
            s.stop()
            s.start()
    session.quit()
    for id in ids:
        assert r.wait_final(id, timeout=60)[0]["event"] == "delivered"
    received = [mail.message_id(m) for m in s.messages()]
    assert len(set(received)) == 60


def test_expired(relay, sink, dns, receiver):
    """Mail that never gets through waits for ever, or vanishes without a word to its sender."""
    dns.add("home MX 10 mx.home", "mx.home A 127.0.0.11")
    s = sink("--defer", "*")
    r = relay(dns=f'servers = {{ "127.0.0.1:{dns.port}" }}', delivery='lifetime = "6s"  retry = { "1s" }',
              destinations=smarthost(s, domains="away.test") + mx_destination(receiver.port))
    raw = mail.message()
    id = r.send(raw, "box-expired@home.test", "never@away.test")
    [event] = r.wait_final(id)
    assert event["event"] == "expired" and event["class"] == "expired"
    [accepted] = r.events("accepted", queue_id=id)
    assert time_of(event["time"]) - time_of(accepted["time"]) >= 6 and len(r.events("deferred", queue_id=id)) >= 2
    [got] = receiver.wait_mail("box-expired@home.test")
    report = email.message_from_bytes(got, policy=email.policy.default)
    fields = list(report.iter_parts())[1].get_payload()[1]
    assert fields["Action"] == "failed" and fields["Status"].startswith("4.")
    assert mail.message_id(raw).encode() in got
    r.wait_queue_empty()


def test_attempts_and_times_survive(relay, sink):
    """After a restart everything is tried at once, or from the beginning of the retry list. (Promise 8.)"""
    s = sink("--defer", "*")
    r = relay(destinations=smarthost(s), delivery='retry = { "1s", "1h" }')
    ids = [r.send(mail.message(b"x" * i + b"\r\n"), recipients=[f"a{i}@away.test", f"b{i}@away.test"]) for i in range(5)]
    until(lambda: len([q for q in r.queue() if q["attempt"] == 2 and q["state"] == "waiting"]) == 10, 30, r.queue, pause=0.2)
    before = r.queue()
    assert {q["queue_id"] for q in before} == set(ids)
    for restart in (r.restart, lambda: (r.kill(), r.start())):
        restart()
        time.sleep(1)
        assert shown(r.queue()) == shown(before)
    deferred = r.events("deferred")
    assert len(deferred) == 20, "an attempt was made before it was due"
    last = {(e["queue_id"], e["rcpt"]): e for e in deferred if e["attempt"] == 2}
    assert {(q["queue_id"], q["rcpt"]): q["next_attempt"] for q in before} == {k: e["next_attempt"] for k, e in last.items()}


def test_retry_list_is_followed(relay, sink):
    """Pauses between attempts are not those of the configuration."""
    s = sink("--defer", "*")
    r = relay(destinations=smarthost(s), delivery='retry = { "1s", "3s", "1h" }')
    id = r.send(mail.message())
    r.wait_event("deferred", queue_id=id, n=3)
    times = [time_of(e["time"]) for e in r.events("deferred", queue_id=id)]
    due = [time_of(e["next_attempt"]) for e in r.events("deferred", queue_id=id)]
    for tried, again, pause in zip(times, due, (1, 3, 3600)):  # of one moment, by the daemon's clock
        assert 0.89 * pause < again - tried < 1.11 * pause, (times, due)
    assert times[1] >= due[0] and times[2] >= due[1], (times, due)


def time_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_dead_domain_does_not_hold_up_others(relay, sink):
    """Mail to a dead receiver stands before everybody else's. (It takes connections and says nothing: nobody knows yet that it is dead.)"""
    s = sink()
    with proof.Hostile(banner=proof.Hostile.SILENCE) as dead:
        r = relay(top="threads = 1", destinations=smarthost(dead, "dead", "dead.test") + smarthost(s), delivery='retry = { "1h" }')
        session = r.smtp()
        for i in range(50):
            r.submit(session, mail.message(), "ann@sender.test", f"u{i}@dead.test")
        until(lambda: dead.connections)
        id = r.submit(session, mail.message(), "ann@sender.test", "bob@alive.test")
        assert r.wait_final(id)[0]["event"] == "delivered"
        assert len(r.queue("--to", "*@dead.test")) == 50 and not r.events("deferred")
        session.quit()
