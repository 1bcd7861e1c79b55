"""Promise 17: what was said in clear before TLS, or put among the words of a login, is never carried out. Items 8, 9 and 80 of the checklist."""
import base64
import re
import socket
import ssl

import pytest

import proof
from kit.listening import Listening, line_of
from kit.relay import PASSWORD
from kit.wait import until

PLAIN = base64.b64encode(b"\0app\0" + PASSWORD.encode())
TRANSACTION = b"MAIL FROM:<evil@injected.test>\r\nRCPT TO:<victim@injected.test>\r\nDATA\r\nSubject: injected\r\n\r\ninjected\r\n.\r\n"


# --- at the listener

def context_of(r):
    return ssl.create_default_context(cafile=str(r.certificate.pem))


def secure(r, c):
    """The client's side of the handshake; None: the server has closed the connection."""
    try:
        c.socket = context_of(r).wrap_socket(c.socket, server_hostname="localhost")
    except (OSError, ssl.SSLError):
        return None
    return c


def nothing_came_of_it(r, there):
    assert not r.events("accepted") and not there.files()
    assert not r.events(user="app")


@pytest.mark.parametrize("behind", (b"NOOP\r\n", b"EHLO evil.test\r\n", b"AUTH PLAIN " + PLAIN + b"\r\n", b"MAIL FROM:<evil@injected.test>\r\n",
                                    b"STARTTLS\r\n", TRANSACTION, b"X", b"\r\n", b"\n", b"\0"))
@pytest.mark.parametrize("whole", (True, False), ids=("one-segment", "first-octet-later"))
def test_commands_behind_starttls_are_never_carried_out(relay, sink, behind, whole):
    there = sink()
    r = relay(destinations=proof.to_port(there.port))
    with proof.Raw(r.submission) as c:
        if whole:
            c.send(b"STARTTLS\r\n" + behind)
        else:
            c.send(b"STARTTLS\r")
            c.trickle(b"\n" + behind[:1], pause=0)
            c.send(behind[1:])
        codes = []
        try:
            codes.append(c.reply()[0])
            if codes == [220] and not c.seen and secure(r, c):
                # Not a word of it has been heard: the first reply is the one to our own EHLO, and the session knows nobody.
                c.say(b"EHLO client.test", 250)
                assert c.say(b"RCPT TO:<victim@injected.test>")[0] in (503, 530)
                assert c.say(b"MAIL FROM:<evil@injected.test>")[0] == 530
                assert c.say(b"QUIT", 221)
            else:
                codes += [code for code, _ in c.replies()]
        except proof.Gone:
            pass
        assert not [code for code in codes[1:] if code < 400 and code != 221], codes
    nothing_came_of_it(r, there)


class Handshake:
    """The client's side of TLS by hand: each flight is a step, so that something else can be sent in between."""

    def __init__(self, r, c):
        self.c, self.into, self.out = c, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context_of(r).wrap_bio(self.into, self.out, server_hostname="localhost")

    def flight(self):
        """The next bytes for the server; None: the handshake is done."""
        while True:
            try:
                self.tls.do_handshake()
                return self.out.read() or None
            except ssl.SSLWantReadError:
                if self.out.pending:
                    return self.out.read()
                got = self.c.socket.recv(65536)
                if not got:
                    raise proof.Gone("closed") from None
                self.into.write(got)

    def says(self):
        """What the server says inside TLS until it ends."""
        said = b""
        while True:
            try:
                got = self.tls.read(65536)
                if not got:
                    return said
                said += got
            except ssl.SSLWantReadError:
                got = self.c.socket.recv(65536)
                if not got:
                    return said
                self.into.write(got)
            except ssl.SSLError:
                return said


