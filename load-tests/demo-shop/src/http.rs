//! An HTTP/1.1 client with kept-alive connections to one server.
//!
//! In: a request. Out: its answer, with the moments at which it was sent and fully received. Promise: a connection is
//! opened only when a request is about to use it, so no connection without a request appears (a usual client opens
//! some ahead). Bounds: connections to the server, time for one request, bytes of an answer.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::tls;

const ANSWER_BYTES_MAX: usize = 1 << 20;

pub struct HttpClient {
    server: SocketAddr,
    timeout: Duration,
    /// None if it speaks in clear text.
    tls: Option<SslConnector>,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

type Connection = SendRequest<Full<Bytes>>;

pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// When the request was handed to an open connection.
    pub sent: Instant,
    /// When the last byte of the body was there.
    pub received: Instant,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).context("reading the answer's JSON")
    }
}

impl HttpClient {
    pub fn new(server: SocketAddr, connections_max: usize, timeout: Duration) -> Self {
        let (permits, idle) = (Semaphore::new(connections_max), Mutex::new(Vec::new()));
        Self { server, timeout, tls: None, permits, idle }
    }

    /// The same under TLS.
    pub fn over(self, tls: SslConnector) -> Self {
        Self { tls: Some(tls), ..self }
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer> {
        let body = serde_json::to_vec(body).context("writing the request's JSON")?;
        self.send("POST", path, Some(body)).await
    }

    /// Sends a request, with a JSON body if one is given, and waits for its whole answer.
    pub async fn send(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> Result<Answer> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(method, path, body)).await;
        let answer = answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {:?}", self.timeout)));
        answer.with_context(|| format!("{method} http://{}{path}", self.server))
    }

    async fn exchange(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path).header("host", self.server.to_string());
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request =
            request.body(Full::new(Bytes::from(body.unwrap_or_default()))).context("composing the request")?;

        let _permit = self.permits.acquire().await.context("the client is closed")?;
        let mut connection = self.connection().await?;
        let sent = Instant::now();
        let response = connection.send_request(request).await.context("sending the request")?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?.to_bytes();
        let received = Instant::now();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(Answer { status, body, sent, received })
    }

    /// The connection used last that the server has not closed since, or a new one.
    async fn connection(&self) -> Result<Connection> {
        while let Some(mut connection) = self.take_idle() {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect(self.server).await.context("connecting")?;
        stream.set_nodelay(true).context("setting TCP_NODELAY")?;
        match &self.tls {
            Some(tls) => open(TokioIo::new(tls::connect(stream, tls).await?)).await,
            None => open(TokioIo::new(stream)).await,
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

async fn open(stream: impl Read + Write + Unpin + Send + 'static) -> Result<Connection> {
    let (connection, driver) = http1::handshake(stream).await.context("opening the connection")?;
    // The driver ends with its connection; the error of a request reaches the one who sent it.
    tokio::spawn(async { drop(driver.await) });
    Ok(connection)
}
