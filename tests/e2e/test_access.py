"""Who may control the daemon: by the socket's mode, or by groups that may do everything or only look."""
import json
import os
import shutil
import socket
import subprocess

import pytest

from kit import mail
from kit.relay import ENVIRONMENT, POSTWAIN, smarthost
from kit.wait import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes other identities")
READER, ADMIN = "news", "mail"  # groups of every system


def as_nobody(r, *argv, group=None):
    """A verb as an account that is in this group; NONE of the daemon's."""
    p = subprocess.run([POSTWAIN, *argv, "-c", r.conf], capture_output=True, text=True, timeout=120, user="nobody", group="nogroup",
                       extra_groups=[group] if group else [], env={**os.environ, **ENVIRONMENT})
    return p.returncode, p.stdout, p.stderr


@pytest.fixture
def grouped(relay, sink):
    """A relay with a message in its queue; its files can be reached by everyone."""
    r = relay(destinations=smarthost(sink("--defer", "*")), delivery='retry = { "1h" }', start=False)
    r.conf.write_text(r.conf.read_text().replace('control {', f'control {{ admins = {{ "{ADMIN}" }}  readers = {{ "{READER}" }} '))
    for folder in (r.dir, *r.dir.parents):
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    r.conf.chmod(0o644)
    r.start()
    id = r.send(mail.message())
    until(lambda: r.queue("--state", "waiting"), 20, r.queue)
    return r, id


def test_groups(grouped):
    """Somebody who may look removes mail, or reads it; a stranger sees the queue; an operator is kept out."""
    r, id = grouped
    code, out, err = as_nobody(r, "status")
    assert code == 4 and not out and "control.admins" in err
    for verb in (["status"], ["queue"], ["queue", "list"], ["queue", "show", id], ["queue", "list", "--count"], ["explain", id]):
        assert as_nobody(r, *verb, group=READER)[0] == 0, verb
    for verb in (["queue", "remove", "--all", "--yes"], ["queue", "hold", id, "--yes"], ["queue", "cat", id], ["reload"], ["stop"],
                 ["queue", "export", f"/tmp/postwain-access-{os.getpid()}"], ["client", "ban", "192.0.2.1"], ["queue", "redirect", id, "--to", "", "--yes"],
                 ["explain", id, "--probe"]):
        code, out, err = as_nobody(r, *verb, group=READER)
        assert code == 4 and "may look, and change nothing" in err, (verb, err)
    shutil.rmtree(f"/tmp/postwain-access-{os.getpid()}", ignore_errors=True)
    assert len(r.queue("--state", "waiting")) == 1
    code, out, err = as_nobody(r, "queue", "hold", id, "--yes", group=ADMIN)
    assert code == 0, err
    assert r.wait_event("held", queue_id=id)["actor"] == "nobody"
    assert as_nobody(r, "queue", "cat", id, group=ADMIN)[1]


def test_strangers_are_hung_up_on(grouped):
    """A stranger who speaks to the socket himself, past our command's good manners, sees the queue."""
    r, _ = grouped
    program = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
f = s.makefile()
print(f.readline())
try:
    s.sendall(b'{"id":1,"verb":"status"}\\n')
except OSError:
    pass  # hung up already
print(f.readline())
"""
    done = subprocess.run(["/usr/bin/python3", "-c", program, str(r.dir / "control.sock")], capture_output=True, text=True, timeout=60,
                          user="nobody", group="nogroup", extra_groups=[])
    hello, denied = (json.loads(line) for line in done.stdout.splitlines() if line)
    assert hello["access"] == "none" and denied["error"]["code"] == "denied", (done.stdout, done.stderr)


def test_reload_changes_who_may(grouped):
    """A group that was taken from the configuration goes on controlling the daemon until a restart."""
    r, _ = grouped
    text = r.conf.read_text()
    r.conf.write_text(text.replace(f'"{ADMIN}"', '"games"'))
    r.cli("reload")
    until(lambda: as_nobody(r, "reload", group=ADMIN)[0] == 4, 20, lambda: "still permitted")
    assert as_nobody(r, "reload", group="games")[0] == 0
    r.conf.write_text(text.replace(f'admins = {{ "{ADMIN}" }}  readers = {{ "{READER}" }}', ""))
    r.cli("reload")
    until(lambda: as_nobody(r, "status", group=ADMIN)[0] == 4, 20, lambda: "still permitted")  # by the file's mode now
    r.conf.write_text(text.replace(f'"{ADMIN}"', '"no-such-group-here"'))
    assert "no-such-group-here" in r.cli("check", code=1).err


def test_greeting_and_nonsense(grouped):
    """One client's nonsense ends another's session, or nobody can tell versions apart."""
    r, _ = grouped

    def call():
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.connect(str(r.dir / "control.sock"))
        f = s.makefile("rwb")
        return f, json.loads(f.readline())

    other, hello = call()
    assert hello["protocol"] == 1 and hello["access"] == "admin" and r.cli("version").out.split()[-1] == hello["postwain"]
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b"\x00\xff\n", b'{"id":1,"verb":7}\n', b"[" * 100000 + b"\n"):
        f, _ = call()
        f.write(nonsense)
        f.flush()
        assert json.loads(f.readline())["error"]["code"] == "usage" and f.readline() == b"", nonsense[:20]
    other.write(b'{"id":1,"verb":"status"}\n')
    other.flush()
    assert "row" in json.loads(other.readline()) and "done" in json.loads(other.readline())
