"""The names of the addresses that mail goes out from, asked of a real name server (`check --dns`)."""
import pytest

ZONE = ("n-good A 8.7.6.5", "n-good AAAA 2a00::5", "n-other A 8.7.6.6", "n-says A 8.7.6.6", "n-away A 8.7.6.99", "n-alone A 8.7.6.8", "n-slow A 9.9.9.9",
        "n-alias CNAME n-good", "n-outer A 8.7.6.4")
NAMES = {"8.7.6.5": ["n-good.test"], "2a00::5": ["n-good.test"], "8.7.6.6": ["n-other.test"], "8.7.6.7": ["n-away.test"], "8.7.6.4": ["n-outer.test"]}


@pytest.fixture(scope="module")
def zone(dns):
    dns.add(*ZONE)
    for address, names in NAMES.items():
        dns.name(address, *names)
    return dns


def conf(zone, destination, delivery=""):
    return dict(dns=f'servers = {{ "127.0.0.1:{zone.port}" }}', destinations=destination, delivery=delivery)


def sources(*items):
    return 'destination "all" { domains = { "*" } source = { ' + ", ".join(f'"{i}"' for i in items) + " } helo = n-good.test }\n"


# source, words on standard error (problems) or on standard output
CASES = [
    ("8.7.6.5", None, "mail from 8.7.6.5 says n-good.test: so it is named, and the name leads there"),
    ("2a00::5 n-good.test", None, "mail from 2a00::5 says n-good.test: so it is named"),
    ("8.7.6.5 n-alias.test", None, "is named n-good.test (PTR), and says n-alias.test in EHLO"),
    ("8.7.6.6 n-says.test", None, '8.7.6.6 is named n-other.test (PTR), and says n-says.test in EHLO: some receivers want them alike. Set helo = "n-other.test"'),
    ("8.7.6.7 n-away.test", "n-away.test, the name said in EHLO from 8.7.6.7, leads to 8.7.6.99", None),
    ("8.7.6.8 n-alone.test", "8.7.6.8 has no name (PTR): many receivers refuse mail from such an address. Have whoever provides the address name it n-alone.test", None),
    ("8.7.6.5 n-missing.test", 'n-missing.test, the name said in EHLO from 8.7.6.5, has no A record: receivers that look it up refuse the mail. Add "n-missing.test A 8.7.6.5"', None),
    ("2a00::5 n-other.test", "has no AAAA record", None),
    ("9.9.9.9 n-slow.test", "the name of 9.9.9.9 (PTR) cannot be looked up now (servfail)", None),
]


@pytest.mark.parametrize("source, problem, said", CASES, ids=[c[0] for c in CASES])
def test_each_address_and_its_name(relay, zone, source, problem, said):
    """76: mail is refused everywhere for want of a PTR record, and nothing says why; or what is right is called wrong."""
    r = relay(**conf(zone, sources(source)))
    assert r.cli("check").code == 0  # without the option nobody is asked
    done = r.cli("check", "--dns", code=1 if problem else 0)
    if problem:
        assert "postwain.conf:" in done.err and problem in done.err, done.err
    else:
        assert said in done.out and not done.err, done.out + done.err


def test_where_nothing_is_configured(relay, zone):
    """76: a relay behind a NAT asks for the name of 10.0.0.5; or of a provider's login, or of mail that is captured, is asked for one."""
    ways = 'destination "r" { domains = { "r.test" } relay = { "10.0.0.1:25" } helo = n-none.test }\n'
    ways += 'destination "c" { domains = { "c.test" } capture = "captured" }\n'
    inner = sources("10.0.0.5 n-outer.test")
    done = relay(**conf(zone, ways + inner)).cli("check", "--dns")
    assert "note: " in done.out and "mail goes out from 10.0.0.5, a private address" in done.out and "own-addresses" in done.out and not done.err
    done = relay(**conf(zone, ways + inner, 'own-addresses = { "8.7.6.4" }')).cli("check", "--dns")
    assert "mail from 8.7.6.4 says n-outer.test: so it is named" in done.out and "10.0.0.5" not in done.out
    # One of several is the right one.
    done = relay(**conf(zone, ways + inner, 'own-addresses = { "8.7.6.8", "8.7.6.4" }')).cli("check", "--dns")
    assert "mail from 8.7.6.4 says" in done.out and "8.7.6.8" not in done.out
    done = relay(**conf(zone, ways + inner, 'own-addresses = { "8.7.6.8" }')).cli("check", "--dns", code=1)
    assert "n-outer.test, the name said in EHLO from 8.7.6.8, leads to 8.7.6.4" in done.err and "8.7.6.8 has no name" in done.err


def test_a_name_server_that_is_away(relay):
    """76: with a dead name server the check hangs, or says that all is well."""
    r = relay(dns='servers = { "127.0.0.1:1" }  timeout = "500ms"', destinations=sources("8.7.6.5"))
    done = r.cli("check", "--dns", code=1)
    assert "the name of 8.7.6.5 (PTR) cannot be looked up now" in done.err and "n-good.test, the name said in EHLO, cannot be looked up now" in done.err
