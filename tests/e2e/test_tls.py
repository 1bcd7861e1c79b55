"""
What a scanner would say of the listeners, and what an administrator does with certificates: names, renewal, expiry, clients' own.
Checklist 8, 9 and 91 stand in test_limits.py, test_smuggling.py and tests/unit/tls.
"""
import contextlib
import os
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from kit import mail
from kit.certs import Authority, common_name
from kit.relay import smarthost
from kit.wait import until

SUITES_12 = {  # by the kind of the certificate's key
    "ec": {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    "rsa": {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"},
}
SUITES_13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
QUICK = 'debug-look-at-files = "50ms"'


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def section(files, title=""):
    return f'tls {title and chr(34) + title + chr(34)} {{ certificate = "{files.pem}"  key = "{files.key}" }}\n'


def client(**how):
    """Trusts everybody; the tests look at what they are shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in how.items():
        setattr(context, name, value)
    return context


def connect(port, context=None, name=None, session=None):
    """Implicit TLS, up to the greeting."""
    raw = socket.create_connection(("127.0.0.1", port), 120)
    s = (context or client()).wrap_socket(raw, server_hostname=name, session=session)
    s.greeting = s.recv(1000)
    return s


def shown(port, name=None, context=None):
    """The common name of the certificate that a client is shown who asks for this one."""
    with connect(port, context, name) as s:
        return common_name(s.getpeercert(True))


def shown_by_starttls(port, name):
    s = smtplib.SMTP("127.0.0.1", port, "client.test", timeout=120)
    s._host = name  # what smtplib puts into SNI
    s.starttls(context=client())
    try:
        return common_name(s.sock.getpeercert(True))
    finally:
        s.quit()


def s_client(relay, port, *options, stdin=b"QUIT\r\n"):
    starttls = ["-starttls", "smtp"] if port == relay.submission else []
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *starttls, "-ign_eof", *options],
                          input=stdin, capture_output=True, timeout=180).stdout.decode(errors="replace")


def agreed(output):
    """(protocol, suite), or None when there was no handshake."""
    m = re.search(r"^New, (\S+), Cipher is (\S+)$", output, re.M)
    return (re.search(r"Protocol *: (\S+)|^New, (TLSv1\.3)", output, re.M).group(0).split()[-1].rstrip(","), m.group(2)) \
        if m and m.group(2) != "(NONE)" else None


# --- what a scanner says

def old_suites():
    """Every suite below TLS 1.3 that this OpenSSL can still speak."""
    out = subprocess.run(["openssl", "ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"], check=True, capture_output=True)
    return set(out.stdout.decode().strip().split(":")) - SUITES_13


def test_protocols_and_suites(relay, authority):
    """An auditor finds TLS 1.0, CBC, no forward secrecy, or a client of today finds nothing in common."""
    r = relay(start=False)
    r.certificate = authority.issue("ec", "relay.test")
    rsa = authority.issue("rsa", "rsa.test", kind="rsa")
    r.write(top=section(rsa, "rsa.test"))
    r.start()
    assert len(old_suites()) > 60
    for port in (r.submission, r.submissions):
        for version in ("-tls1", "-tls1_1"):
            assert not agreed(s_client(r, port, version, "-cipher", "ALL:@SECLEVEL=0"))
        for suite in SUITES_13:
            assert agreed(s_client(r, port, "-tls1_3", "-ciphersuites", suite)) == ("TLSv1.3", suite)
    for name, kind in (("relay.test", "ec"), ("rsa.test", "rsa")):
        taken = {suite for suite in old_suites()
                 if agreed(s_client(r, r.submissions, "-tls1_2", "-servername", name, "-cipher", suite + ":@SECLEVEL=0"))}
        assert taken == SUITES_12[kind]
        for suite in SUITES_12[kind]:
            assert agreed(s_client(r, r.submission, "-tls1_2", "-servername", name, "-cipher", suite)) == ("TLSv1.2", suite)


def nmap_says(port, *how):
    out = subprocess.run(["nmap", "-Pn", "-n", *how, "-p", str(port), "127.0.0.1"], check=True, capture_output=True, timeout=120)
    text = out.stdout.decode()
    found = {}
    for line in text.splitlines():
        if m := re.match(r"\|   (TLSv\S+|SSLv\S+):", line):
            found[m.group(1)] = set()
            version = m.group(1)
        elif m := re.match(r"\|       (TLS_\S+)(?: \(.*\))? - (\S)", line):
            found[version].add((m.group(1), m.group(2)))
    return found, text


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("nmap"), reason="nmap is not installed")
def test_nmap_agrees(relay, authority):
    """Somebody else's scanner, with somebody else's ClientHello."""
    r = relay(start=False)
    r.certificate = authority.issue("ec", "relay.test")
    r.start()
    for port, how in ((r.submissions, ["--script", "+ssl-enum-ciphers"]), (r.submission, ["-sV", "--script", "ssl-enum-ciphers"])):
        found, text = nmap_says(port, *how)
        assert set(found) == {"TLSv1.2", "TLSv1.3"}, text
        assert {grade for suites in found.values() for _, grade in suites} == {"A"}, text
        assert {name for name, _ in found["TLSv1.2"]} == {
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"}, text
        assert len(found["TLSv1.3"]) == 3, text
        assert "cipher preference: server" in text


def test_no_renegotiation_no_compression(relay):
    """A client makes us do handshake after handshake on one connection; lengths tell of contents."""
    r = relay()
    for port in (r.submission, r.submissions):
        starttls = ["-starttls", "smtp"] if port == r.submission else []
        p = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *starttls, "-tls1_2", "-msg"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = bytearray()

        def read_on():
            while piece := p.stdout.read1(65536):
                said.extend(piece)

        reader = threading.Thread(target=read_on, daemon=True)
        reader.start()
        until(lambda: b"Extended master secret" in said, why=lambda: said)  # the last it tells of a handshake
        p.stdin.write(b"R\n")  # its own command: renegotiate
        p.stdin.flush()
        until(lambda: b"no_renegotiation" in said, why=lambda: said)
        with contextlib.suppress(BrokenPipeError):  # it may have ended by then
            p.stdin.write(b"Q\n")
            p.stdin.close()
        p.wait(90)
        reader.join(90)
        out = said.decode(errors="replace")
        assert "Compression: NONE" in out and "Secure Renegotiation IS supported" in out
        assert "RENEGOTIATING" in out and out.count("ServerHello,") + out.count("ServerHello\n") == 1, out
        assert "no_renegotiation" in out, out


# --- names

def test_names(relay, authority, sink):
    """A client that asks for one name is shown another's certificate and goes away."""
    s = sink()
    r = relay(start=False, destinations=smarthost(s))
    r.certificate = authority.issue("default", "localhost", "relay.test", "127.0.0.1")
    wild = authority.issue("wild", "*.example.test")
    exact = authority.issue("exact", "mail.example.test", "other.test")
    titled = authority.issue("titled", "unrelated.test")
    r.write(top=section(wild, "wild") + section(exact, "exact") + section(titled, "title.test"))
    r.start()
    cases = {"relay.test": "default", "a.example.test": "wild", "mail.example.test": "exact", "OTHER.test": "exact",
             "a.b.example.test": "default", "example.test": "default", "title.test": "titled", "nobody.test": "default",
             None: "default"}
    for name, expected in cases.items():
        assert shown(r.submissions, name) == expected, name
        assert shown_by_starttls(r.submission, name) == expected, name
        assert shown(r.submissions, name, client(maximum_version=ssl.TLSVersion.TLSv1_2)) == expected, name
    # one that checks everything is content
    strict = ssl.create_default_context(cafile=str(authority.pem))
    with connect(r.submissions, strict, "mail.example.test") as c:
        assert c.version() == "TLSv1.3" and c.greeting.startswith(b"220 ")
    r.send(mail.message())


def test_two_kinds_of_keys_for_one_name(relay, authority):
    """An old client knows RSA only, and the administrator wants ECDSA for the rest."""
    r = relay(start=False)
    ec, rsa = authority.issue("ec", "both.test"), authority.issue("rsa", "both.test", kind="rsa")
    r.write(top=f'tls "both" {{ certificate = {{ "{rsa.pem}", "{ec.pem}" }}  key = {{ "{rsa.key}", "{ec.key}" }} }}\n')
    r.start()
    for algorithm, name in (("RSA-PSS+SHA256", "rsa"), ("ECDSA+SHA256", "ec")):
        out = s_client(r, r.submissions, "-servername", "both.test", "-sigalgs", algorithm)
        assert re.search(rf"subject=CN = {name}\b", out), out


# --- renewal

def put(new, at):
    """As programs that renew do it: nobody ever finds half a file."""
    shutil.copy(new, at.with_name("fresh"))
    os.replace(at.with_name("fresh"), at)


def test_renewed_files_are_taken(relay, authority):
    """A renewed certificate is served only after somebody remembers to reload; or half a renewal stops all TLS."""
    r = relay(start=False, top=QUICK)
    r.certificate = authority.issue("live", "relay.test")
    r.write()
    r.start()
    pid, first = r.pid, s_client(r, r.submissions)
    renewed = authority.issue("renewed", "relay.test")
    with connect(r.submissions) as kept:
        # the certificate alone: it does not fit the key, and nothing changes
        put(renewed.pem, r.certificate.pem)
        until(lambda: "certificates_refused" in r.process.errors())
        assert shown(r.submissions) == shown_by_starttls(r.submission, None) == "live"
        warnings = r.rows("status")[-1]["warnings"]
        assert any("new certificates are not taken" in w and "mismatch" in w for w in warnings), warnings
        # and now the key
        put(renewed.key, r.certificate.key)
        until(lambda: shown(r.submissions) == "renewed")
        until(lambda: shown_by_starttls(r.submission, None) == "renewed")
        until(lambda: not r.rows("status")[-1]["warnings"])
        kept.sendall(b"NOOP\r\n")
        assert kept.recv(100).startswith(b"250")
    assert r.process.errors().count("certificates_refused") == 1
    r.certificate.key.unlink()
    until(lambda: r.process.errors().count("certificates_refused") == 2)
    assert "No such file" in [line for line in r.process.errors().splitlines() if "certificates_refused" in line][-1]
    assert shown(r.submissions) == "renewed"
    assert r.pid == pid and first


def test_expiry_is_told(relay, authority):
    """A certificate ends on a Sunday, and nobody knew."""
    r = relay(start=False, top=QUICK)
    r.certificate = authority.issue("soon", "relay.test", days=20.5)
    good = authority.issue("good", "good.test", days=21.5)
    r.write(top=QUICK + "\n" + section(good, "good.test"))
    r.start()
    assert [w for w in r.rows("status")[-1]["warnings"]] == [f"certificate {r.certificate.pem} expires in 20 days: renew it"]
    assert "certificate_expires" in r.process.errors()
    assert "expires in 20 days" in r.cli("status").out
    authority.issue("soon", "relay.test", days=-1)
    until(lambda: r.rows("status")[-1]["warnings"] == [f"certificate {r.certificate.pem} has expired: renew it"])
    authority.issue("soon", "relay.test", days=90)
    until(lambda: r.rows("status")[-1]["warnings"] == [])


def test_check_tells_of_certificates(relay, authority):
    """`check` says ok, and the listener then serves what no client takes. (FILE:LINE of each.)"""
    r = relay(start=False)
    live, other = authority.issue("live", "relay.test"), authority.issue("other", "relay.test")
    r.certificate = live
    folder = authority.folder

    def told(code, *sections, listener=""):
        r.write(top="\n".join(sections), listener=listener)
        done = r.cli("check", code=code)
        return done.out + done.err

    def line_of(text):
        return next(i for i, line in enumerate(r.conf.read_text().splitlines(), 1) if text in line)

    assert ": ok" in told(0, section(other, "relay2.test").replace("relay2", "relay"))
    for files, words in (
            (other._replace(key=live.key), "mismatch"),
            (other._replace(key=folder / "absent.key"), "No such file"),
            (other._replace(pem=folder / "absent.pem"), "No such file"),
            (other._replace(key=folder), "is not a file"),
            (other._replace(pem=live.key), "no certificate in it"),
            (other._replace(key=live.pem), "can be read by everyone" if live.pem.stat().st_mode & 4 else "no private key"),
            (authority.issue("old", "old.test", days=-3), "has expired"),
            (authority.issue("young", "young.test", begins=3), "not yet valid")):
        out = told(1, section(files, "second.test"))
        assert re.search(rf"^{re.escape(str(r.conf))}:{line_of('second.test')}: .*{words}", out, re.M), out
    soon = authority.issue("ends", "ends.test", days=10.5)
    out = told(0, section(soon, "ends.test"))
    assert re.search(rf"^note: {re.escape(str(r.conf))}:{line_of('ends.test')}: .*expires in 10d", out, re.M), out
    out = told(0, section(other, "not-in-it.test"))
    assert re.search(rf"^note: {re.escape(str(r.conf))}:{line_of('not-in-it.test')}: .*not for that name", out, re.M), out
    out = told(1, listener=f'client-certificates = "require"  client-ca = "{live.key}"')
    assert re.search(rf"^{re.escape(str(r.conf))}:{line_of('client-ca')}: .*no certificate in it", out, re.M), out


# --- sessions come back

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tickets_are_good_on_every_loop_and_rotate(relay, version):
    """Every second connection pays for a whole handshake; or a ticket key once stolen opens for ever."""
    context = client(minimum_version=version, maximum_version=version)

    def once(session=None):
        """A connection: (whether it was resumed, its session, a moment before it)."""
        begun = time.monotonic()
        with connect(r.submissions, context, session=session) as s:
            return s.session_reused, s.session, begun

    def resumed(times, begun, good_for):
        """Each connection that was over while the key was certainly good."""
        all = [(once(session)[0], time.monotonic() - begun) for _ in range(times)]
        return [was for was, age in all if age < good_for]

    # Connections spread over four loops. One key is good for a whole period at least.
    r = relay(top='threads = 4\ndebug-look-at-files = "50ms"\ndebug-ticket-rotation = "60s"')
    was, session, begun = once()
    assert not was
    good = resumed(30, begun, 60)
    assert len(good) > 20 and all(good)
    r.reload()
    until(lambda: "event=reloaded" in r.process.errors())
    assert all(resumed(4, begun, 60))
    # After two of them it is gone.
    r = relay(top='threads = 4\ndebug-look-at-files = "50ms"\ndebug-ticket-rotation = "2s"')
    was, session, begun = once()
    assert not was and all(resumed(4, begun, 2))
    until(lambda: not any(once(session)[0] for _ in range(8)), 20, pause=0.5)
    assert time.monotonic() - begun >= 2
    s = smtplib.SMTP("localhost", r.submission, "client.test", timeout=120)
    s.starttls(context=context)
    assert s.noop()[0] == 250
    s.quit()


# --- clients' certificates

def test_client_certificates(relay, authority):
    """Who has no certificate is let in where one is required, or one of a stranger's counts."""
    ca, stranger = Authority(authority.folder, "clients"), Authority(authority.folder, "strangers")
    good, bad = ca.issue("good", "client.test"), stranger.issue("bad", "client.test")
    ask = f'client-certificates = "%s"  client-ca = "{ca.pem}"'
    for how, lets_in in (("request", {None: True, good: True, bad: True}), ("require", {None: False, good: True, bad: False})):
        r = relay(listener=ask % how)
        for files, ok in lets_in.items():
            context = client()
            if files:
                context.load_cert_chain(files.pem, files.key)
            for port in (r.submission, r.submissions):
                assert enters(port == r.submission, port, context) == ok, (how, files)
        if how == "require":
            for words in ("peer did not return a certificate", "self-signed certificate in certificate chain"):
                until(lambda: words in r.process.errors(), why=words)
    # the name that is asked for changes nothing of it
    r = relay(start=False, listener=ask % "require")
    r.write(top=section(authority.issue("second", "second.test"), "second.test"))
    r.start()
    with pytest.raises((ssl.SSLError, ConnectionError, OSError)):
        with connect(r.submissions, client(), "second.test") as s:
            if not s.greeting:
                raise ConnectionError


def enters(starttls, port, context):
    """Through the handshake, up to an answer to EHLO. (In TLS 1.3 a client learns at its first read that it was refused.)"""
    try:
        if starttls:
            s = smtplib.SMTP("127.0.0.1", port, "client.test", timeout=120)
            s.starttls(context=context)
        else:
            s = smtplib.SMTP_SSL("127.0.0.1", port, "client.test", context=context, timeout=120)
        code = s.ehlo()[0]
        s.quit()
        return code == 250
    except (OSError, smtplib.SMTPException):
        return False


def test_failed_handshakes_are_told(relay):
    """An application cannot connect, and the relay's log knows nothing of it."""
    r = relay()

    def reason(text):
        until(lambda: re.search(rf"event=tls_failed .*client_ip=127\.0\.0\.1 .*reason=\"?{text}", r.process.errors()),
              why=lambda: r.process.errors()[-1500:])

    s_client(r, r.submission, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    reason("unsupported protocol")
    s_client(r, r.submissions, "-tls1_2", "-cipher", "AES128-SHA")
    reason("no shared cipher")
    for port, before in ((r.submission, b"EHLO a\r\nSTARTTLS\r\n"), (r.submissions, b"")):
        with socket.create_connection(("127.0.0.1", port), 120) as s:
            if before:
                s.recv(1000)
                s.sendall(before)
                until(lambda: b"220 2.0.0" in s.recv(2000))
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            s.recv(1000)
    reason("http request")
    with socket.create_connection(("127.0.0.1", r.submissions), 120):
        pass
    reason("the peer closed the connection")
