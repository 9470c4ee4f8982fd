import time
from kafka.conn import BrokerConnection
from kafka.protocol.fetch import FetchRequest
from kafka.protocol.metadata import MetadataRequest
from kafka.protocol.offset import OffsetRequest
from kafka.protocol.produce import ProduceRequest
from kafka.record import MemoryRecordsBuilder

def connect():
    connection = BrokerConnection("127.0.0.1", PORT, socket.AF_INET, client_id="shop", api_version=(2, 5, 0),
        max_in_flight_requests_per_connection=100)
    assert connection.connect_blocking(20)
    return connection

def answers(connection, futures):
    """What comes back, as its own loop takes it."""
    connection.send_pending_requests()
    while not all(future.is_done for future in futures):
        for answer, future in connection.recv():
            future.success(answer)
    return [future.value for future in futures]

def produce(topic, at, acks):
    records = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1 << 20)
    records.append(timestamp=int(time.time() * 1000), key=None, value=b"secret" * (at % 300))
    records.close()
    return ProduceRequest[3](transactional_id=None, required_acks=acks, timeout=5000, topics=[(topic, [(0, records.buffer())])])

def fetch(wait_ms):
    return FetchRequest[4](-1, wait_ms, 1, 5000, 0, [("orders", [(0, 1 << 30 if wait_ms == 0 else 0, 5000)])])

def metadata():
    return MetadataRequest[1](["orders"])

def some(connection, at):
    def run(operation, request, resource="orders", **how):
        return ask(connection._sock, operation, lambda: answers(connection, [connection.send(request)])[0], resource=resource, **how)
    kind = at % 8
    if kind in (0, 1):
        assert run("Produce", produce("orders", at, 1)).topics[0][1][0][1] == 0
    elif kind == 2:
        run("Produce", produce("orders", at, 0), kind="ONE_WAY")
    elif kind == 3:
        run("Metadata", metadata())
    elif kind == 4:
        # At an offset that is not there, which needs no wait.
        run("Fetch", fetch(0), outcome="CLIENT_ERROR", code="1")
    elif kind == 5:
        run("Fetch", fetch(5), kind="WAIT")
    elif kind == 6:
        run("ListOffsets", OffsetRequest[1](-1, [("nothing", [(0, -1)])]), resource="nothing", outcome="CLIENT_ERROR", code="3")
    else:
        # Before the first one is answered.
        requests = [metadata() if number % 3 else produce("orders", number, 1) for number in range(10)]
        position, _ = moved(connection._sock)
        lengths, futures = [], []
        for request in requests:
            before = sum(map(len, connection._protocol.bytes_to_send))
            futures.append(connection.send(request, blocking=False))
            lengths.append(sum(map(len, connection._protocol.bytes_to_send)) - before)
        answers(connection, futures)
        for request, length in zip(requests, lengths):
            note(connection._sock, position, "Metadata" if request.API_KEY == 3 else "Produce", length, -1, resource="orders")
            position += length
        assert position == moved(connection._sock)[0]

serve(connect, some, lambda connection: connection.close())
