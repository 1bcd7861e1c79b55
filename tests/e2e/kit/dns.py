"""A real DNS server (Knot) that serves .test from records written by the tests."""
import subprocess

from kit.wait import Process, free_port, until

CONF = """\
server:
    rundir: "{dir}"
    listen: 127.0.0.1@{port}
database:
    storage: "{dir}"
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: "{dir}"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
  - domain: test.
    file: test.zone
  - domain: broken.test.
    file: there-is-no-such.zone
"""


class Dns:
    """.test is served; broken.test answers SERVFAIL, because its zone cannot be loaded."""

    def __init__(self, folder):
        self.dir, self.port, self.serial, self.records = folder, free_port(), 0, []
        self.process = Process("knotd", folder, ready="")

    def start(self):
        self.conf = self.dir / "knot.conf"
        self.conf.write_text(CONF.format(dir=self.dir, port=self.port))
        self.write()
        self.process.start(["knotd", "-c", str(self.conf)])
        until(lambda: self.knotc("status").returncode == 0, 20, self.process.errors)
        until(lambda: self.ask("ns.test", "A") == ["127.0.0.1"], 20, self.process.errors)
        return self

    def knotc(self, *argv):
        return subprocess.run(["knotc", "-c", str(self.conf), "-b", *argv], capture_output=True, text=True)

    def ask(self, name, kind):
        p = subprocess.run(["kdig", "@127.0.0.1", "-p", str(self.port), "+short", name, kind], capture_output=True, text=True)
        return p.stdout.split("\n")[:-1]

    def write(self):
        self.serial += 1
        head = ["$ORIGIN test.", "$TTL 1", f"@ SOA ns hostmaster {self.serial} 1000 1000 100000 1", "@ NS ns", "ns A 127.0.0.1"]
        (self.dir / "test.zone").write_text("\n".join(head + self.records) + "\n")

    def add(self, *records):
        """Records with names relative to .test: add("d1 MX 10 mx.d1", "mx.d1 A 127.0.0.11")."""
        self.records += [r for r in records if r not in self.records]
        self.write()
        done = self.knotc("zone-reload", "test.")
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: f" {self.serial} " in " ".join(self.ask("test", "SOA")) + " ", 10, "the zone's new serial")

    def close(self):
        if self.process.running:
            self.process.stop()
