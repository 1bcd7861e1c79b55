"""The metrics door: what monitoring reads, and that nobody can lean on it."""
import http.client
import re
import shutil
import socket
import subprocess
import time

import pytest

from kit import mail
from kit.relay import smarthost
from kit.wait import answers, free_port, until

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (-?[0-9.]+)$')


def get(port, path, method="GET", body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request(method, path, body)
    r = c.getresponse()
    try:
        return r.status, dict(r.getheaders()), r.read().decode()
    finally:
        c.close()


def parse(text):
    """{name{labels}: value}, by the rules of the text format: HELP and TYPE once, before their samples, all of a family together."""
    assert text.endswith("\n")
    values, kinds, helped, family, closed = {}, {}, set(), None, set()
    for line in text.splitlines():
        if m := re.match(r"^# HELP (\S+) (\S.*)$", line):
            assert m[1] not in helped
            helped.add(m[1])
            closed.add(family)
            family = m[1]
            assert family not in closed
        elif m := re.match(r"^# TYPE (\S+) (counter|gauge)$", line):
            assert m[1] == family and m[1] not in kinds
            kinds[m[1]] = m[2]
            assert (m[2] == "counter") == m[1].endswith("_total")
        else:
            m = SAMPLE.match(line)
            assert m and m[1] == family and family in kinds, line
            assert m[1] + (m[2] or "") not in values
            values[m[1] + (m[2] or "")] = float(m[3])
            assert kinds[family] == "gauge" or float(m[3]) >= 0
    return values


@pytest.fixture
def door(relay, sink):
    port = free_port()
    s = sink("--defer", "slow*")
    r = relay(destinations=smarthost(s), top=f'http {{ address = "127.0.0.1:{port}" }}')
    return r, port


def metrics(port):
    status, headers, text = get(port, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return parse(text)


def test_metrics(door, certificate):
    """The graphs are empty, or one odd line loses a whole scrape."""
    r, port = door
    before = metrics(port)
    r.wait_final(r.send(mail.message()))
    r.send(mail.message(), recipients="slow@rcpt.test")
    r.wait_event("deferred")
    until(lambda: metrics(port)["postwain_queue_messages"] == 1)
    after = metrics(port)
    assert after["postwain_messages_accepted_total"] == before["postwain_messages_accepted_total"] + 2
    assert after["postwain_delivered_total"] == before["postwain_delivered_total"] + 1
    assert after["postwain_inbound_tls_total"] == before["postwain_inbound_tls_total"] + 2
    assert after["postwain_inbound_tls_failed_total"] == after["postwain_inbound_tls_resumed_total"] == 0
    assert after["postwain_deferred_total"] >= 1 and after["postwain_queue_recipients"] == 1
    assert sum(v for k, v in after.items() if k.startswith("postwain_queue_recipients_by_state{")) == 1
    assert after["postwain_accepting"] == 1 and after["postwain_spool_failing"] == 0 and after["postwain_warnings"] == 0
    assert abs(after["postwain_start_time_seconds"] - time.time()) < 120
    left = after[f'postwain_certificate_expires_in_seconds{{section="",key_type="EC",file="{certificate.pem}"}}']
    assert 88 < left / 86400 <= 90
    assert any(k.startswith('postwain_info{version="') for k in after)
    # what status counts and what is scraped is one and the same
    status = r.rows("status")[-1]
    assert status["accepted_total"] == after["postwain_messages_accepted_total"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian's prometheus) is not installed")
def test_promtool_agrees(door):
    """Prometheus' own linter."""
    text = get(door[1], "/metrics")[2]
    p = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=60)
    assert p.returncode == 0 and not p.stderr.strip(), p.stderr.decode()


def test_health(door):
    """A balancer sends mail to a relay that takes none, or restarts one that is well."""
    r, port = door
    assert get(port, "/healthz")[::2] == (200, "ok\n")
    assert get(port, "/readyz")[::2] == (200, "ready\n")
    r.cli("drain")
    assert get(port, "/readyz")[::2] == (503, "draining\n")
    assert get(port, "/healthz")[0] == 200 and metrics(port)["postwain_accepting"] == 0


def test_full_disk_is_not_ready(relay, sink):
    """Below min-free new mail is answered 452: the balancer should try another relay."""
    port = free_port()
    r = relay(destinations=smarthost(sink()), spool='min-free = "900T"', top=f'http {{ address = "127.0.0.1:{port}" }}')
    until(lambda: get(port, "/readyz")[0] == 503)
    assert metrics(port)["postwain_spool_full"] == 1
    assert r.process.running


def test_only_for_looking(door):
    """Something is changed, or held, by a request."""
    r, port = door
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, headers, _ = get(port, "/metrics", method, b"x" * 100)
        assert status == 405 and headers["Allow"] == "GET, HEAD"
    assert get(port, "/metrics", "HEAD")[::2] == (200, "")
    assert get(port, "/")[0] == get(port, "/metrics/../status")[0] == 404
    with socket.create_connection(("127.0.0.1", port), 60) as s:  # an endless request
        try:
            for _ in range(100):
                s.sendall(b"GET /metrics HTTP/1.1\r\n" + b"A: " + b"x" * 1000 + b"\r\n")
                time.sleep(0.001)
            said = s.recv(1000)
        except ConnectionError:
            said = b""
    assert b" 200 " not in said
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        s.sendall(b"EHLO client.test\r\n\r\n")
        assert b"220" not in s.recv(1000)
    assert metrics(port)


def test_connections_are_bounded(door):
    """Somebody opens connections and says nothing: monitoring goes blind, or descriptors run out."""
    r, port = door
    held = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(30)]  # the rest waits in the kernel
    time.sleep(0.5)
    mine = subprocess.run(["ss", "-Htnp", "state", "established", f"( sport = :{port} )"], capture_output=True, check=True).stdout
    assert mine.count(f"pid={r.pid},".encode()) <= 16
    r.send(mail.message())  # mail is not held by it
    until(lambda: ready(port), 20)  # the silent ones are thrown out after 10 s
    for s in held:
        s.close()


def ready(port):
    try:
        return get(port, "/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_many_scrapes_and_a_stop(door):
    """Two Prometheus servers ask at once; one waits while the relay stops."""
    r, port = door
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(10)]
    for _ in range(5):
        for c in connections:
            c.request("GET", "/metrics")
        for c in connections:
            assert parse(c.getresponse().read().decode())
    for c in connections:
        c.request("GET", "/metrics")
    r.stop()
    assert not answers(port)


def test_off_unless_configured(relay, tmp_path):
    """A door that nobody asked for."""
    r = relay()
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, check=True).stdout.decode()
    ports = {int(m) for m in re.findall(rf":(\d+)\s[^\n]*pid={r.pid},", listening)}
    assert ports == {r.submission, r.submissions}


def test_a_taken_port_is_told(relay):
    """The relay starts without its metrics, and nobody knows."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        r = relay(start=False, top=f'http {{ address = "127.0.0.1:{taken.getsockname()[1]}" }}')
        done = r.cli("serve", code=1)
        assert re.search(r"http: cannot listen on 127\.0\.0\.1:\d+: Address already in use", done.err)
