from cassandra import ConsistencyLevel
from cassandra.connection import DefaultEndPoint
from cassandra.io.asyncorereactor import AsyncoreConnection
from cassandra.protocol import BatchMessage, ErrorMessage, ExecuteMessage, PrepareMessage, QueryMessage
from cassandra.query import BatchType

VERSION = int(sys.argv[2])
# What stands before and behind a frame in a segment.
AROUND = (6, 4) if VERSION == 5 else (0, 0)
ONE = ConsistencyLevel.ONE
SELECT, UPDATE = "SELECT note FROM orders WHERE id = ?", "UPDATE orders SET note = ? WHERE id = ?"

class Connection(AsyncoreConnection):
    """Which begins with a question of its own and its STARTUP."""
    def __init__(self, *arguments, **how):
        self.frames = []
        super().__init__(*arguments, **how)

    def push(self, data):
        self.frames.append(len(data))
        super().push(data)

def say(connection, messages, names, resource="shop", **how):
    """Says all before the first one is answered, and notes each."""
    position, _ = moved(connection._socket)
    first = len(connection.frames)
    results = connection.wait_for_responses(*messages, timeout=20, fail_on_error=False)
    before, behind = AROUND
    for length, name in zip(connection.frames[first:], names):
        note(connection._socket, position + before, name, length - before - behind, -1, resource=resource, **how)
        position += length
    assert position == moved(connection._socket)[0]
    assert all(is_well or "code" in how for is_well, _ in results), results
    return [result for _, result in results]

def query(text, **how):
    return QueryMessage(text, ONE, **how)

def opened():
    connection = Connection.factory(DefaultEndPoint("127.0.0.1", PORT), 20, protocol_version=VERSION, compression=False)
    position = 0
    for name, length in zip(["OPTIONS", "STARTUP"], connection.frames):
        note(connection._socket, position, name, length, -1)
        position += length
    say(connection, [query("USE shop")], ["USE shop"], resource="")
    return connection

def connect():
    connection, other = opened(), opened()
    # What one connection has prepared, others execute, too.
    connection.select, = say(other, [PrepareMessage(SELECT)], ["PREPARE " + SELECT])
    connection.update, = say(other, [PrepareMessage(UPDATE)], ["PREPARE " + UPDATE])
    other.close()
    return connection

def create():
    connection = Connection.factory(DefaultEndPoint("127.0.0.1", PORT), 20, protocol_version=VERSION, compression=False)
    for text in ("CREATE KEYSPACE IF NOT EXISTS shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE TABLE IF NOT EXISTS shop.orders (id int PRIMARY KEY, note text)"):
        connection.wait_for_response(query(text), timeout=60)
    connection.close()

def execute(prepared, values):
    return ExecuteMessage(prepared.query_id, values, ONE, result_metadata_id=getattr(prepared, "result_metadata_id", None))

def some(connection, at):
    key = struct.pack(">i", at % 50)
    kind = at % 8
    if kind in (0, 1):
        say(connection, [query(f"INSERT INTO orders (id, note) VALUES ({at % 50}, '{'secret' * (at % 300)}')")], ["INSERT INTO orders (id, note) VALUES (?)"])
    elif kind in (2, 3):
        say(connection, [execute(connection.select, [key])], [SELECT])
    elif kind == 4:
        say(connection, [query("SELECT * FROM none")], ["SELECT * FROM none"], outcome="CLIENT_ERROR", code="INVALID")
    elif kind == 5:
        batch = BatchMessage(BatchType.LOGGED, [(True, connection.update.query_id, [b"secret", key]) for _ in range(5)], ONE)
        say(connection, [batch], ["BATCH " + UPDATE])
    elif kind == 6:
        # Beyond what is copied of a call; and an answer that version 5 has in several segments.
        say(connection, [execute(connection.update, [b"x" * 10_000, key])], [UPDATE])
        say(connection, [query("SELECT * FROM orders")], ["SELECT * FROM orders"])
    else:
        messages = [execute(connection.select, [key]) if number % 3 else query("SELECT id FROM orders") for number in range(10)]
        say(connection, messages, [SELECT if number % 3 else "SELECT id FROM orders" for number in range(10)])

Connection.initialize_reactor()
create()
serve(connect, some, lambda connection: connection.close())
