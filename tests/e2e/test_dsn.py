"""What a sender asks for in MAIL and RCPT: notices as wanted (RFC 3461, 2852), mail not before its time (RFC 4865), ways and tags."""
import datetime
import email
import email.policy
import json
import time

import pytest

from kit import mail, rfc3464
from kit.peer import Peer
from kit.relay import by_mx, queue_id, smarthost
from kit.wait import until

SENDER = "app@sender.test"


def submit(relay, raw, recipients, ask="", sender=SENDER):
    """recipients: {address: parameters of RCPT}; ask: parameters of MAIL. The queue id."""
    s = relay.smtp()
    try:
        code, text = s.docmd(f"MAIL FROM:<{sender}> {ask}".rstrip())
        assert code == 250, (code, text)
        for address, more in recipients.items():
            code, text = s.docmd(f"RCPT TO:<{address}> {more}".rstrip())
            assert code == 250, (code, text)
        code, text = s.data(raw)
        assert code == 250, (code, text)
        return queue_id(text.decode())
    finally:
        s.quit()


def blocks(payload):
    """The groups of fields of a delivery status."""
    return [email.message_from_bytes(b + b"\r\n", policy=email.policy.SMTPUTF8) for b in payload.strip().split(b"\r\n\r\n")]


class Report:
    """A DSN taken apart: .top, .status (per message), .recipients {address: fields}, .original (type, bytes)."""

    def __init__(self, raw, ours=True):
        self.raw = raw
        if ours:  # others have their fields in another order
            rfc3464.check(mail.below_trace(raw))  # 93
        self.top = email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)
        assert self.top.get_content_type() == "multipart/report" and not self.top.defects
        assert self.top["Auto-Submitted"] == "auto-replied" and self.top["Return-Path"].strip() == "<>"  # 92
        mark = b"\r\n--" + self.top.get_boundary().encode()
        _, text, status, original = raw.split(mark)[:4]
        self.text = text
        head, _, fields = status.lstrip(b"\r\n").partition(b"\r\n\r\n")
        self.status_type = email.message_from_bytes(head).get_content_type()
        self.status, *rest = blocks(fields)
        self.recipients = {f["Final-Recipient"].split(";", 1)[1].strip(): f for f in rest}
        assert len(self.recipients) == len(rest)
        head, _, self.original = original.lstrip(b"\r\n").partition(b"\r\n\r\n")
        self.original_type = email.message_from_bytes(head).get_content_type()

    def actions(self):
        return {address: (f["Action"], f["Status"]) for address, f in self.recipients.items()}


def reports(sink):
    return [Report(m) for m in sink.find("multipart/report")]


def wait_reports(sink, n, timeout=30):
    until(lambda: len(sink.find("multipart/report")) >= n, timeout, lambda: f"{n} reports, {len(sink.messages())} messages")
    return reports(sink)


def settle(relay, pause=2.0):
    """Nothing more is on its way."""
    relay.wait_queue_empty()
    time.sleep(pause)


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_notify_failure(relay, sink):
    """94: who asked not to be told is told; who asked to be is not; or each failure makes a report of its own."""
    s = sink("--refuse", "*@gone.test")
    r = relay(destinations=smarthost(s))
    id = submit(r, mail.message(), {"never@gone.test": "NOTIFY=NEVER", "delay@gone.test": "NOTIFY=DELAY",
                                    "success@gone.test": "NOTIFY=SUCCESS", "failure@gone.test": "NOTIFY=SUCCESS,FAILURE",
                                    "unsaid@gone.test": ""})
    assert {e["event"] for e in r.wait_final(id, 5)} == {"bounced"}
    [report] = wait_reports(s, 1)
    assert report.actions() == {"failure@gone.test": ("failed", "5.1.1"), "unsaid@gone.test": ("failed", "5.1.1")}
    settle(r)
    assert len(reports(s)) == 1
    assert r.wait_event("dsn_queued", queue_id=id)["dsn_kind"] == "failed" and len(r.events("dsn_queued", queue_id=id)) == 1
    # A message of which nobody wants to hear makes none at all.
    id = submit(r, mail.message(), {"never@gone.test": "NOTIFY=NEVER"})
    r.wait_final(id)
    settle(r)
    assert len(reports(s)) == 1 and not r.events("dsn_queued", queue_id=id)


