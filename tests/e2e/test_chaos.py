"""
A bad week in some seconds: clients that submit without pause, receivers of every mood, an operator who tries every verb, kill -9, stops, reloads, and a
disk that is full now and then. When all is calm again the books balance: each accepted recipient has exactly one end, `seq` has no gap, what the receivers
have is what was sent and what the delivery log says, and every failure was told to its sender. (Promises 4, 8, 9, 11, 13, 14, 19, 38.)

PW_CHAOS=600 makes it ten minutes. POSTWAIN_SEED=7 repeats what was done; its moments are the machine's.
"""
import collections
import hashlib
import os
import random
import re
import socket
import struct
import threading
import time

import proof
import pytest
from kit import disk as small_disk
from kit.listening import Listening, line_of
from kit.wait import free_port, until

SECONDS = int(os.environ.get("PW_CHAOS") or 6)
DOMAINS = 4  # with a receiver each: d0.test …
CONNECTIONS = 4

# sure: the 250 was said whole, and something came behind it that is not said before it was heard
Taken = collections.namedtuple("Taken", "xid digest at sure")
MARKED_WITHIN = 30  # seconds; a mark waits for the batch that is under way and for its own, perhaps on a full disk


class Moody(Listening):
    """A receiver with a mood for each connection, by the seed. taken: {address: [Taken…]}; refused: addresses that heard a 5xx, or their message did."""

    def __init__(self, seed, moody=True):
        super().__init__()
        self.seed, self.moody = seed, moody
        self.taken, self.refused, self.reports = collections.defaultdict(list), set(), []
        self.listen()

    def serve(self, s, number):
        _Dialogue(self, s, random.Random(f"{self.seed}/{self.port}/{number}")).run()


