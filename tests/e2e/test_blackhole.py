"""A mail host that swallows packets (checklist 42, RFC 8305): it delays one message a little, and no other."""
import contextlib
import re
import socket
import urllib.request

import pytest

from kit import mail
from kit.relay import by_mx
from kit.wait import free_port

HOLE, LIVE = "127.0.0.67", "127.0.0.11"


@contextlib.contextmanager
def black_hole(port):
    """Whoever calls here hears nothing: the queue of calls is full, and the kernel drops what comes."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOLE, port))
        listening.listen(0)
        for _ in range(10):
            call = stack.enter_context(socket.socket())
            call.settimeout(0.5)
            try:
                call.connect((HOLE, port))
            except TimeoutError:
                break
        else:
            pytest.skip("this kernel answers calls that nobody takes")
        yield


def calls(port):
    """How often a receiver has been called so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return int(re.search(r"^postwain_outbound_connects_total (\d+)$", answer.read().decode(), re.M)[1])


N = 8


@pytest.mark.parametrize("kind", ("equal", "first"))
def test_it_halves_nothing(relay, dns, receiver, kind):
    """Of two hosts one is a hole. Every message has a connection of its own here, one behind the other: what each waited for would add up."""
    worse = 10 if kind == "equal" else 20
    dns.add(f"hole{kind} MX 10 a.hole{kind}", f"hole{kind} MX {worse} b.hole{kind}", f"a.hole{kind} A {HOLE}", f"b.hole{kind} A {LIVE}")
    http = free_port()
    with black_hole(receiver.port):
        pieces = by_mx(dns, receiver.port)
        pieces["destinations"] = (f'destination "d" {{ domains = {{ "*" }}  port = {receiver.port}  connections = 1'
                                  f'  messages-per-connection = 1 }}\n')
        r = relay(top=f'threads = 1  http {{ address = "127.0.0.1:{http}" }}', **pieces)
        for _ in range(N):
            event, = r.wait_final(r.send(mail.message(), "ann@sender.test", f"box@hole{kind}.test"))
            assert (event["event"], event["mx_ip"], event["attempt"]) == ("delivered", LIVE, 1), event
        # One of them called the hole (or none, where the good host came up first each time), and nobody again.
        assert calls(http) in ((N, N + 1) if kind == "equal" else (N + 1,))
