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


async def join(reader, writer, host, port):
    """Both ways between a connection and one to there."""
    try:
        far_reader, far_writer = await asyncio.open_connection(host, port)
    except OSError:
        # As if nothing listened here either.
        writer.transport.abort()
        return
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
    for end in (writer, far_writer):
        end.close()


async def serve(port, host, there):
    await asyncio.start_server(lambda reader, writer: join(reader, writer, host, there), "127.0.0.1", port)


async def main():
    for text in sys.argv[1:]:
        port, _, target = text.partition("=")
        host, _, there = target.partition(":")
        await serve(int(port), host, int(there))
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
