"""
Logging in by every mechanism with programs that people use, wrongly too; what a user's line in the users file allows; and that no secret gets
anywhere. (Promise 21; checklist 9, 10, 15, 18, 30.)
"""
import base64
import hashlib
import json
import re
import smtplib
import ssl
import subprocess

import pytest

from kit import mail
from kit.certs import Authority
from kit.relay import PASSWORD, smarthost
from kit.wait import until

WRONG = "Authentication failed: user name or password is wrong"


@pytest.fixture
def house(relay, sink):
    s = sink()
    return relay(destinations=smarthost(s)), s


def program(*argv, stdin=b"", ok=True):
    """Its output of both kinds; ok: does it say that all went well?"""
    p = subprocess.run([str(a) for a in argv], input=stdin, capture_output=True, timeout=180)
    out = (p.stdout + p.stderr).decode(errors="replace")
    assert (p.returncode == 0) == ok, f"{argv}: {p.returncode}\n{out}"
    return out


# --- each program sends one message, and says what the server said when it could not

def swaks(r, user, password, mechanism, ok=True):
    return program("swaks", "--server", "localhost", "--port", r.submission, "--tls", "--auth", mechanism, "--auth-user", user, "--auth-password",
                   password, "--from", "ann@sender.test", "--to", "bob@rcpt.test", "--helo", "client.test", ok=ok)


def msmtp(r, user, password, mechanism, ok=True):
    conf = r.dir / "msmtprc"
    conf.write_text(f"account default\nhost localhost\nport {r.submission}\ntls on\ntls_starttls on\ntls_trust_file {r.certificate.pem}\n"
                    f"auth {mechanism.lower()}\nuser {user}\npassword {password}\nfrom ann@sender.test\n")
    conf.chmod(0o600)
    return program("msmtp", "-C", conf, "bob@rcpt.test", stdin=mail.message(), ok=ok)


def curl(r, user, password, mechanism, ok=True):
    (r.dir / "mail").write_bytes(mail.message())
    return program("curl", "-sS", "-v", "--ssl-reqd", "--cacert", r.certificate.pem, "--login-options", f"AUTH={mechanism}", "--user",
                   f"{user}:{password}", "--mail-from", "ann@sender.test", "--mail-rcpt", "bob@rcpt.test", "--upload-file", r.dir / "mail",
                   f"smtp://localhost:{r.submission}", ok=ok)


def python(r, user, password, mechanism, ok=True):
    s = r.smtp(user=None)
    s.user, s.password = user, password
    try:
        s.auth(mechanism, getattr(s, "auth_" + mechanism.lower()))
        s.sendmail("ann@sender.test", ["bob@rcpt.test"], mail.message())
        said, went_well = "", True
    except smtplib.SMTPAuthenticationError as refused:
        said, went_well = f"{refused.smtp_code} {refused.smtp_error.decode()}", False
    s.quit()
    assert went_well == ok, said
    return said


CASES = [(swaks, "PLAIN"), (swaks, "LOGIN"), (msmtp, "PLAIN"), (msmtp, "LOGIN"), (msmtp, "SCRAM-SHA-256"), (curl, "PLAIN"), (curl, "LOGIN"),
         (python, "PLAIN"), (python, "LOGIN")]


@pytest.mark.parametrize("client, mechanism", CASES, ids=[f"{c.__name__}-{m}" for c, m in CASES])
def test_programs(house, client, mechanism):
    """A program cannot log in, its mail's events have another mechanism, or it hears nothing clear when the password is wrong."""
    r, s = house
    client(r, "app", PASSWORD, mechanism)
    event = r.wait_event("accepted")
    assert event["auth_mech"] == mechanism and event["user"] == "app"
    said = client(r, "app", "Geheimnis-77", mechanism, ok=False)
    if client is curl:  # it shows the dialogue, and sums it up in words of its own
        assert "535 5.7.8 " + WRONG in said
        assert re.search(r"curl: \(\d+\) .*[Ll]ogin denied|curl: \(\d+\) .*(auth|AUTH)", said), said
    else:
        assert "535" in said and WRONG in said
    assert "Geheimnis-77" not in r.process.errors()


