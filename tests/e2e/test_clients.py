"""The programs and libraries that applications send mail with: what they submit arrives as they made it, and a wrong password is told in clear words."""
import email
import email.policy
import json
import re
import smtplib

import clients
import proof
import pytest

from kit import mail
from kit.relay import PASSWORD, Relay, queue_id, smarthost
from kit.sink import Sink
from kit.wait import until

SUBJECT = "Grüße aus Köln, 你好"
TEXT = "Grüße.\n.\n.. two dots\n\na long line: {}\n  the end\n".format("x" * 900)
ATTACHED = bytes(range(256)) * 40 + b"\r\n.\r\nQUIT\r\n" + b"\0" * 100
RECIPIENTS = ["bob@rcpt.test", "carol@rcpt.test", "dave@other.test"]

CASES = [(name, mode, mechanism) for name, c in clients.CLIENTS.items() for mode in c.modes for mechanism in c.mechanisms
         if mode == c.modes[0] or mechanism == c.mechanisms[0]]


class House:
    """One relay and one receiver for all clients."""

    def __init__(self, folder, certificate, users_line):
        self.folder = folder
        self.sink = Sink(folder / "sink")
        self.old = proof.Hostile()  # offers nothing but PIPELINING
        self.relay = Relay(folder / "relay", certificate, users_line,
                           destinations=proof.to_port(self.old.port, domains="old.test") + smarthost(self.sink))
        self.attachment = folder / "attachment.bin"

    def start(self):
        self.sink.start()
        self.relay.start()
        self.attachment.write_bytes(ATTACHED)
        return self

    def close(self):
        self.relay.close()
        self.sink.close()
        self.old.__exit__()

    def job(self, name, mode, mechanism, folder, **more):
        """The sender's address is the job's own, so that its events are found by it."""
        sender = re.sub(r"[^a-z0-9]+", "-", f"{name}-{mode}-{mechanism}-{len(more)}".lower()) + "@sender.test"
        return dict(port=self.relay.submission if mode == "starttls" else self.relay.submissions, implicit=mode == "implicit", user="app",
                    password=PASSWORD, mechanism=mechanism, ca=str(self.relay.certificate.pem), sender=sender, recipients=RECIPIENTS, subject=SUBJECT,
                    text=TEXT, attachment=str(self.attachment), filename="attachment.bin", folder=str(folder), house=str(self.folder),
                    international=False, lower=False) | more


@pytest.fixture(scope="module")
def house(world, certificate, users_line):
    h = House(world / "clients", certificate, users_line)
    try:
        yield h.start()
    finally:
        h.close()


def whole(job):
    """For the clients that take a message as it is: 8 bits in the subject and the text, the attachment beside it."""
    head = f"From: <{job['sender']}>\nTo: {', '.join(job['recipients'])}\nSubject: {job['subject']}\n"
    body = email.message.EmailMessage(email.policy.SMTP.clone(cte_type="8bit"))
    body.set_content(job["text"], cte="8bit")
    body.add_attachment(ATTACHED, "application", "octet-stream", filename=job["filename"])
    return head.replace("\n", "\r\n").encode() + body.as_bytes()


def subject_of(message):
    """Encoded words or UTF-8 as it is."""
    raw = re.search(rb"(?im)^subject: *((?:.*\r\n(?=[ \t]))*.*)\r\n", message).group(1)
    raw = re.sub(rb"\r\n(?=[ \t])", b"", raw)
    return str(email.header.make_header(email.header.decode_header(raw.decode())))


def parts_of(message):
    parsed = email.message_from_bytes(message)
    leaves = [p for p in parsed.walk() if not p.is_multipart()]
    text = leaves[0].get_payload(decode=True).decode(leaves[0].get_content_charset("utf-8"))
    return text.replace("\r\n", "\n"), [leaf.get_payload(decode=True) for leaf in leaves[1:]]


def compare(name, job, received, sent):
    if not clients.CLIENTS[name].composes:
        assert mail.below_trace(received).rstrip(b"\r\n").endswith(sent.rstrip(b"\r\n"))  # some end the last line once more
    text, attached = parts_of(received)
    if name == "git":  # a patch that adds a file with the text
        assert subject_of(received) == f"[PATCH] {SUBJECT}"
        assert "".join(f"+{line}\n" for line in TEXT.splitlines()) in text
    else:
        assert subject_of(received) == SUBJECT
        assert text.rstrip("\n").split("\n") == TEXT.rstrip("\n").split("\n")
        assert attached == [ATTACHED]


def arrived(house, job, n=1):
    """The n messages of this job's sender at the receiver, each with the ids that the relay gave."""
    house.relay.wait_event("delivered", n=n * len(RECIPIENTS), sender=job["sender"])
    mine = f"Return-Path: <{job['sender']}>"
    until(lambda: len(house.sink.find(mine)) >= n, 20, lambda: f"{n} messages from {job['sender']}")
    return house.sink.find(mine)


