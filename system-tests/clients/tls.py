"""Connections over TLS and in clear text, each with what its own client says of it.

Arguments: a folder with the certificate `cert.pem` and its `key.pem`, the ports of nginx for TLS and for clear text, that of gnutls-serv, which says again what
it is told. One connection is opened at once; when
the file `go` is there, it is used again, and all others are made. Prints one line of JSON: a list of what is known of each, by the ports of client and server.
"""
import json, os, re, socket, ssl, subprocess, sys, time

folder, (tls_port, plain_port, gnutls_port) = sys.argv[1], map(int, sys.argv[2:])
HOST = "127.0.0.1"
CERTIFICATE, KEY = f"{folder}/cert.pem", f"{folder}/key.pem"
listed = subprocess.run(["openssl", "ciphers", "-stdname", "ALL:@SECLEVEL=0"], check=True, capture_output=True, text=True).stdout
STANDARD_NAMES = {words[2]: words[0] for words in map(str.split, listed.splitlines())}
VERSIONS = {"TLSv1": "tls1.0", "TLSv1.1": "tls1.1", "TLSv1.2": "tls1.2", "TLSv1.3": "tls1.3"}
issued = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-issuer", "-nameopt", "sep_comma_plus_space", "-nameopt", "space_eq", "-in", CERTIFICATE], check=True, capture_output=True, text=True).stdout
issued = dict(line.split("=", 1) for line in issued.splitlines())
ISSUED = {
    "certificate_issuer": issued["issuer"].replace(" = ", "=").strip(),
    "certificate_expires_at_us": ssl.cert_time_to_seconds(issued["notAfter"]) * 1_000_000,
}
told = []


def tell(client, port, version, cipher, server=tls_port, **facts):
    if version != "TLSv1.3":
        facts |= dict.fromkeys(ISSUED) if facts.get("resumed") else ISSUED
    told.append({"client": client, "ports": [port, server], "encryption": VERSIONS[version], "cipher_suite": STANDARD_NAMES[cipher], **facts})


