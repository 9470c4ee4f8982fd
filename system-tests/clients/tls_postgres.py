"""Statements to PostgreSQL over TLS, each with a name of its own: by libpq, whose library of TLS calls the socket itself, and by asyncpg, where asyncio moves the bytes.

Arguments: the server's port, and how many statements each of three connections of either has.
"""
import asyncio, ssl, sys

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


async def one(at):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = await asyncpg.connect(host=HOST, port=port, user="tester", database="postgres", ssl=context)
    for number in range(rounds):
        await connection.execute(statement("asyncpg", at, number))
    await connection.close()


async def main():
    await asyncio.gather(*(one(at) for at in range(CONNECTIONS)))


asyncio.run(main())
