"""Why a message is not there yet, and where mail for an address would go (`explain`): told as delivery finds it, within seconds."""
import base64
import socket
import subprocess
import time

import pytest

from kit import certs, mail
from kit.peer import ALL, Peer
from kit.relay import POSTWAIN, by_mx, smarthost
from kit.wait import until


def explain(r, *what, code=0):
    """The rows by what they are about."""
    found = {}
    for row in r.rows("explain", *what, code=code):
        found.setdefault(row.get("about", "done"), []).append(row)
    return found


def test_of_a_message_that_waits(relay, sink, dns):
    """At three in the morning: the state, the last reply, who is asked next, and why not now, are in five different places."""
    dns.add("waits MX 10 mx.waits", "waits MX 20 mx2.waits", "mx.waits A 127.0.0.1", "mx2.waits A 127.0.0.2")
    s = sink("--defer", "*@waits.test")
    pieces = by_mx(dns, s.port)
    r = relay(delivery='retry = { "1h" }', **pieces)
    id = r.send(mail.message(), recipients=["bob@waits.test", "eve@waits.test"])
    r.wait_event("deferred", queue_id=id, n=2)
    until(lambda: len([row for row in r.queue() if row["state"] == "waiting"]) == 2, why=r.queue)
    told = explain(r, id)
    message, = told["message"]
    assert message["queue_id"] == id and message["sender"] == "ann@sender.test" and message["user"] == "app"
    assert [row["recipient"] for row in told["recipient"]] == ["bob@waits.test", "eve@waits.test"]
    for row in told["recipient"]:
        assert row["state"] == "waiting" and row["attempt"] == 1 and "pause" in row["why"]
        assert row["next_attempt"] > row["last_attempt"] and row["response"] and row["mx_host"] == "mx.waits.test"
    assert [row["recipient_domain"] for row in told["way"]] == ["waits.test"]  # one way for both
    destination, = told["destination"]
    assert (destination["destination"], destination["rule"], destination["pattern"]) == ("mx", "domains", "*")
    assert destination["tls_policy"] == "may" and destination["retry_seconds"] == [3600]
    questions = {(row["name"], row["type"]): row for row in told["dns"]}
    assert questions["waits.test", "MX"]["mx"] == [{"preference": 10, "mx_host": "mx.waits.test"}, {"preference": 20, "mx_host": "mx2.waits.test"}]
    assert questions["mx.waits.test", "A"]["addresses"] == ["127.0.0.1"]
    assert questions["mx.waits.test", "AAAA"]["status"] == "nodata"
    assert [(row["turn"], row["mx_ip"], row["mx_port"]) for row in told["host"] if "turn" in row] == [(1, "127.0.0.1", s.port), (2, "127.0.0.2", s.port)]
    site, = told["site"]
    assert site["known"] and site["waiting"] == 2 and not site["dead"] and not site["suspended"]
    assert told["done"] == [{"ways": 1, "more": 0}]
    text = r.cli("explain", id).out
    for words in (id, "waiting after 1 attempt,", "10 mx.waits.test, 20 mx2.waits.test", "mx.waits.test [127.0.0.1]", "as relay.test", "2 waiting"):
        assert words in text, (words, text)


def test_a_site_that_is_dead(relay, dns):
    """Mail waits behind a receiver that does not answer, and nobody says when it is tried again, or what was wrong."""
    dns.add("dead MX 10 mx.dead", "mx.dead A 127.0.0.1")
    r = relay(delivery='retry = { "1s", "1s", "1s", "1h" }', **by_mx(dns, 9))
    id = r.send(mail.message(), recipients="bob@dead.test")
    until(lambda: explain(r, "bob@dead.test")["site"][0].get("dead"), why=lambda: explain(r, "bob@dead.test"))
    site, = explain(r, id)["site"]
    assert 0 < site["next_probe_seconds"] <= 17 and site["failures"] >= 3
    assert "mx.dead.test" in site["last_error"] and "refused" in site["last_error"] and site["last_error_time"]
    assert "unreachable" in r.cli("explain", id).out
    before = r.rows("destination", "list")
    for _ in range(5):  # looking is not knocking
        explain(r, id)
    assert site["failures"] <= explain(r, id)["site"][0]["failures"] <= site["failures"] + 1
    assert [row.get("window") for row in r.rows("destination", "list")] == [row.get("window") for row in before]


