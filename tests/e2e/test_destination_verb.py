"""What an operator does with destinations: looks at them, suspends and resumes them."""
import time

from kit import mail
from kit.peer import Peer
from kit.relay import smarthost
from kit.wait import until
from test_destinations import at


def rows(r, name):
    return [row for row in r.rows("destination", "list") if name in (row.get("destination"), row.get("site"))]


def test_suspend_and_resume(relay, sink):
    """Mail goes to a receiver that an operator has suspended, or is forgotten there, or the suspension ends with the daemon."""
    s, other = sink(), sink()
    r = relay(destinations=smarthost(s, "slow", "slow.test") + smarthost(other, "rest", "*"))
    assert rows(r, "slow")[0].get("suspended") is None
    r.cli("destination", "suspend", "slow", "--reason", "they have trouble")
    id = r.send(mail.message(), recipients="bob@slow.test")
    assert r.wait_final(r.send(mail.message(), recipients="bob@quick.test"))[0]["event"] == "delivered"
    until(lambda: rows(r, "slow")[0].get("ready") == 1, why=lambda: rows(r, "slow"))
    row, = rows(r, "slow")
    assert row["suspended"] and row["reason"] == "they have trouble" and row["actor"] and "until" not in row
    assert row["connections"] == 0
    assert "suspended" in r.cli("destination", "list").out and "they have trouble" in r.cli("status").out
    assert "suspended            yes" in r.cli("destination", "show", "slow").out
    r.restart()
    until(lambda: rows(r, "slow")[0].get("ready") == 1, why=lambda: rows(r, "slow"))
    assert rows(r, "slow")[0]["suspended"] and rows(r, "slow")[0]["reason"] == "they have trouble"
    r.cli("queue", "retry", "--all", "--yes")
    assert not r.events("deferred") and not r.events(queue_id=id, final=True)
    r.cli("destination", "resume", "slow")
    assert r.wait_final(id)[0]["attempt"] == 1
    assert "suspended" not in r.cli("destination", "list").out
    r.cli("destination", "resume", "slow", code=1)


def test_suspension_ends_by_itself(relay, sink):
    """A suspension for a while holds mail for ever."""
    s = sink()
    r = relay(top="debug-look-at-files = 100ms", destinations=smarthost(s, "slow", "*"))
    r.cli("destination", "suspend", "slow", "--for", "1h")
    assert rows(r, "slow")[0]["until"]
    id = r.send(mail.message())
    until(lambda: rows(r, "slow")[0].get("ready") == 1, why=lambda: rows(r, "slow"))
    begun = time.time()
    r.cli("destination", "suspend", "slow", "--for", "2s")  # instead of the hour
    assert at(r.wait_final(id)[0]) >= begun + 2
    r.restart()
    assert not rows(r, "slow")[0].get("suspended")


def test_names_that_are_nobodys(relay, sink):
    """A slip of the pen suspends nothing, and nobody is told."""
    r = relay(destinations=smarthost(sink(), "slow", "*"))
    assert "neither a destination" in r.cli("destination", "suspend", "slwo", code=1).err
    r.cli("destination", "show", "slwo", code=1)
    r.cli("destination", "suspend", "slow", "--for", "2", code=2)
    r.cli("destination", "suspend", code=2)
    assert not [row for row in r.rows("destination", "list") if row.get("suspended")]


def test_what_holds_a_destination_back(relay):
    """An operator sees that mail waits, and neither why nor how fast it goes."""
    with Peer(refuse={"RCPT": "451 4.7.1 you send too much"}) as peer:
        r = relay(delivery='retry = { "1h" }', destinations=smarthost(peer, "slow", "*", extra='rate = "1000/h" connections = 1'))
        id = r.send(mail.message())
        r.wait_event("deferred", queue_id=id)
        row, = until(lambda: [x for x in rows(r, "slow") if "last_error" in x], why=lambda: rows(r, "slow"))
        assert row["last_error"] == "127.0.0.1: 451 4.7.1 you send too much" and row["last_error_time"].endswith("Z"), row
        assert (row["rate"], row["rate_seconds"], row["per_minute"], row["window"]) == (1000, 3600, 1, 1), row
        said = r.cli("destination", "list").out
        assert "asks for less" in said, said
        assert "1/m of 1000/h" in said and "451 4.7.1 you send too much" in said, said
        assert "last_error" in r.cli("destination", "show", "slow").out
