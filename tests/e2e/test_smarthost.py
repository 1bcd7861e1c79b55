"""Providers that want a login: every mechanism at a real one, wrong passwords, tokens that end, failover and back."""
import base64
import json
import os
import socket
import ssl
import subprocess
import threading
import time

import pytest

from kit import mail
from kit.certs import Authority
from kit.listening import Listening
from kit.peer import Peer, _Session
from kit.relay import PASSWORD as PASSWORD_OF_APP, POSTWAIN, smarthost as to_sink
from kit.submission import PASSWORD, TOKEN, USER, Submission
from kit.wait import until

HOST = "smtp.provider.test"
NAMED = f'override = {{ "{HOST} A 127.0.0.12", "peer.test A 127.0.0.1" }}'


@pytest.fixture(scope="module")
def authority(world):
    """Trusted by every relay of this file, as the system's authorities are in real life."""
    with pytest.MonkeyPatch.context() as m:
        a = Authority(world, "Providers")
        m.setenv("SSL_CERT_FILE", str(a.pem))
        yield a


@pytest.fixture(scope="module")
def provider(world, authority):
    (world / "provider").mkdir(mode=0o755)
    p = Submission(world / "provider", authority.issue("provider", HOST))
    try:
        yield p.start()
    finally:
        p.close()


def secret_file(folder, text, name="secret"):
    path = folder / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def smarthost(*relays, **keys):
    """destination "smarthost" to these host:port; keys as text, _ for -."""
    lines = "\n".join(f"  {k.replace('_', '-')} = {v}" for k, v in keys.items())
    hosts = ", ".join(f'"{r}"' for r in relays)
    return f'destination "smarthost" {{\n  domains = {{ "*" }}  relay = {{ {hosts} }}\n  user = "{USER}"\n{lines}\n}}\n'


def all_output(r):
    """What anybody may come to read: own log, delivery log, every listing."""
    said = r.process.errors() + "".join(map(str, r.log()))
    for verb in (("status",), ("queue",), ("queue", "list", "--json"), ("log",)):
        done = r.cli(*verb, code=None)
        said += done.out + done.err
    return said


def never_told(r, *secrets):
    """75, promise 21: not the secret, and nothing that holds it."""
    said = all_output(r)
    for s in secrets:
        for form in (s, base64.b64encode(s.encode()).decode(), base64.b64encode(f"\0{USER}\0{s}".encode()).decode()):
            assert form.rstrip("=") not in said


@pytest.mark.parametrize("how", ("starttls", "implicit"))
@pytest.mark.parametrize("mechanism", ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", ""))
def test_login(relay, provider, tmp_path, mechanism, how):
    """75: a provider takes no mail, though user and password are right."""
    token = mechanism in ("OAUTHBEARER", "XOAUTH2")
    path = secret_file(tmp_path, TOKEN if token else PASSWORD)
    keys = {"token_file" if token else "password_file": f'"{path}"'}
    if mechanism:
        keys["auth_mechanisms"] = f'{{ "{mechanism}" }}'
    if how == "implicit":
        keys["implicit_tls"] = "always"
    before = len(provider.log())
    r = relay(dns=NAMED, destinations=smarthost(f"{HOST}:{provider.wrapped if how == 'implicit' else provider.port}", **keys))
    event, = r.wait_final(r.send(mail.message()))
    assert (event["event"], event["destination"], event["mx_host"]) == ("delivered", "smarthost", HOST)
    assert (event["tls_policy"], event["tls_verified"], event["smtp_code"]) == ("verify", True, 250)
    until(lambda: f"sasl_method={mechanism or 'SCRAM-SHA-256'}, sasl_username={USER}" in provider.log()[before:], why=provider.logs)
    never_told(r, PASSWORD, TOKEN)


class Between(Listening):
    """A provider of the same name, whose certificate somebody has issued to it: speaks TLS with both sides, and hands on what they say."""

    def __init__(self, certificate, port):
        super().__init__()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.pem, certificate.key)
        self.behind, self.heard = port, bytearray()
        self.listen()

    def serve(self, s, number):
        to = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        to.check_hostname, to.verify_mode = False, ssl.CERT_NONE
        with self.context.wrap_socket(s, server_side=True) as front, to.wrap_socket(socket.create_connection(("127.0.0.1", self.behind))) as back:
            threading.Thread(target=self.pump, args=(back, front), daemon=True).start()
            self.pump(front, back, self.heard)

    @staticmethod
    def pump(source, sink, heard=None):
        try:
            while octets := source.recv(65536):
                if heard is not None:
                    heard += octets
                sink.sendall(octets)
        except OSError:
            pass


