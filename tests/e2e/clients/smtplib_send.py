"""Python's smtplib with email.message: smtplib_send.py JOB. Prints the server's reply."""
import email.message
import email.policy
import json
import pathlib
import smtplib
import ssl
import sys

job = json.loads(sys.argv[1])
message = email.message.EmailMessage(email.policy.SMTP)
message["From"], message["To"], message["Subject"] = job["sender"], ", ".join(job["recipients"]), job["subject"]
message.set_content(job["text"])
message.add_attachment(pathlib.Path(job["attachment"]).read_bytes(), "application", "octet-stream", filename=job["filename"])
context = ssl.create_default_context(cafile=job["ca"])
session = smtplib.SMTP_SSL("localhost", job["port"], context=context) if job["implicit"] else smtplib.SMTP("localhost", job["port"])
with session:
    if not job["implicit"]:
        session.starttls(context=context)
    try:
        session.login(job["user"], job["password"])
    except smtplib.SMTPAuthenticationError as problem:
        sys.exit(f"SMTPAuthenticationError: {problem.smtp_code} {problem.smtp_error.decode()}")
    session.set_debuglevel(1)
    assert not session.send_message(message)
