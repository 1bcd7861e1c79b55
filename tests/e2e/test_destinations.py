"""What the configuration says of a destination, from one end to the other: pace, patience, where from. Promises 10 and 23."""
import datetime
import time

from kit import mail
from kit.peer import Peer
from kit.relay import smarthost
from kit.wait import until


def at(event, key="time"):
    return datetime.datetime.fromisoformat(event[key].replace("Z", "+00:00")).timestamp()


def to_peer(peer, extra=""):
    return smarthost(peer, name="peer", extra=extra)


def test_a_rate_is_never_exceeded(relay, sink):
    """23: the turns of a rate are even, however many connections there are: of 8 a second, one each 125 ms.

    How long each message takes on its way is the machine's business, so the law is about the earliest
    moment: the one after k others cannot be there before k turns are over.
    """
    s = sink()
    r = relay(destinations=smarthost(s, extra='rate = "8/s"  connections = 5'))
    with r.smtp() as session:
        ids = [r.submit(session, mail.message(), "ann@sender.test", f"r{i}@rcpt.test") for i in range(20)]
    ends = sorted(at(r.wait_final(id)[0]) for id in ids)
    first = min(at(e) for e in r.events("accepted"))
    # A hundredth: the log tells wall time, turns are counted on the monotonic clock in milliseconds.
    assert all(end - first > k * 0.125 - 0.01 for k, end in enumerate(ends)), [end - first for end in ends]
    assert ends[-1] - first < 19 * 0.125 + 10


def test_recipients_of_one_message_are_split(relay):
    with Peer(["PIPELINING"]) as peer:
        r = relay(destinations=to_peer(peer, "recipients = 2"))
        id = r.send(mail.message(), "ann@sender.test", [f"r{i}@rcpt.test" for i in range(5)])
        r.wait_final(id, 5)
        assert sorted(len(t.rcpts) for t in peer.wait(3)) == [1, 2, 2]


def test_a_destination_has_its_own_patience(relay):
    """Pauses and lifetime of one destination end its mail; that of another waits by delivery's."""
    with Peer(refuse={"RCPT": "450 4.2.0 not now"}) as peer:
        r = relay(delivery='retry = { "1h" }', destinations='destination "short" { domains = { "short.test" }  '
                  f'relay = {{ "127.0.0.1:{peer.port}" }}  retry = {{ "1s" }}  lifetime = "3s" }}\n' + to_peer(peer))
        long = r.send(mail.message(), recipients="bob@long.test")
        short = r.send(mail.message(), recipients="bob@short.test")
        last = r.wait_final(short)[0]
        assert last["event"] == "expired" and last["attempt"] >= 2, last
        deferred = r.wait_event("deferred", queue_id=short)
        assert last["time"] >= deferred["expires"]
        assert abs(at(deferred, "expires") - at(deferred, "queued_time") - 3) < 0.01
        r.wait_event("deferred", queue_id=long)
        row, = r.queue("--id", long)
        assert row.get("attempt", 0) == 1
        # A restart knows the destination's pauses before it knows the way.
        due = row["next_attempt"]
        r.restart()
        assert r.queue("--id", long)[0]["next_attempt"] == due


def test_source_and_its_ehlo_name(relay):
    """76: each source address says its own name."""
    with Peer() as peer:
        r = relay(destinations=to_peer(peer, 'source = { "127.0.0.7 seven.out.test" }  helo = "other.test"'))
        done = r.wait_final(r.send(mail.message()))[0]
        assert done["event"] == "delivered" and done["source_ip"] == "127.0.0.7"
        assert peer.in_clear[0] == "EHLO seven.out.test"


def test_one_site_sees_one_source(relay):
    """77: greylists count from one address on, so a site is always reached from the same one, after a restart, too."""
    names = [f"127.0.0.{n} n{n}.out.test" for n in range(2, 8)]
    with Peer() as peer:
        r = relay(destinations=to_peer(peer, "source = { " + ", ".join(f'"{n}"' for n in names) + " }"))
        seen = {r.wait_final(r.send(mail.message()))[0]["source_ip"] for _ in range(3)}
        r.restart()
        seen.add(r.wait_final(r.send(mail.message()))[0]["source_ip"])
        assert len(seen) == 1
        n = seen.pop().rsplit(".", 1)[1]
        assert {line for line in peer.in_clear if line.startswith("EHLO")} == {f"EHLO n{n}.out.test"}


def ask_again(r, id):
    """A fault of this host lets one job a minute look whether it has passed; whoever asks need not wait for that."""
    until(lambda: any(row.get("local") and row["connections"] == 0 for row in r.rows("destination", "list")), 20, lambda: r.rows("destination", "list"))
    r.cli("queue", "retry", id, "--yes")


