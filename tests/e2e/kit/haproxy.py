"""HAProxy in front of a relay: one port of its own for each backend."""
import shutil

from kit.wait import Process, answers, free_port, until

CONF = """\
global
  log stderr format raw local0 notice
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
"""
ROUTE = """\
listen l{port}
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{to} {how}
"""


class Haproxy:
    """routes: {name: (relay's port, "send-proxy" …)}; then port[name]."""

    def __init__(self, folder, routes):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = {name: free_port() for name in routes}
        self.conf = folder / "haproxy.cfg"
        self.conf.write_text(CONF + "".join(ROUTE.format(port=self.port[name], to=to, how=how)
                                            for name, (to, how) in routes.items()))
        self.process = Process("haproxy", folder, ready="")

    def start(self):
        self.process.start([shutil.which("haproxy", path="/usr/sbin:/usr/bin"), "-db", "-f", str(self.conf)])
        until(lambda: all(answers(port) for port in self.port.values()), why=self.process.errors)
        return self

    def stop(self):
        self.process.stop()
