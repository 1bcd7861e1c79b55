"""What a person sees at a terminal: the question before an act on many, `top`, tables that fit, colours."""
import shutil

import pytest

from kit import mail
from kit.relay import POSTWAIN, smarthost
from kit.terminal import Terminal
from kit.wait import until

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def open_one(columns=80, lines=24):
        folder = tmp_path / f"terminal{len(opened)}"
        folder.mkdir()
        opened.append(Terminal(folder, columns, lines))
        return opened[-1]

    yield open_one
    for t in opened:
        t.close()


@pytest.fixture
def waiting(relay, sink):
    """A relay with twelve messages that wait for an hour."""
    r = relay(destinations=smarthost(sink("--defer", "*")), delivery='retry = { "1h" }')
    session = r.smtp()
    for n in range(12):
        r.submit(session, mail.message(), "ann@a-sender-with-a-long-name.test", f"recipient-{n:02}@a-domain-with-a-long-name.test")
    session.quit()
    until(lambda: len(r.queue("--state", "waiting")) == 12, 20, r.queue)
    return r


def test_asks_before_it_acts_on_many(waiting, terminal):
    """A person's slip removes mail without a question; or the question does not say how much it is about."""
    t = terminal().run(POSTWAIN, "queue", "remove", "--to", "recipient-*", "-c", waiting.conf)
    t.wait("remove 12 recipients? [y/N]", "recipient-00", "… and 2 more")  # a sample of ten
    t.keys("Enter")
    t.wait("nothing was done", "code=1")
    assert len(waiting.queue()) == 12
    t = terminal().run(POSTWAIN, "queue", "remove", "--to", "recipient-0*", "-c", waiting.conf)
    t.wait("remove 10 recipients? [y/N]")
    t.keys("y", "Enter")
    t.wait("10 matched, 10 changed", "code=0")
    assert len(waiting.queue()) == 2
    # Told how many are meant, a person is not asked when it is not so.
    t = terminal().run(POSTWAIN, "queue", "hold", "--all", "--expect", "3", "-c", waiting.conf)
    t.wait("2 recipients match, not 3", "code=6")


def test_a_password_is_not_shown(relay, terminal):
    """Whoever looks over a shoulder, or scrolls back, reads it."""
    r = relay()
    t = terminal().run(POSTWAIN, "user", "add", "typed", "--password-stdin", "-c", r.conf)
    t.wait("password:")
    t.keys("a long enough word", "Enter")
    assert "enough" not in t.wait("Added typed.", "code=0")
    r.smtp(user="typed", password="a long enough word").quit()


def test_top(waiting, terminal):
    """`top` shows what was, leaves the terminal unusable, or ends when the daemon does."""
    t = terminal(80, 24).run(POSTWAIN, "top", "--every", "200ms", "-c", waiting.conf)
    screen = t.wait("postwain ", "12 messages, 12 recipients", "1/5/15 m  accepted", "DESTINATION", "q quit")
    assert max(map(len, screen.splitlines())) <= 80
    waiting.cli("queue", "hold", "--to", "recipient-0*", "--yes")
    t.wait("10 held")
    t.keys("+")
    t.wait("every 0.4 s")
    t.resize(50, 12)
    until(lambda: len(t.screen().splitlines()) <= 12 and "q quit" in t.screen(), 20, t.screen)
    t.resize(100, 30)
    waiting.stop()
    t.wait("The daemon does not answer")
    waiting.start()
    t.wait("12 messages, 12 recipients", "10 held")
    t.keys("q")
    screen = t.wait("code=0")
    assert "DESTINATION" not in screen  # what was there before is there again
    t.keys("typed")  # and keys are shown
    t.wait("typed")


def test_top_ends_cleanly(waiting, terminal):
    """Ctrl-C leaves the terminal without a cursor."""
    t = terminal().run(POSTWAIN, "top", "-c", waiting.conf)
    t.wait("q quit")
    t.keys("C-c")
    t.wait("code=0")
    assert t.tmux("display-message", "-p", "#{cursor_flag}#{alternate_on}").strip() == "10"


def test_tables_fit_and_colours_can_be_had(waiting, terminal):
    """Rows break over lines, or escape sequences reach those who want none."""
    t = terminal(72).run(POSTWAIN, "queue", "list", "-c", waiting.conf, color=True)
    t.wait("code=0")
    rows = [line for line in t.screen().splitlines() if "@" in line]
    assert len(rows) == 12, t.screen()
    assert all(len(row) <= 72 and "…" in row for row in rows)
    assert "\033[1m" in t.screen(raw=True)
    t = terminal(40).run(POSTWAIN, "queue", "list", "-c", waiting.conf)  # less than it needs: cut, not broken
    t.wait("code=0")
    assert len([line for line in t.screen().splitlines() if line.strip()]) == 1 + 12 + 1, t.screen()
    t = terminal(200).run(POSTWAIN, "queue", "list", "-c", waiting.conf)
    t.wait("code=0", "recipient-11@a-domain-with-a-long-name.test")
    assert "\033[1m" not in t.screen(raw=True)  # NO_COLOR


def test_top_without_a_terminal(relay):
    """A script that calls `top` hangs."""
    r = relay(start=False)
    assert "status --json" in r.cli("top", code=2).err
