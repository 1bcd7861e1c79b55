"""
BINARYMIME content for receivers that lack it (relay/mail/reencode.c), judged by Python's own parser of mail: what it finds in each
part before, it finds afterwards; and what comes out can be sent to anyone. kit_reencode is the room as a program.
"""
import email
import email.policy
import os
import pathlib
import random
import re
import subprocess

import pytest

KIT = pathlib.Path(os.environ["POSTWAIN"]).parent / "tests" / "kit_reencode"


def reencode(content, piece=None):
    p = subprocess.run([KIT] + ([str(piece)] if piece else []), input=content, capture_output=True)
    assert p.returncode in (0, 1), p.stderr
    return p.stdout if p.returncode == 0 else None


def parts(content):
    """What a reader finds: the kinds of all parts in their order, and the bytes of each leaf."""
    found = []
    for part in email.message_from_bytes(content, policy=email.policy.compat32).walk():
        kind = part.get_content_type()
        found.append((kind, part.get_filename(), None if part.is_multipart() else part.get_payload(decode=True)))
    return found


def sendable(content):
    lines = content.split(b"\r\n")
    return all(len(line) <= 998 and b"\r" not in line and b"\n" not in line for line in lines)


def check(content):
    out = reencode(content)
    assert out is not None
    assert sendable(out)
    assert parts(out) == parts(content)
    assert b"\r\ncontent-transfer-encoding: binary" not in out.lower()
    assert reencode(content, 1) == out and reencode(content, 7) == out and reencode(content, 4096) == out
    assert reencode(out) == out, "what can be sent as it is stays as it is"
    return out


def mixed(*inner, boundary=b"b", fields=b""):
    head = b'MIME-Version: 1.0\r\nSubject: x\r\n%sContent-Type: multipart/mixed; boundary="%s"\r\n\r\n' % (fields, boundary)
    return head + b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in inner) + b"--%s--\r\n" % boundary


def leaf(data, kind=b"application/octet-stream", label=b"binary", fields=b""):
    lines = [b"Content-Type: " + kind]
    if label:
        lines.append(b"Content-Transfer-Encoding: " + label)
    return b"\r\n".join(lines) + b"\r\n" + fields + b"\r\n" + data


BLOB = bytes(range(256)) * 9 + b"\r\n\r\n--\r\n.\r\nend"


@pytest.mark.parametrize("data", [b"", b"\n", b"\r", b"\r\n", b"a", b"\0", BLOB, b"x" * 5000, b"--b-\r\n--bb\r\n -- b\r\n", b"-", b"--",
                                  b"tail\r\n", b"tail\r", b"\r\r\n\n\r", b"\x80\xff" * 40000, b"." * 57, b"." * 114],
                         ids=lambda d: f"{len(d)}-{d[:6].hex()}")
def test_binary_part(data):
    out = check(mixed(leaf(b"text\r\n", b"text/plain", b"7bit"), leaf(data), leaf(data, fields=b"X: y\r\n")))
    assert out.count(b"Content-Transfer-Encoding: base64") == 2


def test_whole_body_without_mime():
    """No MIME at all: lines stay lines, anything else becomes base64 with the fields that say so."""
    head = b"From: a@example.org\r\nSubject: x\r\n\r\n"
    assert check(head + b"only lines\r\n\r\nof text\r\n") == head + b"only lines\r\n\r\nof text\r\n"
    out = reencode(head + BLOB)
    m = email.message_from_bytes(out)
    assert sendable(out) and m.get_payload(decode=True) == BLOB
    assert m["MIME-Version"] == "1.0" and m["Content-Transfer-Encoding"] == "base64"
    assert m["Content-Type"] == "text/plain; charset=unknown-8bit", "RFC 1428"


def test_labels():
    text = b"one line\r\nand another"
    for label in (b"7bit", b"8bit", b"8BIT", b"quoted-printable", b"base64", b"x-unknown", None):
        content = mixed(leaf(b"dGV4dA==" if label == b"base64" else text, b"text/plain", label))
        assert check(content) == content, "not a byte is touched where nothing is binary"


def test_labels_that_lie():
    """Said to be lines, and it is none: encoded while that can still be told, refused clearly when it shows too late."""
    for label in (b"7bit", b"8bit", None):
        for data in (BLOB, b"a\nb", b"x" * 999, b"nul\0"):
            out = check(mixed(leaf(data, label=label)))
            assert b"Transfer-Encoding: base64" in out and out.lower().count(b"transfer-encoding") == 1
        late = b"a line of a text\r\n" * 8000
        content = mixed(leaf(late, label=label))
        assert check(content) == content
        assert reencode(mixed(leaf(late + b"a\nb", label=label))) is None
    assert reencode(mixed(leaf(b"x" * 2000, label=b"x-unknown"))) is None
    assert reencode(mixed(leaf(b"=\r\n" + b"x" * 2000, label=b"quoted-printable"))) is None


def test_base64_in_one_line():
    content = mixed(leaf(b"QUJD" * 1000, label=b"base64"))
    out = reencode(content)
    assert sendable(out) and parts(out) == parts(content)