# --- GNU SASL's own program: SCRAM with channel binding, EXTERNAL

def gsasl(r, mechanism, *options, ok=True, priority=None):
    argv = ["gsasl", "--smtp", "--connect", f"localhost:{r.submission}", "--starttls", "--mechanism", mechanism, "--x509-ca-file",
            r.certificate.pem, "--verbose", *(["--priority", priority] if priority else []), *options]
    return program(*argv, ok=ok)


def of(user, password):
    return "--authentication-id", user, "--authorization-id", "", "--password", password


@pytest.mark.parametrize("priority", [None, "NORMAL:-VERS-ALL:+VERS-TLS1.2"], ids=["TLS1.3", "TLS1.2"])
def test_channel_binding(house, priority):
    """SCRAM-SHA-256-PLUS does not work with a client that binds as RFC 9266 (TLS 1.3) or RFC 5929 (1.2) say, a wrong password is let in, or a client
    that could bind and did not is not told that it was lied to (RFC 5802 section 6)."""
    r, s = house
    gsasl(r, "SCRAM-SHA-256-PLUS", *of("app", PASSWORD), priority=priority)
    assert WRONG in gsasl(r, "SCRAM-SHA-256-PLUS", *of("app", "wrong"), ok=False, priority=priority)
    assert WRONG in gsasl(r, "SCRAM-SHA-256-PLUS", *of("nobody", PASSWORD), ok=False, priority=priority)
    gsasl(r, "SCRAM-SHA-256", "--no-cb", *of("app", PASSWORD), priority=priority)
    c = r.smtp(user=None)
    code, text = c.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(b"y,,n=app,r=nonce").decode())
    assert code == 535 and b"was not told that SCRAM-SHA-256-PLUS is offered" in text
    c.quit()
    assert "auth_failed" in r.process.errors() and "mechanism=SCRAM-SHA-256-PLUS" in r.process.errors()


