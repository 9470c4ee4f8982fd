//! Speaks HTTP/1.1 and HTTP/2 over rustls and in clear text, as a server and as a client, on many connections at a time and from several threads.
//!
//! `serve FOLDER TLS_PORT PLAIN_PORT` answers each request. `ask FOLDER TLS_PORT PLAIN_PORT OTHER_TLS_PORT` asks it and another server, itself and by curl, each request with a path of its own; connections of some kinds are
//! opened at once and kept. A phase begins when the file `go-NAME` is there, and the file `done-NAME` says that it is over. Prints one line of JSON: the paths of each phase, by the port that was asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SECRET: &str = "not-to-be-told";
const PHASES: [&str; 4] = ["before", "middle", "between", "again"];
const ROUNDS: usize = 30;
const LARGE_BYTES: usize = 300_000;
const BODY_BYTES: usize = 40_000;

#[tokio::main(worker_threads = 3)]
async fn main() -> Fallible<()> {
    let words: Vec<String> = std::env::args().collect();
    let folder = PathBuf::from(&words[2]);
    let ports = words[3..].iter().map(|word| word.parse()).collect::<Result<Vec<u16>, _>>()?;
    match &words[1][..] {
        "serve" => serve(folder, [ports[0], ports[1]]).await,
        _ => ask(folder, [ports[0], ports[1], ports[2]]).await,
    }
}

fn provider() -> CryptoProvider {
    #[cfg(feature = "aws-lc-rs")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    return rustls::crypto::ring::default_provider();
}

async fn serve(folder: PathBuf, [tls, plain]: [u16; 2]) -> Fallible<()> {
    let certificates = CertificateDer::pem_file_iter(folder.join("cert.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let [tls, plain] = [TcpListener::bind(("127.0.0.1", tls)).await?, TcpListener::bind(("127.0.0.1", plain)).await?];
    tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            tokio::spawn(answer_all(stream));
        }
    });
    loop {
        let (stream, _) = tls.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await?;
            answer_all(stream).await
        });
    }
}

async fn answer_all<S>(stream: S) -> Fallible<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await
}

async fn answer(request: Request<Incoming>) -> Fallible<Response<Full<Bytes>>> {
    let is_large = request.uri().path().contains("/large/");
    request.into_body().collect().await?;
    let body = if is_large { Bytes::from(vec![b'x'; LARGE_BYTES]) } else { Bytes::from_static(b"ok\n") };
    Ok(Response::new(Full::new(body)))
}

/// A connection that was opened, in one of the two protocols.
enum Asks {
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

/// What is encrypted how.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Tls13,
    Gcm12,
    Chacha12,
    Http2,
}

impl Asks {
    async fn open(port: u16, kind: Kind) -> Fallible<Asks> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        if let Kind::Plain = kind {
            return Asks::http1(stream).await;
        }
        let stream = TlsConnector::from(config(kind)?).connect(ServerName::try_from("shop.example")?, stream).await?;
        if !matches!(kind, Kind::Http2) {
            return Asks::http1(stream).await;
        }
        let (asks, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Asks::Http2(asks))
    }

    async fn http1<S>(stream: S) -> Fallible<Asks>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (asks, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Asks::Http1(asks))
    }

    async fn ask(&mut self, port: u16, path: &str, body_bytes: usize) -> Fallible<()> {
        let uri = match self {
            Asks::Http1(_) => path.to_owned(),
            Asks::Http2(_) => format!("https://shop.example:{port}{path}"),
        };
        let method = if body_bytes > 0 { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {SECRET}"));
        let request = match self {
            Asks::Http1(_) => request.header("host", "shop.example"),
            Asks::Http2(_) => request,
        };
        let body = Bytes::from(SECRET.repeat(body_bytes / SECRET.len()));
        let request = request.body(Full::new(body))?;
        let response = match self {
            Asks::Http1(asks) => {
                asks.ready().await?;
                asks.send_request(request).await?
            }
            Asks::Http2(asks) => asks.send_request(request).await?,
        };
        assert_eq!(response.status(), 200, "{path}");
        response.into_body().collect().await?;
        Ok(())
    }
}

