"""What the relay takes is bounded: a full queue, memory, slow senders of large mail; above a mark nothing new is taken, below it again. (Promise 15.)"""
import contextlib
import os
import select
import socket

import pytest

from kit import mail
from kit.front import clients, counter_lines
from kit.relay import smarthost
from kit.wait import until
from test_abuse import slower_than

SANITIZED = b"__asan_init" in open(os.environ["POSTWAIN"], "rb").read()  # its memory is not ours


def mail_code(r):
    with contextlib.closing(r.smtp()) as s:
        code, text = s.mail("ann@sender.test")
        return code, text.decode()


@pytest.mark.long
def test_full_queue(relay, sink):
    """A receiver that is away fills the disk and the memory of the relay; or the full queue never opens again. (Promise 15.)"""
    s = sink(start=False)
    r = relay(spool='min-free = "1M"  max-messages = 20', destinations=smarthost(s), delivery='retry = { "1s" }')
    before = r.smtp()  # let in below the mark, and taken above it
    assert before.mail("ann@sender.test")[0] == 250 and before.rcpt("bob@rcpt.test")[0] == 250
    with contextlib.closing(r.smtp()) as session:
        for _ in range(20):
            r.submit(session, mail.message(), "ann@sender.test", "bob@rcpt.test")
        until(lambda: mail_code(r)[0] == 452, 10, "the mark")
        assert session.mail("ann@sender.test") == (452, b"4.3.2 The queue here is full, try again later")
    assert before.data(mail.message())[0] == 250
    before.quit()
    warnings = r.rows("status")[-1]
    assert warnings["accepting"] is False and any("spool.max-messages" in w for w in warnings["warnings"]), warnings
    assert len(counter_lines(r, "mark_passed")) == 1
    s.start()
    r.wait_queue_empty()
    until(lambda: mail_code(r)[0] == 250, 10, "accepting again", pause=0.2)
    assert len(s.wait(21)) == 21
    assert not any("max-messages" in w for w in r.rows("status")[-1]["warnings"]) and len(counter_lines(r, "mark_over")) == 1


@pytest.mark.long
def test_bounces_pass_the_mark(relay, sink):
    """A queue that is full of mail to be returned can never empty itself. (Promises 9, 15.)"""
    s = sink("--refuse", "bad*", start=False)
    r = relay(spool='min-free = "1M"  max-messages = 5', destinations=smarthost(s), delivery='retry = { "1s" }')
    with contextlib.closing(r.smtp()) as session:
        for i in range(5):
            r.submit(session, mail.message(), "ann@sender.test", f"bad{i}@rcpt.test")
    until(lambda: mail_code(r)[0] == 452, 10, "the mark")
    s.start()
    r.wait_event("bounced", n=5)
    r.wait_queue_empty()
    assert len(s.wait(5)) == 5  # the reports
    until(lambda: mail_code(r)[0] == 250, 10, "accepting again", pause=0.2)


def test_marks_follow_a_reload(relay, sink):
    """An operator in need must restart to take more mail."""
    s = sink(start=False)
    r = relay(spool='min-free = "1M"  max-messages = 2', destinations=smarthost(s), delivery='retry = { "1h" }')
    with contextlib.closing(r.smtp()) as session:
        for _ in range(2):
            r.submit(session, mail.message(), "ann@sender.test", "bob@rcpt.test")
    until(lambda: mail_code(r)[0] == 452, 10, "the mark")
    r.write(spool='min-free = "1M"  max-messages = 3')
    r.cli("reload")
    until(lambda: mail_code(r)[0] == 250, 10, "the new mark")
    r.write(spool='min-free = "1000T"  max-messages = 3')
    r.cli("reload")
    until(lambda: mail_code(r)[1].startswith("4.3.1"), 10, "the disk's")


def memory_of(pid):
    """Octets that are the process's own."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024


class Full(Exception):
    """The relay takes no more mail for now."""


def begin_content(r, source, n):
    """A session that has sent the first n octets of a message of 50 MB. Raises Full at a 452."""
    s = socket.create_connection(("127.0.0.1", r.submission), 60, (source, 0))
    f = s.makefile("rb")
    for line, code in ((None, b"220"), (b"EHLO c.test", b"250"), (b"MAIL FROM:<ann@sender.test> SIZE=50000000", b"250"),
                       (b"RCPT TO:<bob@rcpt.test>", b"250"), (b"DATA", b"354")):
        if line:
            s.sendall(line + b"\r\n")
        while (reply := f.readline())[3:4] == b"-":
            pass
        if reply[:3] == b"452":
            s.close()
            raise Full(reply)
        assert reply[:3] == code, reply
    s.sendall(b"Subject: large\r\n\r\n" + (b"x" * 62 + b"\r\n") * (n // 64))
    return s


def ended(senders):
    """Those that were told something in the middle of their content, or are closed: nothing else comes there."""
    look = select.poll()
    for s in senders:
        look.register(s, select.POLLIN)
    return look.poll(0)


def test_many_slow_senders_of_large_mail(relay, sink):
    """A thousand senders of 50 MB, none of which ends, take the memory of the relay, or keep the others out. (Promise 15.)

    Stated bound: 64 MB while everything is small, then 256 KB each. 240 KB from each is the worst moment: it would fit into memory."""
    s = sink()
    n = int(os.environ.get("PW_SLOW", "300"))
    r, quiet = (relay(top=clients(), destinations=smarthost(s), spool='min-free = "1M"  max-memory = "150M"',
                      listener='trust = { "127.0.0.0/8" }  max-connections-per-client = 2000') for _ in range(2))
    r.send(mail.message())
    before = memory_of(r.pid)
    senders = [begin_content(r, "127.0.0.2", 240 * 1024) for _ in range(n)]
    try:
        assert slower_than(r, quiet, 20, f"beside {n} slow senders") < 0.1
        assert r.wait_final(r.send(mail.message()))[0]["event"] == "delivered"
        assert not ended(senders), "mail went when a sender was sent away"
        grown = memory_of(r.pid) - before
        bound = (64 << 20) + n * ((1 << 20) if SANITIZED else (256 << 10))
        print(f"{n} slow senders: {grown / n / 1024:.0f} KiB each, {grown >> 20} MiB")
        assert grown < bound, (grown, bound)
    finally:
        for c in senders:
            c.close()


def test_memory_mark(relay, sink):
    """Content on its way, and sessions, are not counted: the relay takes memory without end, or refuses for ever. (Promise 15.)"""
    s = sink()
    r = relay(destinations=smarthost(s), spool='min-free = "1M"  max-memory = "8M"',
              listener='trust = { "127.0.0.0/8" }  max-connections-per-client = 2000')
    senders = []
    with contextlib.suppress(Full):  # the last ones, where the relay is quicker to notice than they are to begin
        while len(senders) < 40:
            senders.append(begin_content(r, "127.0.0.2", 200 * 1024))
    until(lambda: mail_code(r) == (452, "4.3.2 Too much is on its way through here, try again later"), 10, "the mark", pause=0.2)
    assert any("spool.max-memory" in w for w in r.rows("status")[-1]["warnings"])
    senders[0].sendall(b".\r\n")  # what was let in is taken
    assert senders[0].recv(100).startswith(b"250 ")
    for c in senders:
        c.close()
    until(lambda: mail_code(r)[0] == 250, 20, "accepting again", pause=0.2)
