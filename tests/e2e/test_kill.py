"""
kill -9 at random moments under full load, again and again. What got a 250 is delivered, whatever the moment; a message arrives twice only
when its attempt was in flight at a kill; the delivery log has each event once, under one number, with the same octets when it is written
again. PW_KILLS=200 is the full proof.
"""
import collections
import os
import time

import crash
import proof
import pytest
from kit import mail
from kit.relay import ENVIRONMENT, POSTWAIN, smarthost
from kit.wait import until

KILLS = int(os.environ.get("PW_KILLS") or 24)
CONNECTIONS = 5
VALIDATED = 20000  # log lines held against the schema


def life(relay, chance, number):
    """From one start to one kill. Every fifth life ends while it is starting."""
    if number % 5 == 4:
        relay.process.ready = ""
        relay.process.start([POSTWAIN, "serve", "-c", str(relay.conf)], env=ENVIRONMENT)
        time.sleep(chance.uniform(0.0, 0.4))
    else:
        relay.process.ready = "ready"
        relay.start()
        time.sleep(chance.uniform(0.02, 1.2))
    relay.kill()


@pytest.mark.long
def test_kill_9_loses_nothing_that_was_answered_250(relay, sink):
    chance = proof.seed()
    there = sink("--quiet")
    r = relay(start=False, listener=proof.TRUSTED, delivery='retry = { "1s" }', log='rotate-size = "1M"', top='debug-segment-bytes = "1M"',
              destinations=proof.to_port(there.port, f"connections = {CONNECTIONS}"))
    load = proof.Submitters(r.submission, chance, threads=4)
    ends, settled_at, told_by = [], [], []
    while len(ends) < KILLS or len(load.told) <= 10 * KILLS:  # more lives where a life accepts little
        assert len(ends) < 10 * KILLS, "too little load to prove anything"
        life(r, chance, len(ends))
        ends.append(crash.last_moment([there]))
        settled_at.append(crash.Seen(r.log_in).settled)
        told_by.append(len(load.told))
    r.process.ready = "ready"
    r.start()
    time.sleep(0.5)
    load.stop()
    proof.wait_finished(r, 120 + KILLS)

    arrived = proof.arrivals(there)
    told = {t.xid: t for t in load.told}
    lost = [x for x in told if x not in arrived]
    per_kill = [len(twice) for twice in crash.explain_duplicates(arrived, ends, settled_at, CONNECTIONS)]
    for number, twice in enumerate(per_kill):
        began = told_by[number - 1] if number else 0
        gone = [t.xid for t in load.told[began:told_by[number]] if t.xid not in arrived]
        print(f"kill {number + 1}: {told_by[number] - began} answered 250, {len(gone)} lost, {twice} duplicates")
    print(f"{len(ends)} kills, {len(told)} answered 250, {len(load.unknown)} without an answer, {len(arrived)} arrived, {len(lost)} lost, "
          f"{sum(per_kill)} duplicates (at most {max(per_kill)} of one kill; {CONNECTIONS} connections)")
    assert not lost, f"{len(lost)} of {len(told)} answered 250 and lost: {lost[:5]}"
    for xid, copies in arrived.items():
        assert xid in load.sent, f"nobody sent {xid}"
        assert {c.digest for c in copies} == {load.sent[xid]}, f"{xid} arrived, but changed"

    events = proof.check_log(r.dir, max(1, 2 * len(told) // VALIDATED))
    assert not proof.unfinished(events), "accepted, and no terminal event"
    accepted = {e["queue_id"] for e in events if e["event"] == "accepted"}
    assert {t.id for t in told.values()} <= accepted
    assert {e["event"] for e in events if e.get("final")} == {"delivered"}
    by_id = {}
    for e in events:
        if e["event"] == "accepted":
            by_id[e["queue_id"]] = by_id.get(e["queue_id"], 0) + 1
    for t in told.values():
        assert by_id[t.id] == t.recipients, f"{t.id} has {by_id[t.id]} recipients in the log, {t.recipients} were given"


LAW_KILLS = max(5, KILLS // 4)


def of_every_fate(xid, chance):
    return [f"{chance.choice(('good', 'good', 'good', 'refused', 'later'))}{n}.{xid}@rcpt.test" for n in range(chance.choice((1, 1, 3)))]


def test_every_accepted_recipient_has_one_end(relay, sink):
    """
    Promise 11, the law of the log: delivered, bounced, expired or cancelled, with reports about it, while files end each second and are compressed, and the
    memory for events that wait is small: kill -9 again and again, and each accepted recipient has exactly one terminal event, seq has no gap, and a line
    that was once there is there for ever, the same to the octet. PW_KILLS=200 makes it 50 kills.
    """
    chance = proof.seed()
    there = sink("--quiet", "--refuse", "refused*", "--defer", "later*")
    r = relay(start=False, listener=proof.TRUSTED, delivery='retry = { "1s" }  lifetime = "4s"', top='debug-segment-bytes = "256K"  debug-log-memory = "64K"',
              log='rotate-size = "256K"  rotate-age = "1s"  compress-after = "1s"', destinations=proof.to_port(there.port, f"connections = {CONNECTIONS}"))
    load = proof.Submitters(r.submission, chance, threads=3, large=0, pause=0.002, recipients=of_every_fate)
    seen = {}
    for number in range(LAW_KILLS):
        life(r, chance, number)
        now = crash.Seen(r.log_in).lines
        gone = [seq for seq, line in seen.items() if now.get(seq) != line]
        assert not gone, f"kill {number + 1}: lines that were there have gone or changed: {gone[:5]}"
        seen = now
    r.process.ready = "ready"
    r.start()
    until(lambda: r.cli("queue", "remove", "--to", "later*", "--yes", code=None).code in (0, 5), 30, "something to remove")
    load.stop()
    proof.wait_finished(r, 120 + KILLS)
    until(lambda: any(path.suffix == ".zst" for path in proof.log_files(r.log_in)), 20, lambda: proof.log_files(r.log_in))
    r.stop()
    lines = crash.Seen(r.log_in).lines
    assert all(lines[seq] == line for seq, line in seen.items())
    events = proof.check_log(r.dir, max(1, 6 * len(load.told) // VALIDATED))
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert not proof.unfinished(events)
    finals = collections.Counter(e["queue_id"] for e in events if e.get("final"))
    wrong = {t.id: (finals[t.id], t.recipients) for t in load.told if finals[t.id] != t.recipients}
    assert not wrong, f"ends, recipients: {wrong}"
    kinds = {e["event"] for e in events if e.get("final")}
    assert kinds >= {"delivered", "bounced", "cancelled"} and (LAW_KILLS < 20 or "expired" in kinds), kinds
    aside = proof.log_files(r.log_in)
    print(f"{LAW_KILLS} kills of the law, {len(load.told)} answered 250, {sum(finals.values())} ends, {len(events)} events in {len(aside)} files")


def kept(row):
    """Where it goes is looked up again at its next attempt; all else is kept."""
    return {key: value for key, value in row.items() if key not in ("destination", "site")}


def far(relay):
    return {(row["queue_id"], row["rcpt"]): kept(row) for row in relay.queue("--to", "*@far.test")}


def shows(relay, ids):
    return {id: [kept(row) for row in relay.rows("queue", "show", id)] for id in ids}


def told_deferred(relay, rows):
    """The log, which has only what is durable, knows every attempt that the queue shows."""
    return (all(row["state"] in ("waiting", "held") for row in rows.values())
            and sum(row["attempt"] for row in rows.values()) == len(relay.events("deferred")))


@pytest.mark.long
def test_attempts_and_due_times_survive_each_kill(relay, sink):
    """Promise 8, beside other mail that keeps the spool busy, and with compaction: what waits is the same before and after, to the microsecond."""
    chance = proof.seed()
    r = relay(listener=proof.TRUSTED, delivery='retry = { "2h", "5h" }', top='debug-segment-bytes = "256K"',
              destinations=smarthost(sink("--defer", "*"), "far", "far.test") + smarthost(sink("--quiet"), "near"))
    load = proof.Submitters(r.submission, chance, threads=2, pause=0.005)
    tried = 0
    for number in range(max(4, KILLS // 3)):
        ids = [r.send(mail.message(b"line\r\n" * chance.randrange(1500)), mode="clear", user=None,
                      recipients=[f"a{n}@far.test", f"b{n}@far.test"]) for n in range(4)]
        tried += 2 * len(ids)
        rows = until(lambda: len(r.events("deferred")) >= tried and far(r), 20, lambda: (tried, far(r)), pause=0.1)
        if number % 2:
            again = chance.choice(sorted({id for id, _ in rows if rows[(id, 0)]["state"] == "waiting"}))
            r.cli("queue", "retry", again, "--yes")
            r.cli("queue", "hold", chance.choice([id for id in ids if id != again]), "--yes")
            tried += 2
        until(lambda: len(r.events("deferred")) >= tried and told_deferred(r, far(r)), 20, lambda: (tried, far(r)), pause=0.1)
        shown = shows(r, ids)
        before = far(r)
        time.sleep(chance.uniform(0.0, 0.3))
        r.kill()
        r.start()
        assert far(r) == before
        assert shows(r, ids) == shown
    load.stop()
    assert {row["attempt"] for row in before.values()} >= {1, 2} and {row["state"] for row in before.values()} == {"waiting", "held"}
    assert len(r.events("deferred")) == tried, "an attempt was made before it was due"
    r.wait_event("delivered")