class _Dialogue:
    FAULTS = {
        "banner": ["421 4.3.2 not now", "554 5.7.1 not you", "close", "silence", "junk", "pieces", "long"],
        "ehlo": ["502 5.5.1 what", "421 4.3.2 not now", "close", "pieces"],
        "mail": ["451 4.7.1 later", "550 5.7.1 not this sender", "421 4.3.2 not now", "close", "pieces"],
        "rcpt": ["450 4.2.1 later", "550 5.1.1 nobody", "452 4.5.3 too many", "421 4.3.2 not now", "close", "pieces", "junk"],
        "data": ["451 4.3.0 later", "554 5.6.0 not this", "421 4.3.2 not now", "close", "early"],
        "eod": ["451 4.3.0 later", "554 5.7.1 not this", "421 4.3.2 not now", "close", "reset", "pieces", "twice", "silence"],
        "rset": ["close", "421 4.3.2 not now"],
        "quit": ["close", "silence"],
    }
    ORDINARY = {"banner": "220 mx.moody.test", "ehlo": "250 mx.moody.test", "mail": "250 2.1.0 ok", "rcpt": "250 2.1.5 ok", "data": "354 go on",
                "eod": "250 2.0.0 taken", "rset": "250 2.0.0 ok", "quit": "221 2.0.0 bye"}

    def __init__(self, receiver, s, chance):
        self.receiver, self.s, self.chance = receiver, s, chance
        self.buffer, self.heard = bytearray(), bytearray()
        self.phase_of_fault = chance.choice(list(self.FAULTS)) if receiver.moody and chance.random() < 0.6 else None
        self.share = chance.choice((0.2, 1.0))  # of the commands of that phase
        self.keywords = chance.sample(["PIPELINING", "8BITMIME", "SIZE 9000000", "CHUNKING", "ENHANCEDSTATUSCODES", "DSN"], chance.randrange(6))
        self.rcpts, self.unsure = [], None

    def fault(self, phase):
        if self.receiver.moody and phase == self.phase_of_fault and self.chance.random() < self.share:
            return self.chance.choice(self.FAULTS[phase])
        return None

    def put(self, text):
        self.s.sendall(text.encode() + b"\r\n")

    def say(self, phase, text=None):
        """The code that was said whole; 0: none was."""
        text = text or self.ORDINARY[phase]
        fault = self.fault(phase)
        if fault is None:
            self.put(text)
        elif fault[0].isdigit():
            self.put(fault)
            if fault.startswith("421"):
                raise EOFError
            return int(fault[:3])
        elif fault == "close":
            raise EOFError
        elif fault == "silence":
            while self.s.recv(65536):
                pass
            raise EOFError
        elif fault == "junk":
            self.s.sendall(self.chance.randbytes(300) + b"\r\n")
            raise EOFError
        elif fault == "long":
            self.s.sendall(b"220-" + b"x" * 200_000 + b"\r\n")
            raise EOFError
        elif fault == "pieces":
            for b in text.encode() + b"\r\n":
                self.s.sendall(bytes([b]))
                time.sleep(0.001)
        elif fault == "reset":
            self.put(text)
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise EOFError
        elif fault == "twice":
            self.put(text + "\r\n250 2.0.0 and again")
        elif fault == "early":
            self.put("354 go on\r\n250 2.0.0 taken already")
            raise EOFError
        return int(text[:3])

    def run(self):
        if self.say("banner") != 220:
            return
        while True:
            line = line_of(self.s, self.buffer, self.heard).decode()
            self.heard.clear()
            verb = line[:4].upper()
            if verb not in ("MAIL", "RCPT", "DATA"):  # an envelope may go ahead with the dot before it
                self.settle(True)
            if verb in ("EHLO", "HELO"):
                self.hello(verb)
            elif verb == "MAIL":
                self.rcpts, self.mail = [], self.say("mail")
            elif verb == "RCPT":
                self.rcpt(re.search("<(.*?)>", line).group(1))
            elif verb == "DATA":
                self.data()
            elif verb == "BDAT":
                self.chunk(line)
            elif verb == "QUIT":
                self.say("quit")
                return
            else:
                self.say("rset")

    def settle(self, sure):
        for address, n in self.unsure or ():
            self.receiver.taken[address][n] = self.receiver.taken[address][n]._replace(sure=sure)
        self.unsure = None

    def hello(self, verb):
        if verb == "HELO":
            self.put("250 mx.moody.test")
        elif self.keywords:
            self.put("\r\n".join(["250-mx.moody.test", *("250-" + k for k in self.keywords[:-1]), "250 " + self.keywords[-1]]))
        else:
            self.say("ehlo")

    def rcpt(self, address):
        if self.mail != 250:
            return self.refuse([address], self.mail, "503 5.5.1 MAIL first")
        code = self.say("rcpt")
        if code == 250:
            self.rcpts.append(address)
        elif code == 550:
            self.receiver.refused.add(address)

    def refuse(self, addresses, code, text):
        if 500 <= code < 600:
            self.receiver.refused.update(addresses)
        self.put(text)

    def data(self):
        if not self.rcpts:
            return self.put("554 5.5.1 no valid recipients")
        code = self.say("data")
        if code != 354:
            return self.receiver.refused.update(self.rcpts) if code >= 500 else None
        lines = []
        while (line := line_of(self.s, self.buffer, self.heard)) != b".":
            self.settle(True)
            lines.append(line[1:] if line.startswith(b".") else line)
        self.heard.clear()
        self.over(b"".join(line + b"\r\n" for line in lines))

    def chunk(self, line):
        size = int(line.split()[1])
        while len(self.buffer) < size:
            got = self.s.recv(65536)
            if not got:
                raise EOFError
            self.buffer += got
        content = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.pieces = getattr(self, "pieces", b"") + content
        if not line.upper().endswith(" LAST"):
            return self.put("250 2.0.0 go on")
        content, self.pieces = self.pieces, b""
        if not self.rcpts:
            return self.put("554 5.5.1 no valid recipients")
        self.over(content)

    def over(self, content):
        head, _, body = content.partition(b"\r\n\r\n")
        if xid := re.search(rb"\r\nX-Id: (\S+)", head):
            taken = Taken(xid.group(1).decode(), hashlib.sha256(body).hexdigest(), time.time(), False)
        else:
            taken = Taken(None, None, time.time(), False)
        fault = self.fault("eod")
        refused = fault and fault[0] in "45"
        if not refused and fault != "close" and fault != "silence":  # whatever is said of it, it is here
            for address in self.rcpts:
                self.receiver.taken[address].append(taken)
                if taken.xid is None:
                    self.receiver.reports.append(content)
            self.unsure = [(address, len(self.receiver.taken[address]) - 1) for address in self.rcpts]
        elif fault[0] == "5":
            self.receiver.refused.update(self.rcpts)
        self.rcpts = []
        self.forced(fault)

    def forced(self, fault):
        """Says what was drawn for the end of the content."""
        draw, self.fault = self.fault, lambda phase: fault
        try:
            self.say("eod")
        finally:
            self.fault = draw


