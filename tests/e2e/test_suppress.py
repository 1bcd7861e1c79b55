"""Recipients that bounced for good, or that an operator named, are not sent to: refused with the reason, or dropped with an event."""
import json

import pytest

from kit import mail
from kit.relay import smarthost
from kit.wait import until

TWICE = 'suppression { bounces = 2  within = "7d"  %s }\n'


def rcpt(relay, address, sender="ann@sender.test", **session):
    """The reply to RCPT."""
    s = relay.smtp(**session)
    assert s.mail(sender)[0] == 250
    code, text = s.rcpt(address)
    s.close()
    return code, text.decode()


def listed(relay, *options, code=0):
    return {row["recipient"]: row for row in relay.rows("suppress", "list", *options, code=code) if "recipient" in row}


def test_bounces_put_a_recipient_on_the_list(relay, sink):
    """A newsletter goes on hitting dead mailboxes until receivers block the server; or one typing error of one user shuts out the others."""
    s = sink("--refuse", "bad*")
    r = relay(top=TWICE % "", users=("app", "shop"), destinations=smarthost(s))
    for n in (1, 2):
        id = r.send(mail.message(), recipients=["bad1@away.test", "good@away.test"])
        r.wait_final(id, 2)
        assert rcpt(r, "bad1@away.test")[0] == (250 if n == 1 else 550)
    code, text = rcpt(r, "Bad1@AWAY.test")
    assert code == 550 and text.startswith("5.1.1 Suppressed since 20") and "bounced: 550 5.1.1" in text
    event = r.wait_event("rejected", recipient="Bad1@AWAY.test")
    assert event["smtp_code"] == 550 and event["enhanced_status"] == "5.1.1" and "bounced: 550" in event["response"]
    assert rcpt(r, "bad1@away.test", user="shop")[0] == 250  # his own bounces count for him
    assert rcpt(r, "good@away.test")[0] == 250
    row = listed(r)["bad1@away.test"]
    assert row["user"] == "app" and row["source"] == "bounces" and row["reason"].startswith("550 5.1.1")
    # It outlives a kill, and so does what was counted.
    r.wait_final(r.send(mail.message(), recipients="bad2@away.test"))
    r.kill()
    r.start()
    assert rcpt(r, "bad1@away.test")[0] == 550
    r.wait_final(r.send(mail.message(), recipients="bad2@away.test"))
    until(lambda: rcpt(r, "bad2@away.test")[0] == 550)
    r.cli("suppress", "remove", "bad1@away.test", "--user", "app")
    assert rcpt(r, "bad1@away.test")[0] == 250


def test_dropped_with_an_event(relay, sink):
    """11: what is accepted and not sent ends nowhere in the log; or the other recipients of the mail go with it."""
    s = sink()
    r = relay(top='suppression { action = "drop" }\n', destinations=smarthost(s))
    r.cli("suppress", "add", "gone@away.test", "also@away.test", "--reason", "asked to be left alone")
    id = r.send(mail.message(), recipients=["gone@away.test", "here@away.test"])
    final = {e["recipient"]: e for e in r.wait_final(id, 2)}
    assert final["here@away.test"]["event"] == "delivered"
    assert final["gone@away.test"]["event"] == "suppressed" and final["gone@away.test"]["final"]
    assert "by the administrator: asked to be left alone" in final["gone@away.test"]["reason"]
    only = r.send(mail.message(), recipients=["gone@away.test", "also@away.test"])  # nobody is left
    assert {e["event"] for e in r.wait_final(only, 2)} == {"suppressed"}
    r.wait_queue_empty()
    assert r.cli("status", "--json").rows[-1]["messages"] == 0
    assert len(s.messages()) == 1
    r.restart()
    assert len(r.events("accepted")) == 4 and len(r.events(final=True)) == 4
    assert not r.events("dsn_queued")


