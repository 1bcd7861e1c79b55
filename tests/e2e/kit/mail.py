"""Messages: made to be recognised, compared byte for byte."""
import itertools
import os
import re

_count = itertools.count(1)
_run = os.urandom(4).hex()


def message(body=b"Hello.\r\n", sender="ann@sender.test", to="bob@rcpt.test", subject=None, headers=b""):
    """A complete message with CR LF line ends; every one has a Message-ID of its own."""
    n = next(_count)
    subject = subject or f"message {n}"
    head = (f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n"
            f"Message-ID: <e2e-{n}-{_run}@client.test>\r\n")
    return head.encode() + headers + b"\r\n" + body


def message_id(raw):
    return re.search(rb"(?im)^message-id:\s*(<[^>]*>)", raw).group(1).decode()


def crlf(raw):
    return re.sub(rb"\r?\n", b"\r\n", raw)


def body(raw):
    """What follows the first empty line."""
    return raw.split(b"\r\n\r\n", 1)[1]


def below_trace(raw):
    """The message without the fields that relays and the final delivery put in front."""
    trace = re.compile(rb"(?i)(return-path|delivered-to|x-original-to|x-envelope-to|received):[^\n]*\n([ \t][^\n]*\n)*")
    at = 0
    while (m := trace.match(raw, at)) is not None:
        at = m.end()
    return raw[at:]
