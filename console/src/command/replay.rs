//! `headwater replay`: computes a past range again, into topics of another prefix.

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {}