@pytest.mark.parametrize("whom", ("itself", "somebody between"))
def test_channel_binding(relay, sink, authority, tmp_path, whom):
    """75: SCRAM-SHA-256-PLUS does not work, or does with somebody in between, whose certificate is as good. The provider is our own front
    door, whose side of it is held against GNU SASL's program and GnuTLS in test_auth.py."""
    provider = relay(destinations=to_sink(sink()))
    path = secret_file(tmp_path, PASSWORD_OF_APP)
    certificate = authority.issue("peer", "peer.test")
    with Between(certificate, provider.submissions) as between:
        port = provider.submissions if whom == "itself" else between.port
        r = relay(dns=NAMED, destinations=f'''destination "d" {{ domains = {{ "*" }}  relay = {{ "peer.test:{port}" }}  implicit-tls = always
                  user = "app"  password-file = "{path}"  tls = encrypt }}''')
        id = r.send(mail.message())
        if whom == "itself":
            assert r.wait_final(id)[0]["event"] == "delivered"
            assert provider.wait_event("accepted")["auth_mech"] == "SCRAM-SHA-256-PLUS"
        else:
            event = r.wait_event("deferred", queue_id=id)
            assert (event["command"], event["smtp_code"]) == ("auth", 535), event
            assert b"AUTH SCRAM-SHA-256-PLUS" in between.heard and b"MAIL" not in between.heard
            assert not provider.events("accepted") and len(warnings(r)) == 1


def warnings(r):
    return [line for line in r.process.errors().splitlines() if "relay_login_failed" in line]


def failures(provider, before):
    return provider.log()[before:].count("authentication failed")


@pytest.mark.parametrize("mechanism", ("SCRAM-SHA-256", "PLAIN", "XOAUTH2", "OAUTHBEARER"))
def test_wrong_password(relay, provider, tmp_path, mechanism):
    """75, promise 10: a password that was changed at the provider bounces a day's mail, or locks the account by guessing on."""
    token = mechanism in ("OAUTHBEARER", "XOAUTH2")
    path = secret_file(tmp_path, "wrong")
    keys = {"token_file" if token else "password_file": f'"{path}"', "auth_mechanisms": f'{{ "{mechanism}" }}'}
    before = len(provider.log())
    r = relay(dns=NAMED, delivery='retry = { "1s" }', destinations=smarthost(f"{HOST}:{provider.port}", **keys))
    ids = [r.send(mail.message(), recipients="bob@rcpt.test")]
    event = r.wait_event("deferred", smtp_code=535)
    assert event["command"] == "auth" and event["class"] == "auth", event
    ids += [r.send(mail.message(), recipients=f"bob{i}@rcpt.test") for i in range(4)]
    until(lambda: len(r.queue()) == 5)
    assert any("login" in w for w in r.rows("status")[-1]["warnings"]), r.rows("status")[-1]
    assert not [e for e in r.events(final=True)]
    assert len(warnings(r)) == 1 and USER in warnings(r)[0]
    until(lambda: failures(provider, before) > 0, why=provider.logs)
    path.write_text((TOKEN if token else PASSWORD) + "\n")
    r.cli("reload")
    r.cli("queue", "retry", "--all", "--yes", code=None)  # what is barred goes by the reload: perhaps nothing is left
    for id in ids:
        assert r.wait_final(id)[0]["event"] == "delivered"
    assert len(warnings(r)) == 1
    assert failures(provider, before) == 1  # by five messages
    assert not any("login" in w for w in r.rows("status")[-1]["warnings"])
    never_told(r, PASSWORD, TOKEN)


