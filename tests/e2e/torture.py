"""
A corpus of messages that some mail system, somewhere, has changed, cut or choked on: made by Python's email package and by hand. Each is
(name, octets, verdict, arrives): verdict is None or the start of the reply that refuses it, arrives what is to arrive: the same octets, but
for an empty line behind the header section where there was none, and an end of the last line.

Every message begins with "X-Case: NUMBER", so that what a relay puts in front of it can be told from what is its own, and has Date,
Message-ID, From and To, so that nothing is missing.
"""
import email.policy
import itertools
import random
from email.message import EmailMessage, MIMEPart
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

LINE_MAX = 998
HEAD = b"Date: Fri, 02 Jan 2026 03:04:05 +0000\r\nMessage-ID: <torture-%d@client.test>\r\nFrom: ann@sender.test\r\nTo: bob@rcpt.test\r\n"


class Corpus:
    def __init__(self, seed):
        self.chance, self.cases = seed, []
        for make in (self.lines, self.headers, self.odd_sections, self.bodies, self.mime_by_hand, self.mime_by_python, self.noise):
            make()

    def add(self, name, fields=b"", body=b"", verdict=None, end=b"\r\n"):
        n = len(self.cases)
        section = b"X-Case: %d\r\n" % n + HEAD % n + fields
        arrives = section + b"\r\n" + body
        self.cases.append((name, section + end + body, verdict, arrives if arrives.endswith(b"\r\n") else arrives + b"\r\n"))

    # --- by hand

    def lines(self):
        """Line lengths at the limit, in the header section, folded, in the body."""
        for n in (LINE_MAX - 1, LINE_MAX, LINE_MAX + 1, 2 * LINE_MAX, 70_000):
            verdict = None if n <= LINE_MAX else "550 5.6.0"
            self.add(f"a body line of {n}", body=b"x" * n + b"\r\n", verdict=verdict)
            self.add(f"a field of {n}", b"Subject: ".ljust(n, b"s") + b"\r\n", verdict=verdict)
            self.add(f"a fold of {n}", b"Subject: x\r\n" + b" ".ljust(n, b"s") + b"\r\n", verdict=verdict)
            self.add(f"a line of {n} that starts with a dot", body=b".".ljust(n, b"d") + b"\r\n", verdict=verdict)
        self.add("a 998 octet line of 8-bit", body=b"\xe9" * LINE_MAX + b"\r\n")
        for name, text in (("CR", b"a\rb"), ("LF", b"a\nb"), ("CR CR LF", b"a\r\r\nb"), ("LF CR", b"a\n\rb")):
            self.add(f"bare {name} in the body", body=text + b"\r\n", verdict="550 5.5.2")
            self.add(f"bare {name} in the header section", b"Subject: " + text + b"\r\n", verdict="550 5.5.2")

    def headers(self):
        for name, fields in {
            "tabs and blanks": b"Subject:\t \tx\t \r\nX:y\r\n",
            "blanks before the colon": b"Subject \t : x\r\n",
            "empty values": b"Subject:\r\nComments: \r\n",
            "folded empty lines": b"Subject: a\r\n \r\n\t\r\n b\r\n",
            "a fold first": b"Subject:\r\n x\r\n",
            "8-bit, UTF-8": "Subject: J\u00f6rg \U0001f4e7\r\n".encode(),
            "8-bit, Latin-1": b"Subject: J\xf6rg\r\n",
            "8-bit, not any text": b"Subject: \xff\xfe\x80\r\n",
            "NUL": b"Subject: a\0b\r\n",
            "controls": b"Subject: " + bytes(c for c in range(1, 32) if c not in (10, 13)) + b"\x7f\r\n",
            "an encoded word": b"Subject: =?utf-8?B?SsO2cmc=?= =?iso-8859-1?Q?J=F6rg?=\r\n",
            "broken encoded words": b"Subject: =?utf-8?B?SsO2cmc =?utf-8?X?a?= =?=\r\n",
            "group syntax": b"Cc: friends: a@rcpt.test, \"B, C\" <b@rcpt.test>;, nobody:;\r\n",
            "a route": b"Cc: <@a.test,@b.test:c@rcpt.test>\r\n",
            "comments in comments": b"Cc: (a(b(c)))d@rcpt.test(\\))\r\n",
            "names with punctuation": b"!#$%&'*+-.^_`|~: x\r\n\"quoted\": y\r\n<x>: z\r\n(c): d\r\n",
            "doubled fields": b"Subject: a\r\nSubject: b\r\nReply-To: x@a.test\r\nReply-To: y@a.test\r\nTo: c@rcpt.test\r\n",
            "a Received below": b"Received: by elsewhere.test; Fri, 02 Jan 2026 03:04:05 +0000\r\n" * 20,
            "a block sent again": b"Resent-Date: d\r\nResent-Message-ID: <r@x.test>\r\nResent-From: ann@sender.test\r\n" * 2,
            "fields of mbox": b"Content-Length: 3\r\nLines: 1\r\nStatus: RO\r\nX-UID: 5\r\n",
            "Sender and Reply-To": b"Sender: someone@else.test\r\nReply-To: <>\r\n",
            "a DKIM signature": b"DKIM-Signature: v=1; a=rsa-sha256;\r\n\th=from:to:bcc;\r\n   bh=abc=;\r\n\tb=" + b"A" * 300 + b"\r\n",
            "fields whose names begin as ours do": b"X-Postwain-Tags: a\r\nBcc-X: b\r\nXBcc: c\r\nReturn-Path-X: d\r\n",
            "TLS-Required": b"TLS-Required: No\r\n",
        }.items():
            self.add(f"header: {name}", fields, b"body\r\n")
        self.add("header: 900 fields", b"X: y\r\n" * 900)
        self.add("header: 1001 fields", b"X: y\r\n" * 1001, verdict="554 5.6.0")
        filler = b"X-Filler: ".ljust(498, b"f") + b"\r\n"
        self.add("header: nearly 100 KiB", filler * 203)
        self.add("header: more than 100 KiB", filler * 206, verdict="552 5.3.4")
        self.add("header: 51 Received", b"Received: by elsewhere.test; x\r\n" * 51, verdict="554 5.4.6")
        self.add("header: two From", b"From: ann@sender.test\r\n", verdict="554 5.6.0")

    def odd_sections(self):
        self.add("header only", end=b"")
        self.add("header and an empty line")
        self.add("no line end at the end", body=b"x")
        self.add("a body of one empty line", body=b"\r\n")
        self.add("a body of empty lines", body=b"\r\n" * 500)
        self.add("no empty line before the body", body=b"this is no field\r\nbody: x\r\n", end=b"")
        self.add("a body that looks like a header section", body=b"Bcc: not@a.field\r\nReturn-Path: <x>\r\nX-Postwain-Tag: =\r\n\r\nFrom: y\r\n")
        self.add("a body that looks like an mbox", body=b"From ann@sender.test Fri Jan  2 03:04:05 2026\r\n>From x\r\n")
        self.add("a body of blanks", body=b"   \t \r\n\t\r\n \r\n")

    def bodies(self):
        every = bytes(c for c in range(256) if c not in (10, 13))
        self.add("body: each octet", body=every + b"\r\n")
        self.add("body: each octet at a line's start and end", body=b"".join(bytes([c]) + b"x" + bytes([c]) + b"\r\n" for c in every))
        self.add("body: NUL lines", body=b"\0\r\n" * 50)
        for longest in range(1, 4):
            for p in itertools.product((b".", b"\r\n", b"a"), repeat=longest):
                self.add(f"body: {b''.join(p)!r}", body=b"".join(p))
        self.add("body: dots", body=b".\r\n..\r\n...\r\n.a\r\n..a\r\na.\r\n\r\n.\r\n")
        self.add("body: trailing blanks", body=b"a \r\nb\t\r\nc \t \r\n")
        self.add("body: commands", body=b"QUIT\r\nRSET\r\nDATA\r\nMAIL FROM:<x@y.test>\r\nBDAT 5 LAST\r\n")
        self.add("body: format effectors", body=b"a\x0cb\x0bc\x08d\x1b[2Je\r\n")
        self.add("body: UTF-8 cut", body="\u20ac".encode()[:2] + b"\r\n" + "\u20ac".encode()[2:] + b"\r\n")
        self.add("body: UTF-16", body="two octets each".encode("utf-16-le") + b"\r\n")
        line = b"The quick brown fox jumps over the lazy dog. 0123456789 abcdefg\r\n"
        for size in (65_535, 253_900, 253_952, 262_144, 524_288, 2_000_000):  # around what is kept in memory, and pieces of a file
            self.add(f"body: {size} octets", body=(line * (size // len(line) + 1))[:size - 2].rstrip(b"\r\n") + b"\r\n")

    def mime_by_hand(self):
        mp = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=%s\r\n"
        for name, fields, body in (
            ("no boundary in the body", mp % b"b", b"text\r\n"),
            ("an empty part", mp % b"b", b"--b\r\n\r\n\r\n--b\r\n\r\n--b--\r\n"),
            ("no parts", mp % b"b", b"--b--\r\n"),
            ("never closed", mp % b"b", b"--b\r\n\r\ntext\r\n"),
            ("closed twice", mp % b"b", b"--b\r\n\r\ntext\r\n--b--\r\n--b--\r\n"),
            ("preamble and epilogue", mp % b"b", b"preamble\r\n--b\r\n\r\ntext\r\n--b--\r\nepilogue\r\n"),
            ("blanks behind the boundary", mp % b"b", b"--b \t\r\n\r\ntext\r\n--b-- \r\n"),
            ("a boundary within a boundary", mp % b"b", b"--b\r\n\r\n--bb\r\n--b-\r\n--b--x\r\n--b--\r\n"),
            ("a quoted boundary", mp % b'"a b:c/d=e?f"', b"--a b:c/d=e?f\r\n\r\n--a b:c/d=e?f--\r\n"),
            ("a boundary of 70", mp % (b"x" * 70), b"--" + b"x" * 70 + b"--\r\n"),
            ("an empty boundary", mp % b'""', b"--\r\n\r\n----\r\n"),
            ("a boundary of dots", mp % b'"."', b"--.\r\n\r\n.\r\n--.--\r\n"),
            ("a part without fields", mp % b"b", b"--b\r\ntext, no empty line\r\n--b--\r\n"),
            ("a part of 8-bit fields", mp % b"b", "--b\r\nContent-Disposition: attachment; filename=\"\u00f6.txt\"\r\n\r\n--b--\r\n".encode()),
            ("an unknown encoding", b"Content-Transfer-Encoding: x-rot13\r\n", b"uryyb\r\n"),
            ("base64 of 76 and rubbish", b"Content-Transfer-Encoding: base64\r\n", b"QUJD" * 19 + b"\r\n!!\r\n====\r\nQQ==\r\n"),
            ("quoted-printable at its edges", b"Content-Transfer-Encoding: quoted-printable\r\n",
             b"=\r\n=3D=\r\n a=20\r\n=ZZ\r\n.=2E\r\n" + b"x" * 75 + b"=\r\n"),
            ("8bit said, none there", b"Content-Transfer-Encoding: 8bit\r\n", b"ascii\r\n"),
            ("7bit said, 8-bit there", b"Content-Transfer-Encoding: 7bit\r\n", b"\xe9\r\n"),
            ("two Content-Types", b"Content-Type: text/plain\r\nContent-Type: text/html\r\n", b"<p>\r\n"),
            ("a Content-Type that is none", b"Content-Type: ;;;=\"\r\nMIME-Version: (x) 9.9\r\n", b"x\r\n"),
            ("parameters of RFC 2231", b"Content-Type: application/x; name*0*=utf-8''a%20;\r\n name*1=\"b\"\r\n", b"x\r\n"),
            ("a partial message", b"Content-Type: message/partial; id=\"x\"; number=1; total=2\r\n", b"From: x\r\n\r\nhalf\r\n"),
            ("uuencode", b"", b"begin 644 x\r\n#0V%T\r\n`\r\nend\r\n"),
            ("PGP", b"", b"-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\n- -- \r\n-- \r\n-----END PGP SIGNATURE-----\r\n"),
            ("format=flowed", b"Content-Type: text/plain; format=flowed; delsp=yes\r\n", b"a \r\n> b \r\n>> c\r\n From d\r\n-- \r\n"),
        ):
            self.add(f"MIME: {name}", fields, body)
        deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(400))
        self.add("MIME: 400 levels deep", b"", deep)
        nested = b"Content-Type: message/rfc822\r\n\r\n" * 200
        self.add("MIME: messages in messages", b"", nested)

    # --- by Python's email package

    def take(self, name, message, policy=email.policy.SMTP):
        """What the package wrote, below our own first fields."""
        for key in ("From", "To", "Date", "Message-ID"):
            del message[key]
        head, _, body = message.as_bytes(policy=policy).partition(b"\r\n\r\n")
        self.add(f"email: {name}", head + b"\r\n" if head else b"", body)

    def mime_by_python(self):
        texts = {"ascii": "Hello.\n", "umlauts": "Gr\u00fc\u00dfe\n", "emoji": "\U0001f600 \u202e\n", "long": "w\u00f6rd " * 400 + "\n",
                 "empty": "", "dots": ".\n..\n", "no end": "x"}
        for name, text in texts.items():
            for cte in ("7bit", "8bit", "quoted-printable", "base64"):
                m = EmailMessage()
                m["Subject"] = f"{name} as {cte} \u00e4\u4e2d"
                try:
                    m.set_content(text, cte=cte)
                    raw = m.as_bytes(policy=email.policy.SMTP)
                except (UnicodeError, ValueError):
                    continue
                if max(map(len, raw.split(b"\r\n"))) <= LINE_MAX:
                    self.take(f"{name}, {cte}", m)
        m = EmailMessage(policy=email.policy.SMTPUTF8)
        m["Subject"] = "Gr\u00fc\u00dfe \u4e2d\u6587"
        m.set_content("\u00e4\n", cte="8bit")
        self.take("SMTPUTF8 fields", m, email.policy.SMTPUTF8)
        m = EmailMessage()
        m.set_content("plain\n")
        m.add_alternative("<p>html</p>\n", subtype="html")
        m.get_payload()[1].add_related(bytes(range(256)) * 40, "image", "png", cid="<i@x>")
        for n in range(5):
            m.add_attachment(self.chance.randbytes(3000 * n), maintype="application", subtype="octet-stream", filename=f"b\u00f6x-{n}.bin")
        self.take("alternative, related, attachments", m)
        inner = EmailMessage()
        inner["From"], inner["Bcc"], inner["Return-Path"], inner["Subject"] = "a@b.test", "secret@b.test", "<r@b.test>", "inner"
        inner.set_content("inner\n.\n")
        for n in range(4):  # its Bcc is not ours to remove
            outer = EmailMessage()
            outer["Subject"] = f"forwarded {n}"
            outer.set_content("see below\n")
            outer.add_attachment(inner)
            inner = outer
        self.take("forwarded four times", inner)
        mixed = MIMEMultipart("mixed", boundary="=_x.y")
        mixed.attach(MIMEText("", "plain", "us-ascii"))
        mixed.attach(MIMEText("\u00e4", "plain", "utf-8"))
        mixed.attach(MIMEBase("application", "empty"))
        mixed.preamble, mixed.epilogue = "This is a preamble.", "And this the end.\n"
        self.take("the old classes", mixed)
        report = MIMEMultipart("report", report_type="delivery-status")
        report.attach(MIMEText("It failed.\n"))
        status = MIMEPart()
        status["Reporting-MTA"] = "dns; x.test"
        report.attach(status)
        self.take("a report", report)
        many = MIMEMultipart("digest")
        for n in range(100):
            many.attach(MIMEText(f"part {n}\n"))
        self.take("a digest of 100", many)
        signed = MIMEMultipart("signed", protocol="application/pgp-signature", micalg="pgp-sha256")
        signed.attach(MIMEText("signed \n trailing \n"))
        signed.attach(MIMEBase("application", "pgp-signature"))
        self.take("signed", signed)

    # --- by chance

    def noise(self):
        """Octets by chance, in lines of any length up to the limit."""
        for n in range(12):
            body = b""
            while len(body) < 20_000:
                line = self.chance.randbytes(self.chance.choice((0, 1, 2, 60, 78, 500, LINE_MAX)))
                body += line.translate(None, b"\r\n") + b"\r\n"
            self.add(f"noise {n}", b"Content-Type: application/octet-stream\r\n", body)
        for n in range(8):
            words = [b".", b"\r\n", b" ", b"--b", b"\0", b"\xff", b"=", b"From ", b":", b"\t", b"x" * 77]
            body = b"".join(self.chance.choice(words) for _ in range(150)) + b"\r\n"
            longest = max(map(len, body.split(b"\r\n")))  # once in some fifty runs it is too long
            self.add(f"words by chance {n}", body=body, verdict=None if longest <= LINE_MAX else "550 5.6.0")


def corpus(chance=None):
    return Corpus(chance or random.Random(1)).cases
