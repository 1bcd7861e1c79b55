"""What the benches share."""
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def die(words):
    sys.exit(f"{sys.argv[0]}: {words}")


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def wait_for_port(port, who, process, log, seconds=30, step=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(step)
    tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    die(f"{who} does not listen on {port}\n{tail}")


def build_release(where, *targets):
    log = ROOT / f"out/{where.name}.log"
    with open(log, "wb") as out:
        for command in (["cmake", "-S", ROOT, "-B", where, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"],
                        ["ninja", "-C", where, *targets]):
            if subprocess.run(command, stdout=out, stderr=out).returncode:
                die(f"the build failed, see {log}")
