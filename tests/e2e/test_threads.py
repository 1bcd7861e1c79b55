"""Many sessions at once. Also run on a build with the thread sanitizer: contrib/test picks these by their names."""
import collections
import concurrent.futures

from kit import mail
from kit.dkim import Keys
from kit.relay import mx_destination, smarthost

THREADS, EACH = 8, 20


def in_threads(work, n=THREADS):
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return [f.result() for f in [pool.submit(work, i) for i in range(n)]]


def check_all(relay, ids):
    """Each accepted message has exactly one terminal event, and it is a delivery."""
    for id in ids:
        relay.wait_final(id, timeout=120)
    relay.wait_queue_empty()
    finals = collections.Counter()
    for e in relay.log():
        if e.get("final"):
            assert e["event"] == "delivered", e
            finals[e["queue_id"]] += 1
    assert set(finals) == set(ids) and set(finals.values()) == {1}


def test_threads_two_destinations(relay, sink):
    """Under parallel load a message is lost, sent twice, or mixed with another."""
    sinks = [sink(), sink()]
    r = relay(destinations=smarthost(sinks[0], "one", "one.test") + smarthost(sinks[1], "two", "two.test"))
    raws = {}

    def work(t):
        ids, session = [], r.smtp("implicit" if t % 2 else "starttls")
        for i in range(EACH):
            raw = mail.message(b"thread %d message %d\r\n" % (t, i) * (1 + i * 50))
            raws[mail.message_id(raw)] = raw
            ids.append(r.submit(session, raw, "ann@sender.test", f"u{t}.{i}@{'one' if i % 2 else 'two'}.test"))
        session.quit()
        return ids

    ids = sum(in_threads(work), [])
    assert len(set(ids)) == THREADS * EACH
    check_all(r, ids)
    received = [m for s in sinks for m in s.messages()]
    assert len(received) == THREADS * EACH
    for m in received:
        assert mail.below_trace(m) == raws.pop(mail.message_id(m))


def test_threads_new_connection_each(relay, sink):
    """Applications that connect anew for each mail: handshakes, logins and ends of sessions meet each other."""
    s = sink()
    r = relay(destinations=smarthost(s, extra="messages-per-connection = 3"))

    def work(t):
        return [r.send(mail.message(), recipients=f"u{t}.{i}@x.test") for i in range(5)]

    ids = sum(in_threads(work), [])
    check_all(r, ids)
    assert len(s.files()) == len(ids)


def test_threads_with_operators(relay, sink):
    """Listing, reloading, changing users and retrying while mail flows: an operator disturbs the mail."""
    s = sink("--defer", "later*")
    r = relay(destinations=smarthost(s), delivery='retry = { "1s" }')

    def clients(t):
        session = r.smtp()
        ids = [r.submit(session, mail.message(b"x\r\n" * 3000), "ann@sender.test", [f"u{i}@x.test", f"later{i}@x.test"])
               for i in range(EACH // 2)]
        session.quit()
        return ids

    def operator(_):
        for i in range(5):
            r.queue("--to", "*@x.test")
            r.rows("status")
            r.cli("reload")
            r.cli("queue", "retry", "--all", "--yes", code=None)
            if i == 2:
                r.user_add("late")
        return []

    ids = sum(in_threads(lambda t: (operator if t == 0 else clients)(t), 5), [])
    s.stop()
    s.start([])
    r.cli("queue", "retry", "--all", "--yes", code=None)
    r.wait_queue_empty(120)
    for id in ids:
        assert [e["event"] for e in r.wait_final(id, 2)] == ["delivered"] * 2
    assert len(r.events("config_reloaded")) == 5


def test_threads_signed(relay, sink, tmp_path):
    """Keys are shared by all threads, and others come while mail is being signed on its way in, and reports on the way out."""
    s, keys = sink("--refuse", "bad*"), Keys(tmp_path / "keys")
    signing = keys.section("sender.test", r1="rsa", e1="ed25519") + keys.section("relay.test", e2="ed25519")
    r = relay(destinations=smarthost(s) + signing)

    def clients(t):
        session = r.smtp()
        for i in range(5):
            rcpts = [f"u{i}@x.test", f"bad{i}@x.test"][:1 + (i == 4)]
            r.submit(session, mail.message(b"%d  \t%d \r\n" % (t, i) * 30 ** (i % 4)), f"ann{t}@sender.test", rcpts)
        session.quit()

    def operator(_):
        for _ in range(5):
            r.cli("reload")

    in_threads(lambda t: (operator if t == 0 else clients)(t), 5)
    for raw in s.wait(24, timeout=60):
        report = b"multipart/report" in raw
        assert keys.verify(raw) == ({("relay.test", "e2"): True} if report else {("sender.test", "r1"): True, ("sender.test", "e1"): True})
    r.wait_queue_empty()


def test_threads_large_bodies(relay, sink):
    """Large bodies go through files of their own: their pieces get into each other's."""
    s = sink()
    r = relay(destinations=smarthost(s))
    raws = [mail.message(b"%08d line of a large message\r\n" % t * 40000) for t in range(4)]
    ids = in_threads(lambda t: r.send(raws[t], recipients=f"u{t}@x.test"), 4)
    check_all(r, ids)
    received = {mail.message_id(m): mail.below_trace(m) for m in s.messages()}
    assert received == {mail.message_id(raw): raw for raw in raws}


def test_threads_by_mx(relay, sink, dns):
    """Look-ups, equal preferences and several addresses, from all threads at once."""
    s = sink()
    dns.add("thr1 MX 10 a.thr", "thr1 MX 10 b.thr", "a.thr A 127.0.0.1", "b.thr A 127.0.0.66", "thr2 MX 10 a.thr")
    r = relay(dns=f'servers = {{ "127.0.0.1:{dns.port}" }}', destinations=mx_destination(s.port))
    ids = sum(in_threads(lambda t: [r.send(mail.message(), recipients=f"u{t}.{i}@thr{1 + i % 2}.test") for i in range(5)]), [])
    check_all(r, ids)
    assert len(s.files()) == len(ids)
