"""A real receiver: Postfix takes the mail, Dovecot files it and gives it back by IMAP and POP3. Instances of their own."""
import imaplib
import poplib
import subprocess

from kit.wait import Process, answers, free_port, until

PASSWORD = "mailbox"

# An instance in folders of its own, on loopback, that asks nobody and holds nobody up.
PRIVATE_CF = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/postfix.log
maillog_file_prefixes = {dir}
mydestination =
mynetworks = 127.255.255.255/32
inet_interfaces = all
alias_maps =
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_error_sleep_time = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
disable_dns_lookups = yes
"""

MAIN_CF = PRIVATE_CF + """\
myhostname = mx.receiver.test
local_recipient_maps =
virtual_mailbox_domains = regexp:{dir}/domains
virtual_mailbox_maps = regexp:{dir}/mailboxes
virtual_transport = lmtp:unix:{dir}/lmtp
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 60000000
lmtp_destination_concurrency_limit = 10
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
minimal_backoff_time = 5s
queue_run_delay = 5s
"""

MASTER_CF = """\
{listen}
pickup    unix  n  -  n  60    1  pickup
cleanup   unix  n  -  n  -     0  cleanup
qmgr      unix  n  -  n  5     1  qmgr
tlsmgr    unix  -  -  n  1000? 1  tlsmgr
rewrite   unix  -  -  n  -     -  trivial-rewrite
bounce    unix  -  -  n  -     0  bounce
defer     unix  -  -  n  -     0  bounce
trace     unix  -  -  n  -     0  bounce
verify    unix  -  -  n  -     1  verify
proxymap  unix  -  -  n  -     -  proxymap
proxywrite unix -  -  n  -     1  proxymap
smtp      unix  -  -  n  -     -  smtp
error     unix  -  -  n  -     -  error
retry     unix  -  -  n  -     -  error
discard   unix  -  -  n  -     -  discard
lmtp      unix  -  -  n  -     -  lmtp
anvil     unix  -  -  n  -     1  anvil
scache    unix  -  -  n  -     1  scache
postlog   unix-dgram n - n  -  1  postlogd
"""

DOVECOT = """\
base_dir = {dir}/dovecot
state_dir = {dir}/dovecot
log_path = {dir}/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:{dir}/mail/%n@%d
mail_max_userip_connections = 100
default_process_limit = 50
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  unix_listener {dir}/lmtp {{
    mode = 0666
  }}
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={dir}/mail/%n@%d allow_all_users=yes
}}
"""


class Receiver:
    """
    Serves every domain under .test, on port `port` of 127.0.0.11 and ::1. Users whose names begin with "box" have a mailbox, all
    others are unknown (550 5.1.1).
    """
    address = "127.0.0.11"

    def __init__(self, folder, certificate):
        self.dir = folder
        self.port, self.imap_port, self.pop3_port = free_port(self.address), free_port(), free_port()
        names = dict(dir=folder, certificate=certificate.pem, key=certificate.key, imap=self.imap_port, pop3=self.pop3_port,
                     password=PASSWORD)
        for name in ("queue", "data", "mail", "dovecot", "etc"):
            (folder / name).mkdir(mode=0o755)
        subprocess.run(["chown", "postfix:root", folder / "data"], check=True)
        subprocess.run(["chown", "mail:mail", folder / "mail"], check=True)
        (folder / "domains").write_text("/^([a-z0-9-]+\\.)*test$/ OK\n")
        (folder / "mailboxes").write_text("/^box[^@]*@/ OK\n")
        (folder / "etc/main.cf").write_text(MAIN_CF.format(**names))
        (folder / "etc/master.cf").write_text(MASTER_CF.format(listen=f"{self.address}:{self.port} inet n - n - 100 smtpd\n"
                                                                      f"[::1]:{self.port} inet n - n - 100 smtpd"))
        (folder / "dovecot.conf").write_text(DOVECOT.format(**names))
        self.dovecot = Process("dovecot", folder, ready="")

    def start(self):
        self.dovecot.start(["dovecot", "-F", "-c", str(self.dir / "dovecot.conf")])
        until(lambda: (self.dir / "lmtp").exists() and answers(self.imap_port), 20, self.logs)
        self.postfix("start")
        until(lambda: answers(self.port, self.address), 20, self.logs)
        return self

    def postfix(self, verb):
        p = subprocess.run(["postfix", "-c", str(self.dir / "etc"), verb], capture_output=True, text=True)
        assert p.returncode == 0, p.stdout + p.stderr + self.logs()

    def logs(self):
        return "".join(f.read_text(errors="replace")[-3000:] for f in (self.dir / "postfix.log", self.dir / "dovecot.log")
                       if f.exists())

    def close(self):
        try:
            self.postfix("stop")
        finally:
            self.dovecot.stop()

    # --- mailboxes

    def imap(self, mailbox):
        """All messages of a mailbox as IMAP gives them."""
        with imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=30) as c:
            c.login(mailbox, PASSWORD)
            c.select("INBOX", readonly=True)
            numbers = c.search(None, "ALL")[1][0].split()
            return [c.fetch(n, "(BODY.PEEK[])")[1][0][1] for n in numbers]

    def pop3(self, mailbox):
        """The same by POP3. (poplib takes the line ends off; they are put back.)"""
        poplib._MAXLINE = 1 << 20
        c = poplib.POP3("127.0.0.1", self.pop3_port, timeout=30)
        try:
            c.user(mailbox)
            c.pass_(PASSWORD)
            return [b"".join(line + b"\r\n" for line in c.retr(i + 1)[1]) for i in range(c.stat()[0])]
        finally:
            c.quit()

    def wait_mail(self, mailbox, n=1, timeout=40):
        """The first n messages of a mailbox, waited for; by IMAP."""
        new = self.dir / "mail" / mailbox
        until(lambda: len(list(new.glob("new/*")) + list(new.glob("cur/*"))) >= n, timeout,
              lambda: f"{n} messages for {mailbox}; logs:\n{self.logs()}", pause=0.05)
        return self.imap(mailbox)