CASES = {
    "null.test": ("null_mx", "bounced", "null MX"),
    "nobody.test": ("dns_nxdomain", "bounced", "does not exist"),
    "broken.test": ("dns_servfail", "deferred", "no answer"),
    "empty.test": ("mx_unresolved", "bounced", "none of the domain's mail servers has an address"),
    "[127.0.0.1]": ("private_address", "bounced", "private"),
}


def test_addresses_that_lead_nowhere(relay, dns):
    """What would become of the mail is found out by sending some."""
    dns.add("null MX 0 .", "empty MX 10 mx.empty", "mx.empty TXT x")
    r = relay(**by_mx(dns, 25))
    r.conf.write_text(r.conf.read_text().replace("allow-private-addresses = true", "allow-private-addresses = false"))
    r.cli("reload")
    for domain, (error, outcome, words) in CASES.items():
        told = explain(r, f"bob@{domain}")
        plan, = told["plan"]
        assert (plan["error"], plan["outcome"]) == (error, outcome), plan
        text = r.cli("explain", f"bob@{domain}").out
        assert domain != "nobody.test" or text.count(words) == 1, text
        assert words in text and f": mail is {outcome} ({plan['enhanced_status']})" in text, text
    assert explain(r, "bob@null.test")["dns"][0]["null_mx"]
    assert not r.queue() and not r.events("accepted")


def test_hosts_that_are_left_out(relay, dns):
    """A host that is never called looks like one that is."""
    dns.add("mixed MX 10 mx1.mixed", "mixed MX 20 mx2.mixed", "mx1.mixed A 10.1.2.3", "mx1.mixed A 192.0.2.7", "mx2.mixed A 127.0.0.1",
            "self MX 10 mx.self", "self MX 20 relay", "self MX 30 behind.self", "mx.self A 127.0.0.3", "relay A 127.0.0.4", "behind.self A 127.0.0.5")
    r = relay(**by_mx(dns, 25))
    told = explain(r, "bob@self.test")
    assert [row["mx_host"] for row in told["host"] if "turn" in row] == ["mx.self.test"]
    assert "behind.self.test" not in str(told["host"])  # and the MX records show why
    r.conf.write_text(r.conf.read_text().replace("allow-private-addresses = true", "allow-private-addresses = false"))
    r.cli("reload")
    hosts = {row["mx_ip"]: row for row in explain(r, "bob@mixed.test")["host"]}
    assert "private" in hosts["10.1.2.3"]["left_out"] and "left_out" in hosts["127.0.0.1"]
    assert hosts["192.0.2.7"].get("left_out") or hosts["192.0.2.7"]["turn"] == 1  # TEST-NET: never a receiver's, or called
    assert "not called" in r.cli("explain", "bob@mixed.test").out


