//! A client and a server of OpenSSL that talk in memory. Each write of theirs is a call.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

use headwater_protocols::Direction;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    AlpnError, HandshakeError, MidHandshakeSslStream, ShutdownState, Ssl, SslContext, SslContextBuilder, SslMethod,
    SslSession, SslStream, SslVerifyMode, SslVersion, select_next_proto,
};
use openssl::x509::{X509, X509NameBuilder};

pub type Calls = Vec<(Direction, Vec<u8>)>;

/// When certificates of the tests end.
pub const EXPIRES_AT_S: i64 = 2_000_000_000;

/// How both sides are set up.
#[derive(Clone)]
pub struct Plan {
    pub version: SslVersion,
    /// Of TLS 1.2 and before; all of them if empty.
    pub ciphers: &'static str,
    pub server_groups: &'static str,
    pub client_groups: &'static str,
    pub server_name: Option<&'static str>,
    /// In the wire's form.
    pub offered: &'static [u8],
    pub is_mutual: bool,
    /// The client does not trust the server.
    pub is_distrusted: bool,
}

impl Plan {
    pub fn of(version: SslVersion) -> Plan {
        Plan {
            version,
            ciphers: "ALL:@SECLEVEL=0",
            server_groups: "X25519:P-256:P-384",
            client_groups: "X25519:P-256:P-384",
            server_name: Some("shop.example"),
            offered: b"\x02h2\x08http/1.1",
            is_mutual: false,
            is_distrusted: false,
        }
    }
}

/// What happened, and what the client says of it.
pub struct Talk {
    pub calls: Calls,
    pub version: String,
    pub cipher_suite: String,
    pub alpn: String,
    pub is_resumed: bool,
    pub session: Option<SslSession>,
}

/// Both ends' settings, for one connection or several.
pub struct Peers {
    plan: Plan,
    client: SslContext,
    server: SslContext,
}

impl Peers {
    pub fn new(plan: Plan) -> Peers {
        let (key, certificate) = certificate();
        let mut server = context(&plan, plan.server_groups);
        server.set_private_key(&key).unwrap();
        server.set_certificate(&certificate).unwrap();
        server.set_session_id_context(b"test").unwrap();
        server.set_alpn_select_callback(|_, offered| select_next_proto(b"\x02h2", offered).ok_or(AlpnError::NOACK));
        let mut client = context(&plan, plan.client_groups);
        if plan.is_mutual {
            server.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, _| true);
            client.set_private_key(&key).unwrap();
            client.set_certificate(&certificate).unwrap();
        }
        client.set_verify(if plan.is_distrusted { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
        Peers { plan, client: client.build(), server: server.build() }
    }

    /// A connection on which each side says something once.
    pub fn talk(&self, session: Option<&SslSession>) -> Talk {
        let log: Rc<RefCell<Calls>> = Rc::default();
        let [to_server, to_client] = [(); 2].map(|()| Rc::<RefCell<VecDeque<u8>>>::default());
        let end = |direction, writes: &Rc<_>, reads: &Rc<_>| End {
            direction,
            log: Rc::clone(&log),
            writes: Rc::clone(writes),
            reads: Rc::clone(reads),
        };
        let mut client = Ssl::new(&self.client).unwrap();
        if let Some(name) = self.plan.server_name {
            client.set_hostname(name).unwrap();
        }
        if let Some(session) = session {
            // SAFETY: it is a session of this very context.
            unsafe { client.set_session(session).unwrap() };
        }
        let server = Ssl::new(&self.server).unwrap();
        let mut client = Progress::of(client.connect(end(Direction::Request, &to_server, &to_client)));
        let mut server = Progress::of(server.accept(end(Direction::Response, &to_client, &to_server)));
        for _ in 0..20 {
            (client, server) = (client.go_on(), server.go_on());
        }
        let (Progress::Done(mut client), Progress::Done(mut server)) = (client, server) else {
            let nothing = String::new;
            let (version, cipher_suite, alpn) = (nothing(), nothing(), nothing());
            return Talk { calls: log.take(), version, cipher_suite, alpn, is_resumed: false, session: None };
        };
        for number in 0..3_u8 {
            let mut read = [0; 300];
            client.write_all(&[number; 300]).unwrap();
            server.read_exact(&mut read).unwrap();
            server.write_all(&[number; 200]).unwrap();
            client.read_exact(&mut read[..200]).unwrap();
        }
        let ssl = client.ssl();
        let talk = Talk {
            calls: log.take(),
            version: ssl.version_str().into(),
            cipher_suite: ssl.current_cipher().unwrap().standard_name().unwrap().into(),
            alpn: ssl.selected_alpn_protocol().map(|name| String::from_utf8_lossy(name).into()).unwrap_or_default(),
            is_resumed: ssl.session_reused(),
            session: ssl.session().map(ToOwned::to_owned),
        };
        // A session of a connection that was cut off is not gone on with.
        client.set_shutdown(ShutdownState::SENT | ShutdownState::RECEIVED);
        server.set_shutdown(ShutdownState::SENT | ShutdownState::RECEIVED);
        talk
    }
}

fn context(plan: &Plan, groups: &str) -> SslContextBuilder {
    let mut context = SslContext::builder(SslMethod::tls()).unwrap();
    context.set_min_proto_version(Some(plan.version)).unwrap();
    context.set_max_proto_version(Some(plan.version)).unwrap();
    context.set_cipher_list(plan.ciphers).unwrap();
    context.set_groups_list(groups).unwrap();
    if !plan.offered.is_empty() {
        context.set_alpn_protos(plan.offered).unwrap();
    }
    context
}

fn certificate() -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("C", "SE").unwrap();
    name.append_entry_by_text("O", "Example").unwrap();
    name.append_entry_by_text("CN", "Root of tests").unwrap();
    let name = name.build();
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_issuer_name(&name).unwrap();
    certificate.set_subject_name(&name).unwrap();
    certificate.set_not_before(&Asn1Time::from_unix(1_000_000_000).unwrap()).unwrap();
    certificate.set_not_after(&Asn1Time::from_unix(EXPIRES_AT_S).unwrap()).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    (key, certificate.build())
}

/// One end's way to the other.
#[derive(Debug)]
struct End {
    direction: Direction,
    log: Rc<RefCell<Calls>>,
    writes: Rc<RefCell<VecDeque<u8>>>,
    reads: Rc<RefCell<VecDeque<u8>>>,
}

impl Read for End {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.reads.borrow_mut().read(to)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for End {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.log.borrow_mut().push((self.direction, from.to_vec()));
        self.writes.borrow_mut().write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Progress {
    Waits(MidHandshakeSslStream<End>),
    Done(SslStream<End>),
    Failed,
}

impl Progress {
    fn of(result: Result<SslStream<End>, HandshakeError<End>>) -> Progress {
        match result {
            Ok(stream) => Progress::Done(stream),
            Err(HandshakeError::WouldBlock(waits)) => Progress::Waits(waits),
            Err(_) => Progress::Failed,
        }
    }

    fn go_on(self) -> Progress {
        match self {
            Progress::Waits(waits) => Progress::of(waits.handshake()),
            other => other,
        }
    }
}