@pytest.mark.parametrize("behind", (b"NOOP\r\n", b"EHLO evil.test\r\n" + TRANSACTION))
@pytest.mark.parametrize("where", ("before-hello", "in-front-of-hello", "behind-hello", "within-hello", "before-finished", "behind-finished"))
def test_commands_among_the_handshake_are_never_carried_out(relay, sink, behind, where):
    """Whoever sits in between puts plain text among the records of the handshake: the session ends, without a word about it inside TLS."""
    there = sink()
    r = relay(destinations=proof.to_port(there.port), listener=proof.TRUSTED)
    with proof.Raw(r.submission) as c:
        c.say(b"STARTTLS", 220)
        h = Handshake(r, c)
        said = b""
        try:
            hello = h.flight()
            if where == "before-hello":
                c.trickle(behind)
            c.send({"in-front-of-hello": behind + hello, "behind-hello": hello + behind,
                    "within-hello": hello[:40] + behind + hello[40:]}.get(where, hello))
            finished = h.flight()
            c.send(behind + finished if where == "before-finished" else finished)
            if where == "behind-finished":
                c.trickle(behind)
            said = h.says()
        except (proof.Gone, OSError, ssl.SSLError):
            pass
    assert said == b"" and not c.seen
    nothing_came_of_it(r, there)


def test_nothing_of_before_counts_after(relay):
    """Item 8: EHLO, MAIL and RCPT in clear are forgotten; STARTTLS within TLS is refused (item 9), and so it is within a transaction."""
    r = relay(listener=proof.TRUSTED)
    for before in ((), (b"MAIL FROM:<ann@sender.test>",), (b"MAIL FROM:<ann@sender.test>", b"RCPT TO:<bob@rcpt.test>")):
        with proof.Raw(r.submission) as c:
            for line in before:
                c.say(line, 250)
            if before:
                c.say(b"STARTTLS", 503)
                c.say(b"RSET", 250)
            c.say(b"STARTTLS", 220)
            assert secure(r, c)
            assert c.say(b"DATA")[0] == 503
            assert c.say(b"MAIL FROM:<ann@sender.test>")[0] == 503
            assert "STARTTLS" not in c.say(b"EHLO client.test", 250)[1]
            assert c.say(b"RCPT TO:<bob@rcpt.test>")[0] == 503
            assert c.say(b"STARTTLS")[0] in (502, 503)


@pytest.mark.parametrize("login", (b"AUTH LOGIN\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN YXBw\r\n"))
@pytest.mark.parametrize("word", (TRANSACTION, b"YXBw\r\n" + TRANSACTION, b"YXBw\n" + TRANSACTION, b"YX\rBw\r\n" + TRANSACTION, b"YXBw\0\r\n" + TRANSACTION, b"*\r\n" + TRANSACTION))
def test_words_of_a_login_are_no_commands(relay, sink, login, word):
    """A transaction in the place of the user's or the password's line, in one piece with AUTH: nobody has logged in, and nothing is taken."""
    there = sink()
    r = relay(destinations=proof.to_port(there.port))
    with proof.Raw(r.submission) as c:
        assert secure_session(r, c)
        c.send(login + word + b"QUIT\r\n")
        codes = [code for code, _ in c.replies()]
    assert codes and not [code for code in codes if code in (235, 250, 354)], codes
    nothing_came_of_it(r, there)


def secure_session(r, c):
    c.say(b"STARTTLS", 220)
    return secure(r, c) and c.say(b"EHLO client.test", 250)


def test_one_message_behind_a_login(relay, sink):
    """A login and a transaction in one piece are what they say, once."""
    there = sink()
    r = relay(destinations=proof.to_port(there.port))
    with proof.Raw(r.submission) as c:
        assert secure_session(r, c)
        c.send(b"AUTH PLAIN " + PLAIN + b"\r\n" + TRANSACTION.replace(b"injected", b"outer") + b"QUIT\r\n")
        codes = [code for code, _ in c.replies()]
    assert codes == [235, 250, 250, 354, 250, 221]
    r.wait_event("delivered")
    assert len(there.wait(1)) == 1


# --- from a hostile receiver

