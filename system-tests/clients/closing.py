"""Connections that are used once and close one after the other, later.

Arguments: a folder, the port of a server of HTTP and how many. Once all are used, the file `used` is made in the folder; once `go` is there, one is closed
each millisecond. Prints the clients' ports as a line of JSON.
"""
import json, os, socket, sys, time

folder, port, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
for connection in sockets:
    connection.sendall(b"GET /ok/ HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    answer = b""
    while not answer.endswith(b"ok\n"):
        got = connection.recv(4096)
        assert got, answer
        answer += got
open(f"{folder}/used", "w").close()
while not os.path.exists(f"{folder}/go"):
    time.sleep(0.005)
ports = [connection.getsockname()[1] for connection in sockets]
for connection in sockets:
    connection.close()
    time.sleep(0.001)
print(json.dumps(ports))