def recipients(xid, chance):
    domains = [chance.choice([f"d{n}" for n in range(DOMAINS)] + ["gone", "nobody", "down"]) for _ in range(chance.choice((1, 1, 2, 5)))]
    return [f"r{n}.{xid}@{d}.test" for n, d in enumerate(domains)]


class Operator:
    """One action after the other, by the seed; what is in force of them is taken back by calm()."""

    def __init__(self, relay, chance, small, receivers):
        self.r, self.chance, self.small, self.receivers = relay, chance, small, receivers
        self.ends, self.done = [], collections.Counter()

    def act(self):
        name = self.chance.choice([n for n in dir(self) if n.startswith("do_")])
        self.done[name[3:]] += 1
        getattr(self, name)()

    def cli(self, *argv):
        done = self.r.cli(*argv, code=None)
        assert done.code in (0, 1, 5), (argv, done)
        return done

    def some(self):
        return self.chance.choice((["--all"], ["--to", f"r{self.chance.randrange(3)}*"], ["--to", f"*@d{self.chance.randrange(DOMAINS)}.test"], ["--code", "4xx"],
                                   ["--attempts-ge", "2"], ["--state", self.chance.choice(("waiting", "held", "ready", "active"))], ["--older-than", "2s"]))

    def do_change(self):
        verb = self.chance.choice(("retry", "hold", "release", "release", "remove", "bounce", "expire"))
        some = self.some()
        if verb in ("remove", "bounce", "expire"):  # reports are left alone: they are to be counted
            some = (["--to", "r1.*"] if some == ["--all"] else some) + ["--from", "load@*"]
        self.cli("queue", verb, *some, "--yes", "--reason", "chaos")

    def do_redirect(self):
        self.cli("queue", "redirect", "--to", f"d{self.chance.randrange(DOMAINS)}", "--recipient", f"r{self.chance.randrange(5)}*", "--yes")

    def do_priority(self):
        self.cli("queue", "priority", str(self.chance.randrange(-9, 10)), *self.some(), "--yes")

    def do_suspend(self):
        self.cli("destination", "suspend", f"d{self.chance.randrange(DOMAINS)}", *self.chance.choice(([], ["--for", "2s"])), "--reason", "chaos")

    def do_resume(self):
        self.cli("destination", "resume", f"d{self.chance.randrange(DOMAINS)}")

    def do_look(self):
        some = self.some()
        rows = self.r.queue("--limit", "50", *(some if some != ["--all"] else ()))
        for row in rows:
            assert row["state"] in ("waiting", "ready", "held", "active"), row
        if rows:
            one = self.chance.choice(rows)["queue_id"]
            for argv in (["queue", "show", one], ["queue", "cat", one], ["explain", one]):
                self.r.cli(*argv, code=None)
        for argv in (["status"], ["queue"], ["destination", "list"], ["explain", "a@d0.test"], ["log", "--id", "001MF7BDBW000"]):
            self.cli(*argv)

    def do_reload(self):
        for _ in range(self.chance.randrange(1, 4)):
            self.chance.choice((self.r.reload, lambda: self.cli("reload")))()

    def do_rotate(self):
        self.cli("log", "rotate")

    def do_check_spool(self):
        assert self.r.cli("spool", "check", code=None).code == 0

    def do_stop(self):
        self.r.stop()
        self.r.start()

    def do_kill(self):
        self.r.kill()
        self.ends.append(time.time())
        self.r.start()

    def do_fill(self):
        if not self.small:
            return
        self.small.fill()
        time.sleep(self.chance.uniform(0.1, 1.5))
        what = self.chance.choice((self.do_look, self.do_change, self.do_reload, self.do_kill, self.do_stop, lambda: None))
        # A change is answered when it is durable, and where the open segment has no room for it that is when the disk has.
        room = threading.Timer(1 if what == self.do_change else 3600, self.small.empty)
        room.start()
        try:
            what()
        finally:
            room.cancel()
            room.join()
            self.small.empty()

    def do_nothing(self):
        time.sleep(self.chance.uniform(0.2, 1.5))

    def calm(self):
        for receiver in self.receivers:
            receiver.moody = False
        for n in range(DOMAINS):
            self.cli("destination", "resume", f"d{n}")
        self.cli("queue", "release", "--all", "--yes")
        until(lambda: self.cli("queue", "expire", "--to", "*@down.test", "--yes").code == 1, 30, "mail behind a receiver that is down ends by hand", pause=0.3)


