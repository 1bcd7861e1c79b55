"""The dialogues of tests/talks/server, said to the real daemon: what the machine promises without sockets must come out of a socket too."""
import pathlib
import random
import re
import signal
import socket

import pytest

from kit.relay import ROOT, Relay, smarthost
from kit.sink import Sink
from kit.wait import answers, free_port, until

TALKS = pathlib.Path(ROOT) / "tests/talks/server"
SETTINGS = {"hostname": "relay.test", "banner": "", "tls": "none", "auth-mechanisms": "PLAIN LOGIN", "auth-needs-tls": "no", "auth-required": "no",
            "max-message-size": "100000", "max-recipients": "100", "max-errors": "20", "max-messages": "0", "max-auth-failures": "3", "max-idle": "100",
            "max-unknown": "10", "max-refused": "0", "max-hold": "2592000", "min-by": "0", "greeting-delay": "0", "login-timeout": "0", "extensions": "", "split": ""}
# What the daemon says where the driver of a talk, which stands for the daemon, has words of its own.
DAEMON_SAYS = {"250 2.1.0 Ok": "250 2.1.0 Sender ok", "250 2.1.5 Ok": "250 2.1.5 Recipient ok"}
ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
AT_LEAST = 20


def unescape(text):
    return re.sub(rb"\\(x[0-9a-fA-F]{2}|.)", lambda m: bytes.fromhex(m[1][1:].decode()) if m[1][:1] == b"x" and len(m[1]) == 3 else ESCAPES[m[1]],
                  text.encode())


class Talk:
    """A file as settings and steps: ("C", octets of one group), ("S", pattern of a line), ("R", pattern of a reply), ("?", …), ("!", event)."""

    def __init__(self, path):
        self.name, self.settings, self.steps = path.stem, dict(SETTINGS), []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            text = line[3:] if line[2:3] == " " else line[2:]
            if line.startswith("#!"):
                key, value = (part.strip() for part in line[2:].split("=", 1))
                assert key in SETTINGS, f"{path}:{number}: no such setting"
                self.settings[key] = value
            elif line.startswith(("C:", "C|")):
                self.said(unescape(text) + (b"\r\n" if line[1] == ":" else b""))
            elif line.startswith("C*"):
                times, text = line[2:].split(" ", 1)
                self.said(unescape(text) * int(times))
            elif line.startswith(("S:", "S+")):
                self.steps.append(("S" if line[1] == ":" else "R", text))
            elif line.startswith(("? ", "! ")):
                self.steps.append((line[0], line[2:]))
            else:
                assert not line or line[0] in "#>", f"{path}:{number}: no such line"

    def said(self, octets):
        if self.steps and self.steps[-1][0] == "C":
            octets = self.steps.pop()[1] + octets
        self.steps.append(("C", octets))

    @property
    def client(self):
        return b"".join(what for kind, what in self.steps if kind == "C")

    def says(self, verb):
        """Whether a line of the client's begins with this word; content and AUTH responses count too, which does no harm."""
        return re.search(rb"(?im)^" + verb + rb"\b", self.client) is not None

    def has(self, kind, event=""):
        return any(k == kind and str(what).startswith(event) for k, what in self.steps)

    @property
    def shows_auth(self):
        return self.says(b"EHLO") or self.says(b"AUTH")


# --- what is left to the machine, and where the rest is replayed

FIXED = ("max-idle", "max-unknown", "max-refused", "min-by", "login-timeout", "extensions", "auth-mechanisms", "hostname", "banner", "max-errors", "max-messages", "max-auth-failures", "max-recipients")


def for_the_machine_alone(t):
    """Why the daemon cannot be asked this; None: it can."""
    s = t.settings
    if t.has("?"):
        return "the driver's answers are told by the talk"
    if t.has("!", "wait"):
        return "minutes pass"
    if re.search(rb"refuse|defer|goaway", t.client):
        return "the talk's driver refuses by words in addresses or content; the daemon does not"
    for key in FIXED:
        if s[key] != SETTINGS[key]:
            return f"the daemon's {key} is not this, and cannot be"
    if int(s["max-message-size"]) < 1024:
        return "the configuration takes no max-message-size below 1024"
    if s["auth-needs-tls"] == "no" and t.shows_auth and (s["tls"] == "starttls" or t.says(b"STARTTLS")):
        return "AUTH in clear beside STARTTLS: the daemon never offers that"
    return None


def place(t):
    """The listener whose configuration is the talk's. One that shows AUTH in clear is held inside TLS, where the daemon offers it."""
    tls = "implicit" if t.settings["tls"] == "none" and t.shows_auth else t.settings["tls"]
    return tls, *(t.settings[key] for key in ("auth-required", "max-message-size", "max-hold", "greeting-delay"))


EVERY = [Talk(path) for path in sorted(TALKS.glob("*.talk"))]
REPLAYED = [t for t in EVERY if not for_the_machine_alone(t)]


