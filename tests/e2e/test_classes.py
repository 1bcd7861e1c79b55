"""What a receiver's reply means, said by the administrator: an own row goes before the built-in table, and is taken at a reload."""
from kit import mail
from kit.peer import ALL, Peer
from kit.relay import smarthost
from kit.wait import until


def test_own_rows(relay, tmp_path):
    """A receiver's odd words make a dead mailbox a matter of policy for ever, and nobody can say otherwise."""
    own = tmp_path / "classes"
    own.write_text("# receivers in our country\nrcpt 550 *.7.1 bad_mailbox *konto gesperrt*\nrcpt 4xx any full:permanent *voll*\n"
                   "rcpt 550 *.1.1 policy:temporary *morgen*\n")
    with Peer(ALL, refuse={"RCPT TO:<dead": "550 5.7.1 Konto gesperrt", "RCPT TO:<full": "452 4.2.2 Postfach voll",
                           "RCPT TO:<tomorrow": "550 5.1.1 erst morgen"}) as p:
        r = relay(delivery=f'retry = {{ "1h" }}  classes = "{own}"', destinations=smarthost(p))
        dead, full, later = (r.send(mail.message(), recipients=f"{name}@away.test") for name in ("dead", "full", "tomorrow"))
        [event] = r.wait_final(dead)
        assert event["event"] == "bounced" and event["class"] == "bad_mailbox" and event["enhanced_status"] == "5.7.1"
        [event] = r.wait_final(full)
        assert event["event"] == "bounced" and event["class"] == "full" and event["smtp_code"] == 452
        event = r.wait_event("deferred", queue_id=later)
        assert event["class"] == "policy" and event["smtp_code"] == 550
        # Each mistake has its place, and a file with one is refused whole; the old rows stay.
        own.write_text("rcpt 550 any spam\nrcpt 550 any nonsense\n")
        assert f"{own}:2: the fourth word is a class" in r.cli("check", code=1).err
        assert f"{own}:2:" in r.cli("reload", code=1).err
        [event] = r.wait_final(r.send(mail.message(), recipients="dead@away.test"))
        assert event["class"] == "bad_mailbox"
        own.write_text("")
        r.cli("reload")
        until(lambda: r.wait_final(r.send(mail.message(), recipients="dead@away.test"))[0]["class"] == "policy")
        own.unlink()
        assert "classes: " in r.cli("reload", code=1).err
