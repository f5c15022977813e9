"""A relay between a client and a server, which records, cuts and encrypts."""

import asyncio
from contextlib import asynccontextmanager


class Relay:
    """The recorded traffic of a relay, and the cuts that are to come."""

    def __init__(self, port):
        self._to = port
        self.port = 0
        self.accepted = 0
        """The number of accepted connections."""
        self.requests = []
        """The pieces that clients sent."""
        self.cuts = {}
        """How many pieces with a word are still to be answered by a cut of the connection."""
        self.swallows = {}
        """How many pieces with a word are still to reach the server, before the answer is cut off."""
        self._writers = set()

    def saw(self, word):
        """The number of pieces with that word."""
        return sum(word in request for request in self.requests)

    def cut(self):
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader, writer):
        self.accepted += 1
        self._writers.add(writer)
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        answering = asyncio.ensure_future(self._answer(there, writer))
        try:
            while request := await reader.read(65536):
                self.requests.append(request)
                if word := next((word for word, left in self.cuts.items() if left and word in request), None):
                    self.cuts[word] -= 1
                    return
                swallowed = next((word for word, left in self.swallows.items() if left and word in request), None)
                if swallowed:
                    self.swallows[swallowed] -= 1
                    answering.cancel()
                    await asyncio.wait({answering})
                back.write(request)
                if swallowed:
                    await there.read(1)
                    return
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            answering.cancel()
            back.transport.abort()
            writer.transport.abort()

    async def _answer(self, there, writer):
        try:
            while answer := await there.read(65536):
                writer.write(answer)
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def relay(port, tls=None):
    """A relay to a port of this machine; with a context clients connect by TLS."""
    made = Relay(port)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
        await asyncio.sleep(0.01)
