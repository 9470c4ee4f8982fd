from pymongo import MongoClient, message, pool
from pymongo.errors import OperationFailure
from pymongo.server_selectors import writable_server_selector
from bson.codec_options import DEFAULT_CODEC_OPTIONS
from bson.son import SON

class Socket(pool.SocketInfo):
    def _ismaster(self, *arguments):
        # A monitor has a connection of its own, which asks for ever.
        if self.cancel_context:
            return super()._ismaster(*arguments)
        work = super()._ismaster
        return ask(self.sock, "OP_QUERY isMaster", lambda: work(*arguments), resource="admin")

pool.SocketInfo = Socket

def connect():
    client = MongoClient("127.0.0.1", PORT, maxPoolSize=1, retryWrites=False, retryReads=False, appname="secret")
    with client._socket_for_writes(None) as info:
        client.its_socket = info
    return client

def close(client):
    sessions = client._topology.pop_all_sessions()
    # FerretDB has no sessions.
    how = {"outcome": "CLIENT_ERROR", "code": "CommandNotFound"}
    ask(client.its_socket.sock, "endSessions", lambda: client._end_sessions(sessions), resource="admin", **how)
    client.close()

def some(client, at):
    shop, info = client.shop, client.its_socket
    orders = shop.orders
    def run(operation, work, resource="shop.orders", **how):
        def judged():
            try: return work()
            except OperationFailure as error: assert "code" in how, error
        return ask(info.sock, operation, judged, resource=resource, **how)
    kind = at % 10
    if kind in (0, 1):
        run("insert", lambda: orders.insert_one({"secret": "secret" * (at % 300)}))
    elif kind == 2:
        run("find", lambda: orders.find_one({"secret": {"$ne": "secret" * (at % 300)}}))
    elif kind == 3:
        run("update", lambda: orders.update_one({"_id": "one"}, {"$set": {"secret": "secret" * at}}, upsert=True))
    elif kind == 4:
        # More than what is read of a message.
        run("insert", lambda: shop.many.insert_many([{"secret": "secret" * 20} for _ in range(500)]), resource="shop.many")
        run("delete", lambda: shop.many.delete_many({}), resource="shop.many")
    elif kind == 5:
        run("update", lambda: orders.update_one({"_id": "one"}, {"$set": {"secret": 1}}, upsert=True))
        run("insert", lambda: orders.insert_one({"_id": "one"}), outcome="CLIENT_ERROR", code="11000")
    elif kind == 6:
        run("unknown", lambda: shop.command("secretCommand", "secret"), resource="", outcome="CLIENT_ERROR", code="CommandNotFound")
    elif kind == 7:
        cursor = orders.find({}, batch_size=2)
        run("find", cursor.next)
        cursor.next()
        run("getMore", cursor.next)
        run("killCursors", cursor.close)
    elif kind == 8:
        run("ping", lambda: shop.command("ping"), resource="shop")
    else:
        # Before the first one is answered.
        commands = [SON([("count", "orders")]) if number % 3 else SON([("insert", "orders"), ("documents", [{"secret": number}])]) for number in range(10)]
        position, _ = moved(info.sock)
        written = [message._op_msg(0, command, "shop", None, False, False, DEFAULT_CODEC_OPTIONS) for command in commands]
        info.sock.sendall(b"".join(data for _, data, _, _ in written))
        for identifier, data, _, _ in written:
            assert info.receive_message(identifier).unpack_response()[0]["ok"]
        for number, (_, data, _, _) in enumerate(written):
            note(info.sock, position, "count" if number % 3 else "insert", len(data), -1, resource="shop.orders")
            position += len(data)
        assert position == moved(info.sock)[0]

serve(connect, some, close)
