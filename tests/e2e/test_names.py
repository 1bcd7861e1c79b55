"""One thing has one name: what a row of any verb's --json has in common with the delivery log is called, and typed, as there."""
import json
import os
import re

import pytest

import test_help
from kit import mail
from kit.dkim import Keys
from kit.relay import ROOT, SCHEMA, smarthost
from kit.wait import until
from test_trace import Trace, looks

# What somebody might call it, and what the log calls it.
OTHER_NAMES = {"id": "queue_id", "msgid": "message_id", "host": "mx_host", "address": "mx_ip", "ip": "mx_ip", "peer_ip": "mx_ip", "port": "mx_port",
               "peer_port": "mx_port", "code": "smtp_code", "status_code": "smtp_code", "enhanced": "enhanced_status", "enhanced_code": "enhanced_status",
               "reply": "response", "last_reply": "response", "domain": "recipient_domain", "to": "recipient", "rcpt_to": "recipient", "mail_from": "sender",
               "attempts": "attempt", "tries": "attempt", "next": "next_attempt", "due": "next_attempt", "queued": "queued_time", "tls": "tls_policy",
               "username": "user", "helo_name": "client_helo", "bytes_size": "size", "fault": "error"}
ELSEWHERE = {"next": "the cursor of a listing"}

# Verbs with no rows of their own: groups, text, bytes, a screen; trace has a test of its own.
TEXT = {"init", "check", "top", "user", "client", "destination", "suppress", "dkim", "spool", "queue cat", "suppress export", "sendmail", "mailq",
        "newaliases", "completion", "trace"}


def documented():
    """Keys that the rooms' READMEs name: every word in backticks of one spelling."""
    found = set()
    for room in ("admin", "cli"):
        with open(os.path.join(ROOT, "relay", room, "README.md")) as f:
            found |= {word for quoted in re.findall(r"`([^`\n]+)`", f.read()) for word in re.findall(r"[a-z0-9_]+", quoted)}
    return found


def types_of(schema):
    """What JSON type each field of the log has."""
    known = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict}
    found = {}
    for name, rule in schema["properties"].items():
        kind = rule.get("type") or {bool: "boolean", int: "integer", str: "string"}[type(rule["const"])]
        found[name] = known[kind]
    return found


def problems(verb, row, types, words):
    for key, value in row.items():
        if key in OTHER_NAMES and key not in ELSEWHERE:
            yield f"{verb}: {key} is {OTHER_NAMES[key]} in the log"
        if key in types and (not isinstance(value, types[key]) or isinstance(value, bool) != (types[key] is bool)):
            yield f"{verb}: {key} is {value!r} here, and of another type in the log"
        if key not in types and key not in words:
            yield f"{verb}: {key} is neither a field of the log nor told in a README"
        if isinstance(value, list):
            for one in value:
                if isinstance(one, dict):
                    yield from problems(f"{verb} ({key})", one, types, words)


@pytest.fixture
def busy(relay, sink, tmp_path):
    """A relay with mail in every state, and something on each of its lists."""
    s = sink("--defer", "*@later.test", "--refuse", "*@never.test")
    keys = Keys(tmp_path / "keys").section("sender.test", r1="rsa")
    r = relay(destinations=smarthost(s, "other", "*.none") + smarthost(s, extra='rate = "1000/h"') + keys, delivery='retry = { "1h" }')
    r.user_add("shop", "xyzzy plugh", "--from", "*@sender.test", "--rate", "100/10m", "--tag", "a=b", "--priority", "high", "--destination", "sink")
    ids = [r.send(mail.message(), recipients=[f"{who}@later.test" for who in ("ann", "bob")]) for _ in range(3)]
    r.wait_event("deferred", n=6)
    until(lambda: len(r.queue("--state", "waiting")) == 6, 20, r.queue)
    r.send(mail.message(), recipients="gone@never.test")
    r.wait_event("bounced")
    return r, ids


