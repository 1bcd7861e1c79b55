"""Mail to other people's servers: Exim and OpenSMTPD as Debian has them, and every failure that Postfix's smtp-sink can play."""
import re

import pytest

from kit import mail
from kit.foreign import Exim, OpenSmtpd, SmtpSink
from kit.wait import until


@pytest.fixture(scope="module", params=(Exim, OpenSmtpd))
def server(request, tmp_path_factory, certificate, world):
    if problem := request.param.why_not():
        pytest.skip(problem)
    s = request.param(world / request.param.__name__, certificate)
    yield s
    s.close()


def to(port, extra=""):
    return f'destination "there" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{port}" }}  {extra} }}\n'


def bodies():
    yield "plain", b"Hello.\r\n"
    yield "dots", b".\r\n..\r\n.x\r\n\r\n.\r\n"
    yield "nothing", b""
    yield "8-bit", "Grüße\r\n".encode()
    yield "long lines", (b"x" * 998 + b"\r\n") * 20
    yield "large", b"".join(b"line %07d\r\n" % i for i in range(60000))


def test_everything_arrives(relay, server):
    """Over TLS where it has that, on one connection, by whatever it offers (CHUNKING at Exim), each body as it was."""
    r = relay(destinations=to(server.port, 'connections = 1'))
    before = len(server.bodies())
    for name, body in bodies():
        event, = r.wait_final(r.send(mail.message(body=body, subject=name)))
        assert event["event"] in ("delivered", "relayed") and ("tls_version" in event) == server.tls, event
    until(lambda: len(server.bodies()) == before + 6, 10, lambda: f"{len(server.bodies())} bodies")
    for name, body in bodies():
        assert body in server.bodies(), name


def test_each_recipient_has_its_own_fate(relay, server):
    """61: one is refused, the others get it."""
    r = relay(destinations=to(server.port))
    id = r.send(mail.message(), recipients=["a@foreign.test", "refused@foreign.test", "b@foreign.test"])
    fates = {e["recipient"]: e["event"] for e in r.wait_final(id, 3)}
    assert fates.pop("refused@foreign.test") == "bounced"
    assert set(fates.values()) <= {"delivered", "relayed"} and len(fates) == 2


COMMANDS = {"CONNECT": "banner", "EHLO": "ehlo", "MAIL": "mail", "RCPT": "rcpt", "DATA": "data", ".": "eod", "QUIT": None}


def expected(option, command, phase):
    """Event and cause."""
    if phase is None or (option, command) == ("-f", "EHLO"):
        return "delivered", None
    if option == "-f":
        return ("deferred" if phase == "banner" else "bounced"), "5"
    if option == "-r":
        return "deferred", "4"
    if option == "-Q":
        return "deferred", "421"
    return "deferred", "conn_lost_eod" if phase == "eod" else "conn_lost"


def test_smtp_sink(relay, tmp_path):
    """Hard and soft refusals, 421 and a lost connection at each command: the fate, and which command is told."""
    sinks = [(option, command, SmtpSink(tmp_path, option, command)) for option in ("-f", "-r", "-q", "-Q") for command in COMMANDS]
    try:
        there = "".join(f'destination "d{i}" {{ domains = {{ "d{i}.test" }}  relay = {{ "127.0.0.1:{s.port}" }} }}\n'
                        for i, (_, _, s) in enumerate(sinks))
        r = relay(destinations=there, delivery='retry = { "1h" }')
        ids = [r.send(mail.message(), recipients=f"bob@d{i}.test") for i in range(len(sinks))]
        wrong = []
        for (option, command, _), id in zip(sinks, ids):
            e = r.wait_event(("deferred", "delivered", "bounced"), queue_id=id)
            fate, why = expected(option, command, COMMANDS[command])
            told = e.get("error") or str(e.get("smtp_code"))
            fits = e["event"] == fate and (why is None or re.match(why, told))
            if not fits or (why and e["command"] != COMMANDS[command]):
                wrong.append(f"{option} {command}: {e}")
        assert not wrong, "\n".join(wrong)
    finally:
        for _, _, s in sinks:
            s.close()
