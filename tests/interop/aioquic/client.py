"""A client of the interop tests on aioquic: reads a task from standard input, writes a report to
standard output. Both are described in tests/tests/interop/task.rs."""

import asyncio
import hashlib
import json
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    StreamReset,
)
from aioquic.tls import CipherSuite

IDLE_TIMEOUT = 180.0


class Download:
    """A response that is on its way."""

    def __init__(self, path):
        self.path = path
        self.status = 0
        self.length = 0
        self.hash = hashlib.sha256()
        self.done = asyncio.get_running_loop().create_future()

    def fail(self, reason):
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))

    def take(self, event):
        if isinstance(event, HeadersReceived):
            headers = dict(event.headers)
            self.status = int(headers.get(b":status", self.status))
        elif isinstance(event, DataReceived):
            self.length += len(event.data)
            self.hash.update(event.data)
        if event.stream_ended and not self.done.done():
            self.done.set_result(
                {
                    "path": self.path,
                    "status": self.status,
                    "length": self.length,
                    "sha256": self.hash.hexdigest(),
                }
            )


class Client(QuicConnectionProtocol):
    """HTTP/3 on one connection."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic)
        self.handshake = self._loop.create_future()
        self.downloads = {}

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.handshake.set_result(event)
        elif isinstance(event, ConnectionTerminated):
            for download in self.downloads.values():
                download.fail(f"closed with {event.error_code:#x}: {event.reason_phrase}")
        elif isinstance(event, StreamReset) and event.stream_id in self.downloads:
            self.downloads[event.stream_id].fail(f"reset with {event.error_code:#x}")
        for http_event in self.http.handle_event(event):
            if http_event.stream_id in self.downloads:
                self.downloads[http_event.stream_id].take(http_event)

    def get(self, authority, path):
        stream = self._quic.get_next_available_stream_id()
        download = self.downloads[stream] = Download(path)
        self.http.send_headers(
            stream,
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", authority.encode()),
                (b":path", path.encode()),
            ],
            end_stream=True,
        )
        return download.done


def configuration(task, ticket):
    settings = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        idle_timeout=IDLE_TIMEOUT,
        server_name=task["server_name"],
        session_ticket=ticket,
    )
    settings.load_verify_locations(task["authority"])
    if task["chacha20"]:
        settings.cipher_suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
    return settings


async def visit(task, one, tickets):
    told = {"files": []}
    host, port = task["address"].rsplit(":", 1)
    try:
        async with connect(
            host.strip("[]"),
            int(port),
            configuration=configuration(task, tickets[-1] if tickets else None),
            create_protocol=Client,
            session_ticket_handler=tickets.append,
            wait_connected=not one["early_data"],
        ) as client:
            get = lambda path: client.get(task["server_name"], path)
            if one["key_update"]:
                for path in one["paths"]:
                    file = get(path)
                    client.transmit()
                    told["files"].append(await file)
                    client.request_key_update()
                    told["key_updates"] = told.get("key_updates", 0) + 1
            else:
                files = [get(path) for path in one["paths"]]
                client.transmit()
                told["files"] = await asyncio.gather(*files)
            # 0-RTT is known to have been taken only now.
            handshake = await client.handshake
            told["resumed"] = handshake.session_resumed
            told["early_data"] = handshake.early_data_accepted
            client.close(error_code=ErrorCode.H3_NO_ERROR)
    except Exception as error:  # Whatever it is, the test wants to know.
        told["error"] = f"{type(error).__name__}: {error}"
    return told


async def main():
    task = json.load(sys.stdin)
    tickets = []
    visits = []
    for one in task["visits"]:
        if task["fresh"]:
            tickets.clear()
        visits.append(await visit(task, one, tickets))
    json.dump({"visits": visits}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
