"""
Receivers that are broken or mean, a script each (checklist 49 to 65, 80, 84; promises 26 and 38): what a message's fate is, whether the
next host is asked at once, and that nobody waits for longer than the step's time. Where they are silent, the steps have a hundredth of their
real time: so little that a busy machine may be too late in a step before. Then, and only then, a case is tried again.

Each case is tried twice at the same time: alone, where its verdict must stand in the log, and with a good host behind it.
"""
import dataclasses
import socket
import struct
import time

from kit import mail
from kit.listening import Listening, line_of
from kit.peer import Peer

HEAR, CONTENT, SILENT, RESET, CLOSE = "hear", "content", "silent", "reset", "close"
HASTE = "debug-phase-percent = 1"
PATIENCE = 25  # the longest step has 6 s


def say(text):
    return text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode()


class Hostile(Listening):
    """Plays the steps on each connection, and closes it: octets are said, HEAR takes a line, CONTENT all up to the lone dot."""

    def __init__(self, *steps):
        super().__init__()
        self.steps, self.heard, self.contents = steps, [], 0
        self.listen()

    def serve(self, s, number):
        buffer, heard = bytearray(), bytearray()
        for step in self.steps:
            if callable(step):
                step(s)
            elif step == HEAR:
                self.heard.append(line_of(s, buffer, heard).decode())
            elif step == CONTENT:
                while line_of(s, buffer, heard) != b".":
                    pass
                self.contents += 1
            elif step == SILENT:
                while s.recv(65536):
                    pass
            elif step == RESET:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif step != CLOSE:
                s.sendall(say(step))


@dataclasses.dataclass
class Case:
    steps: list
    fate: str                 # the event of the only attempt
    why: object = None        # error, or code
    command: str = None
    next: bool = False        # the good host behind it gets the message at once
    tls: str = "may"
    contents: int = None      # how often the content came to its end here, of two messages

    def waits(self):
        """Its verdict comes, or its connection ends, when a step's time is over."""
        return SILENT in self.steps and self.why != "smtp_protocol"


def slowly(octets, pause):
    def step(s):
        for b in octets:
            s.sendall(bytes([b]))
            time.sleep(pause)
    return step


def endlessly(piece):
    def step(s):
        while True:
            s.sendall(piece)
    return step


HI = ["220 hi\n", HEAR, "250 hi\n"]
PIPE = ["220 hi\n", HEAR, "250-hi\n250 PIPELINING\n", HEAR, HEAR, HEAR]
TO_RCPT = HI + [HEAR, "250 ok\n", HEAR]
TO_DATA = TO_RCPT + ["250 ok\n", HEAR]
TO_DOT = TO_DATA + ["354 go\n", CONTENT]
TLS = ["220 hi\n", HEAR, "250-hi\n250 STARTTLS\n", HEAR]

