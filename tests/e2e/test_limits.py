"""Each limit has a number, a code and a sentence, and the session goes on after it."""
import base64
import smtplib
import socket
import ssl
import time

import pytest

from kit import mail
from kit.relay import PASSWORD, smarthost
from kit.wait import free_port, until


def raw_reply(session, line):
    session.send(line if isinstance(line, bytes) else line.encode() + b"\r\n")
    return session.getreply()


def status(reply):
    """(250, b"2.1.0 Ok") -> "250 2.1.0" """
    return f"{reply[0]} {reply[1].split()[0].decode()}"


def plain(user, password):
    return "PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def test_no_login_in_clear(relay):
    """A password is asked for, or taken, before the line is encrypted. (Promise 21, checklist 9.)"""
    r = relay()
    s = r.smtp("clear", user=None)
    assert "starttls" in s.esmtp_features and "auth" not in s.esmtp_features
    assert status(s.docmd("AUTH", "PLAIN AGFwcAB3cm9uZw==")) == "538 5.7.11"
    assert s.mail("ann@sender.test")[0] == 530
    s.starttls(context=r.trusting())
    s.ehlo()
    assert "starttls" not in s.esmtp_features and "PLAIN" in s.esmtp_features["auth"].upper()
    assert s.mail("ann@sender.test")[0] == 530
    s.login("app", PASSWORD)
    assert s.mail("ann@sender.test")[0] == 250
    s.quit()


def test_wrong_password(relay):
    """A wrong password is let in, or the answer tells whether the user exists."""
    r = relay()
    s = r.smtp(user=None)
    answers = [s.docmd("AUTH", plain(user, password)) for user, password in (("app", "Geheimnis"), ("nobody", PASSWORD))]
    assert answers[0] == answers[1] and status(answers[0]) == "535 5.7.8"
    s.login("app", PASSWORD)  # and the right one still works
    assert s.mail("ann@sender.test")[0] == 250
    s.quit()
    assert "Geheimnis" not in r.process.errors()


def test_guessing_ends_the_session(relay):
    """A guesser has all the tries he wants on one connection."""
    r = relay()
    s = r.smtp(user=None)
    codes = []
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError, ssl.SSLError)):
        for _ in range(10):
            codes.append(s.docmd("AUTH", "PLAIN AGFwcAB3cm9uZw==")[0])
    assert codes[:2] == [535, 535] and len(codes) <= 4 and codes[-1] in (535, 421)


def test_too_big(relay, sink):
    """A message over the limit is cut, or breaks the session; the limit is not told in advance."""
    s = sink()
    r = relay(listener='max-message-size = "64K"', destinations=smarthost(s))
    session = r.smtp()
    assert session.esmtp_features["size"] == "65536"
    assert status(session.docmd("MAIL", "FROM:<ann@sender.test> SIZE=70000")) == "552 5.3.4"
    assert session.mail("ann@sender.test")[0] == 250
    assert session.rcpt("bob@rcpt.test")[0] == 250
    assert status(session.data(mail.message(b"x" * 70 + b"\r\n") * 1000)) == "552 5.3.4"
    raw = mail.message(b"small\r\n")
    r.wait_final(r.submit(session, raw, "ann@sender.test", "bob@rcpt.test"))
    session.quit()
    assert mail.below_trace(s.wait(1)[0]) == raw
    assert r.events("rejected", smtp_code=552)


def test_too_many_recipients(relay, sink):
    """A mail to very many is refused as a whole, or takes the memory it likes. (Checklist 18.)"""
    s = sink()
    r = relay(listener="max-recipients = 100", destinations=smarthost(s))
    session = r.smtp()
    assert session.mail("ann@sender.test")[0] == 250
    for i in range(100):
        assert session.rcpt(f"u{i}@rcpt.test")[0] == 250
    for i in range(3):
        assert status(session.rcpt(f"v{i}@rcpt.test")) == "452 4.5.3"
    code, text = session.data(mail.message())
    assert code == 250
    session.quit()
    r.wait_event("delivered", n=100)
    r.wait_queue_empty()


