"""What was refused comes back to its sender as a report that people and programs can read."""
import email
import email.policy

import pytest

from kit import mail, rfc3464
from kit.relay import by_mx, smarthost
from kit.wait import until


@pytest.fixture
def home(dns):
    """The senders' domain, served by the receiver."""
    dns.add("home MX 10 mx.home", "mx.home A 127.0.0.11")
    return "home.test"


def read_report(raw):
    """A DSN as Python's parser sees it: (its fields for people, [fields of each recipient], the returned original)."""
    rfc3464.check(mail.below_trace(mail.crlf(raw)))  # 93
    report = email.message_from_bytes(raw, policy=email.policy.default)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert not report.defects
    text, status, original = report.iter_parts()
    assert text.get_content_type() == "text/plain" and text.get_content().strip()
    assert status.get_content_type() == "message/delivery-status"
    per_message, *per_recipient = status.get_payload()
    assert per_message["Reporting-MTA"] == "dns; relay.test" and per_message["Arrival-Date"]
    assert not any(p.defects for p in report.walk())
    assert all(b < 0x80 for b in raw.split(b"Content-Type: message/rfc822")[0].split(b"Content-Type: text/rfc822-headers")[0])
    return report, per_recipient, original


def check_envelope(report, sender):
    assert report["To"].addresses[0].addr_spec == sender
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["Return-Path"].strip() == "<>"
    assert report["Date"] and report["Message-ID"]


def test_unknown_user(relay, dns, receiver, home):
    """A typing error in an address: the sender never learns of it, or cannot tell why."""
    r = relay(**by_mx(dns, receiver.port))
    sender, recipient = f"box-typo@{home}", f"nobody@{home}"
    raw = mail.message(b"Did this arrive?\r\n.dot\r\n", sender, recipient)
    id = r.send(raw, sender, recipient)
    [event] = r.wait_final(id)
    assert event["event"] == "bounced" and event["smtp_code"] == 550 and event["command"] == "rcpt"
    assert event["enhanced_status"] == "5.1.1" and event["class"] == "bad_mailbox"
    report, [fields], original = read_report(receiver.wait_mail(sender)[0])
    check_envelope(report, sender)
    assert fields["Final-Recipient"] == f"rfc822; {recipient}"
    assert fields["Action"] == "failed" and fields["Status"] == "5.1.1"
    assert fields["Remote-MTA"] == "dns; mx.home.test"
    said = " ".join(fields["Diagnostic-Code"].split())
    assert said.startswith("smtp; 550 5.1.1") and "User unknown in virtual mailbox table" in said
    assert original.get_content_type() == "message/rfc822"
    returned = original.get_payload()[0]
    assert returned["Message-ID"] == mail.message_id(raw)
    assert raw in receiver.imap(sender)[0]  # byte for byte
    queued = r.wait_event("dsn_queued", queue_id=id)
    assert r.wait_final(queued["dsn_id"])[0]["event"] == "delivered"
    assert id in report.get_body().get_content()


def test_refused_by_policy_words(relay, sink, dns, receiver, home):
    """The receiver's own words do not reach the sender."""
    s = sink("--refuse", "bad*")
    r = relay(dns=f'servers = {{ "127.0.0.1:{dns.port}" }}',
              destinations=smarthost(s, domains="away.test") + by_mx(dns, receiver.port)["destinations"])
    sender = f"box-words@{home}"
    id = r.send(mail.message(), sender, "bad@away.test")
    [event] = r.wait_final(id)
    assert event["event"] == "bounced" and event["smtp_code"] >= 550
    _, [fields], _ = read_report(receiver.wait_mail(sender)[0])
    assert event["response"] in " ".join(fields["Diagnostic-Code"].split())
    assert fields["Status"] == event["enhanced_status"]


