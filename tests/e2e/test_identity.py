"""Started as root with `user` in the configuration: ports as root, everything else as the account, for good."""
import os
import pwd
import re
import shutil
import socket

import pytest

from kit import mail
from kit.relay import ENVIRONMENT, POSTWAIN, ROOT, Relay, smarthost
from kit.wait import until

ACCOUNT = pwd.getpwnam("nobody")


def low_port():
    for port in range(1023, 600, -1):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    pytest.fail("no free port below 1024")


@pytest.fixture
def as_nobody(world, certificate, users_line):
    folder = world / "identity"
    folder.mkdir()
    key = shutil.copy(certificate.key, folder / "key.pem")
    r = Relay(folder / "relay", certificate._replace(key=key), users_line, top='user = "nobody"')
    for path in (key, r.dir, r.users_file):
        os.chown(path, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    os.chmod(key, 0o600)
    yield r
    r.close()
    shutil.rmtree(folder)


def test_root_only_binds(as_nobody, sink):
    """A hole in the relay is a hole into root; or it cannot open tomorrow what it made today."""
    r, s = as_nobody, sink()
    r.submission = low_port()
    r.write(destinations=smarthost(s))
    r.start()
    with open(f"/proc/{r.pid}/status", encoding="ascii") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f)
    assert set(status["Uid"].split()) == {str(ACCOUNT.pw_uid)}
    assert set(status["Gid"].split()) == {str(ACCOUNT.pw_gid)}
    assert "0" not in status["Groups"].split()
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    r.send(mail.message())
    r.cli("reload")
    r.restart()
    r.send(mail.message())
    until(lambda: len(s.messages()) == 2)
    for path in [r.dir / "spool", *(r.dir / "spool").rglob("*"), r.dir / "delivery.jsonl", r.dir / "control.sock"]:
        assert path.stat().st_uid == ACCOUNT.pw_uid, path


def test_what_the_account_cannot_read_is_told_at_the_start(as_nobody):
    """A key that only root reads would be found out by the first reload, when the certificate is renewed."""
    r = as_nobody
    os.chown(r.dir.parent / "key.pem", 0, 0)
    for verb in ("check", "serve"):
        done = r.cli(verb, code=1)
        assert "key.pem cannot be read by user nobody" in done.err


def test_a_renewal_that_the_account_cannot_read(as_nobody):
    """The certificate is renewed by root, as only root's; nobody hears why clients still see the old one, which ends."""
    r = as_nobody
    r.start()
    key = r.dir.parent / "key.pem"
    os.chown(key, 0, 0)
    until(lambda: "certificates_refused" in r.process.errors(), 30, "the look at the files", pause=0.5)
    problem = r.cli("status").out
    assert "key.pem" in problem and "let the group of user nobody read it" in problem, problem
    r.smtp().quit()  # with the one read before
    os.chown(key, 0, ACCOUNT.pw_gid)
    os.chmod(key, 0o640)
    until(lambda: "certificates_reloaded" in r.process.errors(), 30, "the next look", pause=0.5)
    assert "key.pem" not in r.cli("status").out


def test_the_unit_forbids_nothing_that_is_needed(relay, sink, tmp_path):
    """A family of sockets that the systemd unit refuses: the relay would not know which addresses are its own, and mail to itself would go round."""
    r, path = relay(start=False, destinations=smarthost(sink())), tmp_path / "strace.out"
    r.process.start(["strace", "-D", "-f", "-o", str(path), "-e", "signal=none", "-e", "trace=socket", POSTWAIN, "serve", "-c", str(r.conf)],
                    env={**ENVIRONMENT, "ASAN_OPTIONS": ENVIRONMENT["ASAN_OPTIONS"] + ":detect_leaks=0"})
    r.wait_final(r.send(mail.message()))
    r.cli("reload")
    r.stop()
    until(lambda: re.search(rf"(?m)^{r.pid} +\+\+\+ exited with 0", path.read_text()), 20, "the tracer ends a moment after us")
    with open(f"{ROOT}/contrib/systemd/postwain.service", encoding="utf-8") as unit:
        allowed = re.search(r"^RestrictAddressFamilies=(.*)$", unit.read(), re.M).group(1).split()
    used = set(re.findall(r"socket\((AF_\w+)", path.read_text()))
    assert {"AF_INET", "AF_UNIX", "AF_NETLINK"} <= used <= set(allowed), (used, allowed)
