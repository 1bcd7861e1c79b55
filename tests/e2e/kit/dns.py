"""A real DNS server (Knot) that serves .test, and the names of some addresses, from records written by the tests."""
import ipaddress
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
  - domain: 8.in-addr.arpa.
    file: reverse4.zone
  - domain: 0.0.a.2.ip6.arpa.
    file: reverse6.zone
  - domain: broken.test.
    file: there-is-no-such.zone
  - domain: 9.in-addr.arpa.
    file: there-is-no-such.zone
"""


class Dns:
    """
    .test is served, and the addresses 8.0.0.0/8 and 2a00::/16; broken.test and 9.0.0.0/8 answer SERVFAIL, because their zones cannot be loaded.
    """

    REVERSE = {"reverse4.zone": "8.in-addr.arpa.", "reverse6.zone": "0.0.a.2.ip6.arpa."}

    def __init__(self, folder):
        self.dir, self.port, self.serial, self.records, self.names = folder, free_port(), 0, [], []
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
        head = ["$TTL 1", f"@ SOA ns.test. hostmaster.test. {self.serial} 1000 1000 100000 1", "@ NS ns.test."]
        (self.dir / "test.zone").write_text("\n".join(["$ORIGIN test.", *head, "ns A 127.0.0.1"] + self.records) + "\n")
        for file, zone in self.REVERSE.items():
            mine = [r for r in self.names if r.split(" ")[0].endswith(zone)]
            (self.dir / file).write_text("\n".join([f"$ORIGIN {zone}", *head] + mine) + "\n")

    def add(self, *records):
        """Records with names relative to .test: add("d1 MX 10 mx.d1", "mx.d1 A 127.0.0.11")."""
        self.records += [r for r in records if r not in self.records]
        self.write()
        done = self.knotc("zone-reload", "test.")
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: f" {self.serial} " in " ".join(self.ask("test", "SOA")) + " ", 10, "the zone's new serial")

    def name(self, address, *names):
        """PTR records: name("8.7.6.5", "out.test")."""
        self.names += [f"{ipaddress.ip_address(address).reverse_pointer}. PTR {n}." for n in names]
        self.write()
        for zone in self.REVERSE.values():
            done = self.knotc("zone-reload", zone)
            assert done.returncode == 0, done.stdout + done.stderr
            until(lambda: f" {self.serial} " in " ".join(self.ask(zone, "SOA")) + " ", 10, "the zone's new serial")

    def close(self):
        if self.process.running:
            self.process.stop()