class Provider(Peer):
    """A scripted one inside TLS: AUTH answers as `answer(mechanism, response)` says; `logins` are the responses."""

    def __init__(self, certificate, answer=lambda mechanism, response: "235 2.7.0 ok", mechanisms="PLAIN", **more):
        super().__init__(["AUTH PLAIN"], inside=[f"AUTH {mechanisms}"], certificate=certificate, **more)
        self.answer, self.logins, self.helo, self.login, self.caller, self.protected = answer, [], {}, {}, {}, set()

    def serve(self, s, number):
        _ProviderSession(self, s, number).run()


class _ProviderSession(_Session):
    def on_ehlo(self, line):
        self.peer.helo[self.number] = line.split(" ")[1]
        self.peer.caller[self.number] = self.socket.getpeername()[0]
        if self.tls:
            self.peer.protected.add(self.number)
        return super().on_ehlo(line)

    def on_auth(self, line):
        words = line.split(" ")
        if len(words) < 3:
            self.say("334 ")
            words.append(self.file.readline().decode().strip())
        response = base64.b64decode(words[2])
        self.peer.login[self.number] = response
        reply = self.peer.answer(words[1], response)
        self.peer.logins.append((self.tls, words[1], response))
        while reply.startswith("334"):
            self.say(reply)
            self.peer.logins.append((self.tls, "", base64.b64decode(self.file.readline().strip())))
            reply = "535 5.7.8 no"
        self.say(reply)
        return True


def peer(p):
    return f"peer.test:{p.port}"


def test_a_yes_without_proof(relay, authority, tmp_path):
    """RFC 5802: a host that takes a login by SCRAM at once, without showing that it knows the password, is not the provider; it gets our mail."""
    with Provider(authority.issue("peer", "peer.test"), mechanisms="SCRAM-SHA-256") as p:
        r = relay(dns=NAMED, destinations=smarthost(peer(p), password_file=f'"{secret_file(tmp_path, PASSWORD)}"'))
        event = r.wait_event("deferred", queue_id=r.send(mail.message()))
        assert (event["command"], event["error"]) == ("auth", "login"), event
        assert [mechanism for _, mechanism, _ in p.logins] == ["SCRAM-SHA-256"] and not p.transactions
        assert len(warnings(r)) == 1 and "has not shown who it is" in warnings(r)[0]


def test_token_command(relay, authority, tmp_path):
    """A token that has ended keeps all mail waiting, or the program that gives tokens is run for each message."""
    good = ["first"]
    answer = lambda _, response: "235 ok" if f"auth=Bearer {good[0]}\1".encode() in response else "334 eyJzdGF0dXMiOiI0MDAifQ=="
    program = tmp_path / "token"
    program.write_text(f"#!/bin/sh\necho x >> {tmp_path}/runs\ncat {tmp_path}/current\n")
    program.chmod(0o755)
    (tmp_path / "current").write_text("first\n")
    runs = lambda: (tmp_path / "runs").read_text().count("x")
    with Provider(authority.issue("peer", "peer.test"), answer, "XOAUTH2") as p:
        r = relay(top="threads = 1", dns=NAMED,
                  destinations=smarthost(peer(p), token_command=f'{{ "{program}", "an argument" }}', messages_per_connection=1))
        for _ in range(3):
            assert r.wait_final(r.send(mail.message()))[0]["event"] == "delivered"
        assert runs() == 1
        assert p.logins[0] == (True, "XOAUTH2", f"user={USER}\1auth=Bearer first\1\1".encode())
        good[0] = "second"
        (tmp_path / "current").write_text("second\n")
        assert r.wait_final(r.send(mail.message()))[0]["event"] == "delivered"
        assert runs() == 2 and not r.events("deferred") and not warnings(r)
        never_told(r, "auth=Bearer first", "auth=Bearer second")


def token_of(response):
    return response.split(b"auth=Bearer ")[1].split(b"\1")[0].decode()


