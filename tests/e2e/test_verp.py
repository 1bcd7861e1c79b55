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
        assert {e["sender"] for e in r.events("delivered")} == {"news@sender.test"}  # the log keeps the mail together
        r.wait_final(r.send(mail.message(), "ann@sender.test", ["bob@away.test", "eve@away.test"]), 2)
        [t] = [t for t in p.transactions if t.mail.startswith("MAIL FROM:<ann@sender.test>")]
        assert len(t.rcpts) == 2
        # By user, with other delimiters, from the reload on.
        r.write(destinations=smarthost(p) + 'verp { users = { "app" }  delimiters = "-=" }\n')
        r.cli("reload")
        r.wait_final(r.send(mail.message(), "ann@sender.test", "new@away.test"))
        assert reverse_paths(p)["new@away.test"] == "ann-new=away.test@sender.test"
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
        assert len(r.events("dsn_queued")) == 4 and len(s.find("multipart/report")) == 4
