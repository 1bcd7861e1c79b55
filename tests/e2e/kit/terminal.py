"""A terminal as a person has one: a command on a screen of so many columns and lines, by tmux."""
import shlex
import subprocess

from kit.relay import ENVIRONMENT
from kit.wait import until


class Terminal:
    def __init__(self, folder, columns=80, lines=24):
        self.socket = str(folder / "tmux.sock")
        self.columns, self.lines = columns, lines

    def tmux(self, *words, check=True):
        return subprocess.run(["tmux", "-S", self.socket, "-f", "/dev/null", *map(str, words)], capture_output=True, text=True,
                              check=check, timeout=120).stdout

    def run(self, *argv, color=False):
        """Starts it; when it ends, its exit code is on the screen as `code=N`."""
        env = {k: v for k, v in ENVIRONMENT.items() if k != "NO_COLOR" or not color}
        words = " ".join(shlex.quote(str(a)) for a in argv)
        names = " ".join(f"{k}={shlex.quote(v)}" for k, v in env.items())
        self.tmux("new-session", "-d", "-x", self.columns, "-y", self.lines, f"env {names} {words}; echo code=$?; sleep 600")
        return self

    def screen(self, raw=False):
        return self.tmux("capture-pane", "-p", *(["-e"] if raw else []))

    def keys(self, *keys):
        self.tmux("send-keys", "--", *keys)

    def resize(self, columns, lines):
        self.tmux("resize-window", "-x", columns, "-y", lines)

    def wait(self, *texts, timeout=20):
        """Until all of them are on the screen; what is there then."""
        seen = ""

        def there():
            nonlocal seen
            seen = self.screen()
            return all(text in seen for text in texts)

        until(there, timeout, lambda: f"{texts} not on the screen:\n{seen}", pause=0.05)
        return seen

    def close(self):
        self.tmux("kill-server", check=False)
