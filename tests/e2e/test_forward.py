"""The delivery log to a webhook (`postwain forward`): in order, signed, again until it is taken, from its own cursor, and never in the way of mail."""
import hashlib
import hmac
import http.server
import json
import os
import signal
import ssl
import subprocess
import threading
import time

import pytest

from kit.mail import message
from kit.relay import ENVIRONMENT, POSTWAIN, run_postwain, smarthost
from kit.wait import until
from test_log import Written

SECRET = "0123456789abcdef0123456789abcdef"


class Hook(http.server.ThreadingHTTPServer):
    """posts: (headers, body) of every POST; answers: what the next ones are told, a status or (status, headers); then 200."""

    daemon_threads = True

    def __init__(self, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.posts, self.answers, self.silent, self.lock = [], [], False, threading.Lock()
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.pem, certificate.key)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if certificate else ''}://localhost:{self.server_address[1]}/hook"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def events(self):
        """Of the POSTs that were answered 200, in the order in which they came."""
        return [json.loads(line) for status, _, body in self.posts if status == 200 for line in body.splitlines()]

    def handle_error(self, request, client_address):
        pass  # a client that was killed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hook = self.server
        while hook.silent:
            time.sleep(0.02)
        with hook.lock:
            answer = hook.answers.pop(0) if hook.answers else 200
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            hook.posts.append((status, dict(self.headers), body))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook():
    with Hook() as h:
        yield h


@pytest.fixture
def log(tmp_path):
    """120 events in a log that nobody writes to."""
    w = Written(tmp_path, rate=120, seconds=1, rotate=0, compress=0).start()
    assert w.end() == 120
    (tmp_path / "secret").write_text(SECRET + "\n")
    return w


def forward(log, hook, *options, code=0):
    done = run_postwain("forward", "--url", hook.url, "--since-file", log.dir / "since", *options, env=log.env)
    assert done.code == code, done.err
    return done


def since(log):
    return int((log.dir / "since").read_text())


def test_all_of_it_signed_in_order(log, hook):
    """Every line as it stands in the log, once, in batches whose signature a receiver can check; a second run has nothing to do."""
    forward(log, hook, "--batch", "50", "--once", "--secret-file", log.dir / "secret")
    assert b"".join(body for _, _, body in hook.posts) == b"".join(l for l in log.live.read_bytes().splitlines(True) if b'"seq"' in l[:12])
    assert [len(body.splitlines()) for _, _, body in hook.posts] == [50, 50, 20]
    for _, headers, body in hook.posts:
        t, v1 = (part.split("=", 1)[1] for part in headers["Postwain-Signature"].split(","))
        assert hmac.compare_digest(v1, hmac.new(SECRET.encode(), t.encode() + b"." + body, hashlib.sha256).hexdigest())
        assert abs(int(t) - time.time()) < 60 and headers["Content-Type"] == "application/x-ndjson"
    assert [h["Idempotency-Key"] for _, h, _ in hook.posts] == ["kit.test-1-50", "kit.test-51-100", "kit.test-101-120"]
    assert since(log) == 120
    forward(log, hook, "--once")
    assert len(hook.posts) == 3


def test_what_is_not_taken_comes_again(log, hook):
    """5xx, 4xx, a redirect, Retry-After, a body that is too large: the same events again, none left out, none before its turn."""
    hook.answers = [500, 404, 413, (302, {"Location": hook.url + "2"}), (429, {"Retry-After": "2"})]
    began = time.time()
    forward(log, hook, "--batch", "100", "--once")
    assert [e["seq"] for e in hook.events()] == list(range(1, 121))
    assert [s for s, _, _ in hook.posts][:5] == [500, 404, 413, 302, 429]
    assert hook.posts[0][2] == hook.posts[1][2] == hook.posts[2][2] and hook.posts[3][2] == hook.posts[5][2], "the same again"
    assert len(hook.posts[5][2].splitlines()) == 50, "half of what was too large"
    assert time.time() - began > 1 + 2 + 1 + 2


def test_once_gives_up_and_says_so(log, hook):
    hook.answers = [503] * 3
    done = forward(log, hook, "--once", "--batch", "60", code=5)
    assert "the answer was 503: events 1 to 60 are not forwarded" in done.err
    assert not (log.dir / "since").exists()
    forward(log, hook, "--once")
    assert [e["seq"] for e in hook.events()] == list(range(1, 121))


