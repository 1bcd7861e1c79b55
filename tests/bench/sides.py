"""The two sides of tests/bench/run: postwain and Postfix, each with its own folder, ports and processes; and what they cost."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from kit import free_ports, wait_for_port

HOST = "relay.bench.test"
USER, PASSWORD = "bench", "a-word-for-benches"
TICK = os.sysconf("SC_CLK_TCK")
SYNC_CALLS = ("fsync", "fdatasync", "sync_file_range", "msync", "syncfs", "sync")

POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {dir}/mail.log
maillog_file_prefixes = {dir}
myhostname = {host}
mydestination =
local_recipient_maps =
local_transport = error:no local mail
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject
smtp_tls_security_level = may
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtpd_sasl_type = dovecot
smtpd_sasl_path = {dir}/queue/auth
smtpd_sasl_local_domain =
"""

POSTFIX_MASTER = """\
127.0.0.1:{plain} inet n - n - - smtpd
127.0.0.1:{auth} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
pickup   unix n - n 60 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
tlsmgr   unix - - n 1000? 1 tlsmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
verify   unix - - n - 1 verify
flush    unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp     unix - - n - - smtp
relay    unix - - n - - smtp
showq    unix n - n - - showq
error    unix - - n - - error
retry    unix - - n - - error
discard  unix - - n - - discard
anvil    unix - - n - 1 anvil
scache   unix - - n - 1 scache
postlog  unix-dgram n - n - 1 postlogd
"""