CASES = {
    # 49, 50: silence in every step
    "silent": Case([SILENT], "deferred", "smtp_timeout", "banner", True),
    "silent after its banner": Case(["220 hi\n", HEAR, SILENT], "deferred", "smtp_timeout", "ehlo", True),
    "silent at STARTTLS": Case(TLS + [SILENT], "deferred", "smtp_timeout", "starttls", True),
    "silent in the handshake": Case(TLS + ["220 go\n", SILENT], "deferred", "tls_handshake", "starttls", True),
    "silent at MAIL": Case(HI + [HEAR, SILENT], "deferred", "smtp_timeout", "mail", True),
    "silent at RCPT": Case(TO_RCPT + [SILENT], "deferred", "smtp_timeout", "rcpt", True),
    "silent at DATA": Case(TO_DATA + [SILENT], "deferred", "smtp_timeout", "data", True),
    "silent at the dot": Case(TO_DOT + [SILENT], "deferred", "smtp_timeout_eod", "eod", False, contents=2),
    "silent at QUIT": Case(TO_DOT + ["250 ok\n", SILENT], "delivered", 250, "eod", contents=2),
    "a banner that drips": Case([slowly(b"220-" + b"x" * 60, 0.2), SILENT], "deferred", "smtp_timeout", "banner", True),
    "half a reply": Case(HI + [HEAR, "250", SILENT], "deferred", "smtp_timeout", "mail", True),

    # 51, 52, 55: junk, and codes in the wrong place
    "no SMTP": Case(["HTTP/1.1 400 Bad Request\n\n"], "deferred", "smtp_protocol", "banner", True),
    "every octet": Case([bytes(range(256)) + b"\r\n"], "deferred", "smtp_protocol", "banner", True),
    "banner 5xx": Case(["554 no\n", HEAR], "deferred", 554, "banner", True),
    "banner 421": Case(["421 no\n"], "deferred", 421, "banner", True),
    "no ESMTP": Case(["220 hi\n", HEAR, "500 what\n", HEAR, "250 hi\n", HEAR, "250 ok\n", HEAR, "250 ok\n", HEAR, "354 go\n", CONTENT,
                      "250 ok\n"], "delivered", 250, "eod", contents=2),
    "EHLO 199": Case(["220 hi\n", HEAR, "199 hi\n"], "deferred", "smtp_protocol", "ehlo", True),
    "codes that differ": Case(["220 hi\n", HEAR, "250-hi\n251 hi\n"], "deferred", "smtp_protocol", "ehlo", True),
    "MAIL 354": Case(HI + [HEAR, "354 go\n"], "deferred", "smtp_protocol", "mail", True),
    "MAIL 600": Case(HI + [HEAR, "600 what\n"], "deferred", "smtp_protocol", "mail", True),
    "RCPT 2500": Case(TO_RCPT + ["2500 ok\n"], "deferred", "smtp_protocol", "rcpt", True),
    "DATA 250": Case(TO_DATA + ["250 ok\n"], "deferred", "smtp_protocol", "data", True, contents=0),
    "dot 354": Case(TO_DOT + ["354 go\n"], "deferred", "smtp_protocol", "eod", False, contents=2),

    # 54, promise 26: size
    "a line of 1 MB": Case([b"220 " + b"x" * 1000000 + b"\r\n"], "deferred", "smtp_protocol", "banner", True),
    "a keyword of 1 MB": Case(["220 hi\n", HEAR, b"250-hi\r\n250 " + b"X" * 1000000 + b"\r\n"], "deferred", "smtp_protocol", "ehlo", True),
    "a refusal of 1 MB": Case(TO_RCPT + [b"550 5.1.1 " + b"x" * 1000000 + b"\r\n"], "deferred", "smtp_protocol", "rcpt", True),
    "a banner without end": Case([endlessly(b"220-hello\r\n" * 100)], "deferred", "smtp_protocol", "banner", True),
    "a reply without end": Case(TO_DOT + [endlessly(b"250-hello\r\n" * 100)], "deferred", "smtp_protocol", "eod", False, contents=2),
    "no line at all": Case([endlessly(b"2" * 4096)], "deferred", "smtp_protocol", "banner", True),

    # 57 to 60: endings
    "closed": Case([CLOSE], "deferred", "conn_lost", "banner", True),
    "closed at EHLO": Case(["220 hi\n", HEAR], "deferred", "conn_lost", "ehlo", True),
    "closed at MAIL": Case(HI + [HEAR], "deferred", "conn_lost", "mail", True),
    "closed at RCPT": Case(TO_RCPT, "deferred", "conn_lost", "rcpt", True),
    "closed at DATA": Case(TO_DATA, "deferred", "conn_lost", "data", True),
    "354 and closed": Case(TO_DATA + ["354 go\n"], "deferred", "conn_lost_eod", "eod", False, contents=0),
    "closed at the dot": Case(TO_DOT, "deferred", "conn_lost_eod", "eod", False, contents=2),
    "reset at the dot": Case(TO_DOT + [RESET], "deferred", "conn_lost_eod", "eod", False, contents=2),
    "taken, and reset": Case(TO_DOT + ["250 ok\n", HEAR, RESET], "delivered", 250, "eod", contents=2),
    "taken, and 421": Case(TO_DOT + ["250 ok\n421 bye\n"], "delivered", 250, "eod", contents=2),
    "421 at MAIL": Case(HI + [HEAR, "421 4.3.2 down\n"], "deferred", 421, "mail", True),
    "421 at RCPT": Case(TO_RCPT + ["421 4.3.2 down\n"], "deferred", 421, "rcpt", True),
    "421 at the dot": Case(TO_DOT + ["421 4.3.2 down\n"], "deferred", 421, "eod", True),
    "slow down": Case(HI + [HEAR, "421 4.7.0 too fast\n"], "deferred", 421, "mail", True),
    "refused at the dot": Case(TO_DOT + ["554 5.7.1 spam\n", HEAR], "bounced", 554, "eod", False),
    "no room at the dot": Case(TO_DOT + ["452 4.3.1 full\n", HEAR], "deferred", 452, "eod", True),

    # 62, 64: replies that nobody waits for
    "all at once": Case([b"220 hi\r\n250 hi\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n221 bye\r\n"], "deferred", "smtp_protocol", "ehlo", True),
    "one reply too many": Case(PIPE + ["250 ok\n250 ok\n250 ok\n354 go\n"], "deferred", "smtp_protocol", "data", True, contents=0),
    "taken before the dot": Case(PIPE + ["250 ok\n250 ok\n354 go\n250 ok\n"], "deferred", "smtp_protocol", "data", True, contents=0),
    "too few replies": Case(PIPE + ["250 ok\n", SILENT], "deferred", "smtp_timeout", "rcpt", True),
    "a lone dot, refused": Case(PIPE + ["250 ok\n550 5.1.1 who\n354 go\n", HEAR, "554 5.5.1 no\n", HEAR], "bounced", 550, "rcpt", False),
    "a lone dot, taken": Case(PIPE + ["250 ok\n550 5.1.1 who\n354 go\n", HEAR, "250 ok\n", HEAR], "bounced", 550, "rcpt", False),
    "one more behind the end": Case(PIPE + ["250 ok\n250 ok\n354 go\n", CONTENT, "250 ok\n250 more\n"], "delivered", 250, "eod"),
    "a reply split by octets": Case([slowly(b"220 hi\r\n", 0.01), HEAR, slowly(b"250-hi\r\n250 PIPELINING\r\n", 0.01), HEAR, HEAR, HEAR,
                                     slowly(b"250 ok\r\n250 ok\r\n354 go\r\n", 0.01), CONTENT, slowly(b"250 2.0.0 ok\r\n", 0.01), HEAR,
                                     slowly(b"221 bye\r\n", 0.01)], "delivered", 250, "eod"),

    # 80, 84
    "STARTTLS refused": Case(TLS + ["454 4.7.0 no\n", HEAR], "deferred", "tls_handshake", "starttls", True),
    "STARTTLS, and words in clear": Case(TLS + ["220 go\n250 hi\n", SILENT], "deferred", "smtp_protocol", "starttls", True),
    "STARTTLS, and no TLS": Case(TLS + ["220 go\n", lambda s: s.recv(1), "500 what\n", SILENT], "deferred", "tls_handshake", "starttls", True),
    "STARTTLS, and closed": Case(TLS + ["220 go\n"], "deferred", "tls_handshake", "starttls", True),
    "no STARTTLS where it must be": Case(["220 hi\n", HEAR, "250 hi\n", HEAR], "deferred", "tls_unavailable", "ehlo", True, tls="encrypt"),
    "no EHLO where TLS must be": Case(["220 hi\n", HEAR, "502 no\n", HEAR], "deferred", 502, "ehlo", True, tls="encrypt"),
}


