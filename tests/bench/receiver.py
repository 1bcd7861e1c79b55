"""A receiver that takes everything, and the loop in the background that it runs on."""
import asyncio
import threading
import time


class Background:
    """An asyncio loop with a thread of its own; when it has ended nothing of it is left."""

    def __init__(self):
        self.loop, self.servers = asyncio.new_event_loop(), []
        self.loop.set_exception_handler(lambda *_: None)  # what is under way when it is ended
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def listen(self, serve, address, port):
        """serve(reader, writer) for each connection."""
        async def closing(reader, writer):
            try:
                await serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()
        self.servers.append(self.do(asyncio.start_server(closing, address, port, backlog=1000, limit=1 << 26)))

    async def _stop(self):
        for s in self.servers:
            s.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for t in tasks:
            t.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what they closed is gone then

    def end(self):
        self.do(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Receiver:
    """Takes everything, each message after `pause` seconds; `taken` are the moments, `commands` how many of each verb came."""

    def __init__(self, *keywords, pause=0):
        self.keywords, self.pause = keywords, pause
        self.taken, self.connections, self.commands = [], 0, {}

    async def serve(self, reader, writer):
        self.connections += 1
        say = lambda text: writer.write(text.encode())
        say("220 far.test ESMTP\r\n")
        while line := await reader.readline():
            verb, *words = line.decode().upper().replace(":", " ").split()
            self.commands[verb] = self.commands.get(verb, 0) + 1
            if verb == "EHLO":
                say("250-far.test\r\n" + "".join(f"250-{k}\r\n" for k in self.keywords) + "250 8BITMIME\r\n")
            elif verb == "DATA":
                say("354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                await self.end(say)
            elif verb == "BDAT":
                await reader.readexactly(int(words[0]))
                await self.end(say) if words[1:] else say("250 go on\r\n")
            elif verb == "QUIT":
                say("221 bye\r\n")
                return
            else:
                say("250 ok\r\n")

    async def end(self, say):
        if self.pause:
            await asyncio.sleep(self.pause)
        self.taken.append(time.monotonic())
        say("250 taken\r\n")
