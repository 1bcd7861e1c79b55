"""
kill -9 at random moments under load, again and again. What got a 250 is delivered, whatever the moment; a message arrives twice only when its
attempt was in flight at a kill; the delivery log has each event once, under one number, with the same octets when it is written again.
"""
import time

import proof
from kit.relay import ENVIRONMENT, POSTWAIN
from kit.wait import until

KILLS = 24
CONNECTIONS = 5


def life(relay, chance, number, port):
    """
    From one start to one kill; the moment after it at which the receiver, too, has no more of that life (it goes on reading what was in
    flight). Every fifth life ends while it is starting.
    """
    if number % 5 == 4:
        relay.process.ready = ""
        relay.process.start([POSTWAIN, "serve", "-c", str(relay.conf)], env=ENVIRONMENT)
        time.sleep(chance.uniform(0.0, 0.4))
    else:
        relay.process.ready = "ready"
        relay.start()
        time.sleep(chance.uniform(0.02, 1.2))
    relay.kill()
    until(lambda: not sessions(port), 10, "the receiver still has sessions of a killed relay", pause=0.005)
    return time.time()


def sessions(port):
    """Connections on a port of ours that are not over on its side: neither listening nor waiting out their time."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return [r for r in rows if r[1].endswith(f":{port:04X}") and r[3] not in ("0A", "06")]


def settled(relay):
    """Ids whose delivered line is in the log now: they may never be sent again."""
    ids = set()
    for line in b"".join(p.read_bytes() for p in proof.log_files(relay.dir)).split(b"\n"):
        if b'"event":"delivered"' in line and line.endswith(b"}"):
            ids.add(line.split(b'"recipient":"')[1].split(b'"')[0].decode())
    return ids


def explain_duplicates(arrived, kills, settled_at):
    """
    How many duplicates each kill made. Every second copy needs a kill between the first and itself, at which the first's attempt was in
    flight: on the wire, or answered and its mark not yet synced. Marks are synced in order, so such attempts are the last before the kill.
    """
    per_kill = [[] for _ in kills]
    for xid, copies in arrived.items():
        for first, second in zip(copies, copies[1:]):
            between = [n for n, at in enumerate(kills) if first.at <= at and at < second.at]
            assert between, f"{xid} arrived twice without a kill between: {copies}, kills {kills}"
            assert f"r0.{xid}@rcpt.test" not in settled_at[between[0]], f"{xid} was logged as delivered and sent again"
            per_kill[between[0]].append(first)
    once = sorted(copies[0].at for copies in arrived.values() if len(copies) == 1)
    for at, firsts in zip(kills, per_kill):
        assert len(firsts) <= 2 * CONNECTIONS, f"{len(firsts)} duplicates of one kill"
        for first in firsts:
            later = [a for a in once if first.at < a < at]
            assert len(later) <= 2 * CONNECTIONS, f"{first} arrived twice, and {len(later)} that came after it before the kill did not"
    return [len(firsts) for firsts in per_kill]


def test_kill_9_loses_nothing_that_was_answered_250(relay, sink):
    chance = proof.seed()
    there = sink()
    r = relay(start=False, listener=proof.TRUSTED, delivery='retry = { "1s" }', log='rotate-size = "1M"',
              destinations=proof.to_port(there.port, f"connections = {CONNECTIONS}"))
    load = proof.Submitters(r.submission, chance, threads=4, pause=0.015)
    kills, settled_at = [], []
    for number in range(KILLS):
        kills.append(life(r, chance, number, there.port))
        settled_at.append(settled(r))
    r.process.ready = "ready"
    r.start()
    time.sleep(0.5)
    load.stop()
    proof.wait_finished(r, 60)

    arrived = proof.arrivals(there)
    told = {t.xid: t for t in load.told}
    lost = [x for x in told if x not in arrived]
    assert not lost, f"{len(lost)} of {len(told)} answered 250 and lost: {lost[:5]}"
    for xid, copies in arrived.items():
        assert xid in load.sent, f"nobody sent {xid}"
        assert {c.digest for c in copies} == {load.sent[xid]}, f"{xid} arrived, but changed"

    per_kill = explain_duplicates(arrived, kills, settled_at)
    events = proof.check_log(r.dir)
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
    print(f"{len(kills)} kills, {len(told)} answered 250, {len(load.unknown)} without an answer, {len(arrived)} arrived, 0 lost, "
          f"{sum(per_kill)} duplicates (each kill: {per_kill}; {CONNECTIONS} connections)")
    assert len(told) > 10 * KILLS, "too little load to prove anything"