class Front:
    """One relay with a listener for each place that talks need, and a sink behind it."""

    def __init__(self, folder, certificate, users_line):
        self.ports = {p: free_port() for p in sorted(set(map(place, REPLAYED)))}
        self.sink = Sink(folder / "sink").start()
        self.relay = Relay(folder / "relay", certificate, users_line, destinations=smarthost(self.sink) + "".join(map(self.listener, self.ports)))
        for user in ("good", "more"):  # the names that talks log in with, in base64
            self.relay.user_add(user, "good")
        users = self.relay.users_file  # without the secrets of SCRAM, which talks do not speak: it is offered where somebody has one
        users.write_text(re.sub(r"(:|,)scram=[^,\n]*,?", r"\1", users.read_text()))
        self.relay.start()

    def listener(self, where):
        tls, required, size, hold, delay = where
        auth = 'auth = "required"' if required == "yes" else 'auth = "optional" trust = { "127.0.0.0/8" }'
        delay = "60" if delay != "0" else "0"  # who talks before is answered at once, and has all the time to do it
        return (f'listener "{"-".join(where)}" {{ address = {{ "127.0.0.1:{self.ports[where]}" }} tls = "{tls}" {auth} '
                f'max-message-size = {size} max-hold = "{hold}s" greeting-delay = "{delay}s" max-recipients = {SETTINGS["max-recipients"]} }}\n')


@pytest.fixture(scope="module")
def front(tmp_path_factory, certificate, users_line):
    f = Front(tmp_path_factory.mktemp("talks"), certificate, users_line)
    yield f
    f.relay.close()
    f.sink.close()


# --- one dialogue

def matches(pattern, line):
    """`*` and `?` as in a shell, letter case alike; where the pattern is all of the driver's words, the daemon's."""
    pattern = DAEMON_SAYS.get(pattern, pattern)
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(c) or re.escape(c) for c in pattern), line, re.IGNORECASE | re.DOTALL) is not None


class Conversation:
    def __init__(self, front, talk, chance=None):
        """chance: None: a group of the client's in one piece; else in pieces of 1 to 64 octets."""
        self.front, self.talk, self.chance, self.seen, self.said = front, talk, chance, b"", b""
        self.port = front.ports[place(talk)]
        self.socket = socket.create_connection(("127.0.0.1", self.port), 120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if place(talk)[0] == "implicit":
            self.secure()

    def secure(self):
        assert not self.seen, self.seen
        self.socket = self.front.relay.trusting().wrap_socket(self.socket, server_hostname="localhost")

    def send(self, octets):
        self.said = octets
        try:
            while octets:
                n = self.chance.randint(1, 64) if self.chance else len(octets)
                self.socket.sendall(octets[:n])
                octets = octets[n:]
        except OSError:
            pass  # the server has closed: its last words, which are read next, say why

    def more(self):
        """False: the server has closed the connection."""
        try:
            got = self.socket.recv(65536)
        except ConnectionError:
            got = b""
        self.seen += got
        return bool(got)

    def line(self, pattern):
        while b"\r\n" not in self.seen:
            assert self.more(), f"closed instead of {pattern!r}; {self.seen!r}"
        line, self.seen = self.seen.split(b"\r\n", 1)
        return line

    def expect_reply(self, pattern):
        """All lines of one reply, as "CODE text|text|…"."""
        lines = [self.line(pattern)]
        while lines[-1][3:4] == b"-":
            lines.append(self.line(pattern))
        reply = lines[0][:3] + b" " + b"|".join(line[4:] for line in lines)
        assert matches(pattern, reply.decode("latin-1")), f"to {self.said[-200:]!r}: the talk has {pattern!r}, here is {reply!r}"

    def expect(self, pattern):
        line = self.line(pattern)
        assert matches(pattern, line.decode("latin-1")), f"to {self.said[-200:]!r}: the talk has {pattern!r}, here is {line!r}"
        if line.startswith(b"220 2.0.0") and self.said.upper().endswith(b"STARTTLS\r\n"):
            self.secure()

    def nothing_more(self):
        while self.more():
            pass
        assert not self.seen, f"more than was told: {self.seen!r}"

    def event(self, name):
        if name == "closed":
            self.nothing_more()
        elif name == "eof":
            self.eof()
        else:
            assert name == "shutdown", name
            self.front.relay.process.child.send_signal(signal.SIGTERM)
            until(lambda: not answers(self.port), 10, "the listener closes")

    def eof(self):
        try:
            socket.socket.shutdown(self.socket, socket.SHUT_WR)  # of the connection, not of TLS: what still comes can be read
        except OSError:
            pass  # closed already
        self.nothing_more()

    def run(self):
        for kind, what in self.talk.steps:
            {"C": self.send, "S": self.expect, "R": self.expect_reply, "!": self.event}[kind](what)
        self.eof()
        self.socket.close()


def replay(front, talk, chance=None):
    c = Conversation(front, talk, chance)
    try:
        c.run()
    finally:
        c.socket.close()


# --- the tests

@pytest.mark.parametrize("talk", [t for t in REPLAYED if not t.has("!", "shutdown")], ids=lambda t: t.name)
def test_talk(front, talk):
    """What a client is told by the daemon is not what the dialogues promise."""
    replay(front, talk)
    if talk.settings["split"] != "whole":
        replay(front, talk, random.Random(talk.name))


@pytest.mark.parametrize("talk", [t for t in REPLAYED if t.has("!", "shutdown")], ids=lambda t: t.name)
def test_talk_with_stop(tmp_path, certificate, users_line, talk):
    """The same, where the daemon is told to stop within the dialogue."""
    f = Front(tmp_path, certificate, users_line)
    replay(f, talk)
    assert f.relay.process.wait() == 0
    f.relay.close()
    f.sink.close()


def test_most_talks_are_replayed():
    """A rule that is too wide, or a new setting, takes the dialogues away from the daemon in silence."""
    left = {t.name: for_the_machine_alone(t) for t in EVERY if for_the_machine_alone(t)}
    print(f"{len(REPLAYED)} replayed; left to the machine:", *(f"{name}: {why}" for name, why in left.items()), sep="\n  ")
    assert len(REPLAYED) >= AT_LEAST, left
