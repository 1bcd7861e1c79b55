"""What the program says about itself: help, mistakes, the manual's pages, completion. All of it for every verb there is."""
import functools
import re
import shutil
import subprocess

import pytest

from kit.relay import POSTWAIN, run_postwain
from kit.terminal import Terminal

CODES_OF_THEIR_OWN = {"sendmail", "mailq", "newaliases"}


def bash(code):
    script = f'source <("{POSTWAIN}" completion bash)\n{code}'
    return subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, timeout=120).stdout.split()


@functools.cache
def table():
    """What may follow each verb ("": the first words), as the completion has it."""
    out = run_postwain("completion", "bash").out
    return {verb: offered.split() for verb, offered in re.findall(r"^    '([a-z ]*)'\) echo '([^']*)' ;;$", out, re.M)}


def words(verb=""):
    return table()[verb]


def verbs():
    """Every verb with its options, as completion knows them, which is made from the tables that parse the command line."""
    found = {}
    for name in words():
        if name.startswith("-") or name in ("serve", "sink", "help"):
            continue
        found[name] = words(name)
        for inner in [w for w in found[name] if not w.startswith("-")]:
            found[f"{name} {inner}"] = words(f"{name} {inner}")
    return found


def test_every_verb_has_help_with_all_of_its_options():
    """An option that works is in no help, or a verb has none, or none that fits a screen."""
    all_verbs = verbs()
    filters = {*words("queue list"), *words("log")}  # a help may name them by one word
    assert len(all_verbs) > 30 and "queue redirect" in all_verbs
    for verb, options in all_verbs.items():
        done = run_postwain(*verb.split(), "--help")
        lines = done.out.splitlines()
        assert done.code == 0 and not done.err and lines[0].startswith("usage: "), verb
        assert len(lines) <= 40 and max(map(len, lines)) <= 100, (verb, len(lines), max(lines, key=len))
        if verb not in CODES_OF_THEIR_OWN:
            assert verb == "version" or re.search("^examples?:", done.out, re.M), verb
            for option in options:
                known = verb == "user set" or ("FILTER" in done.out and option in filters) or option in ("--json", "--help", "--config") or not option.startswith("--")
                assert known or option in done.out, (verb, option)


def test_examples_can_be_pasted():
    """What is said beside a command becomes its arguments in the shell of who pastes the line."""
    for verb in verbs():
        examples = re.split("^examples?:$", run_postwain(*verb.split(), "--help").out, flags=re.M)[1:]
        for line in re.findall("^  ((?:postwain|eval) .*)$", examples[0] if examples else "", re.M):
            command = re.sub(r"'[^']*'", "x", line)
            assert not re.search(r"\S {2,}[^ #]", command.split(" #")[0]), (verb, line)


def test_a_wrong_option_is_told(tmp_path):
    """A typing error does something else, or leaves one alone with it."""
    for verb in verbs():
        if verb in CODES_OF_THEIR_OWN:
            continue
        done = run_postwain(*verb.split(), "--no-such-option")
        assert done.code == 2 and not done.out, verb
        assert "--no-such-option" in done.err and f"Try: postwain {verb.split()[0]}" in done.err, (verb, done.err)
    assert run_postwain("no-such-verb").code == 2


# What was promised to users by name: verbs, and what each takes.
FILTER = "--id --from --to --destination --site --user --state --older-than --newer-than --attempts-ge --code --reply --size-ge --tag --ids-from"
ACT = f"{FILTER} --all --dry-run --expect --yes --reason"
PROMISED = {
    "init": "", "serve": "-c", "check": "", "user add": "--from --rate --password-stdin", "user list": "", "user remove": "", "user password": "", "status": "",
    "queue": "", "queue list": f"{FILTER} --limit --after --sort --count", "queue show": "", "queue cat": "--headers", "queue retry": ACT, "queue hold": ACT,
    "queue release": ACT, "queue remove": ACT, "queue bounce": ACT, "queue expire": ACT, "queue redirect": "--to", "queue export": "", "queue import": "",
    "destination list": "", "destination show": "", "destination suspend": "--for --reason", "destination resume": "", "explain": "--probe",
    "log": f"{FILTER.replace(' --state', '')} --follow --since-seq --event", "trace": "--id --destination --user", "top": "", "spool check": "--repair",
    "sink": "--listen --maildir --refuse --defer", "reload": "", "drain": "", "stop": "", "sendmail": "", "mailq": "",
}


def test_what_was_promised_is_there():
    """A verb, option or filter that scripts were promised is not known, or in no help, manual or completion."""
    fish = run_postwain("completion", "fish").out
    assert run_postwain("completion", "zsh").out.count("_postwain_words() {") == 1  # bash's own words
    for verb, options in PROMISED.items():
        offered, first = words(verb), verb.split()[0]
        shown = run_postwain("help", first).out if verb in ("serve", "sink") else run_postwain(*verb.split(), "--help").out
        page = run_postwain("help", "--mdoc", f"postwain-{first}.1").out
        filters = verb == "log" and "FILTER" in shown
        for option in options.split():
            assert option in offered, (verb, option)
            assert option in shown and (option in page or filters), (verb, option)
            dashless = option.lstrip("-")
            assert re.search(f"__postwain_at {verb}' .*-[ls] {dashless}( |$)", fish, re.M), (verb, option)