def test_what_comes_back(relay, sink):
    """23, 93: ENVID and ORCPT come back in another form; RET is not honoured."""
    s = sink("--refuse", "*@gone.test")
    r = relay(destinations=smarthost(s))
    raw = mail.message(b"the body\r\n")
    submit(r, raw, {"a@gone.test": "ORCPT=rfc822;Al+2BIas@Old.test NOTIFY=FAILURE", "b@gone.test": ""}, "RET=HDRS ENVID=QQ+2B314+3D9")
    [report] = wait_reports(s, 1)
    assert report.status["Original-Envelope-Id"] == "QQ+314=9"
    assert report.recipients["a@gone.test"]["Original-Recipient"].replace(" ", "") == "rfc822;Al+Ias@Old.test"
    assert report.recipients["b@gone.test"]["Original-Recipient"] is None
    assert report.recipients["a@gone.test"]["Diagnostic-Code"].startswith("smtp; 550 5.1.1")
    assert report.original_type == "text/rfc822-headers" and b"the body" not in report.raw
    assert mail.message_id(raw).encode() in report.original
    assert b"Content-Type: message/delivery-status" in report.raw and all(b < 0x80 for b in report.raw)
    submit(r, raw, {"a@gone.test": ""}, "RET=FULL")
    report = wait_reports(s, 2)[1]
    assert report.original_type == "message/rfc822" and b"the body" in report.original
    assert report.status["Original-Envelope-Id"] is None


def test_success(relay, sink):
    """74: a notice of success comes from nobody, or from two."""
    plain, knows = sink(), sink("--offer", "PIPELINING,8BITMIME,DSN")
    home = sink()
    r = relay(destinations=smarthost(plain, "plain", "plain.test") + smarthost(knows, "knows", "knows.test") + smarthost(home))
    id = submit(r, mail.message(), {"a@plain.test": "NOTIFY=SUCCESS ORCPT=rfc822;o@x.test", "b@plain.test": "NOTIFY=FAILURE",
                                    "c@plain.test": "", "d@knows.test": "NOTIFY=SUCCESS,FAILURE"}, "RET=FULL")
    events = {e["recipient"]: e["event"] for e in r.wait_final(id, 4)}
    assert events == {"a@plain.test": "relayed", "b@plain.test": "delivered", "c@plain.test": "delivered", "d@knows.test": "delivered"}
    [report] = wait_reports(home, 1)
    assert report.actions() == {"a@plain.test": ("relayed", "2.0.0")}
    assert report.recipients["a@plain.test"]["Original-Recipient"].replace(" ", "") == "rfc822;o@x.test"
    assert report.original_type == "text/rfc822-headers"  # the whole message is for failures only
    assert report.top["Subject"] == "Relayed mail to a@plain.test"
    settle(r)
    assert len(reports(home)) == 1
    r.wait_event("dsn_queued", queue_id=id)
    assert [e["dsn_kind"] for e in r.events("dsn_queued", queue_id=id)] == ["relayed"]


def test_success_of_captured_mail(relay, sink, tmp_path):
    """Filed in a Maildir it has come to its end: delivered, in the report and in the log."""
    home = sink()
    r = relay(destinations=f'destination "stage" {{ domains = {{ "*.stage.test", "stage.test" }}  capture = "{tmp_path}/box" }}' + smarthost(home))
    id = submit(r, mail.message(), {"a@stage.test": "NOTIFY=SUCCESS", "b@stage.test": ""})
    assert {e["event"] for e in r.wait_final(id, 2)} == {"delivered"}
    [report] = wait_reports(home, 1)
    assert report.actions() == {"a@stage.test": ("delivered", "2.0.0")}
    assert report.top["Subject"] == "Delivered mail to a@stage.test"
    until(lambda: r.events("dsn_queued", queue_id=id))
    assert [e["dsn_kind"] for e in r.events("dsn_queued", queue_id=id)] == ["delivered"]


