"""Why a message is not there yet, and where mail for an address would go (`explain`): told as delivery finds it, within seconds."""
import pytest

from kit import mail
from kit.relay import by_mx, smarthost
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
    assert [row["domain"] for row in told["way"]] == ["waits.test"]  # one way for both
    destination, = told["destination"]
    assert (destination["destination"], destination["rule"], destination["pattern"]) == ("mx", "domains", "*")
    assert destination["tls"] == "may" and destination["retry_seconds"] == [3600]
    questions = {(row["name"], row["type"]): row for row in told["dns"]}
    assert questions["waits.test", "MX"]["mx"] == [{"preference": 10, "host": "mx.waits.test"}, {"preference": 20, "host": "mx2.waits.test"}]
    assert questions["mx.waits.test", "A"]["addresses"] == ["127.0.0.1"]
    assert questions["mx.waits.test", "AAAA"]["status"] == "nodata"
    assert [(row["turn"], row["address"], row["port"]) for row in told["host"] if "turn" in row] == [(1, "127.0.0.1", s.port), (2, "127.0.0.2", s.port)]
    site, = told["site"]
    assert site["known"] and site["waiting"] == 2 and not site["dead"] and not site["suspended"]
    assert told["done"] == [{"ways": 1, "more": 0}]
    text = r.cli("explain", id).out
    for words in (id, "waiting after 1 attempts", "10 mx.waits.test, 20 mx2.waits.test", "mx.waits.test [127.0.0.1]", "as relay.test", "2 waiting"):
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
        assert words in r.cli("explain", f"bob@{domain}").out
    assert explain(r, "bob@null.test")["dns"][0]["null_mx"]
    assert not r.queue() and not r.events("accepted")


def test_hosts_that_are_left_out(relay, dns):
    """A host that is never called looks like one that is."""
    dns.add("mixed MX 10 mx1.mixed", "mixed MX 20 mx2.mixed", "mx1.mixed A 10.1.2.3", "mx1.mixed A 192.0.2.7", "mx2.mixed A 127.0.0.1",
            "self MX 10 mx.self", "self MX 20 relay", "self MX 30 behind.self", "mx.self A 127.0.0.3", "relay A 127.0.0.4", "behind.self A 127.0.0.5")
    r = relay(**by_mx(dns, 25))
    told = explain(r, "bob@self.test")
    assert [row["host"] for row in told["host"] if "turn" in row] == ["mx.self.test"]
    assert "behind.self.test" not in str(told["host"])  # and the MX records show why
    r.conf.write_text(r.conf.read_text().replace("allow-private-addresses = true", "allow-private-addresses = false"))
    r.cli("reload")
    hosts = {row["address"]: row for row in explain(r, "bob@mixed.test")["host"]}
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
    assert rules["caught.test"]["capture"] == f"{tmp_path}/caught" and "tls" not in rules["caught.test"]
    r.cli("destination", "suspend", "smart", "--reason", "they move house")
    r.cli("suppress", "add", "gone@smart.test", "--reason", "has left")
    told = explain(r, "gone@smart.test")
    assert told["site"][0]["suspended"] and told["site"][0]["reason"] == "they move house"
    assert told["suppressed"][0]["outcome"] == "refused" and "has left" in told["suppressed"][0]["why"]
    id = r.send(mail.message(), recipients=["a@smart.test", "b@smart.test"])
    until(lambda: explain(r, id)["site"][0].get("ready") == 2, why=lambda: explain(r, id))
    assert explain(r, id)["site"][0]["ahead"] == 0 and explain(r, id)["recipient"][0]["state"] == "ready"
    later = r.send(mail.message(), recipients="c@smart.test")
    until(lambda: explain(r, later)["site"][0].get("ahead") == 2, why=lambda: explain(r, later))
    assert "they move house" in r.cli("explain", later).out and "2 recipients of the same user" in r.cli("explain", later).out


@pytest.mark.parametrize("words,code,why", [
    (["001MF7BDBW000"], 1, "no such message"), (["nonsense"], 2, "neither a queue id nor an address"), ([], 2, "say what"),
    (["a@b.test", "c@d.test"], 2, "say what"), (["bob@"], 2, "is not an address"), (["bob smith@b.test"], 2, "is not an address")])
def test_what_cannot_be_explained(relay, words, code, why):
    """A slip of the pen looks like an answer."""
    r = relay()
    done = r.cli("explain", *words, code=code)
    assert why in done.err and not done.out, done
