"""
The part `blackhole` of tests/bench/neighbours: receivers that swallow packets (holes.py), and what becomes of other mail (promise 24). Both sides,
without and with holes, in turns; each with a fresh relay that has learnt nothing.

others  2 N messages to D domains with a host each, as fast as they are taken; half of the hosts swallow packets. Counted is the mail of the
        other half.
pool    one domain, one half of whose addresses swallows packets: one of two hosts of one preference; the better of two hosts; one of a host's two
        addresses. Its receiver takes 20 ms for a message, over at most 20 connections, so it is connections that count.
"""
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import sides
from kit import die, free_ports, wait_for_port
from receiver import Background, Receiver

PAUSE = 0.02
LIVE = ("127.0.0.1", "127.0.0.2")
# kind: what it is, whether it is the second address that is the hole, DNS
POOLS = {
    "hosts": ("one of two equal hosts", 1, ("d0.test MX 10 a.test", "d0.test MX 10 b.test", "a.test A {0}", "b.test A {1}")),
    "better": ("the better of two hosts", 0, ("d0.test MX 10 a.test", "d0.test MX 20 b.test", "a.test A {0}", "b.test A {1}")),
    "addresses": ("one of a host's two addresses", 0, ("d0.test MX 10 a.test", "a.test A {0}", "a.test A {1}")),
}


class Postwain(sides.Postwain):
    """Finds its way by MX; ports: {pattern of mail hosts: theirs}."""

    def __init__(self, place, ports, dns):
        self.ports, self.dns = ports, dns
        super().__init__(place)

    def routes(self):
        lines = ", ".join(f'"{line}"' for line in self.dns)
        return (f"dns {{ override = {{ {lines} }} }}\ndelivery {{ allow-private-addresses = true }}\n" +
                "".join(f'destination "d{port}" {{ mx = {{ "{hosts}" }}  port = {port} }}\n' for hosts, port in self.ports.items()))


def sink(build, port, messages, folder):
    process = subprocess.Popen([str(x) for x in (build / "tests/bench_sink", "--port", port, "--messages", messages)],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_for_port(port, "bench_sink", process, folder / "none")
    return process


def load(build, side, messages, domains):
    command = [build / "tests/bench_load", "--port", side.plain, "--messages", messages, "--domains", domains, "--size", 1000]
    done = subprocess.run([str(x) for x in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        die(f"bench_load: {done.stdout}")


def others(place, holes, options, dark):
    """Messages a second of the mail to every other domain."""
    there, beside = free_ports(2)
    dns = []
    for i in range(options.domains):
        name = ("there", "beside")[i % 2]
        dns += [f"d{i}.test MX 10 {name}{i}.test", f"{name}{i}.test A {holes.address(i) if dark and i % 2 else LIVE[0]}"]
    with holes.open(beside):
        sinks = [sink(place["build"], there, options.others, place["base"])]
        if not dark:
            sinks.append(sink(place["build"], beside, 10 * options.others, place["base"]))
        side = Postwain(place, {"there*": there, "beside*": beside}, dns)
        try:
            load(place["build"], side, 2 * options.others, options.domains)
            said = json.loads(sinks[0].communicate(timeout=120)[0].splitlines()[1])  # behind "ready"
        finally:
            for process in sinks:
                process.kill()
                process.wait()
            side.stop()
    if said["taken"] != options.others:
        die(f"others: {said['taken']} of {options.others} came (see {side.dir})")
    return said["taken"] / said["seconds"]


def pool(kind, place, holes, options, dark):
    """Messages a second from the first to the last, and how long the first was on its way."""
    port, = free_ports(1)
    _, which, dns = POOLS[kind]
    addresses = [holes.address(i) if dark and i == which else live for i, live in enumerate(LIVE)]
    receiver, loop = Receiver("PIPELINING", pause=PAUSE), Background()
    for address in LIVE:
        loop.listen(receiver.serve, address, port)
    with holes.open(port):
        side = Postwain(place, {"*": port}, [line.format(*addresses) for line in dns])
        try:
            begun = time.monotonic()
            load(place["build"], side, options.pool, 1)
            end = time.monotonic() + 60 + 2 * options.pool * PAUSE
            while len(receiver.taken) < options.pool:
                if time.monotonic() > end:
                    die(f"{kind}: {len(receiver.taken)} of {options.pool} came (see {side.dir})")
                time.sleep(0.02)
        finally:
            side.stop()
            loop.end()
    return (options.pool - 1) / (receiver.taken[-1] - receiver.taken[0]), receiver.taken[0] - begun


def in_turns(measure, rounds):
    """[(without, with)]"""
    return [(measure(False), measure(True)) for _ in range(rounds)]


def run(options, base, holes):
    """Rows: figure, without, with, ratio, and what is said of it."""
    cert, key = base / "cert.pem", base / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
                   check=True, stderr=subprocess.DEVNULL)
    place = {"base": base, "cert": cert, "key": key, "build": options.build}
    turns = in_turns(lambda dark: others(place, holes, options, dark), options.rounds)
    yield "others' mail, half of all mail hosts", turns, ""
    for kind, (what, _, _) in POOLS.items():
        both = in_turns(lambda dark: pool(kind, place, holes, options, dark), options.rounds)
        first = statistics.median(dark[1] for _, dark in both)
        yield f"one domain, {what}", [(a[0], b[0]) for a, b in both], f"first message after {first:.1f} s"


def blackhole(options, holes):
    """One row each; every one is to be at least 90 %."""
    print(f"Black holes: {holes.what}.\n")
    print("| throughput | messages/s without | with black holes | ratio | target | | |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="pw-blackhole-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        for name, turns, words in run(options, Path(folder), holes):
            ratio = statistics.median(b / a for a, b in turns)
            without, dark = (statistics.median(t[i] for t in turns) for i in (0, 1))
            print(f"| {name} | {without:,.0f} | {dark:,.0f} | {ratio:.2f} | ≥ 0.9 | {'ok' if ratio >= 0.9 else 'MISSED'} | {words} |", flush=True)
    if holes.calls is not None:
        print(f"\n{holes.calls} calls were swallowed.")