def destinations(cases, hosts, good):
    text = ""
    for i, (case, host) in enumerate(zip(cases.values(), hosts)):
        for name, behind in (("alone", ""), ("first", f', "127.0.0.1:{good.port}"')):
            text += (f'destination "{name}{i}" {{ domains = {{ "{name}{i}.test" }}  tls = "{case.tls}"  '
                     f'relay = {{ "127.0.0.1:{host.port}"{behind} }} }}\n')
    return text


def problems(case, host, good_port, alone, first):
    """What of the two attempts is not as the case says."""
    why = alone.get("error") or alone.get("smtp_code")
    if (alone["event"], why, alone.get("command")) != (case.fate, case.why, case.command):
        yield f"alone: {alone}"
    if alone.get("may_arrive_twice", False) != (case.fate == "deferred" and case.command == "eod" and not isinstance(case.why, int)):
        yield f"in doubt or not: {alone}"
    if case.next and (first["event"], first.get("mx_port")) != ("delivered", good_port):
        yield f"the good host was not asked: {first}"
    if not case.next and (first["event"], first.get("error") or first.get("smtp_code")) != (case.fate, case.why):
        yield f"with a good host behind: {first}"
    if case.contents is not None and host.contents != case.contents:
        yield f"{host.contents} contents instead of {case.contents}"
    if case.tls == "encrypt" and any(line.startswith("MAIL") for line in host.heard):
        yield f"said in clear: {host.heard}"


