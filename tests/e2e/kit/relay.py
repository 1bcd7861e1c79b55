"""The relay under test: its configuration in pieces, its life, its command line, its delivery log."""
import collections
import json
import os
import re
import signal
import smtplib
import ssl
import subprocess

import jsonschema

from kit.wait import Process, free_port, until

POSTWAIN = os.environ.get("POSTWAIN", "")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SCHEMA = os.path.join(ROOT, "contrib/schema/postwain-events.v1.json")
PASSWORD = "correct horse battery"
VALIDATED_MAX = 3000  # log lines held against the schema for each relay

ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": f"exitcode=66:second_deadlock_stack=1:suppressions={ROOT}/tests/e2e/tsan.supp",
    "NO_COLOR": "1",
}
REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|MUST\(|UNREACHABLE")

Done = collections.namedtuple("Done", "code out err rows")

TEMPLATE = """\
hostname = "relay.test"
postmaster = "postmaster@relay.test"
{top}
spool {{ path = "{spool_in}/spool"  {spool} }}
tls {{ certificate = "{certificate}"  key = "{key}" }}
listener "submission"  {{ address = {{ "127.0.0.1:{submission}" }}   tls = "starttls"  {listener} }}
listener "submissions" {{ address = {{ "127.0.0.1:{submissions}" }}  tls = "implicit"  {listener} }}
users {{ file = "{dir}/users" }}
dns {{ {dns} }}
delivery {{ allow-private-addresses = true  {delivery} }}
{destinations}
log {{ deliveries = "{log_in}/delivery.jsonl"  level = "debug"  {log} }}
control {{ socket = "{dir}/control.sock" }}
"""


def run_postwain(*argv, stdin=None, env=None, timeout=180):
    """Any verb; rows: the lines of standard output that are JSON objects."""
    p = subprocess.run([POSTWAIN, *map(str, argv)], input=stdin, capture_output=True, timeout=timeout,
                       env={**os.environ, **ENVIRONMENT, **(env or {})})
    out, err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")
    assert not REPORT.search(err), err
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")] if "--json" in argv else []
    return Done(p.returncode, out, err, rows)


class Relay:
    """
    Pieces of configuration, each in the file's own syntax: top (before the sections), spool, listener (added to both), dns,
    delivery, destinations (whole sections), log. `override` is a list of DNS lines, `users` names that can log in with PASSWORD.
    spool_in, log_in: folders for the spool and the delivery log, where they shall not be in `folder`.
    """

    def __init__(self, folder, certificate, users_line, top="", spool='min-free = "1M"', listener="", dns="", override=(),
                 delivery='retry = { "1s" }', destinations="", log="", users=("app",), spool_in=None, log_in=None):
        self.dir = folder
        self.spool_in, self.log_in = spool_in or folder, log_in or folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = certificate
        self.submission, self.submissions = free_port(), free_port()
        self.conf = folder / "postwain.conf"
        self.pieces = dict(top=top, spool=spool, listener=listener, dns=dns, delivery=delivery, destinations=destinations, log=log)
        if override:
            self.pieces["dns"] += " override = { " + ", ".join(f'"{line}"' for line in override) + " }"
        self.write()
        self.users_file = folder / "users"
        self.users_file.write_text("".join(users_line.replace("app:", f"{name}:", 1) for name in users))
        self.users_file.chmod(0o600)
        self.process = Process("relay", folder, timeout=60.0)

    # --- configuration and life

    def write(self, **pieces):
        """Writes the configuration again, with some pieces changed."""
        self.pieces.update(pieces)
        if "min-free" not in self.pieces["log"]:  # small disks are full of nothing
            self.pieces["log"] += '  min-free = "1M"'
        self.conf.write_text(TEMPLATE.format(dir=self.dir, spool_in=self.spool_in, log_in=self.log_in,
                                             certificate=self.certificate.pem, key=self.certificate.key,
                                             submission=self.submission, submissions=self.submissions, **self.pieces))

    def start(self):
        self.process.start([POSTWAIN, "serve", "-c", str(self.conf)], env=ENVIRONMENT)
        return self

    def stop(self):
        """SIGTERM, and everything a clean end shows."""
        code = self.process.stop()
        self.no_reports()
        assert code == 0, f"exit code {code}:\n{self.process.errors()[-3000:]}"

    def kill(self):
        self.process.kill()
        self.no_reports()

    def restart(self):
        self.stop()
        self.start()

    def reload(self):
        """By signal. `cli("reload")` is the other way."""
        os.kill(self.process.pid, signal.SIGHUP)

    @property
    def pid(self):
        return self.process.pid

    def no_reports(self):
        assert not REPORT.search(self.process.errors()), self.process.errors()[-6000:]

    def close(self):
        if self.process.child is None:
            return
        if self.process.running:
            self.stop()
        self.no_reports()
        self.validate()

    # --- command line

    def cli(self, *argv, stdin=None, code=0, env=None):
        """A verb against this relay; asserts the exit code (None: any)."""
        done = run_postwain(*argv, stdin=stdin, env={"POSTWAIN_CONFIG": str(self.conf), **(env or {})})
        assert code is None or done.code == code, f"postwain {argv}: exit code {done.code}\n{done.out}{done.err}"
        return done

    def rows(self, *argv, code=0):
        return self.cli(*argv, "--json", code=code).rows

    def user_add(self, name, password=PASSWORD, *options):
        return self.cli("user", "add", name, "--password-stdin", *options, stdin=password.encode())

    def queue(self, *filters):
        """Rows of `queue list`; an empty queue is an empty list."""
        done = self.cli("queue", "list", *filters, "--json", code=None)
        assert done.code in (0, 1), done.err
        return done.rows

    def wait_queue_empty(self, timeout=30):
        until(lambda: not self.queue(), timeout, lambda: f"queue: {self.queue()}", pause=0.1)

    # --- submission

    def trusting(self):
        return ssl.create_default_context(cafile=str(self.certificate.pem))

    def smtp(self, mode="starttls", user="app", password=PASSWORD, timeout=180):
        """A session ready for MAIL. user None: no AUTH; mode "clear": no STARTTLS either."""
        if mode == "implicit":
            s = smtplib.SMTP_SSL("localhost", self.submissions, "client.test", context=self.trusting(), timeout=timeout)
        else:
            s = smtplib.SMTP("localhost", self.submission, "client.test", timeout=timeout)
        s.ehlo()
        if mode == "starttls":
            s.starttls(context=self.trusting())
            s.ehlo()
        if user:
            s.login(user, password)
        return s

    def submit(self, session, raw, sender, recipients):
        """One transaction; the queue id. Any refusal is an AssertionError."""
        code, text = session.mail(sender, [f"size={len(raw)}"])
        assert code == 250, (code, text)
        for r in [recipients] if isinstance(recipients, str) else recipients:
            code, text = session.rcpt(r)
            assert code == 250, (code, text)
        code, text = session.data(raw)
        assert code == 250, (code, text)
        return queue_id(text.decode())

    def send(self, raw, sender="ann@sender.test", recipients="bob@rcpt.test", **session):
        s = self.smtp(**session)
        try:
            return self.submit(s, raw, sender, recipients)
        finally:
            s.quit()

    # --- delivery log

    def log(self):
        """Every whole line of the delivery log, put-aside files included, as dicts."""
        return until(self._lines_of_one_moment, why="the log is put aside again and again", pause=0)[1]

    def _log_files(self):
        """Those put aside, each once (for a moment there is a compressed one beside it), then the live one; and which file that is now, if any."""
        aside = {p.name.removesuffix(".zst"): p for p in sorted(self.log_in.glob("delivery-*.jsonl*"), reverse=True)}
        live = self.log_in / "delivery.jsonl"
        try:
            return sorted(aside.values()) + [live], live.stat().st_ino
        except FileNotFoundError:  # it never was, or is being put aside
            return sorted(aside.values()), None

    def _lines_of_one_moment(self):
        """(True, lines); None: a file was put aside or compressed under our hands."""
        before, lines = self._log_files(), []
        try:
            for path in before[0]:
                data = log_bytes(path)
                lines += [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
        except FileNotFoundError:
            return None
        return (True, lines) if self._log_files() == before else None

    def events(self, event=None, **fields):
        """Events that have this name (or one of these names) and these values."""
        names = (event,) if isinstance(event, str) else event
        return [e for e in self.log() if (names is None or e["event"] in names)
                and all(e.get(k) == v for k, v in fields.items())]

    def wait_event(self, event=None, timeout=30, n=1, **fields):
        """The n-th such event, waited for."""
        return until(lambda: self.events(event, **fields)[n - 1:], timeout,
                     lambda: f"{n} x {event} {fields}; the log has:\n" + "\n".join(map(json.dumps, self.log()[-20:]))
                     + "\n" + self.process.errors()[-2000:], pause=0.05)[0]

    def wait_final(self, id, n=1, timeout=30):
        """All n terminal events of a message."""
        def finals():
            found = self.events(queue_id=id, final=True)
            return len(found) >= n and found

        return until(finals, timeout, lambda: f"{n} final events of {id}:\n" + "\n".join(map(json.dumps, self.events(queue_id=id)))
                     + "\n" + self.process.errors()[-2000:], pause=0.05)

    def validate(self):
        """The log's contract: the schema for each line, `seq` without gaps, words for each cause."""
        lines = self.log()
        check = jsonschema.Draft202012Validator(json.load(open(SCHEMA)))
        for line in lines[: VALIDATED_MAX // 2] + lines[max(VALIDATED_MAX // 2, len(lines) - VALIDATED_MAX // 2):]:
            problems = [p.message for p in check.iter_errors(line)]
            assert not problems, f"{problems} in {json.dumps(line)}"
        wrong = [e for e in lines if "expires" in e and e["expires"] < e.get("queued_time", "")]
        assert not wrong, f"it expires before it was queued: {json.dumps(wrong[0])}"
        wordless = [e for e in lines if "error" in e and "actor" not in e and "reason" not in e]
        assert not wordless, f"why, in words? {json.dumps(wordless[0])}"
        seqs = sorted({e["seq"] for e in lines if "seq" in e})
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else True, "seq has gaps"


def log_bytes(path):
    """What a file of the delivery log holds, compressed or not."""
    if path.suffix != ".zst":
        return path.read_bytes()
    return subprocess.run(["zstd", "-dcq"], input=path.read_bytes(), stdout=subprocess.PIPE, check=True).stdout


def queue_id(reply):
    """From the words of a 250."""
    m = re.search(r"queued as ([0-9A-HJKMNP-TV-Z]{13})", reply)
    assert m, f"no queue id in {reply!r}"
    return m.group(1)


def smarthost(sink, name="sink", domains="*", extra=""):
    """A destination that hands everything for these domains to a sink."""
    return f'destination "{name}" {{ domains = {{ "{domains}" }}  relay = {{ "{sink.address}:{sink.port}" }}  {extra} }}\n'


def by_mx(dns, port):
    """Pieces of configuration: MX look-ups at the test's DNS server, delivery to this port of whatever address comes out."""
    return dict(dns=f'servers = {{ "127.0.0.1:{dns.port}" }}', destinations=mx_destination(port))


def mx_destination(port):
    return f'destination "mx" {{ domains = {{ "*" }}  port = {port} }}\n'
