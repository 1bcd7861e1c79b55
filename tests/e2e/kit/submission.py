"""A provider's submission service: Postfix with Dovecot's SASL, as smarthosts are. An instance of its own."""
import http.server
import json
import subprocess
import threading
import urllib.parse

from kit.receiver import MASTER_CF, PRIVATE_CF
from kit.wait import Process, answers, free_port, until

USER, PASSWORD = "apikey", "s3cret=of-the,provider!"
TOKEN = "ya29.a-token-that-is-" + "long-" * 120 + "end"  # longer than a command may be

MAIN_CF = PRIVATE_CF + """\
myhostname = smtp.provider.test
relay_domains = static:all
relay_transport = discard:
smtpd_relay_restrictions = permit_sasl_authenticated reject
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {dir}/auth
smtpd_sasl_security_options = noanonymous
smtpd_tls_auth_only = yes
smtpd_tls_security_level = encrypt
"""

DOVECOT = """\
base_dir = {dir}/dovecot
state_dir = {dir}/dovecot
log_path = {dir}/dovecot.log
protocols =
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login scram-sha-1 scram-sha-256 oauthbearer xoauth2
auth_failure_delay = 0
first_valid_uid = 1
service auth {{
  unix_listener {dir}/auth {{
    mode = 0666
  }}
}}
passdb {{
  driver = static
  args = password={password}
  mechanisms = plain login scram-sha-1 scram-sha-256
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {dir}/oauth2.conf
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={dir}/mail allow_all_users=yes
}}
"""

OAUTH2 = """\
introspection_mode = post
introspection_url = http://127.0.0.1:{introspection}/
username_attribute = username
active_attribute = active
active_value = true
force_introspection = yes
"""


class Submission:
    """Takes mail from whoever knows PASSWORD, or TOKEN for USER, by STARTTLS at `port` and implicit TLS at `wrapped`; it goes nowhere."""
    address = "127.0.0.12"

    def __init__(self, folder, certificate):
        self.dir = folder
        self.port, self.wrapped = free_port(self.address), free_port(self.address)
        self.tokens = _Tokens()
        names = dict(dir=folder, certificate=certificate.pem, key=certificate.key, introspection=self.tokens.port, password=PASSWORD)
        for name in ("queue", "data", "dovecot", "etc"):
            (folder / name).mkdir(mode=0o755)
        subprocess.run(["chown", "postfix:root", folder / "data"], check=True)
        listen = (f"{self.address}:{self.port} inet n - n - 100 smtpd\n"
                  f"{self.address}:{self.wrapped} inet n - n - 100 smtpd -o smtpd_tls_wrappermode=yes")
        (folder / "etc/main.cf").write_text(MAIN_CF.format(**names))
        (folder / "etc/master.cf").write_text(MASTER_CF.format(listen=listen))
        (folder / "oauth2.conf").write_text(OAUTH2.format(**names))
        (folder / "dovecot.conf").write_text(DOVECOT.format(**names))
        self.dovecot = Process("dovecot", folder, ready="")

    def start(self):
        self.dovecot.start(["dovecot", "-F", "-c", str(self.dir / "dovecot.conf")])
        until(lambda: (self.dir / "auth").exists(), 20, self.logs)
        self.postfix("start")
        until(lambda: answers(self.port, self.address), 20, self.logs)
        return self

    def postfix(self, verb):
        p = subprocess.run(["postfix", "-c", str(self.dir / "etc"), verb], capture_output=True, text=True)
        assert p.returncode == 0, p.stdout + p.stderr + self.logs()

    def log(self):
        path = self.dir / "postfix.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def logs(self):
        return self.log()[-3000:] + (self.dir / "dovecot.log").read_text(errors="replace")[-3000:]

    def close(self):
        try:
            self.postfix("stop")
        finally:
            self.dovecot.stop()
            self.tokens.server.shutdown()


class _Tokens:
    """An OAuth server as far as Dovecot asks it: whose token is this?"""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                good = form.get("token") == [TOKEN]
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps({"active": good, **({"username": USER} if good else {})}).encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