def test_nested():
    inner = mixed(leaf(BLOB), leaf(b"a\nb", b"text/plain"), boundary=b"inner")
    message = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n" + inner
    out = check(mixed(message, leaf(b"x\r\n", b"text/html", b"8bit"), boundary=b"outer"))
    assert b"Content-Transfer-Encoding: 8bit" in out, "a message inside may not be base64"
    deep = leaf(BLOB)
    for i in range(30):
        deep = mixed(deep, boundary=b"d%d" % i)
    check(deep)
    assert reencode(mixed(deep, boundary=b"too deep")) is None


def test_digest():
    message = b"Subject: in a digest\r\nContent-Transfer-Encoding: binary\r\n\r\na\0b"
    content = (b"Content-Type: multipart/digest; boundary=d\r\nContent-Transfer-Encoding: binary\r\n\r\n"
               b"--d\r\n\r\n" + message + b"\r\n--d\r\n\r\nSubject: two\r\n\r\ntext\r\n--d--\r\n")
    out = reencode(content)
    assert sendable(out) and parts(out) == parts(content)


def test_message_from_a_file():
    """A message with the line ends of Unix, attached as it is."""
    inner = mixed(leaf(b"one\ntwo\n", b"text/plain", b"7bit"), leaf(bytes(range(200))), boundary=b"i").replace(b"\r\n", b"\n")
    content = mixed(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n" + inner)
    out = reencode(content)
    assert sendable(out) and parts(out) == parts(content)


def test_header_sections():
    long = b"References: " + b" ".join(b"<%d@example.org>" % i for i in range(200))
    out = reencode(mixed(leaf(BLOB), fields=long + b"\r\n"))
    assert sendable(out)
    assert re.sub(rb"\r\n ", b" ", out).find(long) > 0, "folded at its blanks"
    assert reencode(mixed(leaf(BLOB), fields=b"X: " + b"y" * 2000 + b"\r\n")) is None
    assert reencode(b"Content-Transfer-Encoding: binary\r\nX: y\r\n" + b"Z: " + b"word " * 20000 + b"\r\n\r\nbody") is None
    twice = b"Content-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\0\n"
    out = reencode(twice)
    assert out.lower().count(b"transfer-encoding") == 1 and parts(out)[0][2] == b"\0\n"


def test_preamble_and_epilogue():
    inner = leaf(BLOB)
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    content = head + b"pre\r\n-- \r\n" + b"--b\r\n" + inner + b"\r\n--b-- \t\r\nepi\r\nlogue"
    out = check(content)
    assert out.startswith(head + b"pre\r\n-- \r\n--b\r\n") and out.endswith(b"\r\n--b-- \t\r\nepi\r\nlogue")
    odd = head + b"a\nb\rc" + b"x" * 3000 + b"\r\n--b\r\n" + inner + b"\r\n--b--\r\n" + b"y" * 3000
    out = reencode(odd)
    assert sendable(out) and parts(out)[1] == parts(content)[1]


@pytest.mark.long
def test_cut_anywhere():
    """Content that ends in the middle of anything."""
    content = mixed(leaf(BLOB[:300]), b"Content-Type: message/rfc822\r\n\r\n" + mixed(leaf(b"\0"), boundary=b"i"))
    for n in range(len(content)):
        out = reencode(content[:n])
        if out is not None and content[:n].find(b"\r\n\r\n") > 0:
            assert sendable(out)
            assert [p[0] for p in parts(out)] == [p[0] for p in parts(content[:n])]


def random_part(rng, depth):
    kind = rng.randrange(6 if depth < 6 else 4)
    data = bytes(rng.choice(b"ab-\r\n\0\xff=. ") for _ in range(rng.randrange(300))) if rng.random() < 0.7 else rng.randbytes(3000)
    data = data.replace(b"\r", b"").replace(b"\n", rng.choice([b"\n", b"\r\n", b"q"]))
    if kind == 0:
        return leaf(b"plain text\r\n" * rng.randrange(4), b"text/plain; charset=utf-8", rng.choice([b"7bit", b"8bit", None]))
    if kind == 1:
        return leaf(b"=3Da=\r\nb\r\n", b"text/plain", b"quoted-printable")
    if kind in (2, 3):
        name = b'Content-Disposition: attachment;\r\n filename="f%d"\r\n' % rng.randrange(1000)
        return leaf(data, b"image/x-test", b"binary", name)
    if kind == 4:
        inner = [random_part(rng, depth + 1) for _ in range(rng.randrange(1, 4))]
        return mixed(*inner, boundary=b"=_%d.%d" % (depth, rng.randrange(10**9)), fields=rng.choice([b"", b"Content-Transfer-Encoding: binary\r\n"]))
    return b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nSubject: inner\r\n" + random_part(rng, depth + 1)


@pytest.mark.parametrize("seed", range(120))
def test_torture(seed):
    rng = random.Random(seed)
    content = mixed(*(random_part(rng, 0) for _ in range(rng.randrange(1, 5))), boundary=b"top%d" % rng.randrange(10**9))
    check(content)
