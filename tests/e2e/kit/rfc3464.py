"""
A delivery status notification held against the grammar of RFC 3464 (sections 2.1 to 2.3), RFC 6522 and RFC 6533, field by field, as
the octets lie there: nothing that a lenient parser forgives passes. `check(raw)` raises AssertionError, or returns the fields:
(per message, [per recipient]).
"""
import email
import email.policy
import re

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
TEXT = r"[\x20-\x7e]+"
UTF8 = r"[\x20-\x7e\u00a0-\U0010ffff]+"
DATE = (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [12][0-9]{3} "
        r"[0-2][0-9]:[0-5][0-9]:[0-6][0-9] [+-][0-9]{4}")
# No bare IP address: the last label of a name is not all digits.
HOST = r"(?!(?:[0-9]+\.)*[0-9]+(?:$|[\s>]))([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f.:IPv]+\]"
MAILBOX = r'("(\\[\x20-\x7e]|[\x20\x21\x23-\x5b\x5d-\x7e])*"|[^\s<>@"\\,;:()\[\]]+)@' + f"({HOST})"
# RFC 6533 section 3: past ASCII an address is of type utf-8, as it is or as \x{…} for those who read only ASCII.
ADDRESS = rf"(rfc822; ?{MAILBOX}|utf-8; ?{UTF8})"
# … and how it is written for those: utf-8-addr-xtext.
XTEXT = r"(?i:utf-8); ?([\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]|\\x\{[0-9A-F]{2,6}\})+"

# (name, value, needed), in the order of the grammar.
MESSAGE = [
    ("Original-Envelope-Id", TEXT, False), ("Reporting-MTA", rf"dns; ?({HOST})", True), ("DSN-Gateway", rf"{ATOM}; ?{TEXT}", False),
    ("Received-From-MTA", rf"{ATOM}; ?{TEXT}", False), ("Arrival-Date", DATE, False),
]
RECIPIENT = [
    ("Original-Recipient", rf"{ATOM}; ?{UTF8}", False), ("Final-Recipient", ADDRESS, True),
    ("Action", "failed|delayed|delivered|relayed|expanded", True), ("Status", r"[245]\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})", True),
    ("Remote-MTA", rf"dns; ?({HOST})", False), ("Diagnostic-Code", rf"(smtp; ?[2-5][0-9][0-9]( {UTF8})?|x-[a-z-]+; ?{UTF8})", False),
    ("Last-Attempt-Date", DATE, False), ("Final-Log-ID", TEXT, False), ("Will-Retry-Until", DATE, False),
]
CLASS_OF = {"failed": "45", "delayed": "4", "delivered": "2", "relayed": "2", "expanded": "2"}


def unfold(block):
    """[(name, value)]; every line is a field or continues one."""
    fields = []
    for line in block.split("\r\n"):
        if line[:1] in " \t":
            assert fields and line.strip(), f"a line that continues nothing: {line!r}"
            fields[-1][1] += line
            continue
        m = re.fullmatch(r"([\x21-\x39\x3b-\x7e]+):[ \t]?(.*)", line)
        assert m, f"no field: {line!r}"
        fields.append([m.group(1), m.group(2)])
    return [(name, re.sub(r"[ \t]+", " ", value).strip()) for name, value in fields]


def check_group(fields, rows):
    """In the order of the grammar, each once, what is needed is there; extensions (X-…) stand behind."""
    names, at = [name for name, _, _ in rows], 0
    for name, value in fields:
        assert value, f"{name} is empty"
        if name.lower().startswith("x-"):
            at = len(rows)
            continue
        assert name in names[at:], f"{name}: unknown, twice, or not in its place"
        at = names.index(name) + 1
        assert re.fullmatch(rows[at - 1][1], value), f"{name}: {value!r}"
    there = {name for name, _ in fields}
    assert there >= {name for name, _, needed in rows if needed}, there
    return dict(fields)


def check_recipient(fields, is_global):
    f = check_group(fields, RECIPIENT)
    for name in () if is_global else ("Original-Recipient", "Final-Recipient"):
        assert not f.get(name, "").lower().startswith("utf-8;") or re.fullmatch(XTEXT, f[name]), f
    assert f["Status"][0] in CLASS_OF[f["Action"]], f
    assert "Will-Retry-Until" not in f or f["Action"] == "delayed", f
    kind, _, address = f["Final-Recipient"].partition(";")
    assert (kind == "utf-8") == (not address.isascii() or "\\x{" in address), f
    return f


def check(raw):
    assert b"\n" not in raw.replace(b"\r\n", b""), "a bare LF"
    head, _, body = raw.partition(b"\r\n\r\n")
    top = email.message_from_bytes(head + b"\r\n\r\n", policy=email.policy.SMTPUTF8)
    assert top["MIME-Version"] == "1.0" and len(top.get_all("From")) == len(top.get_all("To")) == len(top.get_all("Date")) == 1
    assert top.get_content_type() == "multipart/report" and top.get_param("report-type") == "delivery-status"  # RFC 6522 section 3
    mark = b"--" + top.get_boundary().encode()
    parts = (b"\r\n" + body).split(b"\r\n" + mark)[1:]
    assert len(parts) == 4 and parts[3].startswith(b"--"), "three parts, and the end"
    heads, contents = zip(*((p.lstrip(b"\r\n").partition(b"\r\n\r\n")[::2]) for p in parts[:3]))
    types = [email.message_from_bytes(h + b"\r\n\r\n").get_content_type() for h in heads]
    is_global = types[1] == "message/global-delivery-status"
    assert types[0] == "text/plain" and (is_global or types[1] == "message/delivery-status"), types
    assert types[2] in (("message/global", "message/global-headers") if is_global else ("message/rfc822", "text/rfc822-headers")), types
    # RFC 3464: all of it is ASCII, unless it is an international one. The original is carried as it was.
    for content in (head, *heads, contents[0], contents[1]):
        text = content.decode("utf-8" if is_global else "ascii")
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text), "control characters"
        assert all(len(line.encode()) <= 998 for line in text.split("\r\n")), "a long line"
    if not contents[2].isascii():
        assert all(b"8bit" in h for h in (head, heads[2])), "8-bit content that is not said to be"
    groups = contents[1].decode().removesuffix("\r\n").split("\r\n\r\n")
    fields = [unfold(g.removeprefix("\r\n").removesuffix("\r\n")) for g in groups]
    assert len(fields) >= 2, "no recipient"
    return check_group(fields[0], MESSAGE), [check_recipient(f, is_global) for f in fields[1:]]
