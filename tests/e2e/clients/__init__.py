"""
The programs and libraries that applications send mail with, one row each in CLIENTS. A job says where, who and what, as a dict:

    port, implicit (TLS from the first byte; else STARTTLS), user, password, mechanism, ca
    sender, recipients, subject, text, attachment (a path), filename

A client makes an argument list of it (and environment, and files below job["folder"]). Those that compose get the parts; the others get a whole message on
standard input. The files beside this one are the programs for the libraries.
"""
import collections
import json
import os
import pathlib
import subprocess
import urllib.parse

HERE = pathlib.Path(__file__).parent
PYTHON = "/usr/bin/python3"

# composes: makes the message itself; modes: of submission; mechanisms: of AUTH, as its option says; wrong: (exit codes, words) of a wrong password;
# tells: prints the reply that has the queue id
Client = collections.namedtuple("Client", "command composes modes mechanisms wrong tells input env", defaults=(None, lambda job: None))
BOTH = ("starttls", "implicit")


def script(name, *command):
    return lambda job: [*command, HERE / name, json.dumps(job)]


def swaks(job):
    tls = ["--tls-on-connect"] if job["implicit"] else ["--tls"]
    return ["swaks", "--server", "localhost", "--port", job["port"], "--ehlo", "client.test", *tls, "--tls-verify", "--tls-ca-path", job["ca"],
            "--auth", job["mechanism"], "--auth-user", job["user"], "--auth-password", job["password"],
            "--from", job["sender"], "--to", ",".join(job["recipients"]), "--data", "-"]


def curl(job):
    scheme = "smtps" if job["implicit"] else "smtp"
    to = [word for r in job["recipients"] for word in ("--mail-rcpt", r)]
    return ["curl", "--silent", "--show-error", "--verbose", "--url", f"{scheme}://localhost:{job['port']}/client.test", "--ssl-reqd", "--cacert", job["ca"],
            "--user", f"{job['user']}:{job['password']}", "--login-options", f"AUTH={job['mechanism']}", "--mail-from", job["sender"], *to,
            "--header", f"From: {job['sender']}", "--header", f"To: {', '.join(job['recipients'])}", "--header", f"Subject: {job['subject']}",
            "--form", f"={job['text']};type=text/plain; charset=utf-8;encoder=quoted-printable",
            "--form", f"file=@{job['attachment']};filename={job['filename']};encoder=base64"]


def msmtp(job):
    return ["msmtp", "--debug", "--host=localhost", f"--port={job['port']}", "--tls=on", f"--tls-starttls={'off' if job['implicit'] else 'on'}",
            f"--tls-trust-file={job['ca']}", f"--auth={job['mechanism']}", f"--user={job['user']}", f"--passwordeval=echo '{job['password']}'",
            "--domain=client.test", f"--from={job['sender']}", *job["recipients"]]


def go(job):
    """Compiled once a run, beside the relay's files."""
    program = pathlib.Path(job["house"]) / "go-send"
    if not program.exists():
        subprocess.run(["go", "build", "-o", program, HERE / "send.go"], check=True, capture_output=True, text=True,
                       env={**os.environ, "GO111MODULE": "off", "GOCACHE": str(program.parent / "go-cache"), "GOPATH": str(program.parent), "CGO_ENABLED": "0"})
    return [program, json.dumps(job)]


def java(job):
    house = pathlib.Path(job["house"])
    classes, store = house / "java", house / "trust.p12"
    path = f"/usr/share/java/javax.mail.jar:/usr/share/java/javax.activation.jar:{classes}"
    if not store.exists():
        subprocess.run(["ecj", "-proc:none", "-source", "11", "-target", "11", "-d", classes, "-classpath", path, HERE / "Send.java"], check=True, capture_output=True)
        subprocess.run(["keytool", "-importcert", "-noprompt", "-file", job["ca"], "-alias", "relay", "-keystore", store, "-storetype", "PKCS12",
                        "-storepass", "changeit"], check=True, capture_output=True)
    return ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", path, "Send", job["port"], str(job["implicit"]).lower(), job["user"], job["password"],
            store, job["sender"], ",".join(job["recipients"]), job["subject"], job["text"], job["attachment"], job["filename"]]


def mutt(job):
    scheme = "smtps" if job["implicit"] else "smtp"
    rc = pathlib.Path(job["folder"]) / "muttrc"
    rc.write_text(f"""
set from="{job['sender']}" use_envelope_from=yes envelope_from_address="{job['sender']}" hostname=client.test copy=no charset=utf-8
set smtp_url="{scheme}://{job['user']}@localhost:{job['port']}" smtp_pass="{job['password']}" smtp_authenticators="{job['mechanism']}"
set ssl_starttls=yes ssl_force_tls=yes ssl_ca_certificates_file="{job['ca']}" certificate_file="{job['ca']}"
""")
    attachment = pathlib.Path(job["folder"]) / job["filename"]
    attachment.write_bytes(pathlib.Path(job["attachment"]).read_bytes())
    return ["mutt", "-n", "-F", rc, "-s", job["subject"], "-a", attachment, "--", *job["recipients"]]


