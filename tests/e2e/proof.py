"""What the proofs share: a client that sends exact bytes, a receiver that misbehaves on purpose, load, and the laws of the delivery log."""
import base64
import collections
import functools
import hashlib
import json
import os
import random
import re
import smtplib
import socket
import threading
import time

import jsonschema

from kit.listening import Listening, line_of
from kit.relay import SCHEMA, log_bytes, queue_id
from kit.wait import until

TRUSTED = 'auth = "optional" trust = { "127.0.0.0/8" }'  # for the listeners: loopback may send in clear, without AUTH
LINE_MAX = 16384


def to_port(port, more="", address="127.0.0.1", domains="*"):
    """A destination that hands everything to one port."""
    return f'destination "proof" {{ domains = {{ "{domains}" }}  relay = {{ "{address}:{port}" }} {more} }}'


def seed():
    """Chance that can be repeated: POSTWAIN_SEED, printed by every test that takes some."""
    value = int(os.environ.get("POSTWAIN_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"POSTWAIN_SEED={value}")
    return random.Random(value)


# --- a client of exact bytes

class Gone(Exception):
    """The server closed the connection, or answered nothing in time."""


class Raw:
    """An SMTP connection on which the test says every octet."""

    def __init__(self, port, greet=True, timeout=20.0, source=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, source_address=source and (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seen = b""
        if greet:
            assert self.reply()[0] == 220
            self.say(b"EHLO client.test", 250)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def trickle(self, data, pause=0.0005):
        """Each octet in a TCP segment of its own."""
        for i in range(len(data)):
            self.socket.sendall(data[i:i + 1])
            time.sleep(pause)

    def reply(self):
        """(code, text) of one whole reply."""
        text = b""
        while True:
            while b"\n" not in self.seen:
                try:
                    got = self.socket.recv(65536)
                except (OSError, ValueError) as problem:
                    raise Gone(str(problem)) from None
                if not got:
                    raise Gone("closed")
                self.seen += got
            line, self.seen = self.seen.split(b"\n", 1)
            assert re.match(rb"[2-5][0-9][0-9][ -]", line) and line.endswith(b"\r"), line
            text += line[4:].rstrip(b"\r") + b"\n"
            if line[3:4] == b" ":
                return int(line[:3]), text.decode()

    def replies(self):
        """All replies until the server closes the connection or says goodbye."""
        all = []
        try:
            while not all or all[-1][0] not in (221, 421):
                all.append(self.reply())
        except Gone:
            pass
        return all

    def say(self, line, *codes):
        self.send(line + b"\r\n")
        code, text = self.reply()
        assert not codes or code in codes, (line, code, text)
        return code, text

    def secure(self, context, login=None):
        """STARTTLS and EHLO; login: "user", "password"."""
        self.say(b"STARTTLS", 220)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.say(b"EHLO client.test", 250)
        if login:
            self.say(b"AUTH PLAIN " + base64.b64encode("\0".join(("", *login)).encode()), 235)
        return self

    def envelope(self, sender=b"ann@sender.test", recipient=b"bob@rcpt.test", mail=b""):
        self.say(b"MAIL FROM:<" + sender + b">" + mail, 250)
        self.say(b"RCPT TO:<" + recipient + b">", 250)

    def data(self, content):
        """content as on the wire, without the final dot."""
        self.say(b"DATA", 354)
        self.send(content + b".\r\n")
        return self.reply()


# --- a receiver that misbehaves

def dot_end(buffer, at):
    """Where the content ends; None: not yet."""
    end = buffer.find(b"\r\n.\r\n", max(0, at - 2))
    return None if end < 0 else end


class Hostile(Listening):
    """
    A receiver with a script: {phase: bytes to say, or a function}. Phases: banner, ehlo, mail, rcpt, data, eod, rset, quit. A
    function gets the connection's socket and returns bytes to say, or CLOSE, RESET or SILENCE. What has been taken
    (all content that ended with a dot) is in .taken, every command line in .commands, every octet of each connection in .heard.
    """
    CLOSE, RESET, SILENCE = object(), object(), object()
    ORDINARY = {"banner": b"220 mx.hostile.test ESMTP\r\n", "ehlo": b"250-mx.hostile.test\r\n250 PIPELINING\r\n", "mail": b"250 2.1.0 ok\r\n",
                "rcpt": b"250 2.1.5 ok\r\n", "data": b"354 go on\r\n", "eod": b"250 2.0.0 taken\r\n", "rset": b"250 2.0.0 ok\r\n",
                "quit": b"221 2.0.0 bye\r\n"}

    def __init__(self, address="127.0.0.1", **script):
        super().__init__(address)
        self.script = dict(script)
        self.taken, self.commands, self.heard = [], [], []
        self.listen()

    def _say(self, s, phase):
        """False: the talk is over."""
        what = self.script.get(phase, self.ORDINARY[phase])
        if callable(what):
            what = what(s)
        if what is self.RESET:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if what in (self.CLOSE, self.RESET):
            return False
        if what is self.SILENCE:
            while s.recv(65536):
                pass
            return False
        s.sendall(what)
        return True

    def serve(self, s, number):
        buffer, heard = bytearray(), bytearray()
        self.heard.append(heard)
        if not self._say(s, "banner"):
            return
        while True:
            line = line_of(s, buffer, heard)
            self.commands.append(line)
            verb = line[:4].decode("latin-1").lower()
            phase = {"helo": "ehlo"}.get(verb, verb)
            if not self._say(s, phase if phase in self.ORDINARY else "rset"):
                return
            if phase == "data":
                content, rest = self._content(s, b"\r\n" + bytes(buffer), heard)
                buffer[:] = rest
                self.taken.append(content)
                if not self._say(s, "eod"):
                    return
            if phase == "quit":
                return

    def _content(self, s, buffer, heard):
        at = 0
        while True:
            end = dot_end(buffer, at)
            if end is not None:
                return buffer[2:end + 2].replace(b"\r\n..", b"\r\n."), buffer[end + 5:]
            at = max(0, len(buffer) - 5)
            got = s.recv(65536)
            if not got:
                raise EOFError
            buffer += got
            heard += got


# --- load

Told = collections.namedtuple("Told", "xid digest id size recipients at answered")  # at: just before it was sent, dot and all


def some_recipients(xid, chance):
    return [f"r{n}.{xid}@rcpt.test" for n in range(3 if chance.random() < 0.1 else 1)]


class Submitters:
    """
    Threads that submit until stopped. told: what got a 250; unknown: sent whole, no answer came; refused: replies other than 250.
    lost: how sessions ended that were not ended by QUIT. paused: nothing new is begun while it is set.
    recipients(xid, chance): the addresses of one message, all of them its own.
    """

    def __init__(self, port, chance, threads=4, large=0.04, pause=0.0, recipients=some_recipients):
        self.port, self.pause, self.large, self.recipients = port, pause, large, recipients
        self.told, self.unknown, self.refused, self.sent, self.lost = [], {}, [], {}, []
        self.stopping, self.paused = threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(n, random.Random(chance.random())), daemon=True)
                        for n in range(threads)]
        for t in self.threads:
            t.start()

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(180)
            assert not t.is_alive(), "a submitter hangs"

    def _run(self, number, chance):
        session, count = None, 0
        while not self.stopping.is_set():
            if self.paused.is_set():
                time.sleep(0.02)
                continue
            try:
                if session is None:
                    session = smtplib.SMTP("127.0.0.1", self.port, "load.test", timeout=120)
                    session.ehlo()
                count += 1
                self._one(session, f"{number}-{count}", chance)
                if chance.random() < 0.05:
                    session.quit()
                    session = None
                if self.pause:
                    time.sleep(self.pause)
            except (OSError, smtplib.SMTPException) as e:
                self.lost.append(repr(e))
                if session is not None:
                    session.close()
                session = None
                time.sleep(0.03)

    def _one(self, session, xid, chance):
        size = chance.choice((200_000, 300_000, 500_000)) if chance.random() < self.large else chance.randrange(10, 6000)
        line = chance.randbytes(36).hex().encode() + b"\r\n"
        body = b"." + line * (size // len(line)) + f"end of {xid}\r\n".encode()
        recipients = self.recipients(xid, chance)
        head = (f"From: <load@sender.test>\r\nTo: <{recipients[0]}>\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n"
                f"Message-ID: <{xid}@load.test>\r\nX-Id: {xid}\r\nSubject: {xid}\r\n\r\n").encode()
        for code, text in [session.mail("load@sender.test")] + [session.rcpt(r) for r in recipients] + [session.docmd("DATA")]:
            if code not in (250, 354):
                self.refused.append((xid, code, text))
                if code == 421:
                    raise smtplib.SMTPServerDisconnected("421")
                session.rset()
                return
        self.sent[xid] = digest = hashlib.sha256(body).hexdigest()
        at = time.time()  # not behind the sending: this thread may be stalled there until the answer has long come
        session.send(stuffed(head + body) + b".\r\n")
        self.unknown[xid] = digest
        code, text = session.getreply()
        del self.unknown[xid]
        if code == 250:
            self.told.append(Told(xid, digest, queue_id(text.decode()), len(head + body), len(recipients), at, time.time()))
        else:
            self.refused.append((xid, code, text))
            if code == 421:
                raise smtplib.SMTPServerDisconnected("421")


def stuffed(content):
    """As on the wire below DATA."""
    content = content.replace(b"\r\n.", b"\r\n..")
    return b"." + content if content.startswith(b".") else content


# to: its recipients; at: when its last octet was written, before it was synced and answered
Arrived = collections.namedtuple("Arrived", "xid digest to at")


@functools.lru_cache(maxsize=None)
def arrival(path):
    """One file of a sink; None: not of Submitters (a report)."""
    head, body = path.read_bytes().split(b"\r\n\r\n", 1)
    xid = re.search(rb"\r\nX-Id: (\S+)", head)
    to = tuple(address.decode() for address in re.findall(rb"(?m)^(?:Delivered-To|X-Envelope-To): (\S+)\r$", head))
    return xid and Arrived(xid.group(1).decode(), hashlib.sha256(body).hexdigest(), to, path.stat().st_mtime_ns / 1e9)


def arrivals(*sinks):
    """What the sinks have filed, by the X-Id of Submitters: {xid: [Arrived…]}, oldest first."""
    by = collections.defaultdict(list)
    for a in filter(None, (arrival(path) for s in sinks for path in s.files())):
        by[a.xid].append(a)
    for all in by.values():
        all.sort(key=lambda a: a.at)
    return by


# --- the delivery log

def log_files(folder, name="delivery"):
    """Put-aside files in the order of their last seq, then the live one."""
    def last_seq(path):
        return int(re.match(rf"{name}-\d+T\d+Z-(\d+)", path.name).group(1))

    live = folder / f"{name}.jsonl"
    return sorted([*folder.glob(f"{name}-*.jsonl"), *folder.glob(f"{name}-*.jsonl.zst")], key=lambda p: (last_seq(p), p.stat().st_mtime_ns)) + ([live] if live.exists() else [])


def log_lines(folder, name="delivery"):
    """Every line of every file as bytes, in order. A file may end in the torn line of a crash only if it was put aside for it."""
    lines = []
    for path in log_files(folder, name):
        data = log_bytes(path)
        whole = data[:data.rfind(b"\n") + 1]
        assert whole == data or path.name.endswith("-torn.jsonl"), f"{path} ends within a line: {data[-200:]}"
        lines += whole.split(b"\n")[:-1]
    return lines


def no_doubles(pairs):
    keys = [k for k, _ in pairs]
    assert len(keys) == len(set(keys)), f"a key comes twice: {keys}"
    return dict(pairs)


_validator = jsonschema.Draft202012Validator(json.load(open(SCHEMA)))


def check_line(line, schema=True):
    """One line against its contract; the event."""
    assert len(line) + 1 < LINE_MAX, f"a line of {len(line)} octets"
    assert not re.search(rb"[\x00-\x1f\x7f]", line), line
    event = json.loads(line.decode("utf-8", "strict"), object_pairs_hook=no_doubles)
    for key, value in event.items():
        assert value is not None and value != "" and value != {}, f"{key} is empty in {line}"
        assert isinstance(value, (str, int, float, bool)) or key == "tags", f"{key} is not flat in {line}"
        assert re.fullmatch("[a-z][a-z0-9_]*", key), key
    assert len(event.get("response", "")) <= 1024, line
    if schema:
        problems = [p.message for p in _validator.iter_errors(event)]
        assert not problems, f"{problems} in {line}"
    return event


def check_log(folder, schema_each=1):
    """
    The laws of the whole log: each line valid, seq from 1 without gaps and in order across files and crashes, a repeated id has
    the same octets, each accepted recipient has at most one terminal event. Returns the events, repeated ones once.
    """
    by_id, events, highest = {}, [], 0
    for n, line in enumerate(log_lines(folder)):
        event = check_line(line, schema=n % schema_each == 0)
        if "seq" not in event:
            continue
        assert event["id"] == f"{event['node']}-{event['seq']}", line
        known = by_id.setdefault(event["id"], line)
        assert known == line, f"written again, but not the same:\n{known}\n{line}"
        if known is not line:
            continue
        assert event["seq"] == highest + 1, f"seq goes from {highest} to {event['seq']}"
        highest = event["seq"]
        events.append(event)
    accepted = [(e["queue_id"], e["rcpt"]) for e in events if e["event"] == "accepted"]
    finals = [(e["queue_id"], e["rcpt"]) for e in events if e.get("final")]
    assert len(set(accepted)) == len(accepted), "accepted twice"
    assert len(set(finals)) == len(finals), [f for f, n in collections.Counter(finals).items() if n > 1]
    assert set(finals) <= set(accepted), "a terminal event for what was never accepted"
    return events


def unfinished(events):
    """Accepted recipients without a terminal event."""
    return ({(e["queue_id"], e["rcpt"]) for e in events if e["event"] == "accepted"}
            - {(e["queue_id"], e["rcpt"]) for e in events if e.get("final")})


def wait_finished(relay, timeout=60):
    """Until every accepted recipient has its terminal event in the log, and the queue is empty."""
    def left():
        return unfinished([e for e in relay.log() if "seq" in e])

    until(lambda: not relay.queue("--limit", "1"), timeout, "the queue becomes empty", pause=0.3)
    until(lambda: not left(), timeout, lambda: f"{len(left())} recipients, such as {sorted(left())[:3]}", pause=0.3)
    relay.wait_queue_empty()
