"""
37: reports as others read and show them (mutt, notmuch): the grammar of RFC 3464, three parsers that nobody here wrote (Python's, Mailman's flufl.bounce, Perl's
Mail::DeliveryStatus::BounceParser), and what a mail program shows; whatever the receiver had said.
"""
import email
import email.policy
import json
import os
import pathlib
import subprocess

import flufl.bounce
import pytest

from kit import mail, rfc3464
from kit.peer import ALL, Peer
from kit.relay import Relay, smarthost
from kit.sink import Sink
from kit.terminal import Terminal
from kit.wait import until

PERL = pathlib.Path(__file__).parent / "parse_bounce.pl"

# What receivers say: (name, reply to RCPT, status in the report, what Perl's parser makes of it).
REPLIES = [
    ("plain", b"550 5.1.1 <bob@away.test>: Recipient address rejected: User unknown", "5.1.1", "user_unknown"),
    ("bare", b"550 no", "5.0.0", None),
    ("lines", b"550-5.7.1 Our system has detected that this message is\r\n550-5.7.1 likely unsolicited mail.\r\n550 5.7.1 See x", "5.7.1", None),
    ("utf8", "554 5.7.1 Empf\u00e4nger gesperrt \u2603".encode(), "5.7.1", None),
    ("latin1", "554 5.2.2 Bo\u00eete pleine".encode("latin-1"), "5.2.2", None),
    ("control", b"550 5.1.1 a\x1b[31mb\x07\tc\x7f\x00d", "5.1.1", None),
    ("fields", b"550 5.1.1 x Status: 2.0.0 Final-Recipient: rfc822; eve@evil.test", "5.1.1", None),
    ("long", b"550 5.1.1 " + b"w" * 490, "5.1.1", None),
    ("words", b"550 5.1.1 " + b"word " * 95, "5.1.1", None),
    ("mismatch", b"550 2.1.5 Recipient ok", "5.0.0", None),
    ("boundary", b"550 5.1.1 --=_ --=_", "5.1.1", None),
    ("full", b"552 5.2.2 Mailbox full", "5.2.2", "over_quota"),
]


def perl(raw):
    done = subprocess.run(["perl", str(PERL)], input=raw, capture_output=True, timeout=60)
    assert done.returncode == 0, done
    return {line.split("\t")[0]: line.split("\t")[1:] for line in done.stdout.decode().splitlines()}


def shown(raw):
    """As a mail program shows it: the text for a person in place, the rest as parts to open."""
    m = email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)
    inline = m.get_body(preferencelist=("plain",))
    return inline.get_content(), [p.get_content_type() for p in m.iter_parts()][1:]


@pytest.fixture(scope="module")
def world_of_reports(tmp_path_factory, certificate, users_line):
    """One relay, one refusal of each kind, its reports by recipient."""
    folder = tmp_path_factory.mktemp("reports")
    s = Sink(folder / "sink").start()
    with Peer(ALL, refuse={f"RCPT TO:<{name}@": reply for name, reply, *_ in REPLIES}) as p:
        r = Relay(folder / "relay", certificate, users_line,
                  destinations=smarthost(p, name="away", domains="away.test") + smarthost(s)).start()
        for name, *_ in REPLIES:
            r.send(mail.message(), "ann@sender.test", f"{name}@away.test")
        until(lambda: len(s.find("multipart/report")) == len(REPLIES), 60)
        found = {}
        for raw in s.find("multipart/report"):
            raw = mail.below_trace(raw)
            found[rfc3464.check(raw)[1][0]["Final-Recipient"].split("; ")[1]] = raw
        r.close()
        s.close()
    return found


@pytest.mark.parametrize("name, reply, status, reason", REPLIES, ids=[name for name, *_ in REPLIES])
def test_as_others_read_it(world_of_reports, name, reply, status, reason):
    """Whoever cleans his lists by reports removes nobody, somebody else, or believes that it was a success."""
    address = f"{name}@away.test"
    raw = world_of_reports[address]
    message, [recipient] = rfc3464.check(raw)
    assert recipient["Status"] == status and recipient["Action"] == "failed"
    assert recipient["Diagnostic-Code"].startswith(f"smtp; {reply[:3].decode()} ")
    assert recipient["Remote-MTA"] == "dns; 127.0.0.1" or recipient["Remote-MTA"].startswith("dns; ")
    # Python's own parser: message/delivery-status is a list of header blocks.
    top = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert not top.defects and top.get_content_type() == "multipart/report"
    blocks = top.get_payload()[1].get_payload()
    assert [b["Final-Recipient"] for b in blocks if b["Final-Recipient"]] == [f"rfc822; {address}"]
    # Mailman's.
    temporary, permanent = flufl.bounce.all_failures(email.message_from_bytes(raw))
    assert permanent == {address.encode()} and not temporary
    # Perl's.
    [(read, (read_status, read_reason))] = perl(raw).items()
    assert read == address and read_status in ("", status)
    assert reason is None or read_reason == reason
    # A person's eyes.
    text, parts = shown(raw)
    assert address in text and "could not be delivered" in text and "Please" in text
    assert reply[:3].decode() in text and parts == ["message/delivery-status", "message/rfc822"]


