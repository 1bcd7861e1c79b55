"""TLS sessions on the way out: the second connection to a receiver is resumed where that is right, and mail never waits because of it (checklist 85)."""
import ssl
import time
import urllib.request

import pytest

from kit import mail
from kit.certs import Authority
from kit.peer import Peer, _Session
from kit.wait import free_port, until

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
NAMED = 'override = { "peer.test A 127.0.0.1" }'


@pytest.fixture(scope="module")
def authority(world):
    """Trusted by every relay of this file."""
    with pytest.MonkeyPatch.context() as m:
        a = Authority(world, "Resumption")
        m.setenv("SSL_CERT_FILE", str(a.pem))
        yield a


class Remembering(Peer):
    """Writes down which connections had a session resumed; hangs up in the handshake of those in `breaks`, which are counted from 1."""

    def __init__(self, certificate, version="1.3"):
        self.files, self.version = certificate, VERSIONS[version]
        self.resumed, self.at, self.breaks, self.begun = [], [], (), 0  # at: (before, after) each handshake
        super().__init__(certificate=certificate)
        self.restart()

    def restart(self):
        """With new keys for tickets, as any server has that comes up again."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.files.pem, self.files.key)
        context.minimum_version = context.maximum_version = self.version
        self.context = context

    def serve(self, s, number):
        _RememberingSession(self, s, number).run()


class _RememberingSession(_Session):
    def on_starttls(self, line):
        self.peer.begun += 1
        before = time.monotonic()
        if self.peer.begun in self.peer.breaks:
            self.say("220 go")
            self.socket.recv(1)
            return False
        super().on_starttls(line)
        self.peer.resumed.append(self.socket.session_reused)
        self.peer.at.append((before, time.monotonic()))
        return True


def to(p, extra="", name="d", domains="*"):
    """A connection of its own for each message."""
    return (f'destination "{name}" {{ domains = {{ "{domains}" }}  relay = {{ "peer.test:{p.port}" }}  connections = 1'
            f'  messages-per-connection = 1  {extra} }}\n')


def deliver(r, domain="rcpt.test"):
    """At the first attempt."""
    event, = r.wait_final(r.send(mail.message(), recipients=f"bob@{domain}"))
    assert (event["event"], event["attempt"]) == ("delivered", 1), event
    return event


ONE_LOOP = "threads = 1"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tls", ("may", "verify"))
def test_the_next_one_is_resumed(relay, authority, version, tls):
    """Each connection pays for a handshake in full; or a resumed one is said to be less, or more, than it was."""
    with Remembering(authority.issue("peer", "peer.test"), version) as p:
        r = relay(top=ONE_LOOP, dns=NAMED, destinations=to(p, f'tls = "{tls}"'))
        events = [deliver(r) for _ in range(3)]
        assert p.resumed == [False, True, True]
        for e in events:
            assert (e["tls_version"], e["tls_verified"]) == (f"TLSv{version}", tls == "verify"), e


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_forgotten(relay, authority, version):
    """A receiver that was restarted knows no ticket of before: its mail waits."""
    with Remembering(authority.issue("peer", "peer.test"), version) as p:
        r = relay(top=ONE_LOOP, dns=NAMED, destinations=to(p))
        deliver(r)
        deliver(r)
        p.restart()
        deliver(r)
        deliver(r)
        assert p.resumed == [False, True, False, True]


@pytest.mark.parametrize("given", (1, 2))
def test_each_ticket_once(relay, authority, given):
    """RFC 8446 appendix C.4: whoever watches learns from a ticket that is shown twice who comes back. Of all that a connection is given each is of use."""
    with Remembering(authority.issue("peer", "peer.test")) as p:
        p.context.num_tickets = given
        r = relay(top=ONE_LOOP, dns=NAMED, destinations=to(p))
        deliver(r)
        p.context.num_tickets = 0  # none for one that it takes
        for _ in range(given + 1):
            deliver(r)
        assert p.resumed == [False] + given * [True] + [False]


@pytest.mark.parametrize("version", VERSIONS)
def test_not_for_ever(relay, authority, version):
    """An hour (three seconds here) after its full handshake a session is worth nothing, however often it was renewed: nobody has asked the authorities."""
    with Remembering(authority.issue("peer", "peer.test"), version) as p:
        r = relay(top=f'{ONE_LOOP}  debug-session-time = "3s"', dns=NAMED, destinations=to(p, 'tls = "verify"'))

        def full_behind_resumed():
            """Where there is one: on a busy machine the first time may be over before the second connection."""
            return next((n for n in range(1, len(p.resumed)) if p.resumed[n - 1] and not p.resumed[n]), 0)

        n = until(lambda: deliver(r) and full_behind_resumed(), 60, lambda: p.resumed)
        first = max(i for i in range(n) if not p.resumed[i])
        assert p.at[n][1] - p.at[first][0] >= 3, (p.resumed, p.at)


def test_another_policy_has_its_own(relay, authority):
    """85: a session begun with any certificate stands in for one that is verified; or one destination's for another's."""
    with Remembering(authority.issue("peer", "peer.test"), "1.2") as p:
        ways = {"a": 'tls = "may"', "b": 'tls = "verify"', "c": 'tls = "verify"'}
        r = relay(top=ONE_LOOP, dns=NAMED, destinations="".join(to(p, how, name, f"{name}.test") for name, how in ways.items()))
        verified = [deliver(r, f"{name}.test")["tls_verified"] for name in ("a", "b", "c", "a", "b", "c")]
        assert verified == [False, True, True] * 2
        assert p.resumed == [False] * 3 + [True] * 3


def test_a_reload_begins_anew(relay, authority):
    """Authorities that were taken out of the store still vouch, by sessions of before."""
    with Remembering(authority.issue("peer", "peer.test")) as p:
        r = relay(top=ONE_LOOP, dns=NAMED, destinations=to(p, 'tls = "verify"'))
        deliver(r)
        deliver(r)
        r.cli("reload")
        deliver(r)
        assert p.resumed == [False, True, False]


def test_who_cannot_bear_it(relay, authority):
    """A receiver that hangs up on a session gets no mail, or its mail an attempt later."""
    with Remembering(authority.issue("peer", "peer.test")) as p:
        r = relay(top=ONE_LOOP, dns=NAMED, destinations=to(p))
        deliver(r)
        p.breaks = (2,)
        assert deliver(r)["attempt"] == 1
        assert p.begun == 3 and p.resumed == [False, False]
        assert not r.events("deferred")
        deliver(r)
        assert p.resumed == [False, False, True]


def test_postfix(relay, receiver):
    """Other people's servers resume what we offer, and the figures say how many did."""
    http = free_port()
    destination = (f'destination "d" {{ domains = {{ "*" }}  relay = {{ "{receiver.address}:{receiver.port}" }}  connections = 1'
                   f'  messages-per-connection = 1 }}\n')
    r = relay(top=f'{ONE_LOOP}  http {{ address = "127.0.0.1:{http}" }}', destinations=destination)
    for _ in range(4):
        event, = r.wait_final(r.send(mail.message(), recipients="box@resume.test"))
        assert event["event"] == "delivered" and event["tls_version"] == "TLSv1.3", event
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=20) as answer:
        said = answer.read().decode()
    figures = dict(line.rsplit(" ", 1) for line in said.splitlines() if line.startswith("postwain_outbound_tls"))
    # It gives no new ticket for one that it takes, and we show none twice: at least every other connection is resumed.
    assert figures["postwain_outbound_tls_total"] == "4" and figures["postwain_outbound_tls_resumed_total"] in ("2", "3"), figures