def test_which_destination_and_why(relay, sink, dns, tmp_path):
    """Mail takes another way than the one the administrator has written down, and nothing says by which rule."""
    dns.add("hosted MX 10 in.provider", "in.provider A 127.0.0.1")
    s = sink()
    r = relay(destinations=smarthost(s, "smart", "smart.test") + 'destination "provider" { mx = { "*.provider.test" }  port = 9 }\n'
              f'destination "caught" {{ domains = {{ "caught.test" }}  capture = "{tmp_path}/caught" }}\n',
              dns=f'servers = {{ "127.0.0.1:{dns.port}" }}')
    rules = {domain: explain(r, f"bob@{domain}")["destination"][0] for domain in ("smart.test", "hosted.test", "caught.test")}
    assert (rules["smart.test"]["destination"], rules["smart.test"]["rule"]) == ("smart", "domains")
    assert rules["smart.test"]["relay"] == [f"{s.address}:{s.port}"]
    assert (rules["hosted.test"]["rule"], rules["hosted.test"]["pattern"]) == ("mx", "*.provider.test")
    assert rules["caught.test"]["capture"] == f"{tmp_path}/caught" and "tls_policy" not in rules["caught.test"]
    r.cli("destination", "suspend", "smart", "--reason", "they move house")
    r.cli("suppress", "add", "gone@smart.test", "--reason", "has left")
    told = explain(r, "gone@smart.test")
    assert told["site"][0]["suspended"] and told["site"][0]["reason"] == "they move house"
    assert told["suppressed"][0]["outcome"] == "refused" and "has left" in told["suppressed"][0]["why"]
    id = r.send(mail.message(), recipients=["a@smart.test", "b@smart.test"])
    until(lambda: explain(r, id)["site"][0].get("ready") == 2, why=lambda: explain(r, id))
    assert explain(r, id)["site"][0]["ahead"] == 0 and explain(r, id)["recipient"][0]["state"] == "ready"
    assert "nothing is begun at its site" in explain(r, id)["recipient"][0]["why"]
    later = r.send(mail.message(), recipients="c@smart.test")
    until(lambda: explain(r, later)["site"][0].get("ahead") == 2, why=lambda: explain(r, later))
    assert "they move house" in r.cli("explain", later).out and "2 recipients of the same user" in r.cli("explain", later).out


@pytest.mark.parametrize("words,code,why", [
    (["001MF7BDBW000"], 1, "no such message in the queue (any more); its story is in the delivery log: postwain log"), (["nonsense"], 2, "neither a queue id nor an address"), ([], 2, "say what"),
    (["a@b.test", "c@d.test"], 2, "say what"), (["bob@"], 2, "is not an address"), (["bob smith@b.test"], 2, "is not an address")])
def test_what_cannot_be_explained(relay, words, code, why):
    """A slip of the pen looks like an answer."""
    r = relay()
    done = r.cli("explain", *words, code=code)
    assert why in done.err and not done.out, done


def probe(r, *what, code=0):
    """The steps of a rehearsal, and what each of the two said."""
    rows = explain(r, *what, "--probe", code=code).get("probe", [])
    return rows, [(row["step"][0].upper(), row.get("text", "")) for row in rows if row["step"] in ("client", "server")]


def test_a_probe_of_one_who_takes_mail(relay, dns, tmp_path):
    """Whether the receiver would take it is found out by sending it."""
    files = certs.Authority(tmp_path).issue("probed", "mx.probed.test")
    p = Peer(ALL, certificate=files)
    dns.add("probed MX 10 mx.probed", "mx.probed A 127.0.0.1")
    r = relay(**by_mx(dns, p.port))
    rows, said = probe(r, "bob@probed.test", "--sender", "ann@sender.test")
    client = [text for who, text in said if who == "C"]
    assert client == ["EHLO relay.test", "STARTTLS", "EHLO relay.test", "MAIL FROM:<ann@sender.test>", "RCPT TO:<bob@probed.test>", "QUIT"]
    assert ("S", "220 peer.test") in said and any("STARTTLS" in text for who, text in said if who == "S")
    tls, = [row for row in rows if row["step"] == "tls"]
    assert tls["tls_version"].startswith("TLSv1") and tls["tls_cipher"] and tls["names"] == "mx.probed.test"
    assert tls["tls_policy"] == "may" and not tls["tls_verified"] and not tls["valid"] and tls["problem"]
    result, = [row for row in rows if row["step"] == "result"]
    assert (result["outcome"], result["recipient"]) == ("accepted", "bob@probed.test")
    assert all(a["at_ms"] <= b["at_ms"] for a, b in zip(rows, rows[1:]))
    assert not [t for t in p.transactions if t.done or t.content]
    rows, said = probe(r, "bob@probed.test", "--no-rcpt")
    assert not [text for who, text in said if "MAIL" in text or "RCPT" in text] and ("C", "QUIT") in said
    text = r.cli("explain", "bob@probed.test", "--probe").out
    for words in ("C: MAIL FROM:<>", "S: 220 peer.test", "certificate for mx.probed.test", "the mail would be accepted"):
        assert words in text, (words, text)
    assert not r.queue() and not r.events("accepted") and not [row for row in r.rows("destination", "list") if row.get("connections")]


