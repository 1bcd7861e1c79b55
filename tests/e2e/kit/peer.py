"""A receiver that offers what a test says and writes down what it hears: transactions, and every line said in clear."""
import dataclasses
import ssl
import threading
import time

from kit.listening import Listening
from kit.wait import until

ALL = ["PIPELINING", "SIZE 60000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME", "DELIVERBY", "MT-PRIORITY", "REQUIRETLS"]


@dataclasses.dataclass
class Transaction:
    connection: int
    tls: bool
    mail: str = ""
    rcpts: list = dataclasses.field(default_factory=list)
    content: bytes = b""
    chunks: int = 0
    done: bool = False
    at: float = dataclasses.field(default_factory=time.monotonic)  # of MAIL


class Peer(Listening):
    """
    keywords: of EHLO; inside: the same within TLS (as `keywords` where absent). certificate: Files of kit/certs.py, then STARTTLS
    is offered. refuse: {how a line begins: reply}; octets are said as they are. RCPT beyond `rcpt_max` in a transaction, or a MAIL beyond `mail_max` in a connection, is
    noted in `broken` and refused. gate: an event that RCPT is answered behind; `asked` is set when somebody waits at it.
    """

    def __init__(self, keywords=(), inside=None, certificate=None, refuse=None, rcpt_max=None, mail_max=None, address="127.0.0.1", port=None, gate=None):
        super().__init__(address)
        self.port = port or self.port
        self.keywords, self.inside = list(keywords), list(keywords if inside is None else inside)
        self.refuse, self.rcpt_max, self.mail_max = refuse or {}, rcpt_max, mail_max
        self.gate, self.asked = gate, threading.Event()
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate.pem, certificate.key)
        self.transactions, self.in_clear, self.broken = [], [], []
        self.listen()

    def wait(self, n=1, timeout=30):
        """The first n transactions that are over."""
        until(lambda: sum(t.done for t in self.transactions) >= n, timeout, lambda: (self.transactions, self.in_clear))
        return [t for t in self.transactions if t.done]

    def serve(self, s, number):
        _Session(self, s, number).run()


class _Session:
    def __init__(self, peer, c, number):
        self.peer, self.number = peer, number
        self.socket, self.file, self.tls = c, c.makefile("rb"), False
        self.now, self.mails = None, 0

    def say(self, *lines):
        for i, line in enumerate(lines):
            self.socket.sendall(line[:3].encode() + (b"-" if i + 1 < len(lines) else b" ") + line[4:].encode() + b"\r\n")

    def run(self):
        self.say("220 peer.test")
        while True:
            line = self.file.readline()
            if not line:
                return
            line = line.decode().rstrip("\r\n")
            if not self.tls:
                self.peer.in_clear.append(line)
            verb = line.split(" ")[0].split(":")[0].upper()
            if verb == "RCPT" and self.peer.gate:
                self.peer.asked.set()
                assert self.peer.gate.wait(60)
            if refusal := next((r for begin, r in self.peer.refuse.items() if line.upper().startswith(begin.upper())), None):
                self.say(refusal) if isinstance(refusal, str) else self.socket.sendall(refusal + b"\r\n")
            elif not getattr(self, "on_" + verb.lower(), self.unknown)(line):
                return

    def unknown(self, line):
        self.say("500 5.5.2 " + line[:20])
        return True

    def on_ehlo(self, _):
        keywords = self.peer.inside if self.tls else self.peer.keywords + (["STARTTLS"] if self.peer.context else [])
        self.say("250 peer.test", *("250 " + k for k in keywords))
        return True

    def on_starttls(self, _):
        self.say("220 go")
        self.socket = self.peer.context.wrap_socket(self.socket, server_side=True)
        self.file, self.tls = self.socket.makefile("rb"), True
        return True

    def on_mail(self, line):
        self.mails += 1
        if self.peer.mail_max and self.mails > self.peer.mail_max:
            self.peer.broken.append(line)
            self.say("421 4.7.0 told you so")
            return False
        self.now = Transaction(self.number, self.tls, mail=line)
        self.peer.transactions.append(self.now)
        self.say("250 2.1.0 ok")
        return True

    def on_rcpt(self, line):
        if self.peer.rcpt_max and len(self.now.rcpts) >= self.peer.rcpt_max:
            self.peer.broken.append(line)
            self.say("452 4.5.3 told you so")
            return True
        self.now.rcpts.append(line)
        self.say("250 2.1.5 ok")
        return True

    def on_data(self, _):
        self.say("354 go")
        lines = []
        while (line := self.file.readline()) != b".\r\n":
            if not line:
                raise EOFError
            lines.append(line[1:] if line.startswith(b".") else line)
        self.now.content = b"".join(lines)
        self.over()
        return True

    def on_bdat(self, line):
        words = line.split(" ")
        n = int(words[1])
        piece = self.file.read(n)
        if len(piece) < n:
            raise EOFError
        self.now.content += piece
        self.now.chunks += 1
        if words[2:] == ["LAST"]:
            self.over()
        else:
            self.say("250 2.0.0 go on")
        return True

    def over(self):
        self.say("250 2.0.0 taken")
        self.now.done = True

    def on_rset(self, _):
        self.say("250 2.0.0 ok")
        return True

    on_noop = on_rset

    def on_quit(self, _):
        self.say("221 2.0.0 bye")
        return False
