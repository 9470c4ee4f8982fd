"""Requests over TLS by asyncio, which moves the bytes between OpenSSL and its sockets itself, each with a path of its own; and a server that answers such requests.

Arguments: a folder, the port to serve on, and the ports to ask, separated by commas, the first of which answers before it has read a body. One connection to each port is opened at once and kept; others are made in each phase. A
phase begins when the file `go-NAME` is there, and the file `done-NAME-asyncio` says that it is over. Prints one line of JSON: the paths of each phase, by the port that was asked.
"""
import asyncio, json, os, ssl, sys

folder, own_port, asks = sys.argv[1], int(sys.argv[2]), [int(port) for port in sys.argv[3].split(",")]
HOST = "127.0.0.1"
SECRET = "not-to-be-told"
CONNECTIONS, ROUNDS = 6, 40
PHASES = ("before", "middle", "again")


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if line)
            await reader.readexactly(int(fields.get(b"content-length", b"0")))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def client_context(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


class Connection:
    async def open(self, port, version=ssl.TLSVersion.TLSv1_3):
        self.port = port
        self.reader, self.writer = await asyncio.open_connection(HOST, port, ssl=client_context(version))
        return self

    async def ask(self, *requests):
        """Requests (path and bytes of the body) in one call, then their answers."""
        told = b""
        for path, body in requests:
            told += f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: {body}\r\n\r\n".encode()
            told += (SECRET.encode() * (body // len(SECRET) + 1))[:body]
        self.writer.write(told)
        await self.writer.drain()
        for _ in requests:
            head = await self.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if line)
            await self.reader.readexactly(int(fields[b"content-length"]))


async def one(paths, name, port, number):
    version = ssl.TLSVersion.TLSv1_2 if number == 1 else ssl.TLSVersion.TLSv1_3
    connection = await Connection().open(port, version)
    for at in range(ROUNDS):
        path = f"/ok/asyncio/{name}/{port}/{number}/{at}"
        paths.append(path)
        if at % 8 == 3:
            paths.append(path + "-second")
            await connection.ask((path, 0), (path + "-second", 0))
        else:
            await connection.ask((path, (0, 0 if port == asks[0] else 40_000, 0, 0, 700)[at % 5]))
    connection.writer.close()


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    await asyncio.start_server(serve, HOST, own_port, ssl=context)
    open(f"{folder}/serving-asyncio", "w").close()
    while not os.path.exists(f"{folder}/go-connect"):
        await asyncio.sleep(0.02)
    kept = [await Connection().open(port) for port in asks]
    open(f"{folder}/done-connect-asyncio", "w").close()
    asked = {}
    for name in PHASES:
        while not os.path.exists(f"{folder}/go-{name}"):
            await asyncio.sleep(0.02)
        paths = asked[name] = {str(port): [] for port in asks}
        # Their handshakes were not seen, so nobody can say on which socket they go.
        for connection in kept:
            await connection.ask((f"/ok/old/asyncio/{name}/{connection.port}", 0))
        if name != "before":
            await asyncio.gather(*(one(paths[str(port)], name, port, number) for port in asks for number in range(CONNECTIONS)))
        # What ends last may still be on its way.
        await asyncio.sleep(1)
        open(f"{folder}/done-{name}-asyncio", "w").close()
    print(json.dumps(asked), flush=True)
    while not os.path.exists(f"{folder}/go-end"):
        await asyncio.sleep(0.02)


asyncio.run(main())