def test_several_recipients_one_report(relay, sink, dns, receiver, home):
    """Ten bad addresses in one mail fill the sender's mailbox with ten reports; the good ones are bounced with them."""
    s = sink("--refuse", "bad*")
    r = relay(dns=f'servers = {{ "127.0.0.1:{dns.port}" }}',
              destinations=smarthost(s, domains="away.test") + by_mx(dns, receiver.port)["destinations"])
    sender = f"box-several@{home}"
    recipients = ["good1@away.test", "bad1@away.test", "bad2@away.test", "good2@away.test", "bad3@away.test"]
    id = r.send(mail.message(), sender, recipients)
    events = {e["recipient"]: e["event"] for e in r.wait_final(id, 5)}
    assert events == {x: "bounced" if x.startswith("bad") else "delivered" for x in recipients}
    [report] = receiver.wait_mail(sender)
    _, fields, _ = read_report(report)
    assert [f["Final-Recipient"] for f in fields] == [f"rfc822; bad{i}@away.test" for i in (1, 2, 3)]
    r.wait_queue_empty()
    assert len(receiver.imap(sender)) == 1
    assert len(s.wait(1)) == 1


def test_null_sender_is_never_told(relay, sink):
    """Bounces of bounces go round in circles."""
    s = sink("--refuse", "bad*")
    r = relay(destinations=smarthost(s))
    id = r.send(mail.message(), "", "bad@away.test")
    [event] = r.wait_final(id)
    assert event["event"] == "bounced" and "sender" not in event
    r.wait_queue_empty()
    assert not r.events("dsn_queued") and not s.files()
    assert len(r.events("accepted")) == 1


def test_large_original_comes_back_as_its_header(relay, sink, dns, receiver, home):
    """A refused mail with a large attachment comes back with all of it."""
    s = sink("--refuse", "bad*")
    r = relay(dns=f'servers = {{ "127.0.0.1:{dns.port}" }}',
              destinations=smarthost(s, domains="away.test") + by_mx(dns, receiver.port)["destinations"])
    sender = f"box-large@{home}"
    raw = mail.message(b"0123456789" * 7 + b"\r\n" * 1 + b"line of text\r\n" * 100000, sender)
    r.send(raw, sender, "bad@away.test")
    [got] = receiver.wait_mail(sender)
    _, _, original = read_report(got)
    assert original.get_content_type() == "text/rfc822-headers"
    assert mail.message_id(raw) in original.get_payload() and len(got) < 20000


def test_hopeless_sender_ends_in_the_log(relay, sink):
    """A report that cannot be delivered itself goes round for ever."""
    s = sink("--refuse", "*")
    r = relay(delivery='double-bounces = "log"', destinations=smarthost(s))
    id = r.send(mail.message(), "forged@away.test", "bad@away.test")
    r.wait_final(id)
    dsn = r.wait_event("dsn_queued", queue_id=id)["dsn_id"]
    assert r.wait_final(dsn)[0]["event"] == "bounced"
    r.wait_queue_empty()
    assert len(r.events("dsn_queued")) == 1


def test_double_bounce_goes_to_the_postmaster(relay, sink):
    """92: a form that gives wrong sender addresses fails for weeks, and nobody ever sees one of its bounces."""
    s = sink("--refuse", "bad*", "--refuse", "forged*")
    r = relay(destinations=smarthost(s))
    id = r.send(mail.message(), "forged@away.test", "bad@away.test")
    report = r.wait_event("dsn_queued", queue_id=id)["dsn_id"]
    double = r.wait_event("dsn_queued", queue_id=report)["dsn_id"]
    assert r.wait_final(double)[0]["event"] == "delivered"
    [raw] = s.find("To: <postmaster@relay.test>")
    message, [fields] = rfc3464.check(mail.below_trace(raw))
    assert fields["Final-Recipient"] == "rfc822; forged@away.test" and fields["Action"] == "failed"
    top = email.message_from_bytes(raw, policy=email.policy.default)
    assert top["Subject"] == "Undelivered report to forged@away.test" and top["Return-Path"].strip() == "<>"
    assert b"bad@away.test" in raw and report in top.get_body().get_content()  # the report, which names the message
    r.wait_queue_empty()
    assert len(r.events("dsn_queued")) == 2 and len(s.files()) == 1


