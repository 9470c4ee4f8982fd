"""Asks in rounds: each line of the input says how often. Of each request one line says what was asked, by what its socket tells; then `done`."""
import json, socket, struct, sys

PORT = int(sys.argv[1])

def moved(sock):
    """How many bytes it has sent, each counted once, and received (struct tcp_info)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    sent, again = struct.unpack_from("QQ", info, 200)
    return sent - again, struct.unpack_from("Q", info, 128)[0]

def note(sock, position, operation, request_bytes, response_bytes, outcome="OK", code="", kind="CALL", resource=""):
    print(json.dumps({"port": sock.getsockname()[1], "position": position, "operation": operation, "resource": resource,
        "kind": kind, "outcome": outcome, "code": code, "request_bytes": request_bytes, "response_bytes": response_bytes}))

def ask(sock, operation, work, **how):
    """Does one request, which is answered before it returns."""
    sent, received = moved(sock)
    result = work()
    sent_then, received_then = moved(sock)
    note(sock, sent, operation, sent_then - sent, received_then - received, **how)
    return result

def serve(connect, some, close):
    """Half of each round over a connection that stays, half over one of the round's own."""
    old, at = connect(), 0
    for line in sys.stdin:
        count = int(line)
        for connection in [old, connect()]:
            for _ in range(count // 2):
                some(connection, at)
                at += 1
        close(connection)
        print("done", flush=True)