def counting_program(folder, name="token"):
    """Says token-1, token-2 …: never the same one twice."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho x >> {folder}/{name}.runs\necho token-$(wc -l < {folder}/{name}.runs)\n")
    program.chmod(0o755)
    return program


def test_token_that_is_refused(relay, authority, tmp_path):
    """75: a token that a provider has refused is shown again, there or at the next one; or a new one is asked for without end."""
    certificate = authority.issue("peer", "peer.test")
    refuses = lambda *_: "334 eyJzdGF0dXMiOiI0MDEifQ=="
    with Provider(certificate, refuses, "XOAUTH2") as first, Provider(certificate, mechanisms="XOAUTH2") as second:
        r = relay(top="threads = 1", dns=NAMED,
                  destinations=smarthost(peer(first), peer(second), token_command=f'{{ "{counting_program(tmp_path)}" }}'))
        event, = r.wait_final(r.send(mail.message()))
        assert (event["event"], event["mx_port"]) == ("delivered", second.port)
        assert [token_of(response) for _, mechanism, response in first.logins if mechanism] == ["token-1", "token-2"]
        assert [token_of(response) for _, _, response in second.logins] == ["token-3"]
        assert len(warnings(r)) == 1
        for _ in range(3):  # barred there, kept here
            assert r.wait_final(r.send(mail.message()))[0]["mx_port"] == second.port
        assert first.connections == 2 and len(warnings(r)) == 1


def test_refused_login_burns_no_attempts(relay, authority, tmp_path):
    """75: while a password is wrong, each of a day's messages has attempts counted, and comes late when the password is right again."""
    certificate = authority.issue("peer", "peer.test")
    path = secret_file(tmp_path, "wrong")
    answer = lambda _, response: "235 ok" if PASSWORD.encode() in response else "535 5.7.8 no"
    with Provider(certificate, answer) as p:
        r = relay(dns=NAMED, delivery='retry = { "1s" }', destinations=smarthost(peer(p), password_file=f'"{path}"'))
        ids = [r.send(mail.message())]
        r.wait_event("deferred", smtp_code=535)
        ids += [r.send(mail.message(), recipients=f"bob{i}@rcpt.test") for i in range(19)]
        def barred():
            row, = [row for row in r.rows("destination", "list") if row["destination"] == "smarthost"]
            return row.get("dead") and row["connections"] == 0 and row["ready"] + row["waiting"] == 20 and row["next_probe_seconds"] > 30
        until(barred, why=lambda: r.rows("destination", "list"))
        r.cli("queue", "retry", "--all", "--yes")  # an operator asks for one try, and gets one at most
        until(barred, why=lambda: r.rows("destination", "list"))
        assert len(r.events("deferred")) == 1 and len(p.logins) == 1 and len(warnings(r)) == 1
        path.write_text(PASSWORD + "\n")
        r.cli("reload")  # the barred mail goes at once
        attempts = [r.wait_final(id)[0]["attempt"] for id in ids]
        assert sorted(attempts) == [1] * 19 + [2]
        assert len(warnings(r)) == 1


def test_reload_while_a_token_is_made(relay, authority, tmp_path):
    """75, promise 21: after a reload the new provider is shown the old one's token, or the old one the new one's."""
    certificate = authority.issue("peer", "peer.test")
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nwhile ! [ -e {tmp_path}/go ]; do sleep 0.05; done\necho of-the-old\n")
    quick.write_text("#!/bin/sh\necho of-the-new\n")
    slow.chmod(0o755), quick.chmod(0o755)
    with Provider(certificate, mechanisms="XOAUTH2") as old, Provider(certificate, mechanisms="XOAUTH2") as new:
        conf = lambda p, program: smarthost(peer(p), token_command=f'{{ "{program}" }}')
        r = relay(top="threads = 1", dns=NAMED, destinations=conf(old, slow))
        under_way = r.send(mail.message())
        until((tmp_path / "asked").exists)
        r.write(destinations=conf(new, quick))
        r.cli("reload")
        later = r.send(mail.message(), recipients="later@rcpt.test")
        until(lambda: new.protected)
        time.sleep(0.3)  # it has asked for its token, too: else there is nothing to mix up
        (tmp_path / "go").touch()
        assert r.wait_final(under_way)[0]["mx_port"] == old.port
        assert r.wait_final(later)[0]["mx_port"] == new.port
        assert [token_of(response) for _, _, response in old.logins] == ["of-the-old"]
        assert [token_of(response) for _, _, response in new.logins] == ["of-the-new"]