def test_a_probe_goes_from_host_to_host(relay, dns):
    """The first host refuses, and nobody sees that the second one would have taken it."""
    dns.add("hops MX 10 mx1.hops", "hops MX 20 mx2.hops", "hops MX 30 mx3.hops",
            "mx1.hops A 127.0.0.21", "mx2.hops A 127.0.0.22", "mx3.hops A 127.0.0.23")
    closed = Peer(refuse={"EHLO": "421 4.3.2 not now"}, address="127.0.0.22")
    p = Peer(ALL, refuse={"RCPT": "550 5.1.1 no such user here"}, address="127.0.0.23", port=closed.port)
    r = relay(**by_mx(dns, closed.port))
    rows, said = probe(r, "bob@hops.test", code=1)
    failed = [(row["command"], row.get("error", row.get("smtp_code"))) for row in rows if row["step"] == "failed"]
    assert failed == [("connect", "connect_refused"), ("ehlo", 421)], rows
    result, = [row for row in rows if row["step"] == "result"]
    assert (result["outcome"], result["command"], result["smtp_code"], result["enhanced_status"]) == ("bounced", "rcpt", 550, "5.1.1")
    assert "no such user here" in result["response"]
    assert "the mail would be bounced at rcpt: 550 5.1.1" in r.cli("explain", "bob@hops.test", "--probe", code=1).out
    # Nobody is called last because of it, nor is the site any worse.
    assert not [row for row in explain(r, "bob@hops.test")["host"] if row.get("no_answer_lately")]
    assert not explain(r, "bob@hops.test")["site"][0]["known"]
    assert not p.transactions or not p.transactions[0].done


def test_a_probe_logs_in_and_shows_no_password(relay, tmp_path):
    """A wrong password at the provider shows only when mail waits; or the probe tells it to the terminal."""
    (tmp_path / "secret").write_text("xyzzy plugh 42\n")
    (tmp_path / "secret").chmod(0o600)
    secret = base64.b64encode(b"\0me\0xyzzy plugh 42").decode()
    files = certs.Authority(tmp_path).issue("smart", "smart.test")
    p = Peer(inside=["AUTH PLAIN LOGIN"], certificate=files, refuse={"AUTH": f"535 5.7.8 wrong: {secret}"})
    r = relay(destinations=smarthost(p, extra=f'user = "me"  password-file = "{tmp_path}/secret"  tls = "encrypt"'))
    rows, said = probe(r, "bob@any.test", code=1)
    assert ("C", "AUTH PLAIN") in said and said[-1] != ("C", "AUTH PLAIN")
    result, = [row for row in rows if row["step"] == "result"]
    assert (result["outcome"], result["command"], result["smtp_code"]) == ("deferred", "auth", 535)
    shown = r.cli("explain", "bob@any.test", "--probe", code=1).out + str([row for row in rows if row["step"] in ("client", "server")])
    assert "xyzzy" not in shown and secret not in shown.replace(result["response"], "") and "octets not shown" in shown
    assert "login_refused" not in str(explain(r, "bob@any.test")["host"])  # a rehearsal bars nobody


def test_a_probe_of_one_who_is_silent(relay, dns):
    """A probe that nobody waits for any more goes on for ever, or holds up the end of the daemon."""
    dns.add("silent MX 10 mx.silent", "mx.silent A 127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as s:
        s.settimeout(60)
        r = relay(**by_mx(dns, s.getsockname()[1]))
        p = subprocess.Popen([POSTWAIN, "explain", "bob@silent.test", "--probe", "-c", str(r.conf)], stdout=subprocess.PIPE, text=True)
        caller, _ = s.accept()
        p.kill()
        p.communicate()
        caller.settimeout(60)
        assert caller.recv(10) == b""  # it hangs up: nobody wants to know any more
        p = subprocess.Popen([POSTWAIN, "explain", "bob@silent.test", "--probe", "-c", str(r.conf)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        caller, _ = s.accept()
        began = time.monotonic()
        r.stop()
        assert time.monotonic() - began < 35  # all stages of a stop together have 30 s, a silent one has minutes
        p.communicate(timeout=60)

