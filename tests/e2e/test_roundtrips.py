"""One connection to a receiver that is far away: a message's envelope goes ahead of the answer to the one before (RFC 2920), and each
message has its own fate, whatever becomes of the others (checklist 57, 59, 61, 62, 64, 69)."""
import re
import select
import time

import pytest

from kit import mail
from kit.far import Far
from kit.foreign import Exim, OpenSmtpd, SmtpSink
from kit.peer import Peer, _Session
from kit.wait import until

N = 24


def to(port, extra=""):
    """One connection, so that mail waits; DATA, where a message needs more than one round trip."""
    return (f'destination "far" {{ domains = {{ "*" }}  relay = {{ "127.0.0.1:{port}" }}  connections = 1  chunking = false'
            f'  messages-per-connection = 1000  {extra} }}\n')


def send_all(r, n):
    """They wait for one another, from the first one on: nothing is begun before all of them are there. {number: queue id}"""
    r.cli("destination", "suspend", "far")
    with r.smtp() as session:
        ids = {i: r.submit(session, mail.message(body=b"Number %d.\r\n.\r\n" % i, subject=f"n {i}"), "ann@sender.test", f"box{i}@rcpt.test")
               for i in range(n)}
    r.cli("destination", "resume", "far")
    return ids


@pytest.fixture(params=("Postfix", "Exim", "OpenSMTPD", "smtp-sink"))
def server(request, receiver, certificate, world, tmp_path):
    """(address, port, whether it has PIPELINING)"""
    kind = {"Exim": Exim, "OpenSMTPD": OpenSmtpd}.get(request.param)
    if request.param == "Postfix":
        yield receiver.address, receiver.port, True
    elif request.param == "smtp-sink":
        s = SmtpSink(tmp_path)
        yield "127.0.0.1", s.port, True
        s.close()
    elif problem := kind.why_not():
        pytest.skip(problem)
    else:
        s = kind(world / f"far-{kind.__name__}", certificate)
        yield "127.0.0.1", s.port, kind is Exim
        s.close()


def test_a_round_trip_each(relay, server):
    """Other people's servers take an envelope ahead of their answer, on one connection, in clear and under TLS."""
    address, port, pipelining = server
    with Far(address, port) as far:
        r = relay(destinations=to(far.port))
        ids = send_all(r, N)
        for id in ids.values():
            event, = r.wait_final(id)
            assert event["event"] in ("delivered", "relayed") and event["attempt"] == 1, event
        assert far.connections == 1
        # Hello and the first two need their own; a message that comes late is no mistake.
        assert not pipelining or far.turns <= N + N // 2, far.turns


class Whimsical(Peer):
    """Answers the content by its number, after a while; notes whether the next envelope had come by then."""
    ENDS = {1: "554 5.7.1 no", 3: "451 4.3.0 later", 5: "421 4.3.2 down", 7: "", 9: "250 2.0.0 ok\r\n421 4.3.2 enough", 11: "what"}

    def __init__(self):
        super().__init__(["PIPELINING", "8BITMIME"])
        self.ahead, self.taken = 0, []

    def serve(self, s, number):
        _Whim(self, s, number).run()


class _Whim(_Session):
    def over(self):
        if not self.now.content or self.now.mail.startswith("MAIL FROM:<>"):  # for nobody; a report
            return super().over()
        n = int(re.search(rb"Subject: n (\d+)", self.now.content)[1]) % 12
        self.peer.ahead += bool(select.select([self.socket], [], [], 0.02 if self.peer.ahead else 0.3)[0])
        reply = Whimsical.ENDS.get(n, "250 2.0.0 ok")
        if reply.startswith("250"):
            self.peer.taken.append(self.now.content)
        self.now.done = True
        self.socket.sendall(reply.encode() + b"\r\n" if reply else b"")
        if "421" in reply or not reply or reply == "what":
            raise EOFError
        return None

    def on_rcpt(self, line):
        if "box13@" not in line:
            return super().on_rcpt(line)
        self.say("550 5.1.1 nobody")
        return True


def fate(n):
    """Event, code or error, may it arrive twice."""
    if n == 13:
        return "bounced", 550, False
    return {1: ("bounced", 554, False), 3: ("deferred", 451, False), 5: ("deferred", 421, False), 7: ("deferred", "conn_lost_eod", True),
            11: ("deferred", "smtp_protocol", True)}.get(n % 12, ("delivered", 250, False))


def test_each_has_its_own_fate(relay):
    """62 among them: the receiver answers 354 where nobody was taken, and gets a lone dot."""
    with Whimsical() as there:
        r = relay(top="threads = 1", destinations=to(there.port), delivery='retry = { "1h" }')
        ids = send_all(r, 36)
        wrong = []
        for n, id in ids.items():
            e = r.wait_event(("deferred", "delivered", "bounced"), queue_id=id)
            told = (e["event"], e.get("error") or e.get("smtp_code"), e.get("may_arrive_twice", False))
            if told != fate(n) or e["attempt"] != 1:
                wrong.append(f"{n}: {told} instead of {fate(n)}")
        assert not wrong, "\n".join(wrong)
        assert there.ahead > 0
        assert len(there.taken) == len(set(there.taken)) == sum(fate(n)[0] == "delivered" for n in ids)


class Slow(Whimsical):
    """Thinks for longer about the third message than the fourth waits behind it."""

    def serve(self, s, number):
        _Slow(self, s, number).run()


class _Slow(_Session):
    def over(self):
        third = b"Subject: n 2\r\n" in self.now.content
        time.sleep(3.5 if third else 0.02)
        self.peer.taken.append(self.now.content)
        super().over()


def test_an_answer_that_takes_long(relay):
    """What waits behind it goes back, is not counted, and goes by another connection; the slow one is not cut short."""
    def connections():
        with Slow() as there:
            r = relay(top="threads = 1", destinations=to(there.port), delivery='retry = { "1h" }')
            for id in send_all(r, 6).values():
                event, = r.wait_final(id)
                assert (event["event"], event["attempt"]) == ("delivered", 1), event
            assert len(there.taken) == len(set(there.taken)) == 6
            r.stop()
            return there.connections

    # Behind an answer that takes a second nothing goes ahead: where the machine stands still for so long the third has nobody behind it.
    until(lambda: connections() == 2, 60, "a second connection")