GERMAN = """\
[failure]
Subject: Nicht zugestellt: ${recipient} – schade

Hier ist ${hostname}. Ihre Nachricht kam nicht an bei:

  ${recipients}

Bei Fragen: ${postmaster}, ${queue_id}
[recipient]
<${address}>
  ${happened}
  Antwort von ${host}: ${answer}
  Grund: ${cause}
  ${advice}
[reason bad_mailbox]
Dieses Postfach gibt es nicht.

Bitte prüfen Sie die Schreibweise.
"""


def test_in_the_administrators_words(relay, sink, tmp_path):
    """Customers who read no English call the hotline with each bounce; a slip in the file breaks all of them, or is taken in silence."""
    words = tmp_path / "reports"
    words.write_text(GERMAN)
    reply = "550 5.1.1 Empfänger unbekannt".encode()
    s = sink()
    with Peer(ALL, refuse={"RCPT TO:<bob@": reply}) as p:
        r = relay(delivery=f'report-template = "{words}"', destinations=smarthost(p, name="away", domains="away.test") + smarthost(s))
        id = r.send(mail.message(), "ann@sender.test", "bob@away.test")
        raw = mail.below_trace(until(lambda: s.find("multipart/report"))[0])
        assert all(b < 0x80 for b in raw)  # 37: any way carries it
        message, [fields] = rfc3464.check(raw)
        assert fields["Status"] == "5.1.1" and "Empf\\x{E4}nger" in fields["Diagnostic-Code"]
        top = email.message_from_bytes(raw, policy=email.policy.default)
        assert top["Subject"] == "Nicht zugestellt: bob@away.test – schade"
        assert top.get_body().get_content_charset() == "utf-8"
        headers, parts = notmuch(tmp_path, raw)
        assert headers["Subject"] == "Nicht zugestellt: bob@away.test – schade" and "Empfänger unbekannt" in parts[0][1]
        assert top.get_body().get_content().replace("\r", "") == (
            "Hier ist relay.test. Ihre Nachricht kam nicht an bei:\n\n  <bob@away.test>\n    Dieses Postfach gibt es nicht.\n"
            "    Antwort von 127.0.0.1: 550 5.1.1 Empfänger unbekannt\n    Bitte prüfen Sie die Schreibweise.\n\n"
            f"Bei Fragen: postmaster@relay.test, {id}\n")
        # A slip is told with its line, by check and at a reload, which leaves what was there.
        words.write_text(GERMAN.replace("${answer}", "${anwser}"))
        problem = f"{words}:12: there is no variable ${{anwser}}"
        assert problem in r.cli("check", code=1).err and problem in r.cli("reload", code=1).err
        before = r.process.errors().count("anwser")
        r.reload()
        until(lambda: r.process.errors().count("anwser") > before)
        r.send(mail.message(), "carl@sender.test", "bob@away.test")
        assert "Nicht zugestellt" in email.message_from_bytes(
            until(lambda: s.find("To: <carl@sender.test>"))[0], policy=email.policy.default)["Subject"]
        words.write_text("[reason bad_mailbox]\nNo such box here.\n")
        r.cli("reload")
        r.send(mail.message(), "dora@sender.test", "bob@away.test")
        text = shown(until(lambda: s.find("To: <dora@sender.test>"))[0])[0]
        assert "This is the mail system of relay.test" in text and "No such box here." in text
        words.unlink()
        assert "report-template: " in r.cli("reload", code=1).err


# --- as mail programs show it

def filed(folder, raw):
    """A Maildir with this report in it."""
    for name in ("cur", "new", "tmp"):
        (folder / "mail" / name).mkdir(parents=True)
    (folder / "mail" / "cur" / "1:2,S").write_bytes(raw.replace(b"\r\n", b"\n"))
    return folder / "mail"


def notmuch(folder, raw):
    """The parts as notmuch (GMime) shows them: [(content type, text or what is inside)]."""
    config = folder / "notmuch"
    config.write_text(f"[database]\npath={filed(folder, raw)}\n[user]\nname=x\nprimary_email=x@y.test\n")
    env = {**os.environ, "NOTMUCH_CONFIG": str(config)}
    subprocess.run(["notmuch", "new"], env=env, check=True, capture_output=True, timeout=60)
    done = subprocess.run(["notmuch", "show", "--format=json", "*"], env=env, check=True, capture_output=True, timeout=60)
    [[[message, _]]] = json.loads(done.stdout)
    [report] = message["body"]
    assert report["content-type"] == "multipart/report"
    return message["headers"], [(p["content-type"], p.get("content")) for p in report["content"]]


def test_as_notmuch_shows_it(world_of_reports, tmp_path):
    """A person who opens the report sees fields for programs first, or an empty page."""
    headers, parts = notmuch(tmp_path, world_of_reports["plain@away.test"])
    assert headers["Subject"] == "Undelivered mail to plain@away.test"
    (first, text), (second, _), (third, original) = parts
    assert (first, second, third) == ("text/plain", "message/delivery-status", "message/rfc822")
    assert text.startswith("This is the mail system of relay.test\n") and "knows no such mailbox" in text
    [inside] = original
    assert inside["headers"]["From"] == "<ann@sender.test>" and inside["body"][0]["content-type"] == "text/plain"


