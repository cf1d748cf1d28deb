"""Offers services of the environment at local ports: `PORT=SERVICE:PORT` for each.

Upstream's guides and test suites ask for the halfstack at 127.0.0.1.
"""
import asyncio
import contextlib
import signal
import sys


async def copy(reader, writer):
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    # The other direction may go on.
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def serve(port, host, there):
    async def joined(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(host, there)
        except OSError:
            # As if nothing listened here either.
            writer.transport.abort()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        for end in (writer, far_writer):
            end.close()

    await asyncio.start_server(joined, "127.0.0.1", port)


async def main():
    for text in sys.argv[1:]:
        port, _, target = text.partition("=")
        host, _, there = target.partition(":")
        await serve(int(port), host, int(there))
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


asyncio.run(main())