@pytest.mark.parametrize("name, mode, mechanism", CASES, ids=lambda v: v or "auto")
def test_client(name, mode, mechanism, house, tmp_path):
    """An application with this library cannot send, its mail is changed on the way, or its 250 cannot be found in the log."""
    job = house.job(name, mode, mechanism, tmp_path)
    sent = whole(job)
    code, printed = clients.run(name, job, sent)
    assert code == 0, printed
    received = arrived(house, job, 3 if name == "pipelined" else 1)
    accepted = house.relay.events("accepted", sender=job["sender"])
    ids = {e["queue_id"] for e in accepted}
    to = [address for message in received for address in re.findall(rb"(?m)^(?:Delivered-To|X-Envelope-To): (\S+)\r$", message)]
    assert sorted(to) == sorted([r.encode() for r in RECIPIENTS] * len(ids))  # two domains: perhaps in two transactions
    for message in received:
        compare(name, job, message, sent)
        assert re.search(r"with\s+(UTF8SMTPSA|ESMTPSA)", message.decode(errors="replace").split("Subject:")[0])
    assert all((e["user"], e["listener"]) == ("app", "submission" if mode == "starttls" else "submissions") for e in accepted)
    assert sorted(e["recipient"] for e in accepted) == sorted(RECIPIENTS * len(ids))
    if clients.CLIENTS[name].tells:
        assert {queue_id(line) for line in printed.splitlines() if "queued as" in line} == ids
    assert PASSWORD not in house.relay.process.errors() + json.dumps(house.relay.events(sender=job["sender"]))


@pytest.mark.parametrize("name", clients.CLIENTS)
def test_wrong_password(name, house, tmp_path):
    """A mistyped password looks like trouble of the server, or the client says nothing that helps."""
    client = clients.CLIENTS[name]
    job = house.job(name, client.modes[0], client.mechanisms[0], tmp_path, password="not-it")
    code, printed = clients.run(name, job, whole(job))
    wanted, words = client.wrong
    assert code == wanted, printed
    assert re.search(words, printed), printed
    assert not house.relay.events("accepted", sender=job["sender"])
    house.relay.smtp().quit()  # a good login forgives: the next bad one is answered without a delay


@pytest.mark.parametrize("lower", (False, True), ids=("as-documented", "lower-case"))
@pytest.mark.parametrize("mechanism", clients.CLIENTS["dotnet"].mechanisms)
def test_dotnet_international(mechanism, lower, house, tmp_path):
    """
    SmtpClient with SmtpDeliveryFormat.International asks for SMTPUTF8 with each mail: one that is ASCII, with 8 bits in its text or without, must
    still reach a next hop that does not know the extension.
    """
    for n, words in enumerate(("plain text", "Grüße")):
        job = house.job("dotnet", "starttls", mechanism, tmp_path, international=True, lower=lower)
        job.update(sender=f"{n}-{lower}-{job['sender']}".lower(), recipients=["bob@old.test"])
        text = f"from: {job['sender']}\r\nto: bob@old.test\r\nsubject: plain\r\n\r\n{words}\r\n".encode()
        code, printed = clients.run("dotnet", job, text)
        assert code == 0, printed
        house.relay.wait_event("delivered", sender=job["sender"])
        [received] = [m for m in house.old.taken if job["sender"].encode() in m]
        assert mail.below_trace(received).rstrip(b"\r\n").endswith(text.rstrip(b"\r\n"))
    assert not [c for c in house.old.commands if b"SMTPUTF8" in c.upper() or b"BODY=" in c.upper()]


def test_many_messages_on_one_connection(relay, sink):
    """An application that keeps its connection open loses or mixes messages."""
    s = sink()
    r = relay(destinations=smarthost(s))
    session = r.smtp()
    raws = [mail.message(b"message %d\r\n" % i) for i in range(10)]
    ids = [r.submit(session, raw, "ann@sender.test", ["bob@rcpt.test", f"carol{i}@rcpt.test"]) for i, raw in enumerate(raws)]
    session.quit()
    assert len(set(ids)) == 10
    for id in ids:
        assert {e["event"] for e in r.wait_final(id, 2)} == {"delivered"}
    for raw in raws:
        [received] = s.find(mail.message_id(raw))
        assert mail.body(received) == mail.body(raw)


def test_certificate(relay):
    """The certificate of the configuration is the one that clients see."""
    r = relay()
    with smtplib.SMTP("127.0.0.1", r.submission, "client.test") as s:
        s.starttls(context=r.trusting())
        names = s.sock.getpeercert()["subjectAltName"]
    assert ("DNS", "relay.test") in names