def test_success_is_passed_on(relay, dns, receiver):
    """The next server never hears what the sender asked for: its notice of success does not come, or cannot be told apart."""
    dns.add("home MX 10 mx.home", "mx.home A 127.0.0.11")
    r = relay(**by_mx(dns, receiver.port))
    sender, to = "box-dsn-sender@home.test", "box-dsn-rcpt@home.test"
    id = submit(r, mail.message(sender=sender, to=to), {to: "NOTIFY=SUCCESS ORCPT=rfc822;first@old.test"}, "ENVID=E+2B77", sender)
    assert [e["event"] for e in r.wait_final(id)] == ["delivered"]
    receiver.wait_mail(to)
    [raw] = receiver.wait_mail(sender)
    report = Report(mail.crlf(raw), ours=False)
    assert report.status["Original-Envelope-Id"] == "E+77"
    assert report.status["Reporting-MTA"] != "dns; relay.test"
    [fields] = report.recipients.values()
    assert fields["Action"] in ("delivered", "relayed") and fields["Original-Recipient"].replace(" ", "") == "rfc822;first@old.test"
    settle(r)
    assert not r.events("dsn_queued") and len(receiver.imap(sender)) == 1


@pytest.mark.long
def test_delay_is_told_once(relay, sink):
    """94: nobody hears that mail is late, or hears it at each attempt; who does not want to hear it does."""
    s = sink("--defer", "*@slow.test")
    r = relay(destinations=smarthost(s), delivery='retry = { "1s" }  delay-warning = "2s"')
    id = submit(r, mail.message(), {"a@slow.test": "", "b@slow.test": "NOTIFY=FAILURE", "c@slow.test": "NOTIFY=DELAY",
                                    "d@slow.test": "NOTIFY=NEVER"}, "ENVID=late RET=FULL")
    [report] = wait_reports(s, 1)
    assert report.actions() == {"a@slow.test": ("delayed", "4.2.0"), "c@slow.test": ("delayed", "4.2.0")}
    assert report.recipients["a@slow.test"]["Will-Retry-Until"] and report.status["Original-Envelope-Id"] == "late"
    assert report.original_type == "text/rfc822-headers" and report.top["Subject"] == "Delayed mail"
    assert r.wait_event("dsn_queued", queue_id=id)["dsn_kind"] == "delayed"
    attempts = max(e["attempt"] for e in r.events("deferred", queue_id=id))
    r.restart()
    until(lambda: max(e["attempt"] for e in r.events("deferred", queue_id=id)) > attempts + 2, 30)
    assert len(reports(s)) == 1, "it is told again"
    s.stop()
    s.start(options=[])
    assert {e["event"] for e in r.wait_final(id, 4)} == {"delivered"}
    settle(r)
    assert len(reports(s)) == 1
    r.write(delivery='retry = { "1s" }  delay-warning = "0s"')
    r.cli("reload")
    s.stop()
    s.start(options=["--defer", "*@slow.test"])
    id = submit(r, mail.message(), {"a@slow.test": ""})
    until(lambda: len(r.events("deferred", queue_id=id)) > 4, 30)
    assert len(reports(s)) == 1
    r.cli("queue", "remove", id, "--yes")


def test_deadline_returns(relay, sink):
    """Mail that is worthless after its deadline goes on being tried, or its sender is told with the wrong cause (RFC 2852)."""
    s = sink("--defer", "*@slow.test")
    r = relay(destinations=smarthost(s), delivery='retry = { "10m" }')
    for turn in range(1, 4):  # until the machine was quick enough for an attempt before the deadline
        id = submit(r, mail.message(), {"a@slow.test": ""}, "BY=4;R")
        [end] = r.wait_final(id)
        [accepted] = r.events("accepted", queue_id=id)
        assert end["event"] == "expired" and end["time"] >= accepted["expires"]
        if r.events("deferred", queue_id=id):
            break
    assert end["attempt"] == 2 and len(r.events("deferred", queue_id=id)) == 1, "the last attempt is at the deadline"
    assert seconds(accepted["expires"]) - seconds(accepted["queued_time"]) <= 4.1
    report = wait_reports(s, turn)[-1]
    assert report.actions() == {"a@slow.test": ("failed", "5.4.7")}
    assert report.recipients["a@slow.test"]["Diagnostic-Code"].startswith("smtp; 450 4.2.0")
    assert accepted["deadline"] >= accepted["expires"][:19]
    settle(r, 0)


