//! The demo shop for a person: `demo-shop up` runs it, `demo-shop fault` breaks one of its services.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people in a terminal")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use headwater_demo_shop::{DIR_PREFIX, Fault, LoadOptions, Service, Shop, ShopOptions, fault, service};
use signal_hook::consts::{SIGINT, SIGTERM};

/// A small web shop of plain programs, to look at with Headwater.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start the shop and its load, until Ctrl-C.
    Up(Up),
    /// Make one service of the running shop slow or wrong.
    Fault(FaultArgs),
}

#[derive(clap::Args)]
struct Up {
    /// Requests a second; 0 starts no load.
    #[arg(long, default_value_t = LoadOptions::default().rate)]
    rate: f64,
    /// Decides what is requested, together with the rate.
    #[arg(long, default_value_t = LoadOptions::default().seed)]
    seed: u32,
    /// Write each request and its answer to this file, one JSON object a line.
    #[arg(long)]
    report: Option<PathBuf>,
    /// The folder in which the shop makes its own.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Stay in the cgroup that this program was started in, instead of making one, which takes root.
    #[arg(long)]
    stay_in_cgroup: bool,
    /// Start what uses the databases only when a line has come from the standard input: empty, or a broker of Kafka that the shop may use,
    /// as {"address": "127.0.0.1:9092", "user": "shop", "password": "secret"} (SASL PLAIN).
    #[arg(long)]
    hold: bool,
}

#[derive(clap::Args)]
struct FaultArgs {
    service: Service,
    #[command(flatten)]
    change: FaultChange,
    /// The folder in which the shop made its own.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
}

#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct FaultChange {
    /// Wait so long before each request is handled.
    #[arg(long)]
    latency_ms: Option<u64>,
    /// Fail this share of requests, from 0 to 1, with status 500.
    #[arg(long)]
    error_rate: Option<f64>,
    /// End the fault.
    #[arg(long, conflicts_with_all = ["latency_ms", "error_rate"])]
    clear: bool,
}

fn main() -> ExitCode {
    service::exit_code(match Args::parse().command {
        Verb::Up(up) => run(up),
        Verb::Fault(args) => set_fault(&args),
    })
}

fn run(up: Up) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("listening for Ctrl-C")?;
    }
    let load = LoadOptions { rate: up.rate, seed: up.seed, report: up.report, ..LoadOptions::default() };
    let options =
        ShopOptions { dir: up.dir, stays_in_cgroup: up.stay_in_cgroup, load: (up.rate > 0.0).then_some(load) };
    let mut say = |line: &str| println!("{line}");
    let mut shop = Shop::start_stores(&options, &mut say)?;
    if up.hold {
        let mut line = String::new();
        let came = io::stdin().read_line(&mut line).context("waiting for a line of the standard input")?;
        // Whoever started it wants it no more.
        if came == 0 || stop.load(Ordering::Relaxed) {
            return shop.stop();
        }
        if !line.trim().is_empty() {
            shop.uses(Some(serde_json::from_str(&line).context("reading what broker the shop may use")?));
        }
    }
    shop.start_services(&options, &mut say)?;
    println!("demo shop: ready at {}", shop.gateway_url());
    println!("  cgroup: {}", shop.cgroup_path().display());
    println!("  logs:   {}", shop.dir().display());
    println!("  break a service: demo-shop fault shop-payments --latency-ms 300 --error-rate 0.5");
    println!("Ctrl-C stops it.");
    while !stop.load(Ordering::Relaxed) {
        shop.look_after()?.iter().for_each(|line| println!("demo shop: {line}"));
        thread::sleep(Duration::from_millis(200));
    }
    println!("demo shop: stopping");
    shop.stop()
}

fn set_fault(args: &FaultArgs) -> Result<()> {
    let shop_dir = running_shop(&args.dir, args.service)?;
    let fault =
        Fault { latency_ms: args.change.latency_ms.unwrap_or(0), error_rate: args.change.error_rate.unwrap_or(0.0) };
    let now = fault::set(&args.service.fault_socket(&shop_dir), fault)?;
    if now == Fault::NONE {
        println!("{}: no fault", args.service);
    } else {
        println!("{}: {} ms of latency, {} of requests fail", args.service, now.latency_ms, now.error_rate);
    }
    Ok(())
}

/// The folder of the only running shop in `dir`, or `dir` itself if it is one.
fn running_shop(dir: &Path, service: Service) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("looking for a demo shop in {}", dir.display()))?;
    let is_shop = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DIR_PREFIX));
    let shops = entries.flatten().map(|entry| entry.path()).filter(is_shop).chain([dir.to_owned()]);
    // A shop that was killed leaves its folder; only a running one answers.
    let answers = |shop: &PathBuf| std::os::unix::net::UnixStream::connect(service.fault_socket(shop)).is_ok();
    let running: Vec<PathBuf> = shops.filter(answers).collect();
    match running.as_slice() {
        [shop] => Ok(shop.clone()),
        [] => bail!("no demo shop runs in {}; start one with `demo-shop up`", dir.display()),
        several => bail!("several demo shops run; choose one with --dir: {several:?}"),
    }
}
