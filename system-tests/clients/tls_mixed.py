"""Requests over TLS and in clear text from one process, each with a path of its own.

Arguments: a folder, the ports of a server for TLS and for clear text, how many rounds a phase has. Some connections are opened at once and kept; the others are made in
each phase. A phase begins when the file `go-NAME` is there, and the file `done-NAME` says that it is over. Prints one line of JSON: the paths of each phase, by the port
that was asked.
"""
import json, os, socket, ssl, subprocess, sys, time

folder, (tls_port, plain_port, rounds) = sys.argv[1], map(int, sys.argv[2:])
HOST = "127.0.0.1"
# Is to leave the agent nowhere.
SECRET = "not-to-be-told"
asked = {}


def secure(version, ciphers=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    return context.wrap_socket(socket.create_connection((HOST, tls_port)), server_hostname="shop.example")


def plain():
    return socket.create_connection((HOST, plain_port))


def request(path, body=b""):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer {SECRET}\r\nCookie: {SECRET}\r\n{length}\r\n".encode() + body


def answers(connection, count):
    told = b""
    while told.count(b"\r\n\r\nok\n") < count:
        got = connection.recv(4096)
        assert got, told
        told += got


class Phase:
    def __init__(self, name):
        self.name, self.paths = name, {str(tls_port): [], str(plain_port): []}

    def path(self, port, kind, number):
        path = f"/ok/{self.name}/{kind}/{number}"
        self.paths[str(port)].append(path)
        return path

    def ask(self, connection, port, kind, number):
        """One request; or two in one call, one in two calls, one with a body of several records, or one with a body that another one follows in the same call."""
        way = number % 5 if kind != "new" else 0
        path = self.path(port, kind, number)
        if way == 1:
            connection.sendall(request(path) + request(self.path(port, kind, f"{number}-second")))
            return answers(connection, 2)
        if way == 2:
            told = request(path)
            connection.sendall(told[:20])
            connection.sendall(told[20:])
        elif way == 3:
            connection.sendall(request(path, SECRET.encode() * 3_000))
        elif way == 4:
            connection.sendall(request(path, SECRET.encode() * 700) + request(self.path(port, kind, f"{number}-second")))
            return answers(connection, 2)
        else:
            connection.sendall(request(path))
        answers(connection, 1)

    def curl(self, *how, kind, number):
        paths = [self.path(tls_port, kind, f"{number}-{at}") for at in range(10)]
        urls = [word for path in paths for word in ("-o", "/dev/null", f"https://{HOST}:{tls_port}{path}")]
        told = subprocess.run(["curl", "-sSk", "-w", "%{response_code} ", "-H", f"Authorization: Bearer {SECRET}", "-H", f"Cookie: {SECRET}", *how, *urls], check=True, capture_output=True, text=True).stdout
        assert told.split() == ["200"] * 10, told


kept = {
    "tls13": (secure(ssl.TLSVersion.TLSv1_3), tls_port),
    "plain": (plain(), plain_port),
    "gcm12": (secure(ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM"), tls_port),
    "chacha12": (secure(ssl.TLSVersion.TLSv1_2, "ECDHE+CHACHA20"), tls_port),
}
open(f"{folder}/ready", "w").close()
for name in ("before", "middle", "between", "again"):
    while not os.path.exists(f"{folder}/go-{name}"):
        time.sleep(0.02)
    phase = Phase(name)
    for number in range(rounds):
        for kind, (connection, port) in kept.items():
            phase.ask(connection, port, kind, number)
        if number % 20 == 0:
            with secure(ssl.TLSVersion.TLSv1_3) as connection:
                for at in range(3):
                    phase.ask(connection, tls_port, "new", f"{number}-{at}")
            phase.curl("--http1.1", kind="http1", number=number)
            phase.curl("--http2", kind="http2", number=number)
            phase.curl("--http2", "-Z", kind="parallel", number=number)
    asked[name] = phase.paths
    # What ends last may still be on its way.
    time.sleep(1)
    open(f"{folder}/done-{name}", "w").close()
print(json.dumps(asked))
