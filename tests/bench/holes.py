"""
Addresses that swallow packets. In a network of this process' own (a namespace; root's) they lie behind a tun device: the kernel routes what is
for them there, here it is counted and dropped. Where that cannot be made, one address of the loopback device stands for all: a listener whose queue of
calls is full, before which the kernel drops what comes.
"""
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import threading
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, IFF_UP = 0x8914, 0x8916, 0x891C, 1


class Tun:
    """198.18.0.0/15 (RFC 2544). `calls`: SYNs that came."""
    what = "in a network of its own, behind a device where they are dropped"

    def __init__(self):
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "no namespace")
        self.calls = 0
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", b"hole", IFF_TUN | IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            as_address = lambda text: struct.pack("16sHH4s16x", b"hole", socket.AF_INET, 0, socket.inet_aton(text))
            fcntl.ioctl(s, SIOCSIFADDR, as_address("198.18.0.1"))
            fcntl.ioctl(s, SIOCSIFNETMASK, as_address("255.254.0.0"))
            for name in (b"hole", b"lo"):
                fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH22x", name, IFF_UP))
        threading.Thread(target=self.swallow, daemon=True).start()

    def address(self, i):
        return f"198.19.{i // 250}.{i % 250 + 1}"

    def swallow(self):
        while True:
            packet = os.read(self.fd, 65536)
            if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
                self.calls += packet[(packet[0] & 15) * 4 + 13] & 0x12 == 2  # SYN without ACK

    @contextlib.contextmanager
    def open(self, _port):
        yield


class FullQueue:
    what = "one address of the loopback device whose queue of calls is full; no network of their own"
    calls = None

    def address(self, _i):
        return "127.0.0.67"

    @contextlib.contextmanager
    def open(self, port):
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(socket.socket())
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self.address(0), port))
            listening.listen(0)
            for _ in range(10):
                call = stack.enter_context(socket.socket())
                call.setblocking(False)
                call.connect_ex((self.address(0), port))
            time.sleep(0.1)
            yield


def make_holes(loopback=False):
    """Threads and processes that are begun by this thread afterwards live in the same network. loopback: no namespace."""
    with contextlib.suppress(OSError):
        return FullQueue() if loopback else Tun()
    return FullQueue()