def test_a_trace_that_comes_behind_the_login(relay, authority, tmp_path):
    """Promise 21: a provider repeats our password in a refusal, and an operator who looks on at a connection that is open already reads it."""
    secret = "of-the-provider"
    path, told = secret_file(tmp_path, secret, "password"), tmp_path / "told"
    with Provider(authority.issue("peer", "peer.test"), refuse={"RCPT TO:<loud": f"550 5.1.1 {USER} has {secret}"}) as p:
        r = relay(top="threads = 1", dns=NAMED, destinations=smarthost(peer(p), password_file=f'"{path}"', connections=1))
        r.wait_final(r.send(mail.message()))
        with open(told, "w") as out:
            looking = subprocess.Popen([POSTWAIN, "trace", "--json", "--to", "loud@rcpt.test", "-c", str(r.conf)], stdout=out)
        try:
            def seen():
                r.wait_final(r.send(mail.message(), recipients="loud@rcpt.test"))
                return '"direction":"out"' in told.read_text()
            until(seen, 30)
            rows = lambda: [json.loads(line) for line in told.read_text().splitlines(keepends=True) if line.endswith("\n")]
            until(lambda: [row for row in rows() if row.get("who") == "server" and row.get("direction") == "out" and row.get("hidden")], 30)
        finally:
            looking.terminate()
            looking.wait(20)
        assert p.connections == len(p.logins) == 1
        assert secret not in told.read_text() and base64.b64encode(f"\0{USER}\0{secret}".encode()).decode()[:16] not in told.read_text()


def test_reloads_never_mix_credentials(relay, authority, tmp_path):
    """75, promise 21: a reload under load sends one provider's password to the other."""
    certificate = authority.issue("peer", "peer.test")
    one, other = secret_file(tmp_path, "password-one", "one"), secret_file(tmp_path, "password-other", "other")
    with Provider(certificate) as a, Provider(certificate) as b:
        ways = [smarthost(peer(p), password_file=f'"{path}"', messages_per_connection=1) for p, path in ((a, one), (b, other))]
        r = relay(dns=NAMED, destinations=ways[0])
        ids = []
        for i in range(20):
            ids += [r.send(mail.message(), recipients=f"bob{i}.{k}@d{k}.test") for k in range(3)]
            r.write(destinations=ways[(i + 1) % 2])
            r.cli("reload")
        assert {r.wait_final(id)[0]["event"] for id in ids} == {"delivered"}
        assert {response for _, _, response in a.logins} == {f"\0{USER}\0password-one".encode()}
        assert {response for _, _, response in b.logins} == {f"\0{USER}\0password-other".encode()}
        assert not warnings(r)


FAILURES = {"fails": "echo a-token; exit 3", "says nothing": "exit 0", "is not there": "",
            "says why": "echo no refresh token found: a-token", "says more": "printf 'a-token\\001auth=Bearer b-token\\n'"}


@pytest.mark.parametrize("kind", FAILURES)
def test_token_command_that_fails(relay, authority, tmp_path, kind):
    """75: trouble with the program that gives tokens bounces mail, or what cannot be a token is shown to the provider."""
    program = tmp_path / "token"
    program.write_text(f"#!/bin/sh\n{FAILURES[kind]}\n")
    program.chmod(0o755)
    with Provider(authority.issue("peer", "peer.test"), mechanisms="XOAUTH2") as p:
        r = relay(dns=NAMED, destinations=smarthost(peer(p), token_command=f'{{ "{program}" }}'))
        if kind == "is not there":
            program.unlink()
        event = r.wait_event("deferred", queue_id=r.send(mail.message()))
        assert (event["error"], event["command"]) == ("login", "auth")
        assert len(warnings(r)) == 1 and str(program) in warnings(r)[0]
        assert not p.logins and "a-token" not in all_output(r)