def test_it_stands_beside_what_was_sent(world_of_reports, tmp_path):
    """Among hundreds of mails nobody finds out which one came back."""
    raw = world_of_reports["plain@away.test"]
    notmuch(tmp_path, raw)
    [_, _, original] = email.message_from_bytes(raw).get_payload()
    (tmp_path / "mail" / "cur" / "0:2,S").write_bytes(original.get_payload()[0].as_bytes())
    env = {**os.environ, "NOTMUCH_CONFIG": str(tmp_path / "notmuch")}
    subprocess.run(["notmuch", "new"], env=env, check=True, capture_output=True, timeout=60)
    threads = subprocess.run(["notmuch", "count", "--output=threads", "*"], env=env, check=True, capture_output=True, timeout=60)
    mails = subprocess.run(["notmuch", "count", "*"], env=env, check=True, capture_output=True, timeout=60)
    assert (mails.stdout, threads.stdout) == (b"2\n", b"1\n")


def test_as_mutt_shows_it(world_of_reports, tmp_path):
    """The same in a terminal: the words first, then what is attached."""
    terminal = Terminal(tmp_path, columns=100, lines=90)
    try:
        rc = tmp_path / "muttrc"
        rc.write_text(f"set folder={tmp_path}\nset record=\"\"\nset pager_stop=yes\nset header_cache=\"\"\nset wait_key=no\nignore *\nunignore subject from\n")
        terminal.run("env", "LC_ALL=C.UTF-8", f"HOME={tmp_path}", "TERM=screen", "mutt", "-n", "-F", rc, "-R",
                     "-f", filed(tmp_path, world_of_reports["plain@away.test"]), "-e", "push <display-message>")
        words = ("Subject: Undelivered mail to plain@away.test", "This is the mail system of relay.test", "<plain@away.test>", "User unknown",
                 "message/delivery-status", "Action: failed", "message/rfc822")
        screen = terminal.wait(*words)
        places = [screen.index(w) for w in words]
        assert places == sorted(places)
    finally:
        terminal.close()


def submit_utf8(r, sender, recipient):
    s = r.smtp()
    s.command_encoding = "utf-8"
    for line in (f"MAIL FROM:<{sender}> SMTPUTF8 BODY=8BITMIME", f"RCPT TO:<{recipient}>"):
        assert s.docmd(line)[0] == 250
    code, text = s.data(mail.message(headers="X-Name: ä\r\n".encode()))
    assert code == 250
    s.quit()


def test_senders_past_ascii_whose_host_lacks_smtputf8(relay):
    """95: whoever writes from such an address never hears of a failure, although his domain has another name, or nobody does."""
    with Peer(["8BITMIME", "SMTPUTF8"], refuse={"RCPT TO:<b": "550 5.1.1 no"}) as away, Peer(["8BITMIME"]) as home:
        r = relay(destinations=smarthost(away, name="away", domains="away.test") + smarthost(home))
        # The domain only: its ASCII form needs no SMTPUTF8.
        submit_utf8(r, "ann@m\u00fcnchen.test", "bä@away.test")
        [t] = home.wait(1)
        assert t.rcpts == ["RCPT TO:<ann@xn--mnchen-3ya.test>"] and "SMTPUTF8" not in t.mail
        head, _, body = t.content.partition(b"\r\n\r\n")
        assert all(b < 0x80 for b in head) and b"To: <ann@xn--mnchen-3ya.test>" in head
        assert b"message/global-delivery-status" in body and "Final-Recipient: utf-8; bä@away.test".encode() in body
        assert b"Content-Type: message/global\r\n" in body
        # No other name for the mailbox: a double bounce, which the postmaster's host takes.
        submit_utf8(r, "änn@home.test", "bob@away.test")
        [_, t] = home.wait(2)
        assert t.rcpts == ["RCPT TO:<postmaster@relay.test>"] and "SMTPUTF8" not in t.mail
        assert b"Subject: Undelivered report" in t.content and b"5.6.7" in t.content
        r.wait_queue_empty()
        until(lambda: len(r.events("dsn_queued")) >= 3, 20, r.log)  # told in the log behind the queue
        assert len(r.events("dsn_queued")) == 3


def test_words_of_the_peer(world_of_reports):
    """Its words cannot be recognised in the report, or break it."""
    def said(name):
        return rfc3464.check(world_of_reports[f"{name}@away.test"])[1][0]["Diagnostic-Code"]

    assert said("utf8") == "smtp; 554 5.7.1 Empf\\x{E4}nger gesperrt \\x{2603}"
    assert said("bare") == "smtp; 550 no"  # a status that it did not say is none of its words
    assert said("mismatch") == "smtp; 550 2.1.5 Recipient ok"
    assert said("latin1") == "smtp; 554 5.2.2 Bo?te pleine"
    assert "Our system has detected that this message is likely unsolicited mail. See x" in said("lines")
    assert "Final-Recipient: rfc822; eve@evil.test" in said("fields")