def test_deadline_notifies(relay, sink):
    """Its sender wants to know at the deadline whether it has arrived; trying goes on."""
    s = sink("--defer", "*@slow.test")
    r = relay(destinations=smarthost(s), delivery='retry = { "10m" }')
    id = submit(r, mail.message(), {"a@slow.test": "NOTIFY=FAILURE", "b@slow.test": "NOTIFY=NEVER"}, "BY=3;N")
    [report] = wait_reports(s, 1)
    assert report.actions() == {"a@slow.test": ("delayed", "4.4.7")}
    assert not r.events(queue_id=id, final=True) and len(r.queue("--state", "waiting")) == 2
    s.stop()
    s.start(options=[])
    r.cli("queue", "retry", id, "--yes")
    assert {e["event"] for e in r.wait_final(id, 2)} == {"delivered"}
    # The receiver does not know DELIVERBY: that the deadline ends here is told, too.
    assert wait_reports(s, 2)[1].actions() == {"a@slow.test": ("relayed", "2.0.0")}


def test_trace_is_told_at_each_hand_over(relay, sink):
    """BY=...T: the sender is not told of a hand-over, or is although he did not ask; NEVER does not mute it."""
    s, home = sink("--offer", "PIPELINING,8BITMIME,DSN,DELIVERBY"), sink()
    r = relay(destinations=smarthost(s, "far", "far.test") + smarthost(home))
    id = submit(r, mail.message(), {"a@far.test": "", "b@far.test": "NOTIFY=NEVER"}, "BY=600;NT")
    assert {e["event"] for e in r.wait_final(id, 2)} == {"delivered"}
    [report] = wait_reports(home, 1)
    assert report.actions() == {"a@far.test": ("relayed", "2.0.0")}
    id = submit(r, mail.message(), {"a@far.test": ""}, "BY=600;N")
    r.wait_final(id)
    settle(r)
    assert len(reports(home)) == 1


def test_release_time(relay, sink):
    """RFC 4865: mail goes before its time, or never; a restart, an impatient operator or a full retry lets it out."""
    s = sink()
    r = relay(destinations=smarthost(s))
    later = submit(r, mail.message(), {"b@x.test": ""}, "HOLDFOR=3600")
    id = submit(r, mail.message(), {"a@x.test": ""}, "HOLDFOR=3")
    release = r.wait_event("accepted", queue_id=id)["release"]
    assert release > r.events("accepted", queue_id=id)[0]["queued_time"]
    assert [row["state"] for row in r.queue("--id", later)] == ["waiting"]
    r.restart()
    done = r.cli("queue", "retry", later, "--yes", "--json", code=None).rows[-1]
    assert (done["matched"], done["changed"], done["skipped"]) == (1, 0, 1)
    r.cli("queue", "retry", "--all", "--yes", code=None)
    assert r.wait_final(id)[0]["time"] >= release
    time.sleep(0.5)
    assert len(s.files()) == 1 and not r.events(queue_id=later, final=True)
    assert later in r.cli("queue", "show", later).out and "release" in r.cli("queue", "show", later).out
    done = r.rows("queue", "release", later, "--yes")[-1]
    assert done["changed"] == 1
    r.wait_final(later)
    assert len(r.events("released", queue_id=later)) == 1 and len(s.files()) == 2


def test_priority(relay, sink):
    """RFC 6710: what is urgent is asked for and then waits behind everybody's newsletter."""
    s = sink()
    r = relay(destinations=smarthost(s, "one", "*", "connections = 1"))
    r.cli("destination", "suspend", "one")
    asked = {submit(r, mail.message(), {"a@x.test": ""}, f"MT-PRIORITY={n}" if n else ""): n for n in (-9, -9, 0, 0, 9)}
    until(lambda: sum(row.get("ready", 0) for row in r.rows("destination", "list")) == 5, why=lambda: r.rows("destination", "list"))
    r.cli("destination", "resume", "one")
    r.wait_event("delivered", n=5)
    order = [asked[e["queue_id"]] for e in r.events("delivered")]
    assert order[0] == 9 and order.index(0) < order.index(-9) and sorted(order) == [-9, -9, 0, 0, 9], order