def test_a_slow_token_delays_no_other_destination(relay, authority, tmp_path):
    """75: one provider's program for tokens hangs, and no mail goes to the others."""
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nwhile ! [ -e {tmp_path}/go ]; do sleep 0.05; done\necho of-the-slow\n")
    quick.write_text("#!/bin/sh\necho of-the-quick\n")
    slow.chmod(0o755), quick.chmod(0o755)
    with Provider(authority.issue("peer", "peer.test"), mechanisms="XOAUTH2") as p:
        keys = lambda program: {"token_command": f'{{ "{program}" }}'}
        both = [smarthost(peer(p), **keys(program)).replace('"smarthost"', f'"{program.name}"').replace('"*"', f'"{program.name}.test"') for program in (slow, quick)]
        r = relay(top="threads = 1", dns=NAMED, destinations="".join(both))
        waiting = r.send(mail.message(), recipients="bob@slow.test")
        until((tmp_path / "asked").exists)
        assert r.wait_final(r.send(mail.message(), recipients="bob@quick.test"))[0]["event"] == "delivered"
        assert not r.events(queue_id=waiting)[1:]  # its program still runs
        (tmp_path / "go").touch()
        assert r.wait_final(waiting)[0]["event"] == "delivered"
        assert [token_of(response) for _, _, response in p.logins] == ["of-the-quick", "of-the-slow"]


def test_a_pipe_in_place_of_a_password(relay, authority, tmp_path):
    """75: a pipe that nobody writes to, where the password was, holds all logins, and the relay does not stop any more."""
    path = secret_file(tmp_path, PASSWORD)
    with Provider(authority.issue("peer", "peer.test")) as p:
        r = relay(dns=NAMED, destinations=smarthost(peer(p), password_file=f'"{path}"'))
        path.unlink()
        os.mkfifo(path, 0o600)
        event = r.wait_event("deferred", queue_id=r.send(mail.message()))
        assert event["error"] == "login" and f"{path}: its first line is empty" in warnings(r)[0]
        assert not p.logins


def test_a_token_command_has_its_time(relay, authority, tmp_path):
    """75: a program for tokens that never ends, silent or with its word said, holds its mail for ever; or a process is left behind."""
    program = tmp_path / "token"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho a-token\nexec >&-\nexec sleep 600\n")
    program.chmod(0o755)
    with Provider(authority.issue("peer", "peer.test"), mechanisms="XOAUTH2") as p:
        r = relay(top="debug-phase-percent = 10", dns=NAMED, destinations=smarthost(peer(p), token_command=f'{{ "{program}" }}'))
        event = r.wait_event("deferred", queue_id=r.send(mail.message()))
        assert event["error"] == "login"
        assert len(warnings(r)) == 1 and f"{program}: took longer than 3 seconds" in warnings(r)[0]
        assert not p.logins
        pid = int((tmp_path / "pid").read_text())
        until(lambda: not os.path.exists(f"/proc/{pid}"), why="its process is gone")


def test_no_password_in_clear(relay, authority, tmp_path):
    """75, promise 21: whoever takes STARTTLS out of the conversation hears the password."""
    path = secret_file(tmp_path, PASSWORD)
    with Provider(None) as stripped, Provider(authority.issue("other", "other.test")) as impostor:
        r = relay(dns=NAMED, destinations=smarthost(peer(stripped), peer(impostor), password_file=f'"{path}"'))
        event = r.wait_event("deferred", queue_id=r.send(mail.message()))
        assert event["error"] == "tls_verify"
        until(lambda: r.wait_event("deferred", n=2))
        assert stripped.connections and impostor.connections
        assert not stripped.logins and not impostor.logins
        for p in (stripped, impostor):
            assert not [line for line in p.in_clear if line.split(" ")[0] not in ("EHLO", "STARTTLS", "QUIT")]


def test_kept_connections_are_not_shared(relay, authority, tmp_path):
    """68: mail of one customer goes out under another's login, name or address, because a connection was free."""
    ways = {  # destination: user, password, EHLO name, source
        "one": ("ann", "pass-a", "relay.test", "127.0.0.1"),
        "user": ("ben", "pass-a", "relay.test", "127.0.0.1"),
        "secret": ("ann", "pass-b", "relay.test", "127.0.0.1"),
        "name": ("ann", "pass-a", "other.test", "127.0.0.1"),
        "source": ("ann", "pass-a", "relay.test", "127.0.0.7"),
    }
    destinations = ""
    with Provider(authority.issue("peer", "peer.test")) as p:
        for name, (user, password, helo, source) in ways.items():
            path = secret_file(tmp_path, password, name)
            destinations += (f'destination "{name}" {{ domains = {{ "{name}.test" }} relay = {{ "{peer(p)}" }} user = "{user}"\n'
                             f'password-file = "{path}" helo = "{helo}" source = {{ "{source}" }} }}\n')
        r = relay(top="threads = 1", dns=NAMED, destinations=destinations)
        with r.smtp() as session:
            def some_are_reused():
                """Those of the round before are kept, for five seconds, and free."""
                for name in ways:
                    id = r.submit(session, mail.message(), "ann@sender.test", f"bob@{name}.test")
                    assert r.wait_final(id)[0]["event"] == "delivered"
                return sum(e.get("reused", False) for e in r.events("delivered")) >= 2 * len(ways)

            until(some_are_reused, why="nothing was kept, so nothing is shown")
        for t in p.transactions:
            user, password, helo, source = ways[t.rcpts[0].split("@")[1].split(".")[0]]
            said = p.login[t.connection], p.helo[t.connection], p.caller[t.connection]
            assert said == (f"\0{user}\0{password}".encode(), helo, source), t