def s_nail(job):
    scheme = "smtps" if job["implicit"] else "smtp"
    return ["s-nail", "-:/", "-Sv15-compat", f"-Smta={scheme}://{job['user']}:{urllib.parse.quote(job['password'])}@localhost:{job['port']}", "-Ssmtp-use-starttls",
            f"-Ssmtp-config=-all,ehlo,starttls,{job['mechanism']}", "-Shostname=client.test", f"-Stls-ca-file={job['ca']}", "-Stls-ca-no-defaults",
            "-Stls-verify=strict", "-Sttycharset=utf-8", "-Ssendwait", "-Snosave", f"-a{job['attachment']}", "-s", job["subject"], "-r", job["sender"],
            *job["recipients"]]


def git(job):
    """A commit with that subject and that text as its one file; the patch is mailed."""
    folder = pathlib.Path(job["folder"])
    (folder / job["filename"]).write_text(job["text"])
    who = {"GIT_AUTHOR_NAME": "Änne", "GIT_COMMITTER_NAME": "Änne", "GIT_AUTHOR_EMAIL": job["sender"], "GIT_COMMITTER_EMAIL": job["sender"], "HOME": str(folder)}
    for argv in (["init", "-q"], ["add", job["filename"]], ["commit", "-q", "-m", job["subject"]], ["format-patch", "-q", "--root", "-o", "out", "HEAD"]):
        subprocess.run(["git", *argv], cwd=folder, env={**os.environ, **who}, check=True, capture_output=True)
    [patch] = (folder / "out").iterdir()
    to = [word for r in job["recipients"] for word in ("--to", r)]
    return ["git", "-C", folder, "send-email", "--smtp-server=localhost", f"--smtp-server-port={job['port']}",
            f"--smtp-encryption={'ssl' if job['implicit'] else 'tls'}", f"--smtp-ssl-cert-path={job['ca']}", f"--smtp-user={job['user']}",
            f"--smtp-pass={job['password']}", f"--smtp-auth={job['mechanism']}", "--smtp-domain=client.test", f"--from={job['sender']}",
            f"--envelope-sender={job['sender']}", *to, "--confirm=never", "--suppress-cc=all", "--no-thread", patch]


def text(job):
    return job["text"].encode()


def home(job):
    return {"HOME": job["folder"], "MAILRC": "/dev/null", "EMAIL": job["sender"]}


WORDS = r"535 5\.7\.8 "
CLIENTS = {
    "swaks": Client(swaks, False, BOTH, ("PLAIN", "LOGIN"), (28, WORDS), True),
    "curl": Client(curl, True, BOTH, ("PLAIN", "LOGIN"), (67, WORDS + r"[^\n]*\n(.*\n)*curl: \(67\) Login denied"), True),
    "msmtp": Client(msmtp, False, BOTH, ("plain", "login", "scram-sha-256"), (77, r"authentication failed \(method \w+\)\nmsmtp: server message: " + WORDS), True),
    "nodemailer": Client(script("send.cjs", "node"), True, BOTH, ("",), (1, "EAUTH: Invalid login: " + WORDS), True),
    "smtplib": Client(script("smtplib_send.py", PYTHON), True, BOTH, ("",), (1, "SMTPAuthenticationError: 535 5.7.8 "), True),
    "pipelined": Client(script("pipelined.py", PYTHON), False, BOTH, ("",), (1, "Refused: " + WORDS), True),
    "perl": Client(script("send.pl", "perl"), False, BOTH, ("",), (255, "AUTH: 535 5.7.8 "), True),
    "php": Client(script("send.php", "php"), True, BOTH, ("",), (1, r"SMTP Error: Could not authenticate\.(.*\n)*SMTP ERROR: .* " + WORDS), True),
    "ruby": Client(script("send.rb", "ruby"), False, BOTH, ("plain", "login"), (1, "Net::SMTPAuthenticationError: " + WORDS), True),
    "go": Client(go, False, BOTH, ("",), (1, WORDS), False),
    "java": Client(java, True, BOTH, ("",), (1, "AuthenticationFailedException: " + WORDS), True),
    "mutt": Client(mutt, True, BOTH, ("plain", "login", "scram-sha-256"), (1, "SASL authentication failed"), False, text, home),
    "s-nail": Client(s_nail, True, BOTH, ("plain", "login"), (4, WORDS), False, text, home),
    "git": Client(git, True, BOTH, ("PLAIN", "LOGIN"), (255, r"5\.7\.8 "), False, None, home),
    "dotnet": Client(script("dotnet.py", PYTHON), False, ("starttls",), ("login", "login-asked"), (1, "SmtpException: .*: " + WORDS), True),
}


def run(name, job, message):
    """Runs the client; (exit code, all that it printed). The password is never on the screen of a failure."""
    client = CLIENTS[name]
    stdin = client.input(job) if client.input else b"" if client.composes else message
    p = subprocess.run([str(word) for word in client.command(job)], input=stdin, capture_output=True, timeout=180, env={**os.environ, **(client.env(job) or {})})
    return p.returncode, (p.stdout + p.stderr).decode(errors="replace")
