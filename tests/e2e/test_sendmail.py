"""The doors of the Unix world: sendmail's command line as cron, mutt, git and scripts use it, mailq, and what each exit code means."""
import email
import email.header
import json
import os
import re
import shutil
import subprocess

import pytest

import clients
import proof
from kit import mail
from kit.relay import ENVIRONMENT, POSTWAIN, REPORT, smarthost
from kit.wait import free_port

NOBODY = "nobody"
CRON = b"""From: root (Cron Daemon)
To: root
Subject: Cron <root@host> /usr/local/bin/backup
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit
X-Cron-Env: <HOME=/root>

copied Gr\xc3\xbc\xc3\x9fe
.
10%\r50%\r100%
"""
LOCAL = 'listener "local" { address = { "127.0.0.1:%d" }  tls = "none"  trust = { "127.0.0.0/8" } }'


@pytest.fixture
def doors(world):
    """The program where every account may run it, under its three names."""
    folder = world / "doors"
    if not folder.exists():
        folder.mkdir(mode=0o755)
        shutil.copy(POSTWAIN, folder / "postwain")
        for name in ("sendmail", "mailq", "newaliases"):
            (folder / name).symlink_to("postwain")
    return folder


@pytest.fixture
def open_relay(relay, sink, world):
    """A relay whose configuration every account may read; its socket is root's. With a listener for this host if asked for."""
    def make(local=False, **pieces):
        s = sink()
        r = relay(start=False, destinations=smarthost(s), **pieces)
        if local:
            r.local = free_port()
            r.write(top=LOCAL % r.local)
        r.public = world / f"{r.dir.parent.name}.conf"
        r.public.write_text(r.conf.read_text())
        return r.start(), s

    return make


def run(doors, r, *argv, text=b"", name="sendmail", account=None, env=None, code=0):
    """(exit code asserted) standard output and error."""
    who = {} if account is None else {"user": account, "group": "nogroup", "extra_groups": []}
    p = subprocess.run([doors / name, *map(str, argv)], input=text, capture_output=True, timeout=60, cwd="/",
                       env={"PATH": os.environ["PATH"], "POSTWAIN_CONFIG": str(r.public if account else r.conf), **ENVIRONMENT, **(env or {})}, **who)
    out, err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")
    assert not REPORT.search(err), err
    assert p.returncode == code, (p.returncode, out, err)
    return out, err


def delivered(r, s, n=1):
    """What has arrived when n recipients have it."""
    r.wait_event("delivered", n=n)
    return s.messages()


def header(raw, name):
    found = re.search(rb"(?im)^%s: ?((?:.*\r\n(?=[ \t]))*.*)\r\n" % name.encode(), raw.split(b"\r\n\r\n")[0] + b"\r\n")
    return found and re.sub(r"\r\n[ \t]+", " ", found.group(1).decode())


def test_cron(open_relay, doors):
    """What cron writes for root reaches the postmaster: its dot is text (-i), its progress bar is one line, its From: gets a domain."""
    r, s = open_relay()
    out, err = run(doors, r, "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root", text=CRON)
    assert (out, err) == ("", "")
    [got] = delivered(r, s)
    [accepted] = r.events("accepted")
    assert (accepted["sender"], accepted["recipient"], accepted["listener"], accepted["user"]) == (
        "root@relay.test", "postmaster@relay.test", "sendmail", "root")
    assert (header(got, "From"), header(got, "To")) == ("root@relay.test (Cron Daemon)", "root@relay.test")
    assert mail.body(got) == "copied Grüße\r\n.\r\n10% 50% 100%\r\n".encode()
    assert accepted["queue_id"] in header(got, "Received") and header(got, "Date") and header(got, "Message-ID") == accepted["message_id"]