def test_a_source_that_is_not_ours_bounces_nothing(relay):
    """10: the administrator's mistake defers, for ever; mended, it delivers."""
    with Peer() as peer:
        r = relay(destinations=to_peer(peer, 'source = { "192.0.2.77" }  lifetime = "1s"'))
        id = r.send(mail.message())
        for n in range(1, 4):
            deferred = r.wait_event("deferred", queue_id=id, n=n)
            assert deferred["error"] == "local" and "attempt" not in deferred
            ask_again(r, id)
        assert not r.events(queue_id=id, final=True)
        r.write(destinations=to_peer(peer, 'source = { "127.0.0.3" }'))
        r.cli("reload")
        assert r.wait_final(id)[0]["source_ip"] == "127.0.0.3"


def test_a_family_without_a_source_waits(relay):
    """38: hosts that have only addresses of a kind that we do not send from."""
    with Peer() as peer:
        r = relay(destinations=to_peer(peer, 'source = { "::1" }'))
        deferred = r.wait_event("deferred", queue_id=r.send(mail.message()))
        assert deferred["error"] == "connect_failed" and peer.connections == 0


def test_greylisting_skips_the_first_pause(relay):
    """77: a first attempt that is put off comes again after the second pause, which is not made shorter."""
    with Peer(refuse={"RCPT": "450 4.7.1 Greylisted, come again"}) as peer:
        r = relay(destinations=to_peer(peer, 'retry = { "1s", "3s", "1s" }'))
        id = r.send(mail.message())
        first = r.wait_event("deferred", queue_id=id)
        assert 3 <= at(first, "next_attempt") - at(first) < 3.5
        second = r.wait_event("deferred", queue_id=id, n=2)
        assert at(second) - at(first) >= 3
        assert first["source_ip"] == second["source_ip"]
        peer.refuse.clear()
        assert r.wait_final(id)[0]["event"] == "delivered"


def test_a_named_time_is_honoured(relay):
    """79: the receiver says when."""
    with Peer(refuse={"MAIL": "451 4.7.0 Too much at once, try again in 4 seconds"}) as peer:
        r = relay(destinations=to_peer(peer, 'retry = { "2s" }'))
        first = r.wait_event("deferred", queue_id=r.send(mail.message()))
        assert first["class"] == "rate"
        assert 3.9 <= at(first, "next_attempt") - at(first) <= 4.1


def test_throttled_mail_waits_in_line(relay):
    """79: with one connection and too fast even so, the rest is not tried until the pause is over."""
    with Peer(refuse={"RCPT": "451 4.7.1 rate limit"}) as peer:
        r = relay(destinations=to_peer(peer, 'connections = 1  retry = { "1h" }'))
        with r.smtp() as session:
            ids = [r.submit(session, mail.message(), "ann@sender.test", f"r{i}@rcpt.test") for i in range(6)]
        r.wait_event("accepted", n=6)
        first = at(r.wait_event("deferred"))
        rows = r.queue()
        assert {row["queue_id"] for row in rows} == set(ids)
        untried = [row["state"] for row in rows if row.get("attempt", 0) == 0]
        assert set(untried) <= {"ready", "active"}, rows
        time.sleep(0.5)
        # The shortest pause is 13.5 s; one more may have been under way.
        assert sum(at(e) < first + 13 for e in r.events("deferred")) <= 2, r.events("deferred")


def captured(folder):
    return sorted(p.read_bytes() for p in (folder / "new").iterdir()) if (folder / "new").exists() else []


def test_captured_mail_is_filed(relay, tmp_path):
    """Staging: what would leave is in a Maildir, whole, small or large; no name is looked up."""
    box = tmp_path / "captured"
    r = relay(dns='servers = { "127.0.0.1:9" }', destinations=f'destination "stage" {{ domains = {{ "*" }}  capture = "{box}" }}')
    small, large = mail.message(), mail.message(body=b"x" * 70 + b"\r\n" + (b"y" * 76 + b"\r\n") * 8000)
    first = r.send(small, "ann@sender.test", ["bob@rcpt.test", "eve@rcpt.test", "joe@rcpt.test"])
    second = r.send(large, "ann@sender.test", "bob@rcpt.test")
    events = r.wait_final(first, 3) + r.wait_final(second)
    assert {e["event"] for e in events} == {"delivered"} and {e["destination"] for e in events} == {"stage"}
    files = captured(box)
    assert len(files) == 2
    assert any(small.split(b"\r\n\r\n", 1)[1] in f and f.count(b"X-Envelope-To: ") == 3 for f in files)
    assert any(large.split(b"\r\n\r\n", 1)[1] in f and b"Delivered-To: bob@rcpt.test\r\n" in f for f in files)


