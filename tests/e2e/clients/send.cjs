// nodemailer: node send.cjs JOB (clients/__init__.py). With job.raw it sends standard input as it is, else it composes. Prints the server's reply.
"use strict";
const nodemailer = require("nodemailer");
const fs = require("fs");

const job = JSON.parse(process.argv[2]);
const transport = nodemailer.createTransport({
    host: "127.0.0.1",
    port: job.port,
    secure: job.implicit, // TLS from the first byte; else STARTTLS, and never without
    requireTLS: !job.implicit,
    auth: { user: job.user, pass: job.password },
    tls: { servername: "localhost", ca: fs.readFileSync(job.ca) },
});
const message = job.raw
    ? { envelope: { from: job.sender, to: job.recipients }, raw: fs.readFileSync(0) }
    : {
          from: job.sender,
          to: job.recipients,
          subject: job.subject,
          text: job.text,
          attachments: [{ filename: job.filename, path: job.attachment }],
      };
transport
    .sendMail(message)
    .then((info) => console.log(info.response))
    .catch((problem) => {
        console.error(`${problem.code}: ${problem.message}`);
        process.exitCode = 1;
    });
