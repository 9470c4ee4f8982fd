//! What orders and payments say to each other, by gRPC: one call, whose messages need no compiler of their own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// Takes a payment once for each order.
pub const PAY: &str = "/shop.Payments/Pay";

#[derive(Clone, PartialEq, prost::Message)]
pub struct Payment {
    #[prost(int64, tag = "1")]
    pub order: i64,
    #[prost(int64, tag = "2")]
    pub amount_cents: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Receipt {
    /// Whether the order was not paid before.
    #[prost(bool, tag = "1")]
    pub is_new: bool,
}

/// Payments, as others call it: over one connection, which opens with the first call and again after it was lost.
#[derive(Clone)]
pub struct Payments(Channel);

impl Payments {
    pub fn new(server: SocketAddr, timeout: Duration) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{server}")).context("naming the payments' address")?;
        Ok(Self(endpoint.tcp_nodelay(true).timeout(timeout).connect_lazy()))
    }

    pub async fn pay(&self, payment: Payment) -> Result<Receipt> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client.ready().await.context("connecting to payments")?;
        let codec = ProstCodec::<Payment, Receipt>::default();
        let answer = client.unary(tonic::Request::new(payment), PathAndQuery::from_static(PAY), codec).await;
        Ok(answer.context("payments")?.into_inner())
    }
}
