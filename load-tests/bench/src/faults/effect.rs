//! What is otherwise than usual at a time, in the parts of a system: by a fault, a deployment, a job or the hour of the day.

use super::system::System;

/// Of a service. Shares are of its requests, spread over all clients.
#[derive(Debug, Clone, PartialEq)]
pub struct OfService {
    /// Of its own time, for each operation; all are slower by the same where there is one.
    pub factor: f64,
    /// The operation that is slower or fails; all if there is none.
    pub operation: Option<usize>,
    /// Of its requests, those that are slower still, and by how much.
    pub tail_share: f64,
    pub tail_factor: f64,
    pub error_share: f64,
    /// Of its instances, those that are dead: connections to them fail.
    pub dead: f64,
    /// Of its instances, those that take requests and do not answer.
    pub hung: f64,
    /// Of new connections, those that are refused.
    pub refuses: f64,
}

/// Of an edge.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OfCall {
    pub delay_us: f64,
    /// Of requests, those of which a packet is lost and sent again.
    pub lost: f64,
}

/// All of a system at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub services: Vec<OfService>,
    pub calls: Vec<OfCall>,
    /// Whether the job runs.
    pub job_runs: bool,
}

impl State {
    pub fn usual(system: &System) -> State {
        let usual = OfService {
            factor: 1.0,
            operation: None,
            tail_share: 0.0,
            tail_factor: 1.0,
            error_share: 0.0,
            dead: 0.0,
            hung: 0.0,
            refuses: 0.0,
        };
        State {
            services: vec![usual; system.services.len()],
            calls: vec![OfCall::default(); system.calls.len()],
            job_runs: false,
        }
    }
}