def test_double_bounces_end_where_the_postmaster_refuses_them(relay, sink):
    """92: reports on reports on reports."""
    s = sink("--refuse", "*")
    r = relay(delivery='double-bounces = "ops@away.test"', destinations=smarthost(s))
    id = r.send(mail.message(), "forged@away.test", "bad@away.test")
    report = r.wait_event("dsn_queued", queue_id=id)["dsn_id"]
    double = r.wait_event("dsn_queued", queue_id=report)["dsn_id"]
    [event] = r.wait_final(double)
    assert event["event"] == "bounced" and event["recipient"] == "ops@away.test" and "sender" not in event
    r.wait_queue_empty()
    assert len(r.events("dsn_queued")) == 2 and len(r.events("accepted")) == 3


def test_double_bounces_of_bad_words(relay, sink):
    """A slip in the key that says where undeliverable reports go."""
    r = relay(destinations=smarthost(sink()))
    r.write(delivery='double-bounces = "nobody"')
    assert "neither postmaster nor log" in r.cli("check", code=1).err


def fail_many(relay, n, sender, **session):
    """n messages from this sender that bounce; waits until all of them have."""
    s = relay.smtp(**session)
    ids = [relay.submit(s, mail.message(), sender, f"bad{i}@away.test") for i in range(n)]
    s.quit()
    until(lambda: len(relay.events("bounced", sender=sender)) >= n, 60)
    return ids


def test_no_bounce_storm(relay, sink):
    """28: a form that is fed with nonsense buries the mailbox of its owner, or of a stranger whose address was put in, under reports."""
    s = sink("--refuse", "bad*")
    r = relay(delivery='reports-per-sender = "4/h"  reports-per-user = "6/h"', users=("app", "shop"), destinations=smarthost(s))
    fail_many(r, 40, "victim@sender.test")
    until(lambda: len(s.find("multipart/report")) >= 4)
    fail_many(r, 5, "other@sender.test")  # the same login under another name
    until(lambda: len(s.find("multipart/report")) >= 6)
    fail_many(r, 1, "third@sender.test", user="shop")  # somebody else does not wait behind him
    until(lambda: s.find("To: <third@sender.test>"))
    assert "reports_limited" in r.process.errors() and "victim@sender.test" in r.process.errors()
    assert len(s.find("To: <victim@sender.test>")) == 4 and len(s.find("To: <other@sender.test>")) == 2
    assert len(r.events("bounced")) == 46  # the log has all of them
    r.restart()  # nothing is lost by waiting: they are still to be told
    assert r.cli("status", "--json").rows[-1]["messages"] > 20


def test_reports_come_by_and_by(relay, sink):
    """28: what had to wait is never told."""
    s = sink("--refuse", "bad*")
    r = relay(delivery='reports-per-sender = "10/s"', destinations=smarthost(s))
    fail_many(r, 25, "ann@sender.test")
    until(lambda: len(s.find("multipart/report")) == 25, 30)
    r.wait_queue_empty()


def test_reports_that_would_wait_for_days(relay, sink):
    """28: a queue full of failures that nobody will ever be told of."""
    s = sink("--refuse", "bad*")
    r = relay(delivery='reports-per-sender = "1/h"', destinations=smarthost(s))
    fail_many(r, 40, "ann@sender.test")
    until(lambda: s.find("multipart/report"))
    # One is told, 24 wait for at most a day, and the rest leaves the queue, which a restart does not undo.
    until(lambda: r.cli("status", "--json").rows[-1]["messages"] == 24, 30)
    assert "not reported to their sender any more" in r.process.errors()
    r.wait_event("dsn_queued")
    assert len(r.events("bounced")) == 40 and len(r.events("dsn_queued")) == 1