def test_guessing_at_recipients(relay):
    """A harvester, or a program gone mad, has recipient after recipient refused for as long as it likes. (Promise 16.)"""
    r = relay(listener="max-recipients = 100")  # and 1,000 more may be refused
    session = r.smtp()
    assert session.mail("ann@sender.test")[0] == 250
    session.send(b"RCPT TO:<no address>\r\n" * 1200)
    assert {status(session.getreply()) for _ in range(1100)} == {"501 5.1.3"}
    assert session.getreply() == (421, b"4.7.0 too many refused recipients; connect again to go on")
    assert session.sock.recv(100) == b""
    until(lambda: r.events("rejected", smtp_code=421), 10, "the log tells why")


def test_sender_pattern(relay, sink):
    """One application can send in the name of another. (Checklist 30.)"""
    s = sink()
    r = relay(destinations=smarthost(s), users=())
    r.user_add("shop", PASSWORD, "--from", "*@shop.test", "--from", "owner@other.test")
    session = r.smtp(user="shop")
    for sender in ("ann@sender.test", "ann@sub.shop.test", "x@shop.test.evil.test", "ann@other.test"):
        assert status(session.mail(sender)) == "553 5.7.1", sender
    for sender in ("ann@shop.test", "owner@other.test", "Bob@SHOP.test"):
        r.wait_final(r.submit(session, mail.message(sender=sender), sender, "bob@rcpt.test"))
    code, text = session.mail("ann@shop.test")
    assert code == 250 and session.rcpt("bob@rcpt.test")[0] == 250
    code, text = session.data(mail.message(sender="ann@sender.test"))
    assert (code, text.decode()) == (550, "5.7.1 you may not send as this address: From: ann@sender.test")
    session.quit()
    r.wait_event("rejected", smtp_code=550, user="shop", sender="ann@shop.test")
    assert r.events("rejected", smtp_code=553, user="shop", sender="ann@sender.test")


def test_little_disk(relay, sink):
    """A disk that runs full breaks delivery and bounces mail, instead of stopping new mail in time. (Promise 6.)"""
    s = sink(start=False)
    r = relay(destinations=smarthost(s), delivery='retry = { "1s" }')
    id = r.send(mail.message())
    r.stop()
    r.write(spool='min-free = "100000G"')
    r.start()
    session = r.smtp()
    assert status(session.mail("ann@sender.test")) == "452 4.3.1"
    session.quit()
    s.start()
    assert r.wait_final(id)[0]["event"] == "delivered"
    assert r.rows("status")[-1]["accepting"] is False


def test_unknown_command(relay):
    """A client that says something odd is thrown out, or its line is carried out as something else."""
    r = relay()
    s = r.smtp()
    assert s.docmd("FROBNICATE")[0] == 500
    assert s.docmd("MAIL", "TO:<a@b.test>")[0] == 501
    assert s.docmd("MAIL", "FROM:<ann@sender.test> FROBNICATE=1")[0] == 555
    assert s.docmd("DATA")[0] == 503
    assert raw_reply(s, b"NOOP\rNOOP\r\n")[0] == 500
    assert s.docmd("VRFY", "ann")[0] in (252, 502)
    assert s.docmd("NOOP")[0] == 250 and s.docmd("HELP")[0] == 214 and s.docmd("RSET")[0] == 250
    assert s.mail("ann@sender.test")[0] == 250
    assert s.docmd("QUIT")[0] == 221


@pytest.mark.parametrize("line,answers,code,words", (
    (b"FROBNICATE", 10, 500, b"4.7.0 too many commands that do not exist; closing the connection"),
    (b"NOOP", 100, 250, b"4.7.0 too many commands without a message; connect again to go on"),
    (b"MAIL FROM:<ann@sender.test> SIZE=x", 20, 501, b"4.7.0 too many errors; closing the connection")), ids=("unknown", "idle", "errors"))