def late(case, event):
    """A step's time was over that the receiver did not mean to use up."""
    timed_out = event.get("error") in ("smtp_timeout", "smtp_timeout_eod", "connect_timeout") or "timed out" in event.get("response", "")
    return timed_out and (event["error"], event.get("command")) != (case.why, case.command)


def tried(relay, certificate, cases, top):
    """Each case once: [(its name, what is wrong, whether the machine was too late in it)…]"""
    hosts, found = [Hostile(*case.steps) for case in cases.values()], []
    with Peer(["PIPELINING"], certificate=certificate) as good:
        r = relay(top=top, destinations=destinations(cases, hosts, good), delivery='retry = { "1h" }')
        ids = [[r.send(mail.message(), "ann@sender.test", f"bob@{name}{i}.test") for name in ("alone", "first")] for i in range(len(hosts))]
        over = time.time() + PATIENCE
        for (name, case), host, pair in zip(cases.items(), hosts, ids):
            events = [r.wait_event(("deferred", "delivered", "bounced"), queue_id=id, timeout=max(over - time.time(), 0.1)) for id in pair]
            found.append((name, list(problems(case, host, good.port, *events)), any(late(case, e) for e in events)))
    for host in hosts:
        host.__exit__()
    return found


def told(found):
    return "\n".join(f"{name}: {problem}" for name, wrong, _ in found for problem in wrong)


def test_each_has_its_verdict(relay, certificate):
    """Whatever the receiver says, the message's fate is known and right, at once: none of these waits until a step is over, which is minutes."""
    found = tried(relay, certificate, {name: case for name, case in CASES.items() if not case.waits()}, "")
    assert not told(found), told(found)


def test_nobody_is_waited_for(relay, certificate):
    """Whatever the receiver does not say, the message's fate is known within the step's time, and right."""
    left = {name: case for name, case in CASES.items() if case.waits()}
    for _ in range(5):
        found = tried(relay, certificate, left, HASTE)
        left = {name: left[name] for name, wrong, was_late in found if wrong and was_late}
        strict = [one for one in found if one[0] not in left]
        assert not told(strict), told(strict)
        if not left:
            break
    assert not left, told(found)


def test_stops_reading(relay):
    """49: content that is not taken."""
    raw = mail.message(body=b"x" * 76 + b"\r\n" + (b"y" * 76 + b"\r\n") * 150000)
    with Hostile(*TO_DATA, "354 go\n", lambda s: time.sleep(PATIENCE)) as host:
        r = relay(top=HASTE, destinations=f'destination "d" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{host.port}" }} }}')
        id = r.send(raw)
        r.wait_event("deferred", queue_id=id, command="data")
        assert {e["error"] for e in r.events("deferred", queue_id=id)} == {"smtp_timeout"}, "a step before may be too long for this machine, but nothing else"


