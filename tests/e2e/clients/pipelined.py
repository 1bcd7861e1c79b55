"""
An asyncio client that never waits for a reply it need not wait for, as aiosmtplib and its like may do (RFC 2920): pipelined.py JOB, the message on
standard input. Three messages go over one connection: MAIL, three RCPT and DATA in one write, then each content with the next transaction's commands
behind its dot. Prints the replies to the dots.
"""
import asyncio
import base64
import json
import ssl
import sys

MESSAGES = 3


class Refused(Exception):
    pass


class Client:
    def __init__(self, job):
        self.job = job
        self.tls = ssl.create_default_context(cafile=job["ca"])

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection(
            "localhost", self.job["port"], ssl=self.tls if self.job["implicit"] else None, server_hostname="localhost" if self.job["implicit"] else None)
        await self.reply(220)
        await self.say(b"EHLO client.test", 250)
        if not self.job["implicit"]:
            await self.say(b"STARTTLS", 220)
            await self.writer.start_tls(self.tls, server_hostname="localhost")
            await self.say(b"EHLO client.test", 250)
        login = f"\0{self.job['user']}\0{self.job['password']}".encode()
        await self.say(b"AUTH PLAIN " + base64.b64encode(login), 235)

    async def reply(self, *wanted):
        lines = []
        while True:
            line = (await self.reader.readline()).decode().rstrip()
            lines.append(line)
            if line[3:4] != "-":
                break
        if int(lines[-1][:3] or 0) not in wanted:
            raise Refused("\n".join(lines))
        return lines

    async def say(self, line, *wanted):
        self.writer.write(line + b"\r\n")
        return await self.reply(*wanted)

    def commands(self):
        return b"".join([f"MAIL FROM:<{self.job['sender']}>\r\n".encode()] + [f"RCPT TO:<{r}>\r\n".encode() for r in self.job["recipients"]] + [b"DATA\r\n"])

    async def run(self, message):
        await self.connect()
        content = message.replace(b"\r\n.", b"\r\n..") + b".\r\n"
        self.writer.write(self.commands())
        for n in range(MESSAGES):
            for _ in range(1 + len(self.job["recipients"])):
                await self.reply(250)
            await self.reply(354)
            self.writer.write(content + (self.commands() if n + 1 < MESSAGES else b"QUIT\r\n"))
            print(*await self.reply(250))
        await self.reply(221)
        self.writer.close()


try:
    asyncio.run(Client(json.loads(sys.argv[1])).run(sys.stdin.buffer.read()))
except Refused as problem:
    sys.exit(f"Refused: {problem}")