def test_a_cursor_of_another_log_is_told(log, hook):
    """It would pass over whatever this one says until it has come so far."""
    (log.dir / "since").write_text("121\n")
    done = forward(log, hook, "--once")
    assert "the newest event is 120: 121 is of another log" in done.err and not hook.posts
    assert "121 is of another log" in run_postwain("log", "--since-seq", "121", env=log.env).err
    (log.dir / "since").write_text("120\n")
    assert forward(log, hook, "--once").err == ""


def test_a_name_that_no_event_has_is_told(log):
    """Who follows would wait for it for ever."""
    for option, wrong, right in (("--event", "deliverd", "deliver*"), ("--class", "spamm", "bad_*")):
        done = run_postwain("log", "-f", option, wrong, env=log.env)
        assert done.code == 2 and f"there is no {wrong}" in done.err
        assert run_postwain("log", option, right, env=log.env).code in (0, 1)


def test_killed_in_the_middle_nothing_is_left_out(log, hook):
    """kill -9 between a POST and the cursor: it comes again under the same id; nothing is missing."""
    argv = [POSTWAIN, "forward", "--url", hook.url, "--since-file", str(log.dir / "since"), "--batch", "7"]
    for n in range(4):
        p = subprocess.Popen(argv, env=log.env)
        until(lambda: len(hook.posts) > 3 * n, 20)
        p.kill()
        p.wait()
    forward(log, hook, "--batch", "7", "--once")
    seqs = [e["seq"] for e in hook.events()]
    assert set(seqs) == set(range(1, 121))
    assert since(log) == 120


def test_filters_move_the_cursor_too(log, hook):
    forward(log, hook, "--once", "--to", "user7*@rcpt.test", "--event", "delivered")
    assert [e["seq"] for e in hook.events()] == [7, *range(70, 80)]
    assert since(log) == 120


def test_two_do_not_share_a_cursor(log, hook):
    p = subprocess.Popen([POSTWAIN, "forward", "--url", hook.url, "--since-file", str(log.dir / "since")], env=log.env)
    until(lambda: (log.dir / "since").exists(), 20)
    assert "another forward" in forward(log, hook, "--once", code=1).err
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 0


def test_refused_usages(log, hook):
    """No URL that would carry addresses in clear, no short secret, no cursor that is another file."""
    def wrong(*options, url=hook.url):
        return run_postwain("forward", "--url", url, "--since-file", log.dir / "since", *options, env=log.env)

    assert wrong(url="http://example.com/").code == 2 and "in clear" in wrong(url="http://example.com/").err
    for url in ("ftp://localhost/", "file:///etc/passwd", "nonsense://", ""):
        assert wrong(url=url).code == 2, url
    (log.dir / "short").write_text("secret")
    assert wrong("--secret-file", log.dir / "short").code == 2
    assert wrong("--batch", "0").code == 2
    (log.dir / "since").write_text("not a number")
    assert wrong("--once").code == 2 and "no --since-file" in wrong("--once").err
    assert not hook.posts
    assert run_postwain("forward", env=log.env).code == 2


def test_tls_is_checked(log, certificate):
    """An authority that nobody knows: nothing is sent; with --ca-file it is."""
    with Hook(certificate) as hook:
        done = forward(log, hook, "--once", "--timeout", "5s", code=5)
        assert "certificate" in done.err and not hook.posts
        forward(log, hook, "--once", "--ca-file", certificate.pem)
        assert len(hook.events()) == 120


def test_a_receiver_that_hangs_holds_up_nobody(relay, sink, hook):
    """Mail is accepted and delivered while the webhook is silent; then it gets all of it, from file to file."""
    hook.silent = True
    r = relay(destinations=smarthost(sink()), log='rotate-size = "4K"')
    p = subprocess.Popen([POSTWAIN, "forward", "--url", hook.url, "--since-file", str(r.dir / "since")],
                         env={**os.environ, **ENVIRONMENT, "POSTWAIN_CONFIG": str(r.conf)})
    ids = [r.send(message()) for _ in range(6)]
    for id in ids:
        assert r.wait_final(id)[0]["event"] == "delivered"
    hook.silent = False
    until(lambda: {e.get("queue_id") for e in hook.events() if e.get("final")} >= set(ids), 20)
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 0
    seqs = [e["seq"] for e in hook.events()]
    assert seqs == list(range(1, len(seqs) + 1))