def test_refuses_in_the_middle(relay):
    """60: the reply that comes while the content is under way is the verdict, not the connection that is then lost."""
    raw = mail.message(body=(b"y" * 76 + b"\r\n") * 150000)
    with Hostile(*TO_DATA, "354 go\n", lambda s: s.recv(65536), "552 5.3.4 too much\n", CLOSE) as host:
        r = relay(destinations=f'destination "d" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{host.port}" }} }}', delivery='retry = { "1h" }')
        event, = r.wait_final(r.send(raw))
        assert (event["event"], event["smtp_code"], event["command"]) == ("bounced", 552, "data")


class NoChunks(Hostile):
    """Offers CHUNKING; the first connection takes BDAT for a mistake, and its content for commands."""

    def serve(self, s, number):
        offer = ["220 hi\n", HEAR, "250-hi\n250-PIPELINING\n250 CHUNKING\n"]
        first = [HEAR, HEAR, HEAR, "250 ok\n250 ok\n500 5.5.1 what\n" + "500 5.5.1 what\n" * 5]
        later = [HEAR, HEAR, HEAR, "250 ok\n250 ok\n354 go\n", CONTENT, "250 ok\n"]
        self.steps = offer + (first if number == 1 else later)
        super().serve(s, number)


def test_chunking_that_is_none(relay):
    """The message goes by DATA, in the same attempt, and the next one straight away. (Each loop learns for itself.)"""
    with NoChunks() as host:
        r = relay(top="threads = 1", destinations=f'destination "d" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{host.port}" }} }}',
                  delivery='retry = { "1h" }')
        for connections in (2, 3):
            event, = r.wait_final(r.send(mail.message()))
            assert (event["event"], event["attempt"]) == ("delivered", 1)
            assert host.connections == connections
        assert [line for line in host.heard if line.startswith("BDAT")] == [line for line in host.heard if line.endswith(" LAST")]
        assert sum(line.startswith("BDAT") for line in host.heard) == 1


def test_chunking_that_is_not_wanted(relay):
    with Peer(["PIPELINING", "CHUNKING"]) as there:
        r = relay(destinations=f'destination "d" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{there.port}" }}  chunking = false }}')
        r.wait_final(r.send(mail.message()))
        assert there.wait(1)[0].chunks == 0


def test_old_connections(relay):
    """69: a connection that is old carries nothing more."""
    with Peer(["PIPELINING"]) as there:
        r = relay(destinations=f'destination "d" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{there.port}" }}  connection-time = "2s" }}')
        begun = []  # before the first message on each connection
        with r.smtp() as session:
            while there.connections < 3:
                now = time.monotonic()
                assert r.wait_final(r.submit(session, mail.message(), "ann@sender.test", "bob@rcpt.test"))[0]["event"] == "delivered"
                begun += [now] * (there.connections - len(begun))
        for n in range(2):
            # Not before its time: the next one is there 2 s behind the beginning of this, which was earlier still than the receiver saw it.
            assert there.called_at[n + 1] - begun[n] >= 2, (begun, there.called_at)
            # And not behind it: at most one message is begun on it when it is old, by the receiver's clock.
            assert sum(t.at - there.called_at[n] > 2 for t in there.transactions if t.connection == n + 1) <= 1


def test_words_of_a_receiver(relay):
    """36, 54: whatever is in a reply, a line of the log is a line, and no terminal obeys it."""
    words = b"550-5.1.1 \x1b[31mred\x07 \xff\xfe \xc3\xa4\r\n550 5.1.1 " + b"x" * 2000 + b"\r\n"
    with Hostile(*TO_RCPT, words, HEAR) as host:
        r = relay(destinations=f'destination "d" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{host.port}" }} }}')
        id = r.send(mail.message(), sender="ann@sender.test")
        event, = r.wait_final(id)
        assert (event["event"], event["smtp_code"], event["response_truncated"]) == ("bounced", 550, True)
        assert len(event["response"].encode()) <= 1024 and event["response"].isprintable() and "\u00e4" in event["response"]