def test_how_often(relay, line, answers, code, words):
    """A scanner, a sleeper or a broken program goes on for ever on one connection; or one that errs now and then is thrown out. (Promise 16, checklist 50.)"""
    r = relay(listener='trust = { "127.0.0.0/8" }')
    s = r.smtp("clear", user=None)  # its EHLO is the first that brings no message forward
    s.send((line + b"\r\n") * 120)
    for _ in range(answers - (code == 250)):
        assert s.getreply()[0] == code
    assert s.getreply() == (421, words)
    assert s.sock.recv(100) == b""


def test_too_many_connections_of_one_client(relay):
    """One client takes all connections; or it is told nothing when it has too many."""
    r = relay(listener="max-connections-per-client = 2")
    first, second = r.smtp(), r.smtp(user=None)
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        for _ in range(4):  # several loops share the count
            r.smtp(user=None)
    assert refused.value.smtp_code == 421
    assert first.noop()[0] == 250
    second.quit()
    first.quit()


def test_silent_client(relay):
    """A client that says nothing holds its connection for ever."""
    r = relay(listener='idle-timeout = "1s"')
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", r.submission), 60) as s:
        greeting, last = [line[:4] for line in s.makefile("rb")]  # up to its end
    assert (greeting, last) == (b"220 ", b"421 ") and time.monotonic() - begun >= 0.99


def test_message_without_an_end(relay):
    """Recipient after recipient, a client holds its session for ever."""
    r = relay(listener='message-timeout = "1s"')
    for _ in range(5):  # until somebody was taken; where nobody has a turn for a second, 421 is all that is heard
        s = r.smtp()
        begun = time.monotonic()
        assert s.mail("ann@sender.test")[0] == 250
        codes = []
        while 421 not in codes and time.monotonic() - begun < 60:
            codes.append(s.rcpt("bob@rcpt.test")[0])
        assert codes[-1] == 421 and set(codes) <= {250, 452, 421} and time.monotonic() - begun >= 0.99, codes[-3:]
        if codes[0] == 250:
            break
    assert codes[0] == 250, codes


def test_not_an_open_relay(relay):
    """Anybody can send through the relay. (Promise 20.)"""
    r = relay()
    for mode in ("clear", "starttls", "implicit"):
        s = r.smtp(mode, user=None)
        assert s.mail("ann@sender.test")[0] == 530
        assert s.rcpt("bob@rcpt.test")[0] == 503
        s.quit()


def test_a_more_exact_listener(relay, sink):
    """A listener at one address beside one at all of them: which one answers is chance; or the metrics take a port that mail has."""
    port = free_port()
    section = 'listener "{0}" {{ address = "{0}:{1}"  tls = "none"  auth = "none"  trust = {{ "127.0.0.0/8" }}  banner = "by {0}" }}\n'
    for order in (("0.0.0.0", "127.0.0.2"), ("127.0.0.2", "0.0.0.0")):
        r = relay(destinations="".join(section.format(address, port) for address in order) + smarthost(sink()))
        for address, name in (("127.0.0.1", b"by 0.0.0.0"), ("127.0.0.2", b"by 127.0.0.2"), ("127.0.0.3", b"by 0.0.0.0")) * 4:
            with socket.create_connection((address, port), 20) as s:
                assert name in s.recv(1024), (order, address)
        r.write(destinations=r.pieces["destinations"] + f'http {{ address = "127.0.0.1:{port}" }}\n')
        line = r.conf.read_text().splitlines().index(f'http {{ address = "127.0.0.1:{port}" }}') + 1
        told = r.cli("check", code=1)
        assert f'{r.conf}:{line}: http: address 127.0.0.1:{port} is taken by 0.0.0.0:{port} of listener "0.0.0.0" already' in told.err + told.out
        r.stop()