def test_what_cannot_be_filed_waits(relay, tmp_path):
    """10: a Maildir that cannot be made is our fault: nothing bounces, and it is filed when it can be."""
    block = tmp_path / "file"
    block.write_text("in the way")
    r = relay(destinations=f'destination "stage" {{ domains = {{ "*" }}  capture = "{block}/box"  lifetime = "1s" }}')
    id = r.send(mail.message())
    assert r.wait_event("deferred", queue_id=id)["error"] == "local"
    ask_again(r, id)
    assert r.wait_event("deferred", queue_id=id, n=2)["error"] == "local"
    block.unlink()
    block.mkdir()
    ask_again(r, id)
    assert r.wait_final(id)[0]["event"] == "delivered" and len(captured(block / "box")) == 1


def test_redirected_mail_goes_to_one_address(relay):
    """Staging: whoever it is for, one address gets it, a copy each; the log keeps whom it was for."""
    with Peer(["PIPELINING"]) as peer:
        r = relay(destinations=to_peer(peer, 'redirect = "qa@stage.test"'))
        id = r.send(mail.message(), "ann@sender.test", ["bob@rcpt.test", "eve@other.test"])
        events = r.wait_final(id, 2)
        assert {e["recipient"] for e in events} == {"bob@rcpt.test", "eve@other.test"}
        rcpts = [line for t in peer.wait(2) for line in t.rcpts]
        assert [line.split(">")[0] for line in rcpts] == ["RCPT TO:<qa@stage.test"] * 2


def test_redirect_and_capture_by_mx(relay, tmp_path):
    """Found by where the domain's mail goes; the redirected go where the one address's mail goes."""
    with Peer() as peer:
        override = ["far.test MX 10 mx.far.test", "mx.far.test A 127.0.0.1", "keep.test MX 10 mx.keep.test", "mx.keep.test A 127.0.0.1",
                    "stage.test MX 10 mx.stage.test", "mx.stage.test A 127.0.0.5"]
        peer5 = Peer(address="127.0.0.5")
        with peer5:
            r = relay(override=override, destinations='destination "r" { mx = { "*.far.test" }  redirect = "qa@stage.test"  '
                      f'port = {peer5.port} }}\ndestination "k" {{ mx = {{ "*.keep.test" }}  capture = "{tmp_path}/box" }}\n')
            done = r.wait_final(r.send(mail.message(), recipients="bob@far.test"))[0]
            assert done["event"] == "delivered" and done["mx_ip"] == "127.0.0.5"
            assert peer5.wait(1)[0].rcpts == ["RCPT TO:<qa@stage.test>"]
            assert r.wait_final(r.send(mail.message(), recipients="bob@keep.test"))[0]["event"] == "delivered"
            assert len(captured(tmp_path / "box")) == 1 and peer.connections == 0


def test_the_first_that_matches_is_taken(relay):
    """Limits for a large provider's MX stand before a smarthost for all the rest, and its mail goes to the smarthost all the same."""
    with Peer() as smart, Peer(address="127.0.0.5") as big:
        override = ["big.test MX 10 mx.provider.test", "mx.provider.test A 127.0.0.5", "small.test MX 10 mx.small.test", "mx.small.test A 127.0.0.6"]
        way = f'destination "big" {{ mx = {{ "*.provider.test" }}  port = {big.port} }}\n'
        rest = f'destination "rest" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{smart.port}" }} }}\n'
        ends = {"bob@big.test": "big", "bob@small.test": "rest", "bob@nowhere.test": "rest"}
        for destinations, expected in ((way + rest, ends), (rest + way, dict.fromkeys(ends, "rest"))):
            r = relay(override=override, destinations=destinations)
            for recipient, destination in expected.items():
                event, = r.wait_final(r.send(mail.message(), recipients=recipient))
                assert (event["event"], event["destination"]) == ("delivered", destination), event


def test_an_mx_that_is_not_known_yet(relay, dns):
    """A name server has trouble for a moment, and mail for the provider goes to the smarthost, or is lost."""
    with Peer() as smart:
        r = relay(dns=f'servers = {{ "127.0.0.1:{dns.port}" }}', destinations='destination "big" { mx = { "*.provider.test" } }\n'
                  f'destination "rest" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{smart.port}" }} }}\n')
        event = r.wait_event("deferred", queue_id=r.send(mail.message(), recipients="bob@broken.test"))
        assert event["error"] == "dns_servfail" and not smart.transactions
