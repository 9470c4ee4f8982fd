"""Statements to PostgreSQL over TLS, each with a name of its own: by libpq, whose library of TLS calls the socket itself, and by asyncpg, where asyncio moves the bytes.
Also by Python's own module of TLS, where the program waits between the server's leave to begin and the first word of the handshake.

Arguments: the server's port, and how many statements each of three connections of either has.
"""
import asyncio, socket, ssl, struct, sys, time

import asyncpg, psycopg

port, rounds = int(sys.argv[1]), int(sys.argv[2])
HOST, CONNECTIONS = "127.0.0.1", 3


def statement(driver, connection, number):
    # A connection says more than is looked at of one that no library was seen to move.
    return f"""SELECT 1 AS "mark_{driver}_{connection}_{number}", '{"not-to-be-told" * 150}'"""


for at in range(CONNECTIONS):
    with psycopg.connect(f"host={HOST} port={port} user=tester dbname=postgres sslmode=require") as connection:
        assert connection.pgconn.ssl_in_use
        for number in range(rounds):
            connection.execute(statement("libpq", at, number)).fetchall()


def unverified():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def ready(connection):
    """Reads up to where the server is ready for a statement."""
    read, ends = b"", b"Z\0\0\0\5I"
    while not read.endswith(ends):
        more = connection.recv(65536)
        assert more, read
        read += more


for at in range(CONNECTIONS):
    with socket.create_connection((HOST, port)) as plain:
        plain.sendall(struct.pack("!ii", 8, 80877103))
        assert plain.recv(1) == b"S"
        time.sleep(0.3)
        # The library's first call ends with what it has sent.
        plain.settimeout(30)
        with unverified().wrap_socket(plain) as connection:
            startup = b"user\0tester\0database\0postgres\0\0"
            connection.sendall(struct.pack("!ii", 8 + len(startup), 196608) + startup)
            ready(connection)
            for number in range(rounds):
                text = statement("late", at, number).encode() + b"\0"
                connection.sendall(b"Q" + struct.pack("!i", 4 + len(text)) + text)
                ready(connection)
            connection.sendall(b"X\0\0\0\4")


async def one(at):
    connection = await asyncpg.connect(host=HOST, port=port, user="tester", database="postgres", ssl=unverified())
    for number in range(rounds):
        await connection.execute(statement("asyncpg", at, number))
    await connection.close()


async def main():
    await asyncio.gather(*(one(at) for at in range(CONNECTIONS)))


asyncio.run(main())