def test_tags(relay, sink):
    """An application cannot find its own mail again in queue and log; or the field stays in the mail."""
    s = sink("--defer", "*@slow.test")
    r = relay(destinations=smarthost(s))
    tagged = mail.message(headers=b"X-Postwain-Tag: campaign=spring\r\nX-Postwain-Tag: run=7\r\n")
    id = submit(r, tagged, {"a@slow.test": "", "b@x.test": ""}, "MT-PRIORITY=5")
    other = submit(r, mail.message(), {"c@slow.test": ""})
    r.wait_event("delivered", queue_id=id)
    until(lambda: r.events("deferred", queue_id=id) and r.events("deferred", queue_id=other), 20)
    for e in r.events(queue_id=id):
        assert e["tags"] == {"campaign": "spring", "run": "7"}, e
    assert not any("tags" in e for e in r.events(queue_id=other))
    assert all(e["priority"] == 5 for e in r.events("accepted", queue_id=id))
    assert [row["queue_id"] for row in r.queue("--tag", "campaign=s*")] == [id]
    assert r.queue("--tag", "campaign=x") == []
    log = r.cli("log", "--tag", "run=7", "--event", "accepted", "--json").out.splitlines()
    assert [json.loads(line)["recipient"] for line in log] == ["a@slow.test", "b@x.test"]
    assert "campaign=spring" in r.cli("queue", "show", id).out
    r.cli("queue", "remove", "--tag", "run=7", "--yes")
    assert [row["queue_id"] for row in r.queue()] == [other]
    r.cli("queue", "remove", "--all", "--yes")


def test_a_delay_that_was_told_elsewhere(relay, sink, tmp_path):
    """After a queue has moved, each sender hears a second time that his mail is late. (Checklist 94.)"""
    slow = 'retry = { "1s" }  delay-warning = "1s"'
    s = sink("--defer", "*@slow.test")
    r = relay(destinations=smarthost(s), delivery=slow)
    id = submit(r, mail.message(), {"a@slow.test": ""}, "ENVID=told")
    wait_reports(s, 1)
    r.cli("queue", "export", tmp_path / "queue")
    r.cli("queue", "remove", "--all", "--yes")
    assert json.loads((tmp_path / "queue" / f"{id}.json").read_text())["delay_told"] is True
    there = sink("--defer", "*@slow.test")
    new = relay(destinations=smarthost(there), delivery=slow)
    moved = new.rows("queue", "import", tmp_path / "queue")[0]["queue_id"]
    submit(new, mail.message(), {"b@slow.test": ""}, "ENVID=fresh")
    [report] = wait_reports(there, 1)
    new.restart()
    begun = max(e["attempt"] for e in new.events("deferred", queue_id=moved))
    until(lambda: max(e["attempt"] for e in new.events("deferred", queue_id=moved)) > begun + 1, 30)
    assert len(reports(there)) == 1 and report.status["Original-Envelope-Id"] == "fresh"
    new.cli("queue", "remove", "--all", "--yes")


def test_a_queue_that_moves(relay, sink, tmp_path):
    """On the other host mail goes before its time, or its sender hears of nothing, or of the wrong things."""
    dead = sink(start=False)
    r = relay(destinations=smarthost(dead), delivery='retry = { "1h" }')
    raw = mail.message(headers=b"X-Postwain-Tag: run=9\r\n")
    id = submit(r, raw, {"a@gone.test": "NOTIFY=FAILURE,DELAY ORCPT=rfc822;o+2B@x.test", "b@gone.test": "NOTIFY=NEVER"},
                "HOLDFOR=5 RET=HDRS ENVID=E9 MT-PRIORITY=-3")
    r.cli("queue", "export", tmp_path / "queue")
    r.cli("queue", "remove", "--all", "--yes")
    e = json.loads((tmp_path / "queue" / f"{id}.json").read_text())
    assert (e["ret"], e["envid"], e["priority"], e["tags"]) == ("HDRS", "E9", -3, {"run": "9"}) and e["release"]
    assert {x["recipient"]: (x.get("notify"), x.get("orcpt")) for x in e["recipients"]} == {
        "a@gone.test": ("FAILURE,DELAY", "rfc822;o+@x.test"), "b@gone.test": ("NEVER", None)}
    s = sink("--refuse", "*@gone.test")
    new = relay(destinations=smarthost(s))
    there = new.rows("queue", "import", tmp_path / "queue")[0]["queue_id"]
    accepted = new.wait_event("accepted", queue_id=there, n=2)
    assert accepted["release"] == e["release"] and accepted["priority"] == -3 and accepted["tags"] == {"run": "9"}
    ends = new.wait_final(there, 2)
    assert all(end["time"] >= e["release"] for end in ends)
    [report] = wait_reports(s, 1)
    assert report.actions() == {"a@gone.test": ("failed", "5.1.1")} and report.original_type == "text/rfc822-headers"
    assert report.status["Original-Envelope-Id"] == "E9"
    settle(new)
    assert len(reports(s)) == 1
    # The report is found by the message's tags.
    queued = new.wait_event("dsn_queued", queue_id=there)
    assert all(x["tags"] == {"run": "9"} for x in [queued] + new.events(queue_id=queued["dsn_id"]))