def fingerprints(files):
    der = ssl.PEM_cert_to_DER_cert(files.pem.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    key = program("openssl", "x509", "-in", files.pem, "-noout", "-pubkey").encode()
    spki = base64.b64decode(b"".join(key.splitlines()[1:-1]))
    return hashlib.sha256(der).hexdigest(), hashlib.sha256(spki).hexdigest()


def test_external(relay, sink, tmp_path):
    """A client certificate that is somebody's is no login, or one that is nobody's, or not vouched for, is one."""
    ca, strangers = Authority(tmp_path, "clients"), Authority(tmp_path, "strangers")
    ann, bob, eve = (ca.issue(n, "client.test") for n in ("ann", "bob", "eve"))
    forged = strangers.issue("forged", "client.test")
    s = sink()
    r = relay(destinations=smarthost(s), listener=f'client-certificates = "request"  client-ca = "{ca.pem}"')
    r.cli("user", "add", "ann", "--certificate", fingerprints(ann)[0])
    r.cli("user", "add", "bob", "--certificate", fingerprints(bob)[1], "--certificate", fingerprints(forged)[0])
    show = lambda files: ("--x509-cert-file", files.pem, "--x509-key-file", files.key)
    gsasl(r, "EXTERNAL", "--authorization-id", "", *show(ann))
    gsasl(r, "EXTERNAL", "--authorization-id", "ann", *show(ann))
    gsasl(r, "EXTERNAL", "--authorization-id", "", *show(bob))
    assert WRONG in gsasl(r, "EXTERNAL", "--authorization-id", "bob", *show(ann), ok=False)
    assert WRONG in gsasl(r, "EXTERNAL", "--authorization-id", "", *show(eve), ok=False)

    def session(files):
        c = smtplib.SMTP("localhost", r.submission, "client.test", timeout=180)
        context = r.trusting()
        if files:
            context.load_cert_chain(files.pem, files.key)
        c.starttls(context=context)
        c.ehlo()
        return c

    for files in (None, forged):  # to a certificate that no authority vouches for EXTERNAL is not even offered
        c = session(files)
        assert "EXTERNAL" not in c.esmtp_features["auth"]
        assert c.docmd("AUTH", "EXTERNAL =")[0] == 504
        c.quit()
    c = session(bob)
    assert c.docmd("AUTH", "EXTERNAL =")[0] == 235
    r.submit(c, mail.message(), "bob@sender.test", "bob@rcpt.test")
    event = r.wait_event("accepted")
    assert event["auth_mech"] == "EXTERNAL" and event["user"] == "bob"
    r.cli("user", "set", "bob", "--disabled")
    assert c.mail("bob@sender.test") == (550, b"5.7.1 Your login has been disabled or removed")
    c.quit()
    c = session(bob)
    assert c.docmd("AUTH", "EXTERNAL =")[0] == 535
    c.quit()


# --- what a user may do

def test_rules_of_a_user(relay, sink):
    """An option of a user has no effect, or only after a reload; or his tags, destination and class do not reach the message."""
    s, other = sink(), sink()
    r = relay(destinations=smarthost(s) + smarthost(other, "other", "nobody.test"))
    c = r.smtp()
    assert c.mail("ann@sender.test")[0] == 250
    c.rset()
    r.cli("user", "set", "app", "--rate", "3/h", "--max-size", "1K", "--max-recipients", "2", "--from", "*@sender.test", "--tag", "team=shop",
          "--destination", "other", "--priority", "low")
    assert c.mail("ann@elsewhere.test")[0] == 553
    assert c.mail("ann@sender.test", ["size=2000"]) == (552, b"5.3.4 message too big; the limit in octets is: 1024")
    assert c.mail("ann@sender.test", ["mt-priority=3"]) == (250, b"2.3.6 -4 is the new priority of the message")
    assert c.rcpt("bob@rcpt.test")[0] == 250 and c.rcpt("carol@rcpt.test")[0] == 250
    assert c.rcpt("dave@rcpt.test")[0] == 452
    assert c.data(mail.message(headers=b"X-Postwain-Tag: order=7\r\n"))[0] == 250
    until(lambda: len(other.files()) > 0, 20, "the mail at the user's destination")
    assert not s.files()
    event = r.wait_event("delivered")
    assert event["destination"] == "other" and event["tags"] == {"team": "shop", "order": "7"}
    assert c.mail("ann@sender.test")[0] == 250
    assert c.rcpt("bob@rcpt.test")[0] == 250
    code, text = c.rcpt("carol@rcpt.test")
    assert code == 450 and re.fullmatch(rb"4.7.1 .* try again in 1[12]\d\d seconds", text), text
    assert c.data(mail.message(sender="eve@elsewhere.test"))[0] == 550
    code, text = c.mail("ann@sender.test")
    assert code == 452 and re.fullmatch(rb"4.7.1 .* try again in 1[12]\d\d seconds", text), text
    r.cli("user", "set", "app", "--unset", "rate")
    assert c.mail("ann@sender.test")[0] == 250
    c.rset()
    r.cli("user", "remove", "app")
    assert c.mail("ann@sender.test")[0] == 550
    c.quit()


def test_rate_is_for_all_threads(relay, sink):
    """A user has his rate on every network thread anew."""
    s = sink()
    r = relay(destinations=smarthost(s), top="threads = 4")
    r.cli("user", "set", "app", "--rate", "10/d")
    codes = []
    for _ in range(20):
        c = r.smtp()
        code = c.mail("ann@sender.test")[0]
        codes.append(c.rcpt("bob@rcpt.test")[0] if code == 250 else code)
        c.close()
    assert codes == [250] * 10 + [452] * 10


def test_edited_by_hand(relay, sink):
    """A broken users file locks everyone out, or nobody says that it is broken."""
    r = relay(destinations=smarthost(sink()))
    r.smtp().quit()
    good = r.users_file.read_text()
    assert "the users file has an error" not in r.cli("status").out
    r.users_file.write_text(good + "app2:no hash\n")
    r.smtp().quit()  # the last good one is in force
    assert "the users file has an error" in r.cli("status").out
    done = r.cli("check", code=1)
    line = len(good.splitlines()) + 1
    assert f"{r.users_file}:{line}: user app2: the password is not a hash" in done.out + done.err
    r.users_file.write_text(good.replace("\n", ",destination=nowhere\n"))
    done = r.cli("check", code=1)
    assert "user app: destination=nowhere is not in the configuration" in done.out + done.err
    r.users_file.write_text(good)
    until(lambda: r.smtp().quit() and "the users file has an error" not in r.cli("status").out, 10, "status without the warning")
    # the hash changed by hand: the secret beside it is yesterday's, and counts no more
    other = r.cli("user", "add", "other", "--password-stdin", stdin=b"tomorrow's word") and r.users_file.read_text()
    hash_of = {line.split(":")[0]: line.split(":")[1] for line in other.splitlines() if not line.startswith(("#", ":"))}
    r.users_file.write_text(other.replace(hash_of["app"], hash_of["other"]))
    r.smtp(password="tomorrow's word").quit()
    assert WRONG in msmtp(r, "app", PASSWORD, "SCRAM-SHA-256", ok=False)


# --- promise 21

def test_no_secret_anywhere(relay, sink, tmp_path):
    """A password, or what can be turned into one, stands in a log, an event, an answer, a file of the spool, or the memory of the daemon's idle
    sessions' output. (Promise 21.)"""
    words = ["Kennwort-eins-4711", "Kennwort-zwei-4712", "falsch-geraten-4713"]
    s = sink()
    r = relay(destinations=smarthost(s))
    r.cli("user", "password", "app", "--password-stdin", stdin=words[0].encode())
    r.cli("user", "add", "two", "--password-stdin", "--tag", "k=v", stdin=words[1].encode())
    said = []
    for client, mechanism in CASES:
        if client is not swaks and client is not curl:  # these show what they send themselves
            said.append(client(r, "app", words[0], mechanism))
            said.append(client(r, "two", words[2], mechanism, ok=False))
        else:
            client(r, "two", words[1], mechanism)
            client(r, "app", words[2], mechanism, ok=False)
        r.smtp(user="two", password=words[1]).quit()  # ends the delays
    gsasl(r, "SCRAM-SHA-256-PLUS", *of("app", words[0]))
    gsasl(r, "SCRAM-SHA-256-PLUS", *of("app", words[2]), ok=False)
    c = r.smtp("clear", user=None)  # and in clear, where it is not asked for
    assert c.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0app\0{words[0]}".encode()).decode())[0] == 538
    c.quit()
    for verb in (["status"], ["queue"], ["queue", "list"], ["user", "list"], ["log"], ["check"], ["client", "list"]):
        for more in ([], ["--json"]):
            done = r.cli(*verb, *more, code=None)
            said.append(done.out + done.err)
    r.stop()
    said.append(r.process.errors())
    places = [p for p in r.dir.rglob("*") if p.is_file() and p.name not in ("msmtprc",)]
    assert any("spool" in p.parts for p in places) and any(p.name == "delivery.jsonl" for p in places)
    haystacks = [text.encode() for text in said] + [p.read_bytes() for p in places]
    for word in words:
        for user in ("app", "two"):
            needles = [word.encode(), base64.b64encode(word.encode()), base64.b64encode(f"\0{user}\0{word}".encode())[6:], word.encode().hex().encode()]
            for needle in needles:
                assert not [h[:200] for h in haystacks if needle in h], (word, needle)
    secrets = re.findall(r"scram=SCRAM-SHA-256\$\d+:[^$]+\$([^:]+):([^,\n]+)", r.users_file.read_text())
    assert len(secrets) == 2
    users = r.users_file.read_bytes()
    for pair in secrets:
        for secret in pair:
            assert not [h[:200] for h in haystacks if h != users and secret.encode() in h]
    hashes = re.findall(r"\$y\$[^:]+", r.users_file.read_text())
    assert not [h[:200] for h in haystacks if h != users and any(x.encode() in h for x in hashes)]
    assert json.loads(r.cli("user", "list", "--json").out.splitlines()[0])["scram"] is True
