"""Reverse-paths that name their recipient: what the receiver sees, what comes back, and where it goes."""
import email
import email.policy

from kit import mail, rfc3464
from kit.peer import ALL, Peer
from kit.relay import smarthost
from kit.wait import until


def news(keys=""):
    return f'verp {{ senders = {{ "news@*" }}  {keys} }}\n'


def reverse_paths(peer):
    return {t.rcpts[0][9:-1]: t.mail.split(">")[0][11:] for t in peer.transactions if t.rcpts}


def test_each_recipient_has_a_reverse_path(relay):
    """A list is cleaned by bounces that name nobody: members who are gone stay on it."""
    long = f"{'l' * 50}@away.test"
    with Peer(ALL) as p:
        r = relay(destinations=smarthost(p) + news())
        r.wait_final(r.send(mail.message(), "news@sender.test", ["bob@away.test", "Eve+tag@away.test", long]), 3)
        assert reverse_paths(p) == {"bob@away.test": "news+bob=away.test@sender.test",
                                    "Eve+tag@away.test": "news+Eve+tag=away.test@sender.test",
                                    long: "news@sender.test"}  # it would have more than 64 octets
        assert all(len(t.rcpts) == 1 for t in p.transactions) and len({t.content for t in p.transactions}) == 1
        # The log keeps the mail together, and tells what each receiver was shown.
        assert {e["sender"] for e in r.events("delivered")} == {"news@sender.test"}
        assert {e["recipient"]: e.get("reverse_path") for e in r.events("delivered")} == {
            "bob@away.test": "news+bob=away.test@sender.test", "Eve+tag@away.test": "news+Eve+tag=away.test@sender.test", long: None}
        assert not any("reverse_path" in e for e in r.events("accepted"))
        r.wait_final(r.send(mail.message(), "ann@sender.test", ["bob@away.test", "eve@away.test"]), 2)
        [t] = [t for t in p.transactions if t.mail.startswith("MAIL FROM:<ann@sender.test>")]
        assert len(t.rcpts) == 2
        # By user, with other delimiters, from the reload on.
        r.write(destinations=smarthost(p) + 'verp { users = { "app" }  delimiters = "-=" }\n')
        r.cli("reload")
        r.wait_final(r.send(mail.message(), "ann@sender.test", "new@away.test"))
        assert reverse_paths(p)["new@away.test"] == "ann-new=away.test@sender.test"
        assert r.events("delivered", recipient="new@away.test")[0]["reverse_path"] == "ann-new=away.test@sender.test"
        r.write(destinations=smarthost(p) + news('delimiters = "+@"'))
        assert "two characters of -, + and =" in r.cli("check", code=1).err


def test_failures_are_told_there(relay, sink):
    """The reports of our own do not fit the list's way of cleaning: they come to another address, or name two at once."""
    s = sink()
    with Peer(ALL, refuse={"RCPT TO:<bad": "550 5.1.1 no", "RCPT TO:<late": "450 4.2.1 later"}) as p:
        r = relay(delivery='retry = { "2s" }  delay-warning = "1s"',
                  destinations=smarthost(p, name="away", domains="away.test") + smarthost(s) + news())
        id = r.send(mail.message(), "news@sender.test", ["bad1@away.test", "good@away.test", "bad2@away.test", "late@away.test"])
        until(lambda: len(s.find("Action: failed")) == 2)
        found = {}
        for raw in s.find("Action: failed"):
            _, [fields] = rfc3464.check(mail.below_trace(raw))
            to = email.message_from_bytes(raw, policy=email.policy.default)["To"].addresses[0].addr_spec
            found[to] = fields["Final-Recipient"]
        assert found == {f"news+bad{i}=away.test@sender.test": f"rfc822; bad{i}@away.test" for i in (1, 2)}
        # A delay is no bounce: it is told to the sender.
        [raw] = until(lambda: s.find("Action: delayed"))
        assert b"To: <news@sender.test>" in raw and b"late@away.test" in raw
        r.restart()  # what was told is told
        r.cli("queue", "expire", "--id", id, "--yes")
        until(lambda: s.find("To: <news+late=away.test@sender.test>"))
        r.wait_queue_empty()
        told = until(lambda: (all := r.events("dsn_queued"))[3:] and all, 20, r.log)  # told in the log behind the queue
        assert len(told) == 4 and len(s.find("multipart/report")) == 4
        # Whose failure it is stands beside it; the delay is the whole message's.
        assert {(e["dsn_kind"], e.get("recipient"), e.get("rcpt")) for e in told} == {
            ("failed", "bad1@away.test", 0), ("failed", "bad2@away.test", 2), ("delayed", None, None), ("failed", "late@away.test", 3)}
        assert all(r.wait_event("accepted", queue_id=e["dsn_id"])["recipient"] == f"news+{e['recipient'].replace('@', '=')}@sender.test"
                   for e in told if e["dsn_kind"] == "failed")
        assert {e["reverse_path"] for e in r.events("bounced")} == {f"news+bad{i}=away.test@sender.test" for i in (1, 2)}


def test_many_failures_of_one_message(relay, sink):
    """28: whoever sends a list as one message hears of the first few members who are gone, because he may have so many reports."""
    s = sink()
    with Peer(ALL, refuse={"RCPT TO:<bad": "550 5.1.1 no"}) as p:
        r = relay(delivery='reports-per-sender = "2/h"',
                  destinations=smarthost(p, name="away", domains="away.test") + smarthost(s) + news())
        to = [f"bad{i}@away.test" for i in range(60)]
        r.send(mail.message(), "news@sender.test", to)
        until(lambda: len(s.find("multipart/report")) == 60, 60)
        r.wait_queue_empty()
        found = [rfc3464.check(mail.below_trace(raw))[1] for raw in s.find("multipart/report")]
        assert sorted(f["Final-Recipient"] for [f] in found) == sorted(f"rfc822; {a}" for a in to)
        # Many messages are another matter: the second takes its turn, and the third waits.
        for i in range(2):
            r.wait_final(r.send(mail.message(), "news@sender.test", f"bad{i}@away.test"))
        until(lambda: len(s.find("multipart/report")) == 61)
        until(lambda: "reports_limited" in r.process.errors())
        assert len(s.find("multipart/report")) == 61


def test_the_path_is_hidden_as_the_recipient_is(relay, sink):
    """Privacy: the log shows no recipient, and his address stands in the reverse-path; or it names a path that nobody was shown."""
    with Peer(ALL) as p:
        r = relay(destinations=smarthost(p, name="away", domains="away.test") + smarthost(sink(start=False)) + news(),
                  log='recipients = "domain"')
        r.wait_final(r.send(mail.message(), "news@sender.test", "bob@away.test"))
        [e] = r.events("delivered")
        assert e["recipient"] == "*@away.test" and "reverse_path" not in e and "bob" not in str(r.events())
        r.write(destinations=smarthost(p, name="away", domains="away.test") + smarthost(sink(start=False)) + news(), log="")
        r.cli("reload")
        id = r.send(mail.message(), "news@sender.test", "eve@nobody.test")
        e = r.wait_event("deferred", queue_id=id)
        assert e["recipient"] == "eve@nobody.test" and "reverse_path" not in e  # there was no MAIL
        r.cli("queue", "remove", "--all", "--yes")
