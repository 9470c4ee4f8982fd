"""A server of WebSocket that sends back what it gets and tells more than that, and clients of it.

Arguments: `serve PORT EXTRA`, or `ask PORT CONNECTIONS MESSAGES`. Each connection has a path of its own; what ends it, and who, goes by its number.
"""
import asyncio, sys

import websockets

HOST = "127.0.0.1"
SIZES = (0, 5, 125, 126, 3_000, 65_535, 65_536, 200)


async def answer(socket, extra):
    number = int(socket.path.split("?")[0].rsplit("/", 1)[1])
    first = True
    try:
        async for message in socket:
            # Much that nobody asked for, and that nobody answers.
            for _ in range(extra if first else 0):
                await socket.send("secret" * 20)
            first = False
            await socket.send(message)
            if message == "end" and number % 2:
                return await socket.close(1011, "secret")
    except websockets.ConnectionClosed:
        pass


async def serve(port, extra):
    async with websockets.serve(lambda socket: answer(socket, extra), HOST, port, ping_interval=1, max_size=None):
        await asyncio.Future()


async def one(port, number, messages):
    async with websockets.connect(f"ws://{HOST}:{port}/ok/chat/{number}?token=secret", max_size=None) as socket:
        got = 0
        for at in range(messages):
            told = "end" if at == messages - 1 else "x" * SIZES[at % len(SIZES)]
            # In several frames, now and then.
            await socket.send([told, told] if at % 7 == 4 else told)
            back = None
            while back != (told * 2 if at % 7 == 4 else told):
                back = await socket.recv()
                got += 1
        if number % 2:
            await socket.wait_closed()
            assert socket.close_code == 1011, socket.close_code
    return got


async def ask(port, connections, messages):
    got = await asyncio.gather(*(one(port, number, messages) for number in range(connections)))
    print(" ".join(map(str, got)))


what, *numbers = sys.argv[1:]
does = {"serve": serve, "ask": ask}[what](*map(int, numbers))
asyncio.run(asyncio.wait_for(does, 120))