UNREACHABLE = ["status", "queue", "queue list", "queue show 0123456789ABC", "queue cat 0123456789ABC", "queue retry --all", "queue hold --all",
               "queue release --all", "queue remove --all", "queue bounce --all", "queue expire --all", "queue redirect --all --to x",
               "queue priority 1 --all", "queue export {tmp}/x", "explain 0123456789ABC", "explain bob@example.com", "trace", "client list", "client ban 192.0.2.1", "client allow 192.0.2.1", "reload",
               "drain", "stop"]


def test_an_unreachable_daemon_is_told(relay, tmp_path):
    """A script cannot tell a daemon that is not there from a queue that is empty."""
    r = relay(start=False)
    for line in UNREACHABLE:
        done = r.cli(*line.format(tmp=tmp_path).split(), code=3)
        assert str(r.dir / "control.sock") in done.err and "postwain serve" in done.err, line


def test_the_manual_has_every_verb(tmp_path):
    """A page of the manual is missing or broken."""
    pages = run_postwain("help", "--mdoc").out.split()
    assert {f"postwain-{v}.1" for v in words() if not v.startswith("-")} <= set(pages)
    for page in pages:
        done = run_postwain("help", "--mdoc", page)
        assert done.code == 0 and done.out.startswith(".Dd "), page
        if shutil.which("mandoc"):
            (tmp_path / page).write_text(done.out)
            lint = subprocess.run(["mandoc", "-Tlint", "-W", "warning", tmp_path / page], capture_output=True, text=True)
            assert lint.returncode == 0, lint.stdout
    queue = run_postwain("help", "--mdoc", "postwain-queue.1").out
    assert ".Ss queue redirect" in queue and "Refused by --expect" in queue
    assert "\n.It Ic remote_queue_id\n" in run_postwain("help", "--mdoc", "postwain-events.5").out
    assert "\n.It Ic postwain_delivered_total " in run_postwain("help", "--mdoc", "postwain-metrics.5").out
    assert run_postwain("help", "--mdoc", "no-such-page").code == 1


def completed(*line):
    """What bash offers behind these words, the last of them begun."""
    quoted = " ".join(f"'{w}'" for w in ("postwain", *line))
    return bash(f'COMP_WORDS=({quoted}) COMP_CWORD={len(line)}; _postwain; echo "${{COMPREPLY[@]}}"')


def test_bash_completes():
    """Tab offers what does not exist, or not what does."""
    assert completed("que") == ["queue"]
    assert set(completed("queue", "re")) == {"retry", "release", "remove", "redirect"}
    assert completed("queue", "list", "--so") == ["--sort"]
    assert completed("queue", "list", "--sort", "") == ["due", "age", "size"]
    assert completed("queue", "list", "--state", "h") == ["held"]
    assert "--expect" in completed("queue", "remove", "--to", "x", "--")
    assert completed("queue", "list", "--ids-from", "") == []  # then bash itself completes paths


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes(tmp_path):
    """The same in fish."""
    def offered(line):
        out = subprocess.run(["fish", "-c", f'"{POSTWAIN}" completion fish | source; complete -C "postwain {line}"'], capture_output=True,
                             text=True, timeout=120, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}).stdout
        return {row.split("\t")[0] for row in out.splitlines()}
    assert offered("que") == {"queue"}
    assert {"retry", "release", "remove", "redirect"} == offered("queue re")
    assert "--sort" in offered("queue list --s") and "--sort" not in offered("queue show --s")
    assert offered("queue list --sort ") == {"due", "age", "size"}


@pytest.mark.skipif(not shutil.which("zsh") or not shutil.which("tmux"), reason="zsh or tmux is not installed")
def test_zsh_completes(tmp_path):
    """The same in zsh, as one types it."""
    out = run_postwain("completion", "zsh").out
    (tmp_path / "_postwain").write_text(out)
    (tmp_path / ".zshrc").write_text(f"fpath=({tmp_path} $fpath)\nPS1='> '\nautoload -Uz compinit\ncompinit -u -d {tmp_path}/dump\n")
    t = Terminal(tmp_path).run("env", f"ZDOTDIR={tmp_path}", "zsh", "-i")
    try:
        t.wait(">")
        t.keys("postwain que", "Tab")
        t.wait("> postwain queue")
        t.keys("redi", "Tab")
        t.wait("> postwain queue redirect")
        t.keys("--recip", "Tab")
        t.wait("> postwain queue redirect --recipient")
    finally:
        t.close()
