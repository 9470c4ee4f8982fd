import bmemcached

COMMANDS = {0x00: "GET", 0x01: "SET", 0x04: "DELETE", 0x09: "GETQ", 0x0a: "NOOP", 0x0c: "GETK", 0x0d: "GETKQ", 0x11: "SETQ", 0x1c: "TOUCH"}

def connect():
    client = bmemcached.Client((f"127.0.0.1:{PORT}",))
    server = next(iter(client.servers))
    server._open_connection()
    server.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server

def many(server, work, answered):
    """Quiet commands in one call, with one behind them that is answered: each is what stands in what was sent. Of several quiet ones with one
    number (this client's have one) it is not known which was answered; one alone has its answer."""
    calls, (position, _) = [], moved(server.connection)
    server._send, send = lambda data: (calls.append(bytes(data)), send(data)), server._send
    received = moved(server.connection)[1]
    result = work()
    received = moved(server.connection)[1] - received
    del server._send
    data, commands = b"".join(calls), []
    while data:
        length = 24 + struct.unpack_from(">L", data, 8)[0]
        commands.append((COMMANDS[data[1]], length, data[24:length]))
        data = data[length:]
    for name, length, key in commands:
        bytes_back = answered(name, key)
        received -= bytes_back
        if name in ("SETQ", "GETKQ") and [name for name, _, _ in commands].count(name) > 1:
            bytes_back = 0
        note(server.connection, position, name, length, bytes_back, kind="CALL" if bytes_back else "ONE_WAY")
        position += length
    assert received == 0, received
    return result

def some(connection, at):
    client, server = connection
    sock = server.connection
    kind = at % 8
    if kind == 0:
        assert ask(sock, "SET", lambda: client.set(f"set{at}", "secret" * ((at + 5) % 50)))
    elif kind == 1:
        assert ask(sock, "GET", lambda: client.get("nothing"), code="NOT_FOUND") is None
    elif kind == 2:
        assert ask(sock, "DELETE", lambda: client.delete("nothing"), code="NOT_FOUND")
    elif kind == 3:
        # A quiet one that is done says nothing; an empty answer is as long as its header.
        many(server, lambda: client.set_multi({f"many{number}": "secret" for number in range(10)}),
            lambda name, key: 0 if name == "SETQ" else 24)
    elif kind == 4:
        # Header, flags, key and value; what is not there is not said of a quiet one.
        assert len(many(server, lambda: client.get_multi([f"many{number}" for number in [0, 1, 2, 10, 11, 3]]),
            lambda name, key: 24 + 4 + len(key) + 6 if int(key[4:]) < 10 else 0)) == 4
    elif kind in (5, 6):
        # The quiet one is there, or it is not.
        names = ["many0" if kind == 5 else "many10", "many1"]
        many(server, lambda: client.get_multi(names), lambda name, key: 24 + 4 + len(key) + 6 if int(key[4:]) < 10 else 0)
    else:
        # What kind 0 has set, by the same number.
        assert ask(sock, "GET", lambda: client.get(f"set{at - 7}")) == "secret" * ((at - 2) % 50)

serve(connect, some, lambda connection: connection[0].disconnect_all())
