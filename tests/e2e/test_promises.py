"""Promise 20: never an open relay by mistake, whatever the listener, whatever the trick."""
import re
import subprocess

import pytest

import proof
from kit.wait import free_port

# Every kind of listener: 127.0.0.1 is trusted where anybody is, and the stranger comes from 127.0.0.9.
KINDS = [(tls, auth, trust) for tls in ("none", "starttls", "implicit") for auth in ("required", "optional", "none") for trust in (False, True)]
STRANGER = "127.0.0.9"
TRICKS = (b"victim@elsewhere.test", b"@relay.test:victim@elsewhere.test", b"victim%elsewhere.test@relay.test", b"elsewhere.test!victim@relay.test",
          b"elsewhere.test!victim", b"\"victim@elsewhere.test\"@relay.test", b"\"victim@elsewhere.test\"", b"victim@[127.0.0.1]", b"victim@[IPv6:::1]", b"postmaster",
          b"app@relay.test", b"@relay.test,@127.0.0.1:victim@elsewhere.test")
SENDERS = (b"", b"ann@sender.test", b"app@relay.test", b"postmaster", b"root@localhost")


def listener(n, tls, auth, trust, port):
    return (f'listener "l{n}" {{ address = {{ "127.0.0.1:{port}" }}  tls = "{tls}"  auth = "{auth}"  '
            + ('trust = { "127.0.0.1/32" }' if trust else "") + " }")


@pytest.fixture
def every_kind(relay, sink):
    ports = [free_port() for _ in KINDS]
    there = sink()
    # A listener that nobody could use (no trust, and no login or no TLS to log in) is left out.
    wanted = [k for k in zip(KINDS, ports) if not (k[0][1] == "none" and not k[0][2]) and not (k[0][0] == "none" and k[0][1] != "none" and not k[0][2])]
    r = relay(top="\n".join(listener(n, *kind, port) for n, (kind, port) in enumerate(wanted)), destinations=proof.to_port(there.port))
    return r, there, wanted


def test_a_stranger_is_refused_on_each_kind_of_listener(every_kind):
    """swaks from an address that nobody trusts, without a login, in clear and inside TLS: 530 (or 554), and nothing is taken."""
    r, there, kinds = every_kind
    for (tls, auth, trust), port in kinds:
        for way in {"none": [[]], "starttls": [[], ["--tls"]], "implicit": [["--tls-on-connect"]]}[tls]:
            p = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(port), "--local-interface", STRANGER, "--ehlo", "client.test",
                                "--from", "ann@sender.test", "--to", "victim@elsewhere.test", *way], capture_output=True, text=True, timeout=60)
            assert p.returncode in (23, 24), (tls, auth, trust, p.stdout)
            assert re.search(r"<(\*\*|~\*) +(530|554) 5\.7\.", p.stdout), (tls, auth, trust, p.stdout)
    assert not r.events("accepted") and not there.files()


def test_the_trusted_neighbour_is_served(every_kind):
    """The same listeners know the host that they trust: the refusals above are about the stranger."""
    r, there, kinds = every_kind
    trusting = [port for (tls, _, trust), port in kinds if trust and tls != "implicit"]
    for port in trusting:
        with proof.Raw(port) as c:
            c.envelope()
            assert c.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
    assert len(trusting) == 6 and there.wait(len(trusting))


def test_no_trick_makes_a_relay(every_kind):
    """Source routes, percent and bang paths, quoted addresses, literals, the null sender, senders of our own domain: the stranger is still one."""
    r, there, kinds = every_kind
    for (tls, auth, trust), port in kinds:
        if tls == "implicit":
            continue
        with stranger(port) as c:
            for sender in SENDERS:
                code, text = c.say(b"MAIL FROM:<" + sender + b">")
                assert code in (530, 501, 553, 554), (auth, trust, sender, code, text)
                for trick in TRICKS:
                    code, _ = c.say(b"RCPT TO:<" + trick + b">")
                    assert code in (503, 530, 501, 553, 421), (trick, code)
                    if code == 421:
                        break
                c = again(c, port)
    assert not r.events("accepted") and not there.files()


def stranger(port):
    return proof.Raw(port, source=STRANGER)


def again(c, port):
    """A new session before the count of errors ends this one."""
    c.socket.close()
    c.socket, c.seen = stranger(port).socket, b""
    return c


OPEN = ('trust = { "0.0.0.0/0" }', 'trust = { "::/0" }', 'trust = { "127.0.0.0/8", "0.0.0.0/0" }', 'trust = { "0.0.0.0/1", "128.0.0.0/1" }', 'auth = "none" trust = { "0.0.0.0/0" }')


@pytest.mark.parametrize("keys", OPEN)
def test_an_open_relay_is_refused_by_check(relay, keys):
    r = relay(start=False, listener=keys)
    done = r.cli("check", code=1)
    assert "open relay" in done.out + done.err
    with pytest.raises(AssertionError, match="open relay"):
        r.start()
    r.write(top="i-want-an-open-relay = true")
    r.cli("check")