DOVECOT = """\
base_dir = {dir}/dovecot
protocols =
log_path = {dir}/dovecot.log
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
passdb {{
  driver = passwd-file
  args = {dir}/passwd
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener {dir}/queue/auth {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""

POSTWAIN = """\
hostname = "{host}"
spool {{ path = "{dir}/spool"  min-free = "64M" }}
tls {{ certificate = "{cert}"  key = "{key}" }}
listener "trusted" {{ address = {{ "127.0.0.1:{plain}" }}  auth = "optional"  trust = {{ "127.0.0.0/8" }} }}
listener "submission" {{ address = {{ "127.0.0.1:{auth}" }} }}
users {{ file = "{dir}/users" }}
{destinations}log {{ deliveries = "{dir}/delivery.jsonl"  level = "warn" }}
control {{ socket = "{dir}/control.sock" }}
"""


def tree(roots):
    """The processes below and with roots, as {pid: fields of /proc/PID/stat after the name}."""
    stats, children = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            fields = text[text.rindex(")") + 2:].split()
            stats[int(entry)] = fields
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = {}, list(roots)
    while todo:
        pid = todo.pop()
        if pid in stats and pid not in found:
            found[pid] = stats[pid]
            todo += children.get(pid, [])
    return found


def cpu_seconds(roots):
    """User and system time of all processes of a side, the ended ones (in their parent's sum) included."""
    return sum(sum(int(f) for f in fields[11:15]) for fields in tree(roots).values()) / TICK


def memory_mb(roots):
    total = 0
    for pid in tree(roots):
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total / 1024


class Side:
    """One relay, fresh: its folder, its ports, its processes."""

    def __init__(self, place, count_syncs=False, destinations=0):
        self.dir = Path(tempfile.mkdtemp(prefix=self.name + "-", dir=place["base"]))
        self.dir.chmod(0o755)
        self.build, self.destinations, self.processes, self.counted = \
            place["build"], destinations, [], self.dir / "syncs" if count_syncs else None
        plain, auth, sink = free_ports(3)
        self.words = {"dir": self.dir, "host": HOST, "cert": place["cert"], "key": place["key"], "plain": plain, "auth": auth,
                      "sink": sink}
        self.plain, self.auth, self.sink = plain, auth, sink
        try:
            self.begin()
        except BaseException:
            self.stop()
            raise

    def launch(self, *command, counted=False):
        if counted and self.counted:
            events = ",".join(f"syscalls:sys_enter_{c}" for c in SYNC_CALLS)
            command = ("perf", "stat", "-x", ";", "-o", self.counted, "-e", events, "--", *command)
        with open(self.dir / "start.log", "ab") as log:
            process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        self.processes.append(process)
        return process

    def roots(self):
        return [p.pid for p in self.processes]

    def stop(self):
        """Ends what this side began: politely, then not."""
        for process in reversed(self.processes):
            below = tree([process.pid])
            target = process.pid
            if self.counted and process is self.processes[-1]:  # perf ends by itself when its child has
                target = next((p for p, f in below.items() if int(f[1]) == process.pid), process.pid)
            if process.poll() is None:
                os.kill(target, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                pass
            for pid in below:  # Postfix's master outlives the script that started it
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.wait()

    def syncs(self):
        """System calls that sync, since the start; None when nobody counted."""
        if not self.counted or not self.counted.exists():
            return None
        total = 0
        for line in self.counted.read_text().splitlines():
            first = line.split(";")[0]
            total += int(first) if first.isdigit() else 0
        return total


class Postwain(Side):
    name = "postwain"
    sign = ()  # kinds of keys that sign the load's mail

    def begin(self):
        self.config = self.dir / "postwain.conf"
        self.config.write_text(POSTWAIN.format(destinations=self.routes(), **self.words))
        (self.dir / "users").touch()
        if self.sign:
            self.config.write_text(self.config.read_text() + self.signing())
        subprocess.run([self.build / "postwain", "user", "add", USER, "--password-stdin", "-c", self.config],
                       input=PASSWORD.encode(), stdout=subprocess.DEVNULL, check=True)
        self.serve()

    def routes(self):
        """One destination, or as many as there are domains."""
        to = f'relay = {{ "127.0.0.1:{self.sink}" }} }}\n'
        return "".join(f'destination "d{i}" {{ domains = {{ "d{i}.test" }}  {to}' for i in range(self.destinations)) + \
            f'destination "sink" {{ domains = {{ "*" }}  {to}'

    def signing(self):
        rows = [json.loads(subprocess.run([self.build / "postwain", "dkim", "key", "sender.test", "--type", kind, "--json", "-c", self.config],
                                          stdout=subprocess.PIPE, check=True).stdout) for kind in self.sign]
        selectors, keys = (", ".join(f'"{row[key]}"' for row in rows) for key in ("selector", "key"))
        return f'dkim "sender.test" {{ selector = {{ {selectors} }}  key = {{ {keys} }} }}\n'

    def serve(self):
        process = self.launch(self.build / "postwain", "serve", "-c", self.config, counted=True)
        wait_for_port(self.plain, self.name, process, self.dir / "start.log", step=0.005)

    def ask(self, *words):
        subprocess.run([self.build / "postwain", *words, "-c", self.config], check=True, stdout=subprocess.DEVNULL,
                       stdin=subprocess.DEVNULL)

    def list(self):
        self.ask("queue", "list")

    def flush(self):
        self.ask("queue", "retry", "--all", "--yes")

    def restart(self):
        os.kill(self.processes[-1].pid, signal.SIGTERM)
        self.processes.pop().wait(60)
        self.serve()


class Postfix(Side):
    name = "postfix"

    def begin(self):
        for folder in ("conf", "queue", "data", "dovecot"):
            (self.dir / folder).mkdir()
        shutil.chown(self.dir / "data", "postfix")
        (self.dir / "conf/main.cf").write_text(POSTFIX_MAIN.format(**self.words))
        (self.dir / "conf/master.cf").write_text(POSTFIX_MASTER.format(**self.words))
        (self.dir / "passwd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}::::::\n")
        (self.dir / "passwd").chmod(0o644)
        owner = "dovecot"
        (self.dir / "dovecot.conf").write_text(DOVECOT.format(user=owner, group=owner, **self.words))
        self.launch("dovecot", "-F", "-c", self.dir / "dovecot.conf")
        self.serve()
        end = time.monotonic() + 20
        while not (self.dir / "queue/auth").exists() and time.monotonic() < end:
            time.sleep(0.05)

    def serve(self):
        process = self.launch("postfix", "-c", self.dir / "conf", "start-fg", counted=True)
        wait_for_port(self.plain, self.name, process, self.dir / "mail.log", step=0.005)

    def ask(self, *words):
        subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def list(self):
        self.ask("postqueue", "-c", self.dir / "conf", "-p")

    def flush(self):
        self.ask("postqueue", "-c", self.dir / "conf", "-f")

    def restart(self):
        script = self.processes.pop()
        below = tree([script.pid])  # the master among them, which may outlive its script
        for pid in below:
            os.kill(pid, signal.SIGTERM)
        script.wait(60)
        while any(os.path.exists(f"/proc/{pid}") for pid in below):
            time.sleep(0.005)
        self.serve()