def test_recipients_of_the_header(open_relay, doors):
    """-t: To, Cc, Bcc, groups, comments, names, those of the command line too; each once, and Bcc is seen by nobody."""
    r, s = open_relay()
    text = (b"To: Bob <bob@rcpt.test>, carol@rcpt.test (Carol), us: dave@rcpt.test, bob@rcpt.test;\n"
            b"Cc: \"Smith, E\" <eve@rcpt.test>,\n\tfrank\nBcc: secret@rcpt.test\nSubject: many\n\ntext\n")
    out, _ = run(doors, r, "-t", "-v", "-f", "ann@sender.test", "-F", "Jörg \"J\" Ä", "grace@rcpt.test", text=text)
    delivered(r, s, 7)
    accepted = r.events("accepted")
    assert sorted(e["recipient"] for e in accepted) == sorted(
        [f"{name}@rcpt.test" for name in ("bob", "carol", "dave", "eve", "secret", "grace")] + ["frank@relay.test"])
    assert out == f"queued as {accepted[0]['queue_id']}\n"
    for got in s.messages():
        assert b"secret" not in mail.below_trace(got)
        assert header(got, "Cc") == "\"Smith, E\" <eve@rcpt.test>, frank@relay.test"
        assert header(got, "From").startswith("=?UTF-8?B?") and header(got, "From").endswith(" <ann@sender.test>")


def test_resent(open_relay, doors):
    """A message that is sent on: -t takes the Resent- recipients only."""
    r, s = open_relay()
    run(doors, r, "-t", text=b"Resent-To: bob@rcpt.test\nResent-From: ann@sender.test\nFrom: x@y.test\nTo: not-me@rcpt.test\n\ntext\n")
    delivered(r, s)
    assert [e["recipient"] for e in r.events("accepted")] == ["bob@rcpt.test"]


def test_without_a_header(open_relay, doors):
    """`echo text | sendmail bob@rcpt.test`: no header, no empty line, a dot that ends it, an mbox line in front."""
    r, s = open_relay()
    run(doors, r, "-f", "<>", "bob@rcpt.test", text=b"From root Thu Jan  1 00:00:00 1970\njust text\n.\nnever seen\n", env={"NAME": "Rooty \\ Root"})
    [got] = delivered(r, s)
    assert mail.body(got) == b"just text\r\n" and b"never seen" not in got
    assert header(got, "From") == '"Rooty \\\\ Root" <root@relay.test>'
    assert "sender" not in r.events("accepted")[0] or r.events("accepted")[0]["sender"] == ""


def test_long_lines_and_large_messages(open_relay, doors):
    """A program's line of 5,000 octets is no reason to lose its mail; 3 MB go through a file of the spool."""
    r, s = open_relay()
    run(doors, r, "bob@rcpt.test", text=b"Subject: long\n\n" + b"x" * 5000 + b"\nend\n")
    [got] = delivered(r, s)
    assert email.message_from_bytes(got).get_payload(decode=True).replace(b"\r\n", b"\n") == b"x" * 5000 + b"\nend\n"
    body = b"".join(b"line %d of many\n" % n for n in range(200_000))
    run(doors, r, "-i", "bob@rcpt.test", text=b"Subject: large\n\n" + body)
    delivered(r, s, 2)
    [large] = s.find("Subject: large")
    assert mail.body(large).replace(b"\r\n", b"\n") == body
    assert header(large, "Message-ID") and header(large, "Received")


def test_parameters_travel(open_relay, doors, tmp_path):
    """-N, -R, -V, -B are what MAIL and RCPT would have asked for, over either way in."""
    for local, account in ((False, None), (True, NOBODY)):
        r, s = open_relay(local, delivery='retry = { "1h" }')
        s.stop()
        out, _ = run(doors, r, "-v", "-N", "success,delay", "-R", "hdrs", "-V", "id+1=x", "-B8BITMIME", "-f", "ann@sender.test", "bob@rcpt.test",
                     text=b"Subject: x\n\n\xc3\xbc\n", account=account)
        id = out.split()[-1]
        folder = tmp_path / f"queue{local}"
        r.cli("queue", "export", folder)
        envelope = json.loads((folder / f"{id}.json").read_text())
        assert {key: envelope[key] for key in ("envid", "ret", "body", "sender")} == dict(envid="id+1=x", ret="HDRS", body="8BITMIME", sender="ann@sender.test")
        assert [rcpt["notify"] for rcpt in envelope["recipients"]] == ["SUCCESS,DELAY"]
        r.cli("queue", "remove", id, "--yes")