def ask(connection, times):
    for _ in range(times):
        connection.sendall(b"GET /ok/ HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        answer = b""
        while not answer.endswith(b"ok\n"):
            got = connection.recv(4096)
            assert got, answer
            answer += got


def context(version, mutual=False, offered=("http/1.1",)):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    if mutual:
        context.load_cert_chain(CERTIFICATE, KEY)
    if offered:
        context.set_alpn_protocols(list(offered))
    return context


def python(version, name="shop.example", mutual=False, offered=("http/1.1",), session=None, within=None, port=tls_port):
    within = within or context(version, mutual, offered)
    connection = within.wrap_socket(socket.create_connection((HOST, port)), server_hostname=name, session=session)
    if port == tls_port:
        ask(connection, 5)
    else:
        connection.sendall(b"ok\n")
        assert connection.recv(4096).startswith(b"ok")
    facts = {"server_name": name or "", "alpn_offered": ",".join(offered), "resumed": connection.session_reused}
    if version != ssl.TLSVersion.TLSv1_3:
        facts["alpn"] = connection.selected_alpn_protocol() or ""
        if not connection.session_reused:
            facts["mutual"] = mutual
    tell("python", connection.getsockname()[1], connection.version(), connection.cipher()[0], port, **facts)
    return connection, within


def s_client(*arguments):
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = ["openssl", "s_client", "-brief", "-connect", f"{HOST}:{tls_port}", "-bind", f"{HOST}:{port}", *arguments]
    request = "GET /ok/ HTTP/1.0\r\n\r\n"
    run = subprocess.run([*command, "-ign_eof"], input=request, capture_output=True, text=True, timeout=20)
    said = dict(line.split(": ", 1) for line in run.stderr.splitlines() if ": " in line)
    facts = {}
    if "Server Temp Key" in said:
        names = {"X25519": "x25519", "ECDH, prime256v1": "secp256r1", "ECDH, secp384r1": "secp384r1", "X448": "x448"}
        facts["key_exchange_group"] = names[said["Server Temp Key"].rsplit(", ", 1)[0]]
    tell("openssl", port, said["Protocol version"], said["Ciphersuite"], **facts)


def curl(*arguments):
    command = ["curl", "-sSvk", "-w", "%{local_port}", "-o", "/dev/null", *arguments, f"https://{HOST}:{tls_port}/ok/"]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    version, cipher = re.search(r"SSL connection using (\S+) / (\S+)", run.stderr).groups()
    # It names no host, since it asked for an address.
    tell("curl", int(run.stdout), version, cipher, server_name="", alpn_offered="h2,http/1.1")


def gnutls_cli(version, suite):
    command = ["gnutls-cli", "--insecure", "--priority", f"NORMAL:-VERS-ALL:+VERS-{version}:-CIPHER-ALL:+AES-256-GCM",
        "--sni-hostname=shop.example", "--alpn=http/1.1", "-p", str(tls_port), HOST]
    run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = local_port(run.pid)
    said, _ = run.communicate("GET /ok/ HTTP/1.0\r\n\r\n", timeout=20)
    group = re.search(r"- Description: \(TLS[^)]*\)-\(ECDHE-([^)]*)\)", said).group(1)
    facts = {"key_exchange_group": group.lower(), "server_name": "shop.example", "alpn_offered": "http/1.1", "resumed": False}
    if version == "TLS1.2":
        chosen = re.search(r"Application protocol: (\S+)", said)
        facts |= {"mutual": False, "alpn": chosen.group(1) if chosen else ""}
    tell("gnutls-cli", port, version.replace("TLS", "TLSv"), suite, **facts)


def local_port(pid):
    """Of its connection to nginx, as soon as it is there."""
    server = f":{tls_port:04X}"
    while True:
        sockets = set()
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                sockets.add(os.readlink(f"/proc/{pid}/fd/{name}"))
            except FileNotFoundError:
                pass
        for line in open("/proc/net/tcp").readlines()[1:]:
            words = line.split()
            if words[2].endswith(server) and f"socket:[{words[9]}]" in sockets:
                return int(words[1].rsplit(":", 1)[1], 16)
        time.sleep(0.005)


kept = context(ssl.TLSVersion.TLSv1_3).wrap_socket(socket.create_connection((HOST, tls_port)))
ask(kept, 2)
open(f"{folder}/half", "w").close()
while not os.path.exists(f"{folder}/go"):
    time.sleep(0.05)
ask(kept, 10)
told.append({"client": "kept", "ports": [kept.getsockname()[1], tls_port], "encryption": "tls"})

one_two, one_three = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
for _ in range(5):
    python(one_three)[0].close()
    python(one_two)[0].close()
    python(one_three, name=None, offered=())[0].close()
    python(one_two, mutual=True)[0].close()
    python(one_two, offered=("spdy/9", "http/1.1"))[0].close()
    python(ssl.TLSVersion.TLSv1_1)[0].close()
    first, within = python(one_two)
    python(one_two, session=first.session, within=within)[0].close()
    first.close()
    first, within = python(one_three)
    python(one_three, session=first.session, within=within)[0].close()
    first.close()
for arguments in (["-tls1_3"], ["-tls1_2"], ["-tls1_3", "-groups", "P-384"], ["-tls1_3", "-groups", "X448:P-256"]):
    s_client(*arguments)
for arguments in (["--tls-max", "1.2"], ["--tlsv1.3"]):
    curl(*arguments)
for version in (one_two, one_three):
    python(version, port=gnutls_port)[0].close()
    python(version, name=None, offered=(), port=gnutls_port)[0].close()
for version, suite in (("TLS1.3", "TLS_AES_256_GCM_SHA384"), ("TLS1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")):
    gnutls_cli(version, suite)
for _ in range(5):
    with socket.create_connection((HOST, plain_port)) as plain:
        ask(plain, 3)
        told.append({"client": "plain", "ports": [plain.getsockname()[1], plain_port], "encryption": "none"})
kept.close()
print(json.dumps(told))
