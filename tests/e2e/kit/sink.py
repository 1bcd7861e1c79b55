"""`postwain sink`: a receiver that takes, refuses or defers."""
from kit.relay import ENVIRONMENT, POSTWAIN, REPORT
from kit.wait import Process, free_port, until


class Sink:
    def __init__(self, folder, address="127.0.0.1", port=None, options=()):
        self.dir = folder / "mail"
        folder.mkdir(parents=True, exist_ok=True)
        self.address, self.port = address, port or free_port(address)
        self.options = list(options)
        self.process = Process("sink", folder)

    def start(self, options=None):
        """options: e.g. ["--refuse", "bad*"]; None: as before."""
        if options is not None:
            self.options = list(options)
        self.process.start([POSTWAIN, "sink", "--listen", f"{self.address}:{self.port}", "--maildir", str(self.dir),
                            *self.options], env=ENVIRONMENT)
        return self

    def stop(self):
        code = self.process.stop()
        assert not REPORT.search(self.process.errors()), self.process.errors()[-6000:]
        assert code == 0, self.process.errors()[-3000:]

    def files(self):
        return sorted((self.dir / "new").glob("*"))

    def messages(self):
        return [f.read_bytes() for f in self.files()]

    def find(self, text):
        """The messages that contain this text."""
        text = text.encode() if isinstance(text, str) else text
        return [m for m in self.messages() if text in m]

    def wait(self, n, timeout=30):
        until(lambda: len(self.files()) >= n, timeout, lambda: f"{n} messages, {len(self.files())} came", pause=0.05)
        return self.messages()

    def close(self):
        if self.process.running:
            self.stop()