def test_an_ordinary_account(open_relay, doors):
    """The socket is root's; an ordinary account's mail goes through the listener that trusts this host, whole and with its queue id."""
    r, s = open_relay(local=True)
    text = b"To: bob@rcpt.test, root\nSubject: from nobody\n\n.\n..\nwords\n"
    out, _ = run(doors, r, "-t", "-i", "-v", text=text, account=NOBODY)
    delivered(r, s, 2)
    accepted = r.events("accepted")
    assert {e["recipient"] for e in accepted} == {"bob@rcpt.test", "postmaster@relay.test"}
    assert {(e["sender"], e["listener"]) for e in accepted} == {("nobody@relay.test", "local")}
    assert out == f"queued as {accepted[0]['queue_id']}\n"
    assert {mail.body(m) for m in s.messages()} == {b".\r\n..\r\nwords\r\n"}


def test_a_session_on_standard_input(open_relay, doors):
    """-bs: Pine and its like speak SMTP with the program."""
    r, s = open_relay(local=True)
    talk = b"EHLO here\r\nMAIL FROM:<ann@sender.test>\r\nRCPT TO:<bob@rcpt.test>\r\nDATA\r\nSubject: bs\r\n\r\ntext\r\n.\r\nQUIT\r\n"
    out, _ = run(doors, r, "-bs", text=talk, account=NOBODY)
    assert [line[:3] for line in out.splitlines() if line[3:4] == " "] == ["220", "250", "250", "250", "354", "250", "221"]
    assert len(delivered(r, s)) == 1


def test_mailq(open_relay, doors):
    r, s = open_relay()
    assert run(doors, r, name="mailq") == ("Mail queue is empty\n", "")
    s.stop()
    out, _ = run(doors, r, "-v", "-f", "ann@sender.test", "bob@rcpt.test", "carol@rcpt.test", text=b"Subject: waits\n\ntext\n")
    id = out.split()[-1]
    r.wait_event("deferred", n=2)
    out, _ = run(doors, r, "-bp")
    assert re.fullmatch(rf"""-Queue ID-----  --Size-- ----Arrival Time---- -Sender/Recipient-------
{id}[ *] +\d+ [A-Z][a-z][a-z] [A-Z][a-z][a-z] [0-9 ]\d \d\d:\d\d:\d\d  ann@sender.test
(    \(.*\)
)? {{46}}bob@rcpt.test
(    \(.*\)
)? {{46}}carol@rcpt.test

-- 1 Kbytes in 1 Request.
""", out), out
    s.start()
    run(doors, r, "-q")
    delivered(r, s, 2)
    r.wait_queue_empty()
    assert run(doors, r, name="mailq")[0] == "Mail queue is empty\n"


def test_newaliases_and_what_means_nothing(open_relay, doors):
    r, s = open_relay()
    assert run(doors, r, name="newaliases") == ("", "")
    assert run(doors, r, "-bi") == ("", "")
    assert run(doors, r, "-q15m") == ("", "")
    run(doors, r, "-odb", "-oem", "-om", "-n", "-G", "-m", "-U", "-O", "DeliveryMode=b", "-h5", "-L", "tag", "-X", "/dev/null", "-p", "x:y", "-d", "bob@rcpt.test", text=b"text\n")
    assert len(delivered(r, s)) == 1


CODES = [
    (64, [], b"x\n", "name the recipients"),
    (64, ["-z", "bob@rcpt.test"], b"x\n", "there is no option -z"),
    (64, ["-bd"], b"", "postwain serve"),
    (64, ["-N", "sometimes", "bob@rcpt.test"], b"x\n", "success,failure,delay"),
    (64, ["-f", "ann@", "bob@rcpt.test"], b"x\n", "the sender is no address"),
    (64, ["bob@rcpt.test", "-f", "ann@sender.test"], b"x\n", "-f: options stand in front of the recipients"),
    (64, ["bob rcpt"], b"x\n", "bob rcpt: the recipient is no address"),
    (65, ["-t"], b"Subject: x\n\nx\n", "names no recipients"),
    (65, ["-t"], b"To: Bob bob@rcpt.test\n\nx\n", "To: the field is no list of addresses"),
    (65, ["bob@rcpt.test"], b"From: a@a.test\nFrom: b@b.test\n\nx\n", "more than one From"),
    (65, ["bob@rcpt.test"], b"Received: x\n" * 60 + b"\nx\n", "going in circles"),
    (65, ["bob@rcpt.test"], b"x\n" * 1000, "larger than max-message-size"),
    (67, [f"r{n}@rcpt.test" for n in range(101)], b"x\n", "more recipients than"),
    (78, ["-C", "/nonexistent/postwain.conf", "bob@rcpt.test"], b"x\n", "-C FILE"),
]


