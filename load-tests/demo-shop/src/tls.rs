//! TLS between two programs of the shop: a certificate that is made when the shop starts, and that one of them shows and the other one
//! trusts.
//!
//! Bounds: a handshake takes at most some seconds, and so many connections wait to be served.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::serve::Listener;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslAcceptor, SslConnector, SslFiletype, SslMethod};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_openssl::SslStream;

/// What the certificate is for, and what its clients ask for.
const NAME: &str = "bank.shop.example";
const DAYS: u32 = 30;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
const WAITING_MAX: usize = 16;

/// Makes a certificate, which signs itself, and its key beside it.
pub fn make_certificate(at: &Path) -> Result<()> {
    let (certificate, key) = certificate().context("making a certificate")?;
    for (path, text) in [(at.to_owned(), certificate), (key_of(at), key)] {
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn certificate() -> Result<(Vec<u8>, Vec<u8>), openssl::error::ErrorStack> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&curve)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("CN", NAME)?;
    let name = name.build();
    let mut certificate = X509::builder()?;
    certificate.set_version(2)?;
    certificate.set_serial_number(BigNum::from_u32(1)?.to_asn1_integer()?.as_ref())?;
    certificate.set_subject_name(&name)?;
    certificate.set_issuer_name(&name)?;
    certificate.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
    certificate.set_not_after(Asn1Time::days_from_now(DAYS)?.as_ref())?;
    certificate.set_pubkey(&key)?;
    let names = SubjectAlternativeName::new().dns(NAME).build(&certificate.x509v3_context(None, None))?;
    certificate.append_extension(names)?;
    certificate.sign(&key, MessageDigest::sha256())?;
    Ok((certificate.build().to_pem()?, key.private_key_to_pem_pkcs8()?))
}

fn key_of(certificate: &Path) -> PathBuf {
    certificate.with_extension("key")
}

/// For a server that shows this certificate.
pub fn showing(certificate: &Path) -> Result<SslAcceptor> {
    let doing = || format!("reading the certificate {} and its key", certificate.display());
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_certificate_file(certificate, SslFiletype::PEM).with_context(doing)?;
    acceptor.set_private_key_file(key_of(certificate), SslFiletype::PEM).with_context(doing)?;
    Ok(acceptor.build())
}

/// For a client that trusts this certificate and no other.
pub fn trusting(certificate: &Path) -> Result<SslConnector> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    let read = connector.set_ca_file(certificate);
    read.with_context(|| format!("reading the certificate {}", certificate.display()))?;
    Ok(connector.build())
}

/// The client's side of a handshake.
pub async fn connect(stream: TcpStream, connector: &SslConnector) -> Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(connector.configure()?.into_ssl(NAME)?, stream)?;
    Pin::new(&mut stream).connect().await.context("the handshake of TLS")?;
    Ok(stream)
}

/// Connections whose handshake is over. Who takes long over it holds up nobody.
pub struct TlsListener {
    address: SocketAddr,
    connections: mpsc::Receiver<(SslStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    pub fn start(listener: TcpListener, acceptor: SslAcceptor) -> io::Result<Self> {
        let (sender, connections) = mpsc::channel(WAITING_MAX);
        let address = listener.local_addr()?;
        tokio::spawn(accept(listener, Arc::new(acceptor), sender));
        Ok(Self { address, connections })
    }
}

async fn accept(
    mut listener: TcpListener,
    acceptor: Arc<SslAcceptor>,
    connections: mpsc::Sender<(SslStream<TcpStream>, SocketAddr)>,
) {
    while let Ok(place) = connections.clone().reserve_owned().await {
        // It waits where accepting fails for a moment.
        let (stream, peer) = Listener::accept(&mut listener).await;
        // An answer must not wait for the client's delayed acknowledgement; without the option it is only slower.
        let _ = stream.set_nodelay(true);
        let acceptor = Arc::clone(&acceptor);
        tokio::spawn(async move {
            match timeout(HANDSHAKE_PATIENCE, handshake(stream, &acceptor)).await {
                Ok(Ok(stream)) => drop(place.send((stream, peer))),
                Ok(Err(error)) => eprintln!("error: the handshake with {peer}: {error:#}"),
                Err(_) => eprintln!("error: the handshake with {peer} took more than {HANDSHAKE_PATIENCE:?}"),
            }
        });
    }
}

async fn handshake(stream: TcpStream, acceptor: &SslAcceptor) -> Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(Ssl::new(acceptor.context())?, stream)?;
    Pin::new(&mut stream).accept().await?;
    Ok(stream)
}

impl Listener for TlsListener {
    type Io = SslStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The task that accepts ends with this listener only.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
