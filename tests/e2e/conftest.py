"""
Fixtures of the end-to-end tests. Everything listens on loopback ports of its own and lives in folders of its own, so that tests can run
side by side in several processes (tests/e2e/run); "one for the whole run" is one a process.

relay(...)      makes and starts a relay (kit/relay.py): pieces of configuration as keywords, start=False to start it later
sink(...)       makes and starts a `postwain sink` (kit/sink.py)
dns             a Knot that serves .test (kit/dns.py), one for the whole run
receiver        Postfix with Dovecot behind it (kit/receiver.py), one for the whole run
disk(...)       makes and mounts a small file system (kit/disk.py); skips the test where that is not permitted
certificate     .pem and .key for localhost and relay.test, self-signed

At the end of each test every relay is stopped by SIGTERM: it must exit with 0, without a sanitizer's report, and each line of its
delivery log must fit the schema.
"""
import collections
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from kit import disk as small_disk
from kit.dns import Dns
from kit.receiver import Receiver
from kit.relay import PASSWORD, POSTWAIN, Relay, run_postwain
from kit.sink import Sink

Certificate = collections.namedtuple("Certificate", "pem key")


def pytest_configure(config):
    if not os.access(POSTWAIN, os.X_OK):
        raise pytest.UsageError("POSTWAIN must name the program: use tests/e2e/run BUILD-DIR")
    config.addinivalue_line("markers", "long: takes ten seconds or more; begun first, so that it is not what the others wait for at the end")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


FAILED = pytest.StashKey()
KEPT_MAX = 10  # folders of failed tests, in each process: a spool has at least two segments of 64 MB
_kept = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What a test wrote goes with it, unless it failed."""
    report = (yield).get_result()
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    if call.when != "teardown" or "tmp_path" not in item.funcargs:
        return
    if item.stash[FAILED] and len(_kept) < KEPT_MAX:
        _kept.append(item.funcargs["tmp_path"])
    else:
        shutil.rmtree(item.funcargs["tmp_path"], ignore_errors=True)


@pytest.fixture(scope="session")
def world():
    """A short path that other identities may enter (pytest's own folders are closed to them)."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pw-e2e-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def certificate(world):
    c = Certificate(world / "cert.pem", world / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:relay.test,IP:127.0.0.1",
                    "-out", c.pem, "-keyout", c.key], check=True, capture_output=True)
    return c


@pytest.fixture(scope="session")
def users_line(world, certificate):
    """The users file of one `user add`; hashing is slow on purpose, so it is done once."""
    r = Relay(world / "users", certificate, "", users=())
    r.user_add("app", PASSWORD)
    line, = [line for line in r.users_file.read_text().splitlines(keepends=True) if line.startswith("app:")]
    assert PASSWORD not in r.users_file.read_text()
    return line


@pytest.fixture
def disks():
    """Set up before, and taken away after, whatever may have files on them."""
    made = []
    yield made
    for d in made:
        d.close()


@pytest.fixture
def disk(disks):
    def make(kind="ext4", **how):
        if problem := small_disk.why_not(kind):
            pytest.skip(problem)
        disks.append(small_disk.Disk(kind, **how))
        return disks[-1]

    return make


@pytest.fixture
def relay(tmp_path, certificate, users_line, disks):
    made = []

    def make(start=True, **pieces):
        r = Relay(tmp_path / f"relay{len(made)}", certificate, users_line, **pieces)
        made.append(r)
        return r.start() if start else r

    yield make
    close_all(made)


@pytest.fixture
def sink(tmp_path, disks):
    made = []

    def make(*options, start=True, **place):
        s = Sink(tmp_path / f"sink{len(made)}", options=options, **place)
        made.append(s)
        return s.start() if start else s

    yield make
    close_all(made)


def close_all(things):
    """Closes every one, then tells the first problem."""
    problems = []
    for t in things:
        try:
            t.close()
        except AssertionError as problem:
            problems.append(problem)
            if t.process.running:
                t.process.kill()
    if problems:
        raise problems[0]


@pytest.fixture(scope="session")
def dns(world):
    (world / "dns").mkdir()
    d = Dns(world / "dns").start()
    yield d
    d.close()


@pytest.fixture(scope="session")
def receiver(world, certificate):
    (world / "receiver").mkdir(mode=0o755)
    r = Receiver(world / "receiver", certificate)
    try:
        yield r.start()
    finally:
        r.close()


@pytest.fixture
def postwain():
    """Runs the program without a relay: postwain("check", "-c", file)."""
    return run_postwain