fn config(kind: Kind) -> Fallible<Arc<ClientConfig>> {
    let mut provider = provider();
    let version = match kind {
        Kind::Gcm12 | Kind::Chacha12 => &rustls::version::TLS12,
        _ => &rustls::version::TLS13,
    };
    if let Kind::Chacha12 = kind {
        provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("CHACHA20"));
    }
    let schemes = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(schemes)))
        .with_no_client_auth();
    config.alpn_protocols = vec![if let Kind::Http2 = kind { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(Arc::new(config))
}

/// Certificates of tests are nobody's.
#[derive(Debug)]
struct Anybody(rustls::crypto::WebPkiSupportedAlgorithms);

type Verified<T> = Result<T, rustls::Error>;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Verified<rustls::client::danger::ServerCertVerified> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Verified<rustls::client::danger::HandshakeSignatureValid> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Verified<rustls::client::danger::HandshakeSignatureValid> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Paths by the port that was asked.
type Paths = Arc<Mutex<BTreeMap<u16, Vec<String>>>>;

fn note(paths: &Paths, port: u16, path: &str) {
    paths.lock().unwrap().entry(port).or_default().push(path.to_owned());
}

async fn ask(folder: PathBuf, [tls, plain, other]: [u16; 3]) -> Fallible<()> {
    // The handshakes of these were not seen.
    let mut kept = Vec::new();
    for (port, kind) in [(tls, Kind::Tls13), (other, Kind::Tls13)] {
        kept.push((port, Asks::open(port, kind).await?));
    }
    std::fs::write(folder.join("ready"), "")?;
    let mut asked = Vec::new();
    for phase in PHASES {
        while !folder.join(format!("go-{phase}")).exists() {
            sleep(Duration::from_millis(20)).await;
        }
        let paths = Paths::default();
        for (port, asks) in &mut kept {
            asks.ask(*port, &format!("/ok/old/{phase}/{port}"), 0).await?;
        }
        if phase != "before" && phase != "between" {
            let mut all = Vec::new();
            let kinds =
                [("tls13", Kind::Tls13), ("gcm12", Kind::Gcm12), ("chacha12", Kind::Chacha12), ("http2", Kind::Http2)];
            for (name, kind) in kinds {
                for port in [tls, other] {
                    for number in 0..2 {
                        all.push(tokio::spawn(one(
                            paths.clone(),
                            format!("{phase}/{name}/{port}/{number}"),
                            (port, kind),
                            port == tls,
                        )));
                    }
                }
            }
            all.push(tokio::spawn(one(paths.clone(), format!("{phase}/plain/{plain}"), (plain, Kind::Plain), true)));
            all.push(tokio::spawn(parallel(paths.clone(), format!("{phase}/parallel/{tls}"), tls)));
            for how in [&["--http1.1"][..], &["--http2"], &["--http2", "-Z"], &["--http1.1", "--tls-max", "1.2"]] {
                all.push(tokio::spawn(curl(paths.clone(), format!("{phase}/curl{}", how.concat()), tls, how)));
            }
            for task in all {
                task.await??;
            }
        }
        let paths = paths.lock().unwrap().clone();
        let told: Vec<_> = paths.iter().map(|(port, paths)| format!("\"{port}\":{paths:?}")).collect();
        asked.push(format!("\"{phase}\":{{{}}}", told.join(",")));
        // What ends last may still be on its way.
        sleep(Duration::from_secs(1)).await;
        std::fs::write(folder.join(format!("done-{phase}")), "")?;
    }
    println!("{{{}}}", asked.join(","));
    Ok(())
}

/// Requests on one connection, one after the other: without a body and with one, with small answers and large ones.
async fn one(paths: Paths, name: String, (port, kind): (u16, Kind), answers_large: bool) -> Fallible<()> {
    let mut asks = Asks::open(port, kind).await?;
    for at in 0..ROUNDS {
        let (size, body_bytes) = match at {
            7 if answers_large => ("large", 0),
            13 if answers_large => ("small", BODY_BYTES),
            _ => ("small", 0),
        };
        let path = format!("/ok/{name}/{size}/{at}");
        note(&paths, port, &path);
        asks.ask(port, &path, body_bytes).await?;
    }
    Ok(())
}

/// Requests of HTTP/2 that are under way at the same time.
async fn parallel(paths: Paths, name: String, port: u16) -> Fallible<()> {
    let Asks::Http2(asks) = Asks::open(port, Kind::Http2).await? else { return Err("not HTTP/2".into()) };
    for round in 0..ROUNDS / 10 {
        let mut all = Vec::new();
        for at in 0..10 {
            let path = format!("/ok/{name}/{round}/{at}");
            note(&paths, port, &path);
            let mut asks = Asks::Http2(asks.clone());
            all.push(tokio::spawn(async move { asks.ask(port, &path, if at == 4 { BODY_BYTES } else { 0 }).await }));
        }
        for task in all {
            task.await??;
        }
    }
    Ok(())
}

async fn curl(paths: Paths, name: String, port: u16, how: &'static [&'static str]) -> Fallible<()> {
    let mut command = tokio::process::Command::new("curl");
    command.args(["-sSk", "-w", "%{response_code} ", "-H"]).arg(format!("Authorization: Bearer {SECRET}")).args(how);
    for at in 0..10 {
        let path = format!("/ok/{name}/{at}");
        note(&paths, port, &path);
        command.args(["-o", "/dev/null"]).arg(format!("https://127.0.0.1:{port}{path}"));
    }
    let told = command.output().await?;
    let codes = String::from_utf8(told.stdout)?;
    assert!(codes.split_whitespace().eq(["200"; 10]), "{codes} {}", String::from_utf8_lossy(&told.stderr));
    Ok(())
}