@pytest.mark.parametrize("code, argv, text, words", CODES, ids=lambda v: str(v)[:30])
def test_exit_codes(open_relay, doors, code, argv, text, words):
    """A program that looks at the code knows whether to try again; a person who reads the words knows what to do."""
    r, s = open_relay(listener="max-recipients = 100 max-message-size = 1500")
    _, err = run(doors, r, *argv, text=text, code=code)
    assert words in err and err.startswith("sendmail: "), err
    assert not r.events("accepted") and not s.files()


def test_exit_codes_when_the_relay_does_not_take_mail(open_relay, doors):
    """75: nothing was taken, and nothing is kept here; 77: this account has no way in."""
    r, s = open_relay()
    assert "trust = " in run(doors, r, "bob@rcpt.test", text=b"x\n", account=NOBODY, code=77)[1]
    assert "may not control" in run(doors, r, "-bp", account=NOBODY, code=77)[1]
    out, err = run(doors, r, "-bs", account=NOBODY, code=69)
    assert out.startswith("421 4.3.0 ") and "trust = " in err
    r.cli("drain")
    assert "the mail was not taken" in run(doors, r, "bob@rcpt.test", text=b"x\n", code=75)[1]
    r.stop()
    assert "the relay is not running" in run(doors, r, "bob@rcpt.test", text=b"x\n", code=75)[1]
    assert "the relay is not running" in run(doors, r, "-bp", code=69)[1]
    assert "the relay is not running" in run(doors, r, "-q", code=75)[1]
    assert not s.files()


def test_exit_codes_over_smtp(open_relay, doors):
    r, s = open_relay(local=True, listener="max-recipients = 100 max-message-size = 1500")
    r.stop()
    assert "postwain serve" in run(doors, r, "bob@rcpt.test", text=b"x\n", account=NOBODY, code=75)[1]
    out, _ = run(doors, r, "-bs", account=NOBODY, code=75)
    assert out.startswith("421 4.3.2 ")
    r.start()
    assert "one From" in run(doors, r, "bob@rcpt.test", text=b"From: a@a.test\nFrom: b@b.test\n\nx\n", account=NOBODY, code=65)[1]
    assert not s.files()


@pytest.mark.parametrize("script, code", (
    ({"mail": b"550 5.7.1 not you\r\n"}, 77), ({"mail": b"530 5.7.0 log in\r\n"}, 77), ({"rcpt": b"550 5.1.1 unknown\r\n"}, 67),
    ({"rcpt": b"451 4.3.0 later\r\n"}, 75), ({"data": b"554 5.5.1 no\r\n"}, 69), ({"eod": b"552 5.3.4 too large\r\n"}, 65), ({"eod": b"452 4.3.1 full\r\n"}, 75),
    ({"banner": b"421 4.7.0 too many\r\n"}, 75), ({"banner": b"554 5.3.2 no\r\n"}, 69), ({"eod": proof.Hostile.CLOSE}, 75), ({"ehlo": b"HTTP/1.1 400\r\n"}, 75)))
def test_each_refusal_has_its_code(relay, doors, world, script, code):
    """Whatever the listener says, the caller learns whether to try again; all recipients or none."""
    with proof.Hostile(**script) as there:
        r = relay(start=False)
        r.write(top=LOCAL % there.port)
        r.public = world / f"{r.dir.parent.name}.conf"
        r.public.write_text(r.conf.read_text())
        (r.dir / "control.sock").touch(mode=0o600)
        run(doors, r, "bob@rcpt.test", "carol@rcpt.test", text=b"x\n", account=NOBODY, code=code)
        assert len(there.taken) == ("eod" in script)


