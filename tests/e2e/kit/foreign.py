"""
Other people's mail servers as receivers: Exim, OpenSMTPD and Postfix's smtp-sink. The first two are Debian's packages, which
cannot be installed beside Postfix: they are unpacked into a folder and run in a mount namespace of their own, where the
programs and the accounts they want are laid over the system's.
"""
import atexit
import functools
import pathlib
import shutil
import subprocess
import tempfile

from kit.wait import Process, answers, free_port, until

ACCOUNTS = ("Debian-exim", "opensmtpd", "opensmtpq")


@functools.cache
def unpacked(*packages):
    """A folder with the files of Debian packages, or None where they cannot be had."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pw-foreign-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    p = subprocess.run(["apt-get", "download", "-q", *packages], cwd=folder, capture_output=True, timeout=120)
    debs = list(folder.glob("*.deb"))
    if p.returncode or len(debs) != len(packages):
        return None
    for deb in debs:
        subprocess.run(["dpkg-deb", "-x", deb, folder], check=True, capture_output=True)
        deb.unlink()
    return folder


@functools.cache
def may_mount():
    with tempfile.TemporaryDirectory() as empty:
        return subprocess.run(["unshare", "-m", "mount", "-t", "overlay", "none", "-o", f"lowerdir={empty}:/usr", "/usr"],
                              capture_output=True).returncode == 0


class Foreign:
    """One server, until close(). `folder` is its own."""

    PACKAGES = ()
    tls = True

    @classmethod
    def why_not(cls):
        if not may_mount():
            return "mount namespaces are not permitted"
        return None if unpacked(*cls.PACKAGES) else f"{cls.PACKAGES} cannot be downloaded"

    def __init__(self, folder, certificate):
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self.dir, self.port = folder, free_port()
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        shutil.copy(certificate.pem, self.certificate)
        shutil.copy(certificate.key, self.key)
        self.key.chmod(0o600)
        (folder / "spool").mkdir()
        (folder / "spool").chmod(0o711)
        self.process = Process(type(self).__name__.lower(), folder, ready="")

    def start(self, *argv, mounts=""):
        accounts = "".join(f"{name}:x:{900 + i}:{900 + i}::/nonexistent:/bin/false\n" for i, name in enumerate(ACCOUNTS))
        groups = "".join(f"{name}:x:{900 + i}:\n" for i, name in enumerate(ACCOUNTS))
        (self.dir / "passwd").write_text(pathlib.Path("/etc/passwd").read_text() + accounts)
        (self.dir / "group").write_text(pathlib.Path("/etc/group").read_text() + groups)
        # What disks other tests have mounted stays with them: here it would stay mounted for as long as we live.
        laid_over = ("for disk in /tmp/pw-disk-*/at; do umount -l $disk 2>/dev/null; done; "
                     f"mount -t overlay none -o lowerdir={unpacked(*self.PACKAGES)}/usr:/usr /usr && "
                     f"mount --bind {self.dir}/passwd /etc/passwd && mount --bind {self.dir}/group /etc/group && {mounts} exec \"$@\"")
        self.process.start(["unshare", "-m", "sh", "-c", laid_over, "sh", *map(str, argv)])
        until(lambda: answers(self.port), 20, lambda: self.process.errors()[-2000:])
        return self

    def close(self):
        self.process.stop()


class Exim(Foreign):
    PACKAGES = ("exim4-daemon-light", "exim4-base")

    def __init__(self, folder, certificate):
        super().__init__(folder, certificate)
        shutil.chown(self.dir / "spool", 900, 900)
        shutil.chown(self.key, 900, 900)
        shutil.chown(self.certificate, 900, 900)
        (folder / "conf").write_text(f"""\
primary_hostname = exim.test
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
pid_file_path = {folder}/spool/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
tls_advertise_hosts = *
tls_certificate = {self.certificate}
tls_privatekey = {self.key}
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
queue_only = true
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  deny local_parts = refused
       message = no such user
  defer local_parts = later
       message = try later
  accept
""")
        self.start("/usr/sbin/exim4", "-C", folder / "conf", "-bdf")

    def bodies(self):
        """What follows the header section of each message, with CRLF."""
        files = (self.dir / "spool/input").rglob("*-D")
        return [f.read_bytes().split(b"\n", 1)[1].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for f in files]


class OpenSmtpd(Foreign):
    """Without TLS: this version's process for keys answers every handshake with "internal error" under OpenSSL 3."""

    PACKAGES = ("opensmtpd",)
    tls = False

    def __init__(self, folder, certificate):
        super().__init__(folder, certificate)
        (folder / "conf").write_text(f"""\
listen on 127.0.0.1 port {self.port} hostname opensmtpd.test
action "keep" relay host "smtp://127.0.0.1:1"
match from any for rcpt-to "refused@foreign.test" reject
match from any for any action "keep"
""")
        self.start("/usr/sbin/smtpd", "-d", "-f", folder / "conf",
                   mounts=f"mount -t tmpfs none /run && "  # its control socket has a fixed name there
                          f"mount -t tmpfs none /var/lib && mkdir /var/lib/opensmtpd && mkdir /var/lib/opensmtpd/empty && "
                          f"mount -t tmpfs none /var/spool && mkdir -m 711 /var/spool/smtpd && mount --bind {folder}/spool /var/spool/smtpd && ")

    def bodies(self):
        files = (self.dir / "spool/queue").rglob("message")
        raw = [f.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for f in files]
        return [r.split(b"\r\n\r\n", 1)[1] for r in raw if b"\r\n\r\n" in r]


class SmtpSink:
    """Postfix's, with its options: -f, -r, -q, -Q COMMAND are hard and soft refusals, a lost connection, 421."""

    def __init__(self, folder, *options):
        self.port = free_port()
        self.process = Process(f"smtp-sink{self.port}", folder, ready="")
        self.process.start(["smtp-sink", "-u", "postfix", *options, f"127.0.0.1:{self.port}", "100"])
        until(lambda: answers(self.port), 20, lambda: self.process.errors()[-2000:])

    def close(self):
        self.process.kill()