def called(ids, tmp):
    """Every verb that has rows, in an order that suits all: what is behind it on the command line."""
    first, second, third = ids
    return {
        "user add": ["tim"], "user set": ["tim", "--rate", "5/s"], "user password": ["tim"], "user list": [], "user remove": ["tim"], "status": [], "queue": [],
        "queue list": [], "queue show": [first, "--attempts"], "queue hold": [first, "--yes"], "queue release": [first, "--yes"],
        "queue redirect": [first, "--to", "other", "--yes"], "queue priority": ["3", first, "--yes"], "queue retry": [first, "--dry-run"],
        "queue export": [tmp / "queue"], "queue import": [tmp / "queue", "--hold"],
        "queue remove": [first, "--yes"], "queue bounce": [second, "--yes"], "queue expire": [third, "--yes"],
        "client ban": ["192.0.2.1", "--reason", "loops"], "client list": [], "client allow": ["192.0.2.1"],
        "destination suspend": ["sink", "--reason", "they sleep"], "destination list": [], "destination show": ["sink"], "destination resume": ["sink"],
        "suppress add": ["eve@later.test", "--reason", "left"], "suppress list": [], "suppress remove": ["eve@later.test"],
        "suppress import": [tmp / "suppress"], "explain": ["eve@later.test", "--probe", "--sender", "ann@sender.test"], "spool check": [],
        "log": ["--since-seq", "0"], "log rotate": [], "forward": ["--url", "http://127.0.0.1:9/", "--since-file", tmp / "seq", "--user", "nobody", "--once"],
        "dkim key": ["sender.test"], "dkim list": [], "dkim check": [], "reload": [], "drain": [], "version": [], "stop": [],
    }


def is_record(row):
    """Of the log itself, which the schema is held against wherever it is read."""
    return "seq" in row and "event" in row


def wrong_in(verb, rows):
    with open(SCHEMA) as f:
        types = types_of(json.load(f))
    words = documented()
    return sorted({problem for row in rows if not is_record(row) for problem in problems(verb, row, types, words)})


@pytest.mark.long
def test_every_row_of_every_verb(busy, tmp_path):
    """Whoever joins a listing with the log finds that the same thing has another name there, or another type; or a key that nobody has written down."""
    r, ids = busy
    (tmp_path / "suppress").write_text('{"recipient":"a@b.test","source":"bounces","reason":"x"}\n')
    lines, seen = called(ids, tmp_path), {}
    assert {*test_help.verbs(), "log rotate"} == {*lines} | TEXT, "a new verb: does it have rows?"
    for verb, argv in lines.items():
        done = r.cli(*verb.split(), *argv, "--json", code=None)
        assert done.code in (0, 1) and done.rows and len(done.rows) == len(done.out.splitlines()), (verb, done)
        seen[verb] = done.rows
    assert not (wrong := [line for verb, rows in seen.items() for line in wrong_in(verb, rows)]), "\n".join(wrong)
    assert {"queue_id", "recipient", "response", "mx_host", "next_attempt"} <= {*seen["queue list"][0]}
    assert seen["suppress list"][0]["recipient"] == "eve@later.test" and seen["user list"][-1]["rate"] == 5 and seen["user list"][1]["rank"] == "high"
    assert any(row.get("mx_ip") == "127.0.0.1" and row.get("mx_port") for row in seen["explain"])


def test_rows_of_a_trace(relay, sink):
    """The same of live dialogues: a session cannot be found again in the log."""
    r = relay(destinations=smarthost(sink("--defer", "*")))
    t = Trace(r)
    try:
        looks(r, t)
        id = r.send(mail.message(), recipients="eve@later.test")
        r.wait_event("deferred", queue_id=id)
        rows = t.wait(lambda rows: any(row.get("queue_id") == id and row["direction"] == "out" for row in rows))
    finally:
        t.end()
    assert not (wrong := wrong_in("trace", rows)), "\n".join(wrong)
    session, = {row["session_id"] for row in rows if row["direction"] == "in" and row.get("text", "").upper().startswith("RCPT TO")}
    assert r.events("accepted", queue_id=id)[0]["session_id"] == session
    assert {row["mx_ip"] for row in rows if row["direction"] == "out"} == {"127.0.0.1"}
