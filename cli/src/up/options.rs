//! What `up` was asked for.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::ArgMatches;
use headwater_processors::objectives::file::RulesFile;
use headwater_settings::{Environment, Problems};
use headwater_stack::Wanted;

use crate::settings::{Settings, for_children, for_page, given};

#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Start a sample system to look at, and capture nothing but it
    #[arg(long, conflicts_with_all = ["cgroup", "pid"])]
    pub demo: bool,
    /// Capture only this cgroup and those below it; may be given several times
    #[arg(long, value_name = "PATH")]
    pub cgroup: Vec<PathBuf>,
    /// Capture only this process; may be given several times
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Port of the web page on this machine
    #[arg(long, value_name = "PORT")]
    pub console_port: Option<u16>,
    /// Port of the Kafka that is started; a free one if absent
    #[arg(long, value_name = "PORT")]
    pub kafka_port: Option<u16>,
    /// Port of the registry that is started; a free one if absent
    #[arg(long, value_name = "PORT")]
    pub registry_port: Option<u16>,
    /// Keep topics and logs in this folder; without it they are gone at the end
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What services promise: alerts tell when one does not keep it; see `headwater rules`
    #[arg(long, value_name = "FILE")]
    pub objectives: Option<PathBuf>,
    /// When all is up, write addresses, process ids and commands to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Ask nothing
    #[arg(long, short)]
    pub yes: bool,
}

pub struct Options {
    pub args: UpArgs,
    pub settings: Settings,
    /// Systems that are there already.
    pub wanted: Wanted,
    /// Settings of Kafka, registry and logs for the children, as variables of the environment.
    pub for_children: Vec<(String, String)>,
    /// Settings of the page, as variables of its environment.
    pub for_page: Vec<(String, String)>,
}

impl Options {
    pub fn read(args: UpArgs, matches: &ArgMatches, environment: Environment, unknown: Problems) -> Result<Options> {
        let mut settings = Settings::read(matches, environment.clone(), unknown)?;
        if let Some(port) = args.console_port {
            settings.server.listen = SocketAddr::new(settings.server.listen.ip(), port);
        }
        if let Some(path) = &args.objectives {
            // The processors look at it themselves; what is wrong with it is told before anything starts.
            RulesFile::open(path)?;
        }
        let given = given(matches, environment);
        let wanted = Wanted {
            brokers: given.optional("kafka.brokers"),
            // As it was read: without user and password.
            registry_url: given.optional("registry.url").map(|_| settings.kafka.registry_url.clone()),
        };
        let (for_children, for_page) = (for_children(&given), for_page(&given));
        Ok(Options { args, settings, wanted, for_children, for_page })
    }
}
