from pymemcache.client.base import Client

def connect():
    client = Client(("127.0.0.1", PORT), no_delay=True)
    client._connect()
    return client

def some(client, at):
    key, value = f"key{at % 50}", b"value\r\nEND\r\n" * (at % 30)
    def run(operation, work, **how):
        return ask(client.sock, operation, work, **how)
    kind = at % 8
    if kind == 0:
        assert run("SET", lambda: client.set(key, value, noreply=False))
    elif kind == 1:
        run("SET", lambda: client.set(key, value, noreply=True), kind="ONE_WAY")
    elif kind == 2:
        run("GET", lambda: client.get_many([f"key{number}" for number in range(3)]))
    elif kind == 3:
        assert run("DELETE", lambda: client.delete("nothing", noreply=False), code="NOT_FOUND") is False
    elif kind == 4:
        assert client.sock
        run("ADD", lambda: client.add("counter", b"1", noreply=False), code="" if not hasattr(some, "added") else "NOT_STORED")
        some.added = True
    elif kind == 5:
        assert run("INCR", lambda: client.incr("counter", 1))
    elif kind == 6:
        assert run("GETS", lambda: client.gets("nothing")) == (None, None)
    else:
        run("GET", lambda: client.get(key))

serve(connect, some, lambda client: client.close())
