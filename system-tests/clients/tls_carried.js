// Requests over TLS by Node, which has OpenSSL within itself and moves the bytes between it and its sockets, each with a path of its own; and servers that answer such
// requests in HTTP/1.1 and HTTP/2. The second one is asked by this very process, too.
//
// Arguments: a folder, the ports to serve HTTP/1.1 and HTTP/2 on, the ports to ask in HTTP/1.1, separated by commas, and one to ask in clear text. As of `tls_carried.py`.
"use strict";
const fs = require("fs"), http2 = require("http2"), https = require("https"), net = require("net"), tls = require("tls");

const [folder, port1, port2, asked, plainPort] = process.argv.slice(2);
const asks = asked.split(",").map(Number);
const HOST = "127.0.0.1", SECRET = "not-to-be-told", CONNECTIONS = 6, ROUNDS = 40, STREAMS = 8;
const PHASES = ["before", "middle", "again"];
const pause = ms => new Promise(go => setTimeout(go, ms));

async function until(name) {
    while (!fs.existsSync(`${folder}/${name}`)) await pause(20);
}

const pem = { key: fs.readFileSync(`${folder}/key.pem`), cert: fs.readFileSync(`${folder}/cert.pem`) };
const answer = (request, response) => request.on("end", () => response.end("ok\n")).resume();
const servers = [https.createServer({ ...pem, keepAliveTimeout: 0 }, answer).listen(+port1, HOST), http2.createSecureServer(pem, answer).listen(+port2, HOST)];

function agent(version) {
    return new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false, maxVersion: version });
}

function ask(agent, port, path, body) {
    return new Promise((done, failed) => {
        const options = { agent, host: HOST, port, path, method: body ? "POST" : "GET", headers: { Authorization: `Bearer ${SECRET}` } };
        const request = https.request(options, answer => {
            if (answer.statusCode !== 200) failed(new Error(`${path}: ${answer.statusCode}`));
            answer.on("end", done).resume();
        });
        request.on("error", failed).end(body ? Buffer.alloc(body, SECRET) : undefined);
    });
}

async function one(paths, name, port, number) {
    const own = agent(number === 1 ? "TLSv1.2" : "TLSv1.3");
    for (let at = 0; at < ROUNDS; at++) {
        const path = `/ok/node/${name}/${port}/${number}/${at}`;
        paths.push(path);
        await ask(own, port, path, [0, port === asks[0] ? 0 : 200000, 0, 0, 700][at % 5]);
    }
    own.destroy();
}

function askStream(session, path, body) {
    return new Promise((done, failed) => {
        const stream = session.request({ ":path": path, ":method": body ? "POST" : "GET", authorization: `Bearer ${SECRET}` }, { endStream: !body });
        stream.on("error", failed).on("end", done).resume();
        if (body) stream.end(Buffer.alloc(body, SECRET));
    });
}

async function one2(paths, name, number) {
    const session = http2.connect(`https://${HOST}:${port2}`, { rejectUnauthorized: false });
    for (let at = 0; at < ROUNDS; at++) {
        const some = [];
        for (let stream = 0; stream < STREAMS; stream++) {
            const path = `/ok/node2/${name}/${number}/${at}/${stream}`;
            paths.push(path);
            some.push(askStream(session, path, stream === 3 ? 30000 : 0));
        }
        await Promise.all(some);
    }
    await new Promise(done => session.close(done));
}

function answers(socket, count) {
    return new Promise((done, failed) => {
        let told = "";
        const take = data => {
            told += data;
            if (told.split("\r\n\r\n").length > count) {
                socket.off("data", take);
                done();
            }
        };
        socket.on("error", failed).on("data", take);
    });
}

// Within the library's call that ends a handshake, the program is called and writes: on the new session, on another one, and on a socket in clear text.
async function within(paths, name) {
    const open = (port, then) => tls.connect({ port, host: HOST, rejectUnauthorized: false }, then);
    const say = (socket, port, path) => {
        paths[port].push(path);
        socket.write(`GET ${path} HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`);
        return answers(socket, 1);
    };
    const plain = net.connect(+plainPort, HOST);
    await new Promise(done => plain.once("connect", done));
    const other = await new Promise(done => { const socket = open(asks[1], () => done(socket)); });
    for (let at = 0; at < ROUNDS; at++) {
        const path = `/ok/within/${name}/${at}`;
        await new Promise((done, failed) => {
            const socket = open(asks[2], () => {
                const all = [say(other, asks[1], `${path}/other`), say(plain, plainPort, `${path}/plain`), say(socket, asks[2], `${path}/own`)];
                Promise.all(all).then(() => done(socket.end()), failed);
            });
        });
    }
    plain.end();
    other.end();
}

async function main() {
    await Promise.all(servers.map(server => server.listening || new Promise(done => server.once("listening", done))));
    fs.writeFileSync(`${folder}/serving-node`, "");
    await until("go-connect");
    const kept = asks.map(port => [port, agent("TLSv1.3")]);
    for (const [port, own] of kept) await ask(own, port, `/ok/old/node/first/${port}`, 0);
    fs.writeFileSync(`${folder}/done-connect-node`, "");
    const told = {};
    for (const name of PHASES) {
        await until(`go-${name}`);
        const paths = told[name] = Object.fromEntries([...asks, port2, plainPort].map(port => [port, []]));
        // Their handshakes were not seen, so nobody can say on which socket they go.
        for (const [port, own] of kept) await ask(own, port, `/ok/old/node/${name}/${port}`, 0);
        if (name !== "before") {
            const all = asks.flatMap(port => [...Array(CONNECTIONS).keys()].map(number => one(paths[port], name, port, number)));
            await Promise.all([...all, ...[0, 1].map(number => one2(paths[port2], name, number)), within(paths, name)]);
        }
        // What ends last may still be on its way.
        await pause(1000);
        fs.writeFileSync(`${folder}/done-${name}-node`, "");
    }
    console.log(JSON.stringify(told));
    await until("go-end");
    process.exit(0);
}

main();
