"""Says conversations over loopback, each on a connection of its own, word by word: whoever is not to speak waits until all has come.

Argument: a file with a list of conversations, each a list of pairs: whether the client says it, and the bytes in hexadecimal. Prints the clients' ports as one line of JSON.
"""
import json, socket, sys

conversations = json.load(open(sys.argv[1]))
listener = socket.create_server(("127.0.0.1", 0))
ports = []
for said in conversations:
    client = socket.create_connection(listener.getsockname())
    server, address = listener.accept()
    ports.append(address[1])
    for by_client, text in said:
        told = bytes.fromhex(text)
        (speaker, hearer) = (client, server) if by_client else (server, client)
        speaker.sendall(told)
        got = 0
        while got < len(told):
            part = hearer.recv(65536)
            assert part, (text, got)
            got += len(part)
    client.close()
    assert server.recv(1) == b""
    server.close()
print(json.dumps(ports))
