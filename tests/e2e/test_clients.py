"""Real clients submit through STARTTLS + AUTH and through implicit TLS, and what they sent arrives."""
import json
import pathlib
import re
import smtplib
import subprocess

import pytest

from kit import mail
from kit.relay import PASSWORD, queue_id, smarthost

SENDER, RECIPIENT = "ann@sender.test", "bob@rcpt.test"
BODY = "Grüße.\r\n.\r\n.. two dots\r\n\r\n{}\r\n  the end \r\n".format("x" * 900).encode()
NODE = pathlib.Path(__file__).parent / "node"


def run(argv, stdin=None):
    p = subprocess.run([str(a) for a in argv], input=stdin, capture_output=True, timeout=60)
    text = (p.stdout + p.stderr).decode(errors="replace")
    assert p.returncode == 0, text
    return text


def swaks(relay, mode, raw):
    tls = ["--tls", "--port", relay.submission] if mode == "starttls" else ["--tls-on-connect", "--port", relay.submissions]
    return run(["swaks", "--server", "localhost", "--ehlo", "client.test", *tls, "--tls-verify", "--tls-ca-path", relay.certificate.pem,
                "--auth", "PLAIN", "--auth-user", "app", "--auth-password", PASSWORD, "--from", SENDER, "--to", RECIPIENT,
                "--data", "-"], raw[:-2])  # it adds a line end


def swaks_login(relay, mode, raw):
    tls = ["--tls", "--port", relay.submission] if mode == "starttls" else ["--tls-on-connect", "--port", relay.submissions]
    return run(["swaks", "--server", "localhost", "--ehlo", "client.test", *tls, "--auth", "LOGIN", "--auth-user", "app",
                "--auth-password", PASSWORD, "--from", SENDER, "--to", RECIPIENT, "--data", "-"], raw[:-2])  # it adds a line end


def curl(relay, mode, raw):
    url = (f"smtp://localhost:{relay.submission}/client.test" if mode == "starttls"
           else f"smtps://localhost:{relay.submissions}/client.test")
    return run(["curl", "--silent", "--show-error", "--verbose", "--url", url, "--ssl-reqd", "--cacert", relay.certificate.pem,
                "--user", f"app:{PASSWORD}", "--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "--upload-file", "-"], raw)


def msmtp(relay, mode, raw):
    port = relay.submission if mode == "starttls" else relay.submissions
    starttls = "on" if mode == "starttls" else "off"
    return run(["msmtp", "--debug", "--host=localhost", f"--port={port}", "--tls=on", f"--tls-starttls={starttls}",
                f"--tls-trust-file={relay.certificate.pem}", "--auth=plain", "--user=app", f"--passwordeval=echo '{PASSWORD}'",
                "--domain=client.test", f"--from={SENDER}", RECIPIENT], raw.replace(b"\r\n", b"\n"))


def python_smtplib(relay, mode, raw):
    session = relay.smtp(mode)
    code, text = session.mail(SENDER, ["body=8bitmime"])
    assert code == 250, text
    assert session.rcpt(RECIPIENT)[0] == 250
    code, text = session.data(raw)
    session.quit()
    assert code == 250, text
    return text.decode()


def nodemailer(relay, mode, raw):
    options = dict(port=relay.submission if mode == "starttls" else relay.submissions, secure=mode == "implicit", user="app",
                   password=PASSWORD, servername="localhost", ca=str(relay.certificate.pem), sender=SENDER, recipients=[RECIPIENT])
    return run(["node", NODE / "send.cjs", json.dumps(options)], raw)


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize("client", [swaks, swaks_login, curl, msmtp, python_smtplib, nodemailer], ids=lambda c: c.__name__)
def test_client(client, mode, relay, sink):
    """An application with this library cannot send, its mail is changed on the way, or its 250 cannot be found in the log."""
    s = sink()
    r = relay(destinations=smarthost(s))
    raw = mail.message(BODY, SENDER, RECIPIENT)
    id = queue_id(client(r, mode, raw))
    delivered = r.wait_event("delivered", queue_id=id)
    [received] = s.wait(1)
    assert mail.body(received) == BODY
    assert mail.message_id(received) == mail.message_id(raw)
    accepted, = r.events("accepted", queue_id=id)
    assert (accepted["sender"], accepted["recipient"], accepted["user"]) == (SENDER, RECIPIENT, "app")
    assert accepted["listener"] == ("submission" if mode == "starttls" else "submissions")
    assert delivered["smtp_code"] == 250 and delivered["attempt"] == 1
    trace = received.decode("utf-8", "replace").split("Subject:")[0]
    assert id in trace and re.search(r"with\s+ESMTPSA", trace), trace
    assert PASSWORD not in r.process.errors() + json.dumps(r.log())


def test_many_messages_on_one_connection(relay, sink):
    """An application that keeps its connection open loses or mixes messages."""
    s = sink()
    r = relay(destinations=smarthost(s))
    session = r.smtp()
    raws = [mail.message(b"message %d\r\n" % i) for i in range(10)]
    ids = [r.submit(session, raw, SENDER, [RECIPIENT, f"carol{i}@rcpt.test"]) for i, raw in enumerate(raws)]
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