def test_route(relay, sink, tmp_path):
    """Mail that names its destination takes another one; or is stuck when that is gone from the configuration."""
    one, other = sink(), sink()
    r = relay(destinations=smarthost(other, "other", "nobody.test") + smarthost(one, "one"))
    folder = tmp_path / "queue"
    folder.mkdir()
    ids = {}
    for n, route in enumerate(["other", "none any more"]):
        raw = mail.message()
        id = f"0D3S80XJ8000{n}"
        (folder / f"{id}.eml").write_bytes(raw)
        (folder / f"{id}.json").write_text(json.dumps({"v": 1, "queue_id": id, "sender": SENDER, "size": len(raw), "route": route,
                                                       "expires": "2099-01-01T00:00:00Z", "recipients": [{"recipient": f"r{n}@x.test"}]}))
    for row in r.rows("queue", "import", folder)[:-1]:
        [end] = r.wait_final(row["queue_id"])
        ids[row["was"]] = end["destination"]
    assert list(ids.values()) == ["other", "one"]
    assert len(other.files()) == len(one.files()) == 1
    assert "route_unknown" in r.process.errors()


@pytest.mark.parametrize("sender", [SENDER, "änne@sender.test"])
def test_international(relay, sink, sender):
    """95: a report on an address past ASCII that nothing can read; or one in UTF-8 for a sender who did not ask for that."""
    s = sink("--refuse", "*@gone.test")
    r = relay(destinations=smarthost(s))
    session = r.smtp()
    session.command_encoding = "utf-8"
    for command in (f"MAIL FROM:<{sender}> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<jürgen@gone.test>", "RCPT TO:<plain@gone.test>"):
        code, text = session.docmd(command)
        assert code == 250, (command, text)
    code, text = session.data(mail.message("Grüße\r\n".encode()))
    assert code == 250
    session.quit()
    r.wait_final(queue_id(text.decode()), 2)
    [report] = wait_reports(s, 1)
    assert report.status_type == "message/global-delivery-status" and report.original_type == "message/global"
    kinds = {f["Final-Recipient"].split(";")[0]: address for address, f in report.recipients.items()}
    assert kinds == {"utf-8": "jürgen@gone.test", "rfc822": "plain@gone.test"}
    assert report.top["Content-Transfer-Encoding"] == "8bit" and f"\r\nTo: <{sender}>\r\n".encode() in report.raw
    settle(r, 0)


def test_international_to_an_old_host(relay, sink):
    """95: who wrote to an address past ASCII from one in ASCII is not told, because his own host has no SMTPUTF8."""
    s = sink("--refuse", "*@gone.test")
    with Peer(["8BITMIME"]) as old:
        r = relay(destinations=smarthost(s, domains="gone.test") + smarthost(old, "old"))
        session = r.smtp()
        session.command_encoding = "utf-8"
        for command in (f"MAIL FROM:<{SENDER}> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<j\u00fcrgen@gone.test>"):
            code, text = session.docmd(command)
            assert code == 250, (command, text)
        assert session.data(mail.message())[0] == 250
        session.quit()
        [t] = old.wait(1)
        assert t.mail.upper().startswith("MAIL FROM:<>") and "SMTPUTF8" not in t.mail.upper()
        report = Report(b"Return-Path: <>\r\n" + t.content)
        assert report.status_type == "message/global-delivery-status"
        assert list(report.recipients) == ["j\u00fcrgen@gone.test"]
        assert report.raw.split(b"\r\n\r\n")[0].isascii()