def test_the_list_by_hand(relay, sink, tmp_path):
    """An operator cannot see, mend, take along or hand in what is on the list."""
    r = relay(users=("app", "shop"), destinations=smarthost(sink()))
    assert r.cli("suppress", "list", code=1).out == ""
    assert r.cli("suppress", "add", "Bob@Away.test", "@closed.test", "--reason", "who \u00fc").out == "2 added\n"
    assert r.cli("suppress", "add", "bob@away.test", code=1).out == "0 added, 1 were listed already\n"
    r.cli("suppress", "add", "cid@away.test", "--user", "shop")
    assert rcpt(r, "bob@away.test") == (550, rcpt(r, "bob@away.test")[1])
    assert "by the administrator: who ??" in rcpt(r, "bob@away.test")[1]  # replies are ASCII
    assert rcpt(r, "anybody@closed.test")[0] == 550 and rcpt(r, "anybody@sub.closed.test")[0] == 250
    assert rcpt(r, "cid@away.test")[0] == 250 and rcpt(r, "cid@away.test", user="shop")[0] == 550
    assert set(listed(r)) == {"bob@away.test", "@closed.test", "cid@away.test"}
    assert set(listed(r, "*@away.test")) == {"bob@away.test", "cid@away.test"}
    assert set(listed(r, "--user", "shop")) == {"cid@away.test"}
    assert len(listed(r, "--limit", "2")) == 2
    assert "RECIPIENT" in r.cli("suppress", "list").out
    exported = r.cli("suppress", "export").out
    assert [json.loads(line)["recipient"] for line in exported.splitlines()] == ["bob@away.test", "@closed.test", "cid@away.test"]
    assert r.cli("suppress", "remove", "cid@away.test", code=1).out == "0 removed, 1 were not listed\n"
    assert r.cli("suppress", "remove", "bob@away.test", "@closed.test").out == "2 removed\n"
    r.cli("suppress", "remove", "cid@away.test", "--user", "shop")
    # And back, byte for byte, with a list of plain addresses behind it.
    assert r.cli("suppress", "import", "-", stdin=exported.encode()).out == "3 added\n"
    assert sorted(r.cli("suppress", "export").out.splitlines()) == sorted(exported.splitlines())
    many = tmp_path / "many"
    many.write_text("# unsubscribed\n\n" + "".join(f"u{n}@away.test\n" for n in range(2500)))
    assert r.cli("suppress", "import", str(many), "--reason", "unsubscribed").out == "2500 added\n"
    assert rcpt(r, "u2499@away.test")[0] == 550
    r.restart()
    assert r.rows("suppress", "list")[-1] == {"matched": 2503}
    assert rcpt(r, "bob@away.test")[0] == 550


@pytest.mark.parametrize("argv, code, says", [
    (["suppress"], 2, "say what to do"), (["suppress", "add"], 2, "one address or more"), (["suppress", "list", "a", "b"], 2, "one pattern"),
    (["suppress", "add", "no address"], 2, "no address is no address"), (["suppress", "add", "a@b.test", "@"], 2, "@ is no address"),
    (["suppress", "add", "a@b.test", "--reason", "x" * 201], 2, "at most 200"), (["suppress", "export", "x"], 2, "redirect it"),
    (["suppress", "import", "/nowhere"], 1, "/nowhere: No such file"), (["suppress", "frob"], 2, "frob"),
])
def test_wrong_usage(relay, argv, code, says):
    """A mistake does something else than nothing."""
    r = relay()
    done = r.cli(*argv, code=None)
    assert says in done.out + done.err and done.code == code, done
    assert r.cli("suppress", "list", code=1).out == ""


def test_a_bad_line_of_an_import(relay):
    """A file with a mistake in the middle: nobody knows what of it was taken."""
    r = relay()
    done = r.cli("suppress", "import", "-", stdin=b"a@b.test\nnot one\nc@d.test\n", code=5)
    assert "-:2: neither an address nor a line of suppress export" in done.err and done.out == "1 added\n"
    assert set(listed(r)) == {"a@b.test"}


def test_a_new_policy_at_reload(relay, sink):
    """The list goes on by the old rules until a restart."""
    s = sink("--refuse", "bad*")
    r = relay(destinations=smarthost(s))
    for _ in range(3):
        r.wait_final(r.send(mail.message(), recipients="bad@away.test"))
    assert r.cli("suppress", "list", code=1).out == ""  # by default none is put on it
    r.write(top='suppression { bounces = 1  scope = "relay" }\n')
    r.cli("reload")
    r.wait_final(r.send(mail.message(), recipients="bad@away.test"))
    until(lambda: "bad@away.test" in listed(r, code=None))
    assert "user" not in listed(r)["bad@away.test"]
    r.write(top='suppression { bounces = 17 }\n')
    assert 'bounces: "17" is not a number from 0 to 16' in r.cli("check", code=1).err


def test_damage_is_told(relay):
    """One flipped bit empties the list, or keeps the relay from starting."""
    r = relay()
    r.cli("suppress", "add", "a@b.test", "c@d.test", "e@f.test")
    r.stop()
    path = r.spool_in / "spool/suppress/list"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"c@d", b"c@x"))
    r.start()
    assert set(listed(r)) == {"a@b.test", "e@f.test"}
    assert "damaged_lines=1" in r.process.errors()
    assert b"c@x" in (r.spool_in / "spool/suppress/list.damaged").read_bytes()


def test_by_sendmail(relay, sink):
    """What is refused to applications, cron and scripts go on sending."""
    r = relay(destinations=smarthost(sink()))
    r.cli("suppress", "add", "bob@away.test", "--reason", "left")
    done = r.cli("sendmail", "-f", "cron@relay.test", "bob@away.test", stdin=b"Subject: x\n\nx\n", code=67)
    assert "by the administrator: left" in done.err
    r.write(top='suppression { action = "drop" }\n')
    r.cli("reload")
    r.cli("sendmail", "-f", "cron@relay.test", "bob@away.test", "cid@away.test", stdin=b"Subject: x\n\nx\n")
    assert r.wait_event("delivered")["recipient"] == "cid@away.test"
    assert r.wait_event("suppressed")["recipient"] == "bob@away.test"
