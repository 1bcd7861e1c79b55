"""
What .NET's System.Net.Mail.SmtpClient (port 587, EnableSsl) says, recorded and said again over TLS: dotnet.py JOB, the message on standard input. It cannot be
run here: mono's copy speaks TLS 1.0 only. Its ways: verbs and parameters in lower case where it feels like it, EHLO twice inside TLS, AUTH login with the
user in the command or (job.mechanism "login-asked") when asked for it, BODY=8BITMIME SMTPUTF8 when DeliveryFormat is International even if all is ASCII, and no
QUIT: the connection is simply closed.
"""
import base64
import json
import socket
import ssl
import sys

job = json.loads(sys.argv[1])
user, password = (base64.b64encode(job[key].encode()).decode() for key in ("user", "password"))
login = ([("auth login", 334), (user, 334)] if job["mechanism"] == "login-asked" else [(f"AUTH login {user}", 334)]) + [(password, 235)]
utf8 = " BODY=8BITMIME SMTPUTF8" if job["international"] else ""
CLEAR = [(None, 220), ("EHLO DESKTOP-1A2B3C4", 250), ("STARTTLS", 220)]
SECURE = [("EHLO DESKTOP-1A2B3C4", 250), ("ehlo DESKTOP-1A2B3C4", 250), *login, (f"mail from:<{job['sender']}>{utf8.lower() if job['lower'] else utf8}", 250),
          *[(f"rcpt to:<{r}>" if job["lower"] else f"RCPT TO:<{r}>", 250) for r in job["recipients"]], ("data", 354)]


def reply(stream):
    lines = []
    while not lines or lines[-1][3:4] == "-":
        lines.append(stream.readline().decode().rstrip())
    return int(lines[-1][:3] or 0), lines


def play(s, script):
    stream = s.makefile("rb")
    for line, wanted in script:
        if line is not None:
            s.sendall(line.encode() + b"\r\n")
        code, lines = reply(stream)
        if code != wanted:
            sys.exit(f"SmtpException: {line.split()[0] if line else 'banner'}: " + " ".join(lines))
    return stream


with socket.create_connection(("localhost", job["port"]), 30) as s:
    play(s, CLEAR)
    s = ssl.create_default_context(cafile=job["ca"]).wrap_socket(s, server_hostname="localhost")
    stream = play(s, SECURE)
    s.sendall(sys.stdin.buffer.read().replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
    code, lines = reply(stream)
    print(*lines)
    s.close()
    sys.exit(0 if code == 250 else 1)