class Injector(Listening):
    """
    A receiver with STARTTLS that says `behind` in clear behind its 220: in the same segment, in one of its own ("later"), or behind the client's first
    flight ("hello"). .clear: what it heard outside TLS; .inside: within, each line; .taken: contents.
    """

    def __init__(self, certificate, behind, when):
        super().__init__()
        self.behind, self.when = behind, when
        self.clear, self.inside, self.taken = bytearray(), [], []
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate.pem, certificate.key)
        self.listen()

    def serve(self, s, number):
        s.settimeout(60)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray()
        s.sendall(b"220 mx.hostile.test ESMTP\r\n")
        while True:
            verb = line_of(s, buffer, self.clear)[:4].upper()
            if verb == b"STAR":
                break
            s.sendall(b"250-mx.hostile.test\r\n250 STARTTLS\r\n" if verb == b"EHLO" else b"250 2.0.0 ok\r\n")
        s.sendall(b"220 2.0.0 go ahead\r\n" + (self.behind if self.when == "same" else b""))
        if self.when == "later":
            s.sendall(self.behind)
        if self.when == "hello":
            s.recv(1, socket.MSG_PEEK)
            s.sendall(self.behind)
        s = self.context.wrap_socket(s, server_side=True)
        self._inside(s)

    def _inside(self, s):
        buffer = bytearray()
        replies = {b"EHLO": b"250-mx.hostile.test\r\n250 PIPELINING\r\n", b"DATA": b"354 go on\r\n", b"QUIT": b"221 2.0.0 bye\r\n"}
        while True:
            line = line_of(s, buffer, bytearray())
            self.inside.append(line)
            s.sendall(replies.get(line[:4].upper(), b"250 2.0.0 ok\r\n"))
            if line.upper() == b"DATA":
                content = []
                while (line := line_of(s, buffer, bytearray())) != b".":
                    content.append(line)
                self.taken.append(b"\r\n".join(content))
                s.sendall(b"250 2.0.0 taken\r\n")


REPLIES = (b"250-evil.test\r\n250-SMTPUTF8\r\n250 SIZE 1\r\n", b"250 evil.test\r\n" * 6, b"550 5.1.1 no such user\r\n", b"421 4.0.0 go away\r\n", b"\r\n", b"\0", b"2")


@pytest.mark.parametrize("behind", REPLIES)
@pytest.mark.parametrize("when", ("same", "later", "hello"))
@pytest.mark.parametrize("policy", ("may", "encrypt"))
def test_replies_behind_starttls_are_never_believed(relay, certificate, behind, when, policy):
    """
    A reply in clear behind the 220 would be taken for the answer to the first command inside TLS: extensions that were never offered, recipients refused, mail
    called delivered. The session ends (or, where those bytes came after the relay had begun TLS, fails in the handshake), nothing of the message is said in clear.
    """
    with Injector(certificate, behind, when) as there:
        r = relay(listener=proof.TRUSTED, delivery='retry = { "1h" }', destinations=proof.to_port(there.port, f'tls = "{policy}"'))
        r.send(b"Subject: secret\r\n\r\nsecret words\r\n", user=None, mode="clear")
        event = r.wait_event(("deferred", "bounced", "delivered"))
        assert event["event"] == "deferred" and event["error"] in ("smtp_protocol", "tls_handshake", "conn_lost"), event
        assert not there.taken and not there.inside
        assert b"secret" not in there.clear and not re.search(rb"(?i)rcpt to|^data", there.clear)
        assert event.get("smtp_code") is None and "evil" not in event.get("response", "")


def test_without_injection_the_same_receiver_has_the_mail(relay, certificate):
    with Injector(certificate, b"", "same") as there:
        r = relay(listener=proof.TRUSTED, destinations=proof.to_port(there.port, 'tls = "encrypt"'))
        r.send(b"Subject: secret\r\n\r\nsecret words\r\n", user=None, mode="clear")
        assert r.wait_event("delivered")["tls_version"].startswith("TLS")
        until(lambda: there.taken, 10)
        assert b"secret words" in there.taken[0] and b"secret" not in there.clear
