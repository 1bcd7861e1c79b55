"""A server that is far away: every octet takes its time, each way."""
import contextlib
import socket
import threading
import time

from kit.listening import Listening


class Far(Listening):
    """Behind it (address, port). `turns`: how often, all connections together, we spoke again after the server had."""

    def __init__(self, address, port, seconds=0.03):
        super().__init__()
        self.behind, self.seconds, self.turns = (address, port), seconds, 0
        self.listen()

    def serve(self, s, number):
        with socket.create_connection(self.behind) as there:
            last = [None]
            back = threading.Thread(target=self.carry, args=(there, s, "server", last), daemon=True)
            back.start()
            self.carry(s, there, "client", last)
            back.join()

    def carry(self, here, there, who, last):
        """What has come in meanwhile is as far on its way."""
        with contextlib.suppress(OSError):
            while piece := here.recv(65536):
                self.turns += who == "client" and last[0] == "server"
                last[0] = who
                time.sleep(self.seconds)
                there.sendall(piece)
        with contextlib.suppress(OSError):
            there.shutdown(socket.SHUT_WR)