@pytest.mark.parametrize("client", ("mutt", "s-nail", "git", "python", "php", "ruby"))
def test_programs_that_call_sendmail(open_relay, doors, tmp_path, client):
    """Where no SMTP is set up, programs call /usr/sbin/sendmail: their ways of calling it."""
    r, s = open_relay()
    env = {**os.environ, **ENVIRONMENT, "POSTWAIN_CONFIG": str(r.conf), "HOME": str(tmp_path), "EMAIL": "ann@sender.test"}
    text = "Grüße\n.\nend\n"
    if client == "mutt":
        rc = tmp_path / "muttrc"
        rc.write_text(f'set sendmail="{doors}/sendmail -oem -oi" from="ann@sender.test" use_envelope_from=yes copy=no charset=utf-8\n')
        argv = ["mutt", "-n", "-F", rc, "-s", "Grüße", "--", "bob@rcpt.test"]
    elif client == "git":
        job = dict(folder=str(tmp_path), filename="a.txt", text=text, subject="Grüße", sender="ann@sender.test", recipients=["bob@rcpt.test"], implicit=False,
                   port=1, ca="", user="", password="", mechanism="")
        patch = clients.git(job)[-1]
        argv = ["git", "-C", tmp_path, "send-email", f"--sendmail-cmd={doors}/postwain sendmail -i", "--from=ann@sender.test", "--to=bob@rcpt.test", "--confirm=never",
                "--suppress-cc=all", "--envelope-sender=ann@sender.test", patch]
    elif client == "s-nail":
        argv = ["s-nail", "-:/", f"-Smta={doors}/sendmail", "-Sttycharset=utf-8", "-Ssendwait", "-r", "ann@sender.test", "-s", "Grüße", "bob@rcpt.test"]
    elif client == "php":  # mail() with the -f that applications add
        argv = ["php", "-d", f"sendmail_path={doors}/sendmail -t -i", "-r",
                'exit(mail("bob@rcpt.test", "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=", stream_get_contents(STDIN), '
                '"From: ann@sender.test\r\nContent-Type: text/plain; charset=utf-8", "-fann@sender.test") ? 0 : 1);']
    elif client == "ruby":  # as the mail gem calls it
        argv = ["ruby", "-e", f"""
IO.popen(["{doors}/sendmail", "-i", "-f", "ann@sender.test", "--", "bob@rcpt.test"], "w+:binary") do |io|
  io.puts "From: ann@sender.test\nSubject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\nContent-Type: text/plain; charset=utf-8\n\n" + $stdin.binmode.read
  io.close_write
end
exit $?.exitstatus"""]
    else:  # the recipe of Python's own documentation
        argv = ["/usr/bin/python3", "-c", f"""
from email.message import EmailMessage
from subprocess import Popen, PIPE
m = EmailMessage(); m["From"], m["To"], m["Subject"] = "ann@sender.test", "bob@rcpt.test", "Grüße"
m.set_content({text!r})
p = Popen(["{doors}/sendmail", "-t", "-oi"], stdin=PIPE); p.communicate(m.as_bytes()); raise SystemExit(p.returncode)"""]
    p = subprocess.run(list(map(str, argv)), input=text.encode(), capture_output=True, timeout=60, env=env)
    assert p.returncode == 0, p.stdout + p.stderr
    [got] = delivered(r, s)
    subject = str(email.header.make_header(email.header.decode_header(header(got, "Subject"))))
    assert subject.endswith("Grüße")
    part = email.message_from_bytes(got)
    content = part.get_payload(decode=True).decode(part.get_content_charset()).replace("\r\n", "\n")
    assert ("+Grüße\n+.\n+end\n" if client == "git" else text) in content
    assert r.events("accepted")[0]["sender"] == ("root@relay.test" if client == "python" else "ann@sender.test")


def test_injected_headers_stay_text(open_relay, doors):
    """Items 21 and 22: a CR in what a program was given by its users begins no field; an address that looks like an option is an address."""
    r, s = open_relay()
    run(doors, r, "-i", "bob@rcpt.test", text=b"Subject: hello\rBcc: victim@injected.test\rX-Evil: 1\n\ntext\r.\rMAIL FROM:<evil@injected.test>\n")
    [got] = delivered(r, s)
    assert header(got, "Subject") == "hello Bcc: victim@injected.test X-Evil: 1"
    assert mail.body(got) == b"text . MAIL FROM:<evil@injected.test>\r\n"
    assert [e["recipient"] for e in r.events("accepted")] == ["bob@rcpt.test"]
    run(doors, r, "--", "-Cevil", text=b"x\n")
    r.wait_event("accepted", recipient="-Cevil@relay.test")