@pytest.mark.long
def test_the_books_balance_after_a_bad_week(relay, disks):
    chance = proof.seed()
    value = chance.randrange(1 << 32)  # the receivers', one by one
    small = None
    if not small_disk.why_not("ext4"):
        small = small_disk.Disk("ext4", size="160M")
        disks.append(small)
    receivers = [Moody(value) for _ in range(DOMAINS)]
    home = Moody(value, moody=False)
    places = dict(spool_in=small.path, log_in=small.path) if small else {}
    domains = [f"d{n}" for n in range(DOMAINS)]
    override = [f"{d}.test MX 10 mx.{d}.test" for d in domains] + [f"mx.{d}.test A 127.0.0.1" for d in domains]
    override += ["gone.test NXDOMAIN", "nobody.test MX 0 .", "down.test A 127.0.0.1", "sender.test A 127.0.0.1"]
    sections = "".join(f'destination "{d}" {{ domains = {{ "{d}.test" }}  port = {there.port}  connections = {CONNECTIONS} }}\n' for d, there in zip(domains, receivers))
    sections += f'destination "down" {{ domains = {{ "down.test" }}  port = {free_port()}  lifetime = "6s" }}\n'
    sections += f'destination "home" {{ domains = {{ "sender.test" }}  port = {home.port} }}\n'
    r = relay(listener=proof.TRUSTED, override=override, destinations=sections,
              delivery='retry = { "1s", "2s" }  lifetime = "10m"  reports-per-sender = "1000000/s"',
              top='debug-phase-percent = 1  debug-segment-bytes = "1M"', log='rotate-size = "1M"  compress-after = "1s"', **places)
    load = proof.Submitters(r.submission, chance, threads=2, pause=0.01, large=0.01, recipients=recipients)
    operator = Operator(r, chance, small, receivers + [home])
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            operator.act()
        load.stop()
        operator.calm()
        # Again and again: a site that is being probed at this moment is not asked for another probe.
        until(lambda: r.cli("queue", "retry", "--all", "--yes", code=None) and not r.queue("--limit", "1"), 90, lambda: (r.cli("queue").out, r.queue()[:3]), pause=1)
        proof.wait_finished(r, 30)
        until(lambda: r.rows("status")[-1]["messages"] == 0, 60, lambda: r.cli("status").out, pause=0.3)  # every report is there
        r.stop()
        balance(r, load, receivers, home, operator)
        print(dict(operator.done), len(load.told), "told", len(load.unknown), "unknown", len(load.refused), "refused")
    finally:
        for receiver in receivers + [home]:
            receiver.__exit__()


