// Submits one message with nodemailer: node send.cjs JSON; prints the server's reply. The message comes on standard input.
"use strict";
const nodemailer = require("nodemailer");
const fs = require("fs");

const o = JSON.parse(process.argv[2]);
const transport = nodemailer.createTransport({
    host: "127.0.0.1",
    port: o.port,
    secure: o.secure, // TLS from the first byte; else STARTTLS, and never without
    requireTLS: !o.secure,
    auth: { user: o.user, pass: o.password },
    tls: { servername: o.servername, ca: fs.readFileSync(o.ca) },
});
transport
    .sendMail({ envelope: { from: o.sender, to: o.recipients }, raw: fs.readFileSync(0) })
    .then((info) => console.log(info.response))
    .catch((problem) => {
        console.error(String(problem));
        process.exitCode = 1;
    });
