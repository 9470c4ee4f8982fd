//! What the shop's services have in common: their flags, their runtime, their listener and how they fail.
//!
//! In: routes. Out: a server of HTTP/1.1 and, for who begins with it, HTTP/2, that says `ready ADDRESS` on its output once it listens.

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::serve::{Listener, ListenerExt};
use openssl::ssl::SslAcceptor;
use tokio::net::TcpListener;

use crate::fault::{self, Switch};
use crate::tls::TlsListener;

/// The word that starts the line by which a program of ours says that it is ready.
pub const READY: &str = "ready";

/// The flags that every service has.
#[derive(clap::Args)]
pub struct ServiceArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Unix socket that takes injected faults.
    #[arg(long)]
    pub fault_socket: PathBuf,
}

/// Runs a program of ours to its end on two threads, as a small real service would.
pub fn run(program: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime");
    exit_code(runtime.and_then(|runtime| runtime.block_on(program)))
}

/// Says an error in one line, without a backtrace: it is for people, and the end of a log is what they see.
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends this service when a store that it cannot work without has closed its connection. The shop starts it again, with a new one.
pub fn end_without(store: &str, why: Option<impl Display>) {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    eprintln!("error: the connection to {store} is gone{why}");
    std::process::exit(1);
}

/// Serves the routes, with injected faults in front of them, until the process is stopped.
pub async fn serve(args: &ServiceArgs, routes: Router) -> Result<()> {
    let listener = listener(args).await?.tap_io(|stream| {
        // An answer must not wait for the client's delayed acknowledgement; without the option it is only slower.
        let _ = stream.set_nodelay(true);
    });
    serve_on(args, routes, listener).await
}

/// The same under TLS.
pub async fn serve_over(args: &ServiceArgs, routes: Router, acceptor: SslAcceptor) -> Result<()> {
    let listener = TlsListener::start(listener(args).await?, acceptor).context("accepting connections")?;
    serve_on(args, routes, listener).await
}

async fn listener(args: &ServiceArgs) -> Result<TcpListener> {
    TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))
}

async fn serve_on<L: Listener<Addr = SocketAddr>>(args: &ServiceArgs, routes: Router, listener: L) -> Result<()> {
    let switch = Switch::default();
    switch.listen(&args.fault_socket).await?;
    let address = listener.local_addr().context("asking for the address of the listener")?;
    println!("{READY} {address}");
    let routes = routes.layer(middleware::from_fn_with_state(switch, fault::inject));
    axum::serve(listener, routes).await.context("serving HTTP")
}

/// An answer that is not a success: its status and a line that says why.
pub struct Failure(StatusCode, String);

impl Failure {
    pub fn not_found(what: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, what.into())
    }

    /// Another service did not do its part.
    pub fn upstream(what: impl Into<String>) -> Self {
        Self(StatusCode::BAD_GATEWAY, what.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

/// Whatever a handler did not foresee, such as a database that is gone, is status 500.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", error.into()))
    }
}
