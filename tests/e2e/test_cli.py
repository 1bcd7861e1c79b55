"""The command line against a real daemon: what operators and their scripts rely on."""
import os
import re
import shutil
import signal
import smtplib
import ssl
import subprocess

import pytest

from kit import mail
from kit.relay import ENVIRONMENT, PASSWORD, POSTWAIN, REPORT, queue_id, run_postwain, smarthost
from kit.wait import Process, free_port, until


@pytest.fixture
def waiting(relay, sink):
    """A relay with six messages in its queue, to a receiver that says "later": (relay, sink, ids)."""
    s = sink("--defer", "*")
    r = relay(destinations=smarthost(s), delivery='retry = { "1h" }', users=("app", "shop"))
    ids = []
    for user, sender, recipient, size in (("app", "ann@a.test", "one@x.test", 10), ("app", "ann@a.test", "two@x.test", 10),
                                          ("app", "ben@b.test", "three@y.test", 10), ("shop", "ben@b.test", "four@y.test", 10),
                                          ("shop", "cat@c.test", "five@sub.x.test", 50000), ("shop", "", "six@z.test", 10)):
        ids.append(r.send(mail.message(b"x" * 70 + b"\r\n" * (size // 2), sender or "none@a.test", recipient), sender, recipient, user=user))
    until(lambda: len(r.queue("--state", "waiting")) == 6, 20, r.queue)
    return r, s, ids


def login(relay, user, password):
    try:
        relay.smtp(user=user, password=password).quit()
        return True
    except smtplib.SMTPAuthenticationError as refused:
        assert refused.smtp_code == 535
        return False


@pytest.mark.long
def test_user_is_live_at_once(relay):
    """After `user add` the application cannot log in, or after `user remove` it still can, until somebody reloads."""
    r = relay(users=())
    assert not login(r, "shop", "first")
    r.user_add("shop", "first")
    assert login(r, "shop", "first") and not login(r, "shop", "First")
    r.cli("user", "password", "shop", "--password-stdin", stdin=b"second\n")
    assert not login(r, "shop", "first") and login(r, "shop", "second")
    r.user_add("other", "third", "--from", "*@other.test")
    assert [u["user"] for u in r.rows("user", "list")] == ["shop", "other"]
    r.cli("user", "remove", "shop")
    assert not login(r, "shop", "second") and login(r, "other", "third")
    r.cli("user", "add", "other", "--password-stdin", stdin=b"again", code=1)
    r.cli("user", "remove", "nobody", code=1)
    assert login(r, "other", "third")
    text = r.users_file.read_text()
    assert "second" not in text and "third" not in text and "$y$" in text


def test_made_password_is_shown_once_and_works(relay):
    """The password that `user add` prints is not the one that is taken."""
    r = relay(users=())
    out = r.cli("user", "add", "shop").out
    password = re.search(r"^\s*password\s+(\S+)$", out, re.M).group(1)
    assert str(r.submission) in out and "STARTTLS" in out
    assert len(password) >= 20 and login(r, "shop", password)
    assert password not in r.cli("user", "list").out + r.users_file.read_text()


FILTERS = [
    (["--to", "*@x.test"], {0, 1}),
    (["--to", "*x.test"], {0, 1, 4}),
    (["--from", "ben@*"], {2, 3}),
    (["--from", "ben@*", "--to", "three@*"], {2}),
    (["--user", "shop"], {3, 4, 5}),
    (["--destination", "sink"], {0, 1, 2, 3, 4, 5}),
    (["--destination", "other"], set()),
    (["--state", "waiting"], {0, 1, 2, 3, 4, 5}),
    (["--state", "held"], set()),
    (["--older-than", "1h"], set()),
    (["--newer-than", "1h"], {0, 1, 2, 3, 4, 5}),
    (["--attempts-ge", "1"], {0, 1, 2, 3, 4, 5}),
    (["--attempts-ge", "2"], set()),
    (["--size-ge", "20K"], {4}),
    (["--code", "5xx"], set()),
]


def test_queue_list_and_filters(waiting):
    """A filter shows too little or too much; what is shown is what `retry` and `remove` act on."""
    r, _, ids = waiting
    everything = {row["queue_id"]: row for row in r.queue()}
    assert set(everything) == set(ids)
    row = everything[ids[0]]
    assert (row["sender"], row["recipient"], row["attempt"]) == ("ann@a.test", "one@x.test", 1)
    for filters, expected in FILTERS:
        done = r.cli("queue", "list", *filters, "--json", code=0 if expected else 1)
        assert {q["queue_id"] for q in done.rows} == {ids[i] for i in expected}, filters
    for id in ids:
        assert [q["queue_id"] for q in r.queue("--id", id)] == [id]
    assert r.cli("queue", "list", "--count").out.strip() == "6"
    table = r.cli("queue", "list").out
    assert all(id in table for id in ids)
    assert r.cli("queue", "list", "--to", "nobody@*", code=1).out.strip() in ("", table.splitlines()[0].strip())


def test_queue_list_in_pages(waiting):
    """Walking through a long queue page by page skips messages or shows them twice."""
    r, _, ids = waiting
    seen, after = [], []
    for _ in range(10):
        done = r.cli("queue", "list", "--limit", "2", *after, "--json", code=None)
        seen += [q["queue_id"] for q in done.rows]
        more = re.search(r"--after (\S+)", done.err)
        if not more:
            break
        after = ["--after", more.group(1)]
    assert sorted(seen) == sorted(ids)


def test_queue_list_ends_with_its_reader(waiting):
    """`queue list | head -1` on a large queue goes on for all of it, and keeps the daemon busy for nobody."""
    r, _, _ = waiting
    read, write = os.pipe()
    p = subprocess.Popen([POSTWAIN, "queue", "list", "--json", "-c", r.conf], stdout=write, env={**os.environ, **ENVIRONMENT})
    os.close(read)
    os.close(write)
    assert p.wait(30) == -signal.SIGPIPE


def test_log_ends_with_its_reader(waiting):
    """`log -f | head -1` goes on for ever on a log to which nothing comes any more; or a reader that goes leaves the log's files worse."""
    r, _, _ = waiting
    read, write = os.pipe()
    p = subprocess.Popen([POSTWAIN, "log", "-f", "--json", "--since-seq", "0", "-c", r.conf], stdout=write, env={**os.environ, **ENVIRONMENT})
    os.close(write)
    with open(read) as lines:
        assert '"event":"accepted"' in next(line for line in lines if '"event":"accepted"' in line)
    assert p.wait(30) in (0, -signal.SIGPIPE)


def test_output_that_cannot_be_written(waiting):
    """A script takes half of a listing, cut by a full disk, for all of it."""
    r, _, ids = waiting
    for verb in (["status"], ["queue", "list", "--json"], ["queue", "list"], ["queue", "show", ids[4]], ["queue", "cat", ids[4]], ["log", "--json"], ["log", "-f", "--json", "--since-seq", "0"],
                 ["user", "list"], ["destination", "list", "--json"], ["explain", ids[0]], ["completion", "zsh"], ["help", "--mdoc", "postwain-queue.1"]):
        with open("/dev/full", "wb") as full:
            p = subprocess.run([POSTWAIN, *verb, "-c", r.conf], stdout=full, stderr=subprocess.PIPE, env={**os.environ, **ENVIRONMENT}, text=True, timeout=120)
        assert p.returncode == 5 and "standard output could not be written whole" in p.stderr, (verb, p)


def test_queue_list_sorted(waiting):
    """Sorted, the wrong messages come first, or some are left out."""
    r, _, ids = waiting
    by_id = [q["queue_id"] for q in r.queue()]
    assert [q["queue_id"] for q in r.cli("queue", "list", "--sort", "age", "--json").rows] == by_id
    sizes = [q["size"] for q in r.cli("queue", "list", "--sort", "size", "--json").rows]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 50000 and len(sizes) == 6
    due = [q["next_attempt"] for q in r.cli("queue", "list", "--sort", "due", "--limit", "4", "--json").rows]
    assert due == sorted(q["next_attempt"] for q in r.queue())[:4]
    r.cli("queue", "list", "--sort", "due", "--limit", "10001", code=2)
    r.cli("queue", "list", "--sort", "due", "--after", by_id[0] + ".0", code=2)


def test_queue_list_while_mail_moves(waiting):
    """While mail comes and goes a listing loses rows, repeats them, or does not end."""
    r, _, ids = waiting
    stay = set(ids)
    with r.smtp() as session:
        more = [r.submit(session, mail.message(), "ann@a.test", ["late@x.test"]) for _ in range(60)]
        until(lambda: len(r.queue("--state", "waiting")) == 66, 20)
        for turn in range(12):
            r.cli("queue", "remove", more[turn * 5], "--yes")
            more.append(r.submit(session, mail.message(), "ann@a.test", ["late@x.test"]))
            seen = [q["queue_id"] for q in r.cli("queue", "list", "--json").rows]
            assert len(seen) == len(set(seen)) and stay <= set(seen)
    until(lambda: r.rows("queue")[-1]["active"] == 0, 20)
    listed = len(r.queue())
    summary = r.rows("queue")[-1]
    assert int(r.cli("queue", "list", "--count").out) == listed == summary["recipients"] == 6 + 60 + 12 - 12
    assert sum(summary["age"].values()) == summary["messages"] == listed
    assert sum(e["count"] for e in summary["errors"]) == listed
    dry = r.cli("queue", "remove", "--all", "--dry-run", "--json").rows
    assert dry[-1]["matched"] == listed and len(dry) == 11 and len(r.queue()) == listed


def test_queue_summary_and_status(waiting):
    """The two screens that one looks at first say what is not so."""
    r, _, ids = waiting
    summary = r.rows("queue")[-1]
    assert (summary["messages"], summary["recipients"], summary["waiting"], summary["held"]) == (6, 6, 6, 0)
    status = r.rows("status")[-1]
    assert status["messages"] == 6 and status["accepted_total"] == 6
    for verb in (["queue"], ["status"]):
        text = r.cli(*verb).out
        assert "6 messages" in text and "sink" in text
        assert all(len(line) < 400 for line in text.splitlines())


def test_queue_show_and_cat(waiting):
    """One cannot see why a message waits, or what it says."""
    r, _, ids = waiting
    text = r.cli("queue", "show", ids[2]).out
    assert "three@y.test" in text and "ben@b.test" in text
    rows = r.rows("queue", "show", ids[2])
    assert rows[-1]["queue_id"] == ids[2]
    cat = r.cli("queue", "cat", ids[4]).out
    assert cat.startswith("Received: ") and "To: <five@sub.x.test>" in cat and len(cat) > 50000
    head = r.cli("queue", "cat", ids[4], "--headers").out
    assert "To: <five@sub.x.test>" in head and len(head) < 2000
    for verb in ("show", "cat"):
        r.cli("queue", verb, "0000000000001", code=1)
        r.cli("queue", verb, "not an id!", code=2)
        r.cli("queue", verb, code=2)


def test_queue_cat_large(relay, sink):
    """A message with an attachment cannot be looked at."""
    s = sink(start=False)
    r = relay(destinations=smarthost(s), delivery='retry = { "1h" }')
    raw = mail.message(b"".join(b"line %06d of a large message\r\n" % i for i in range(60000)))
    id = r.send(raw)
    assert r.cli("queue", "cat", id).out.encode().replace(b"\n", b"\r\n").replace(b"\r\r", b"\r").endswith(raw)


def test_queue_acts(waiting):
    """An operator's act changes more than was asked for, or says that it did what it did not."""
    r, s, ids = waiting
    r.cli("queue", "retry", code=2)  # no filter is an error
    r.cli("queue", "remove", "--all", "--to", "*", code=2)
    done = r.cli("queue", "remove", "--to", "*@x.test", "--dry-run")
    assert "2" in done.out and len(r.queue()) == 6
    done = r.cli("queue", "remove", "--to", "*@x.test", "--expect", "3", "--yes", code=6)
    assert "2 " in done.err and len(r.queue()) == 6
    r.cli("queue", "remove", "--to", "nobody@*", "--yes", code=1)
    answer = r.rows("queue", "remove", "--to", "*@x.test", "--expect", "2", "--yes", "--reason", "test of removal")[-1]
    assert (answer["matched"], answer["changed"], answer["failed"]) == (2, 2, 0)
    assert {q["queue_id"] for q in r.queue()} == set(ids[2:])
    for id in ids[:2]:
        [event] = r.wait_final(id)
        assert event["event"] == "cancelled" and event["reason"] == "test of removal"
    assert not r.events("dsn_queued")
    s.stop()
    s.start([])
    answer = r.rows("queue", "retry", ids[2], ids[3], "--yes")[-1]
    assert (answer["matched"], answer["changed"]) == (2, 2)
    for id in ids[2:4]:
        assert r.wait_final(id)[0]["event"] == "delivered"
    r.cli("queue", "retry", "--all", "--yes", code=None)
    r.wait_queue_empty()
    assert {r.wait_final(id)[0]["event"] for id in ids[4:]} == {"delivered"}
    assert len(s.wait(4)) == 4
    assert "empty" in r.cli("queue").out


def test_hold_and_release(waiting):
    """Held mail is sent all the same, or is forgotten when it is released."""
    r, s, ids = waiting
    r.cli("queue", "hold", "--user", "shop", "--yes")
    assert {q["queue_id"] for q in r.queue("--state", "held")} == set(ids[3:])
    r.restart()
    assert {q["queue_id"] for q in r.queue("--state", "held")} == set(ids[3:])
    s.stop()
    s.start([])
    r.cli("queue", "retry", "--all", "--yes", code=None)
    for id in ids[:3]:
        r.wait_final(id)
    assert len(s.wait(3)) == 3 and {q["queue_id"] for q in r.queue()} == set(ids[3:])
    r.cli("queue", "release", "--all", "--yes")
    for id in ids[3:]:
        assert r.wait_final(id)[0]["event"] == "delivered"


def test_ids_from_standard_input(waiting):
    """A script that picks messages itself cannot act on them."""
    r, _, ids = waiting
    r.cli("queue", "remove", "--ids-from", "-", "--yes", stdin="\n".join(ids[1:3]).encode() + b"\n")
    assert {q["queue_id"] for q in r.queue()} == {ids[0], *ids[3:]}


def test_log_verb(waiting):
    """The story of one message cannot be read."""
    r, _, ids = waiting
    events = [e["event"] for e in r.rows("log", "--id", ids[0])]
    assert events[0] == "accepted" and "deferred" in events
    text = r.cli("log", "--id", ids[0]).out
    assert "one@x.test" in text and "two@x.test" not in text
    last = max(e["seq"] for e in r.log() if "seq" in e)
    assert all(e["seq"] > last - 3 for e in r.rows("log", "--since-seq", str(last - 3)))


def test_not_running(relay):
    """A script cannot tell "nothing matched" from "there is no daemon"."""
    r = relay(start=False)
    for verb in (["status"], ["queue"], ["queue", "list"], ["queue", "retry", "--all", "--yes"], ["reload"], ["stop"]):
        done = r.cli(*verb, code=3)
        assert done.err.startswith("postwain:") and str(r.dir / "control.sock") in done.err


def test_usage(postwain):
    """Help is missing, or longer than a screen; a typing error does something else."""
    help = postwain("--help")
    assert help.code == 0 and len(help.out.splitlines()) <= 50
    for verb in ("init", "serve", "check", "user", "status", "queue", "log", "reload", "stop", "sink"):
        assert verb in help.out
        done = postwain(verb, "--help")
        assert done.code == 0 and "usage: postwain " + verb in done.out and len(done.out.splitlines()) <= 40, verb
    for wrong in (["no-such-verb"], ["queue", "no-such-verb"], ["status", "--no-such-option"], ["serve", "--no-such-option"]):
        done = postwain(*wrong)
        assert done.code == 2 and done.err and not done.out, wrong


def test_reload_takes_a_new_configuration(relay, sink):
    """After a reload the relay still does what the old file said, or drops its clients."""
    first, second = sink(), sink()
    r = relay(destinations=smarthost(first))
    session = r.smtp()
    r.wait_final(r.submit(session, mail.message(), "ann@sender.test", "bob@one.test"))
    r.write(destinations=smarthost(second))
    r.cli("reload")
    r.wait_event("config_reloaded")
    id = r.submit(session, mail.message(), "ann@sender.test", "bob@two.test")
    session.quit()
    assert r.wait_final(id)[0]["event"] == "delivered"
    assert len(second.wait(1)) == 1 and len(first.files()) == 1


BROKEN = {
    "unknown key": ('top', 'no-such-key = "x"', 3),
    "wrong unit": ('top', 'threads = "many"', 3),
    "bad duration": ('delivery', 'lifetime = "soon"', None),
    "bad address": ('destinations', 'destination "x" { domains = { "*" } relay = { "[1.2.3.4.5]:25" } }', None),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file(case, relay, sink):
    """A typing error in the file takes a running relay down, or half of it is taken."""
    piece, text, line = BROKEN[case]
    s = sink()
    r = relay(destinations=smarthost(s))
    r.write(**{piece: text})
    where = re.compile(re.escape(str(r.conf)) + (f":{line}: " if line else r":\d+: "))
    for verb in ("check", "reload"):
        done = r.cli(verb, code=1)
        assert where.search(done.err), done.err
    r.reload()  # by signal
    until(lambda: "reload_refused" in r.process.errors(), 10)
    assert r.wait_final(r.send(mail.message()))[0]["event"] == "delivered"  # the old one is still in force
    r.stop()
    with pytest.raises(AssertionError, match=str(r.conf)):
        r.start()


def test_check_misses_the_authorities(relay, sink, monkeypatch, tmp_path):
    """A destination that verifies receivers has nothing to verify them with: all its mail waits until it expires."""
    r = relay(start=False, destinations=smarthost(sink(start=False), extra='tls = "verify"'))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    done = r.cli("check", code=1)
    assert re.search(r"postwain\.conf:\d+: tls: no receiver's certificate can be verified: .*none\.pem", done.err), done.err
    monkeypatch.setenv("SSL_CERT_FILE", str(r.certificate.pem))
    r.cli("check")


def test_check_on_what_the_file_names(relay, tmp_path):
    """A key that is missing or does not fit is found by the first client instead of by `check`."""
    r = relay(start=False)
    r.cli("check")
    key = tmp_path / "other.key"
    shutil.copy(r.certificate.pem, key)
    text = r.conf.read_text()
    for old, new in ((str(r.certificate.key), str(tmp_path / "missing.pem")), (str(r.certificate.key), str(key)),
                     (f"{r.dir}/users", f"{tmp_path}/no-users"), ('tls = "starttls"', 'tls = "none" auth = "none" trust = { "0.0.0.0/0" }')):
        r.conf.write_text(text.replace(old, new, 1))
        done = r.cli("check", code=1)
        assert str(r.conf) in done.err or new in done.err, done.err
    r.conf.write_text(text)
    r.users_file.write_text("not a line of a users file\n")
    assert f"{r.users_file}:1" in r.cli("check", code=1).err


def test_stop(relay, sink):
    """`stop` kills what is under way."""
    s = sink()
    r = relay(destinations=smarthost(s))
    id = r.send(mail.message())
    r.wait_final(id)
    r.cli("stop")
    assert r.process.wait() == 0
    r.no_reports()
    assert r.events("service_stopped")
    assert not (r.dir / "control.sock").exists()


def test_init_then_serve(postwain, tmp_path, sink):
    """The configuration that `init` makes does not work, or it writes over one that is there."""
    s = sink()
    home = tmp_path / "home"
    done = postwain("init", home)
    assert done.code == 0
    assert (home / "key.pem").stat().st_mode & 0o077 == 0
    again = postwain("init", home)
    assert again.code == 1 and "exists already" in again.err
    conf, port, tls_port = home / "postwain.conf", free_port(), free_port()
    text = conf.read_text()
    text = text.replace('"0.0.0.0:587", "[::]:587"', f'"127.0.0.1:{port}"').replace('"0.0.0.0:465", "[::]:465"', f'"127.0.0.1:{tls_port}"')
    text = re.sub(r'(?m)^hostname .*$', 'hostname = "relay.test"', text).replace('"512M"', '"1M"')
    conf.write_text(text + smarthost(s))
    assert postwain("check", "-c", conf).code == 0
    assert postwain("user", "add", "app", "--password-stdin", "-c", conf, stdin=PASSWORD.encode()).code == 0
    process = Process("fresh", tmp_path, timeout=60)
    process.start([POSTWAIN, "serve", "-c", str(conf)], env=ENVIRONMENT)
    try:
        context = ssl.create_default_context(cafile=str(home / "cert.pem"))
        context.check_hostname = False
        raw = mail.message()
        with smtplib.SMTP("127.0.0.1", port) as session:
            session.starttls(context=context)
            session.login("app", PASSWORD)
            session.mail("ann@sender.test")
            session.rcpt("bob@rcpt.test")
            code, text = session.data(raw)
        assert code == 250 and queue_id(text.decode())
        assert mail.below_trace(s.wait(1)[0]) == raw
    finally:
        code = process.stop()
    assert code == 0 and not REPORT.search(process.errors()), process.errors()


def test_serve_refuses_what_it_cannot_do(relay):
    """A second relay on the same ports, or with a file that is not there, seems to run."""
    r = relay()
    for argv, words in ((["serve", "-c", r.conf], "another postwain"), (["serve", "-c", r.dir / "missing.conf"], "missing.conf")):
        done = run_postwain(*argv)
        assert done.code == 1 and words in done.err and "ready" not in done.out
