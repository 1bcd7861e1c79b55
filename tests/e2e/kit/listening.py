"""What the receivers that tests play have in common: a port, and a thread for each connection."""
import socket
import threading
import time

from kit.wait import free_port


class Listening:
    """
    Listens from listen() on until the end of `with`; then every connection is closed, too. For each connection serve(socket, number) is called
    in a thread of its own, which may end it by returning, OSError or EOFError. connections: how many there have been; called_at: when, by
    time.monotonic().
    """

    def __init__(self, address="127.0.0.1"):
        self.address, self.port = address, free_port(address)
        self.connections, self.called_at, self._open, self._closing = 0, [], set(), False

    def listen(self):
        self._listener = socket.create_server((self.address, self.port), backlog=50)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._closing = True
        for s in [self._listener, *self._open]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._listener.close()

    def _accept(self):
        while not self._closing:
            try:
                s, _ = self._listener.accept()
            except OSError:
                return
            self.called_at.append(time.monotonic())
            self.connections += 1
            self._open.add(s)
            if self._closing:  # not seen by who closes them all
                s.close()
                return
            threading.Thread(target=self._run, args=(s, self.connections), daemon=True).start()

    def _run(self, s, number):
        try:
            self.serve(s, number)
        except (OSError, EOFError):
            pass
        finally:
            self._open.discard(s)
            s.close()


def line_of(s, buffer, heard):
    """The next line from a socket without its CRLF; `buffer` (a bytearray) keeps what came behind it, `heard` every octet."""
    while b"\r\n" not in buffer:
        got = s.recv(65536)
        if not got:
            raise EOFError
        buffer += got
        heard += got
    line = bytes(buffer[:buffer.index(b"\r\n")])
    del buffer[:len(line) + 2]
    return line
