import bmemcached

COMMANDS = {0x00: "GET", 0x01: "SET", 0x04: "DELETE", 0x09: "GETQ", 0x0a: "NOOP", 0x0c: "GETK", 0x0d: "GETKQ", 0x11: "SETQ", 0x1c: "TOUCH"}

def connect():
    client = bmemcached.Client((f"127.0.0.1:{PORT}",))
    server = next(iter(client.servers))
    server._open_connection()
    server.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server

def many(server, work, answered):
    """Quiet commands in one call, with one behind them that is answered: each is what stands in what was sent, and none of the quiet ones has an
    answer of its own, also where something came back."""
    calls, (position, _) = [], moved(server.connection)
    server._send, send = lambda data: (calls.append(bytes(data)), send(data)), server._send
    received = moved(server.connection)[1]
    result = work()
    received = moved(server.connection)[1] - received
    del server._send
    data = b"".join(calls)
    while data:
        name, length = COMMANDS[data[1]], 24 + struct.unpack_from(">L", data, 8)[0]
        is_quiet, bytes_back = name in ("SETQ", "GETKQ"), answered(name, data[24:length])
        note(server.connection, position, name, length, 0 if is_quiet else bytes_back, kind="ONE_WAY" if is_quiet else "CALL")
        position, data, received = position + length, data[length:], received - bytes_back
    assert received == 0, received
    return result

def some(connection, at):
    client, server = connection
    sock = server.connection
    kind = at % 6
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
    else:
        # What kind 0 has set, by the same number.
        assert ask(sock, "GET", lambda: client.get(f"set{at - 5}")) == "secret" * (at % 50)

serve(connect, some, lambda connection: connection[0].disconnect_all())