def balance(r, load, receivers, home, operator):
    events = proof.check_log(r.log_in, 20)
    assert not proof.unfinished(events)
    accepted = {(e["queue_id"], e["rcpt"]): e for e in events if e["event"] == "accepted"}
    finals = {(e["queue_id"], e["rcpt"]): e for e in events if e.get("final")}
    per_id = collections.Counter(id for id, _ in accepted)
    for t in load.told:
        assert per_id[t.id] == t.recipients, f"{t.id} has {per_id[t.id]} recipients in the log, {t.recipients} were given"
    taken, refused = {}, set()
    for receiver in receivers + [home]:
        refused |= receiver.refused
        for address, all in receiver.taken.items():
            taken.setdefault(address, []).extend(all)
    kinds = collections.Counter()
    for key, e in finals.items():
        address = e["recipient"]
        if not address.startswith("r"):
            continue  # a report: home takes it
        xid = re.match(r"r\d+\.(.*)@", address).group(1)
        copies = sorted(taken.get(address, []), key=lambda c: c.at)
        kinds[e["event"]] += 1
        for c in copies:
            assert (c.xid, c.digest) == (xid, load.sent[xid]), f"{address} arrived, but changed: {c}"
        if e["event"] == "delivered":
            assert copies, f"delivered, and nobody has it: {e}"
        elif e["event"] == "bounced":
            before_rcpt = e.get("command") == "mail" and e.get("response") == "not this sender"  # said before anybody was named
            assert "actor" in e or before_rcpt or address in refused or "@gone" in address or "@nobody" in address, f"bounced without a reason: {e}"
        elif e["event"] == "expired":
            assert "actor" in e or "@down" in address or e["time"] >= e.get("expires", ""), e
        elif e["event"] == "cancelled":
            assert e["actor"], e
        else:
            raise AssertionError(f"an end of no kind: {e}")
        for n, c in enumerate(copies):
            later = copies[n + 1].at if n + 1 < len(copies) else c.at + MARKED_WITHIN
            if c.sure and not any(c.at <= at < min(later, c.at + MARKED_WITHIN) for at in operator.ends):
                assert n + 1 == len(copies), f"{address}: taken for sure, and sent again: {copies}, {operator.ends}"
                assert e["event"] == "delivered", f"{address}: taken for sure, and {e}"
    attempts(events)
    told_of(events, finals, home, operator)
    print(dict(kinds), sum(map(len, taken.values())), "taken", len(home.reports), "reports", len(operator.ends), "kills")


def attempts(events):
    """Each recipient's attempts are counted one by one, and no event comes behind the last one."""
    last, over = {}, set()
    for e in events:
        key = (e.get("queue_id"), e.get("rcpt"))
        if e["event"] in ("deferred", "delivered", "bounced", "expired") and "attempt" in e:
            assert last.get(key, 0) <= e["attempt"] <= last.get(key, 0) + 1, (e, last.get(key))
            last[key] = e["attempt"]
            if e["event"] == "deferred" and "next_attempt" in e:
                assert e["next_attempt"] > e["time"], e
        if "queue_id" in e and "rcpt" in e:
            assert key not in over or e["event"] == "dsn_queued", f"behind its end: {e}"
        if e.get("final"):
            over.add(key)


def told_of(events, finals, home, operator):
    """Every failure is told to its sender, once: reports that arrive twice do so because of a crash."""
    told = collections.Counter(a.decode() for report in home.reports for a in re.findall(rb"Final-Recipient: rfc822; ?(\S+)", report))
    failed = {e["recipient"] for e in finals.values() if e["event"] in ("bounced", "expired") and e["recipient"].startswith("r")}
    untold = sorted(failed - set(told))
    assert not untold, f"{len(untold)} of {len(failed)} failed and nobody was told: {[e for e in events if e.get('recipient') == untold[0]]}"
    wrong = {a for a in told if a not in failed}
    assert not wrong, f"told of, and did not fail: {sorted(wrong)[:5]}"
    assert operator.ends or not (twice := [a for a, n in told.items() if n > 1]), twice