def test_encrypt_takes_any_certificate(relay, authority, tmp_path):
    """A provider inside, whose certificate nobody has signed, cannot be used though the administrator says so."""
    with Provider(authority.issue("other", "other.test")) as p:
        r = relay(dns=NAMED, destinations=smarthost(peer(p), tls="encrypt", password_file=f'"{secret_file(tmp_path, PASSWORD)}"'))
        assert r.wait_final(r.send(mail.message()))[0]["tls_policy"] == "encrypt"
        assert p.logins == [(True, "PLAIN", f"\0{USER}\0{PASSWORD}".encode())]


def test_failover_and_back(relay, authority, tmp_path):
    """58: the first provider's trouble keeps mail waiting though there is a second one, or mail never comes back to the first."""
    certificate = authority.issue("peer", "peer.test")
    good = threading.Event()
    answer = lambda *_: "235 ok" if good.is_set() else "535 5.7.8 no"
    path = secret_file(tmp_path, PASSWORD)
    with Provider(certificate, answer) as first, Provider(certificate) as second:
        r = relay(dns=NAMED, destinations=smarthost(peer(first), peer(second), password_file=f'"{path}"', messages_per_connection=1))
        for _ in range(3):
            event, = r.wait_final(r.send(mail.message()))
            assert (event["event"], event["mx_port"]) == ("delivered", second.port)
        assert len(first.logins) == 1 and len(warnings(r)) == 1 and not r.events("deferred")
        good.set()
        r.cli("reload")
        event, = r.wait_final(r.send(mail.message()))
        assert event["mx_port"] == first.port


@pytest.mark.parametrize("hosts", (1, 2))
def test_a_login_that_was_forgotten(relay, authority, hosts):
    """75, promise 10: all mail bounces because the destination lacks the login, or the TLS, that its relay wants."""
    refuse = {"MAIL": "530 5.7.0 Authentication required"}
    with Peer(refuse=refuse) as first, Peer() as second:
        relays = ", ".join(f'"{peer(p)}"' for p in (first, second)[:hosts])
        r = relay(dns=NAMED, destinations=f'destination "d" {{ domains = {{ "*" }}  relay = {{ {relays} }} }}')
        id = r.send(mail.message())
        if hosts == 2:
            event, = r.wait_final(id)
            assert (event["event"], event["mx_port"]) == ("delivered", second.port)
        else:
            event = r.wait_event("deferred", queue_id=id)
            assert (event["smtp_code"], event["command"], event["response"]) == (530, "mail", "Authentication required")
        assert not r.events("bounced")


def test_back_by_itself(relay, authority, tmp_path):
    """58: a provider that was down for a moment is never used again."""
    certificate = authority.issue("peer", "peer.test")
    path = secret_file(tmp_path, PASSWORD)
    with Provider(certificate) as second:
        first = Provider(certificate)
        first.__exit__()
        r = relay(dns=NAMED, destinations=smarthost(peer(first), peer(second), password_file=f'"{path}"', messages_per_connection=1))
        assert r.wait_final(r.send(mail.message()))[0]["mx_port"] == second.port
        first._closing = False
        first.listen()
        with first:
            until(lambda: r.wait_final(r.send(mail.message()))[0]["mx_port"] == first.port, 60, pause=0.5)
