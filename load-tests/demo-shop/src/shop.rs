//! The whole shop: starts every part in order, watches them, and stops them in the opposite order.
//!
//! In: [`ShopOptions`]. Out: a running [`Shop`]. Promise: whether it is stopped, dropped or killed, none of its
//! processes stays; unless it was killed, neither does its folder or its cgroup.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headwater_process::Cgroup;
use tempfile::TempDir;

use crate::events::Broker;
use crate::fault::{self, Fault, Service};
use crate::load::LoadOptions;
use crate::parts::{Part, Site};
use crate::programs::{Programs, User, unprivileged_user};
use crate::report::{Line, Total};
use crate::tls;

/// The folder of a shop has a name that starts so.
pub const DIR_PREFIX: &str = "headwater-demo-";

/// Longer than the load generator waits for its last answers.
const STOP_PATIENCE: Duration = Duration::from_secs(12);

pub struct ShopOptions {
    /// Where the shop makes its folder. The user `nobody` must be able to enter it.
    pub dir: PathBuf,
    /// Whether all stays in the cgroup that this process is in, which whoever started it made and removes; else a new one holds it.
    pub stays_in_cgroup: bool,
    /// The load to start with, if any.
    pub load: Option<LoadOptions>,
}

impl Default for ShopOptions {
    fn default() -> Self {
        Self { dir: std::env::temp_dir(), stays_in_cgroup: false, load: Some(LoadOptions::default()) }
    }
}

/// A running shop. The order of the fields is the order in which they are given back: the parts, then their
/// cgroup and their folder.
pub struct Shop {
    parts: Vec<Part>,
    site: Site,
    /// The one that was made.
    cgroup: Option<Cgroup>,
    cgroup_path: PathBuf,
    dir: Option<TempDir>,
    /// PostgreSQL and Redis.
    stores: [(&'static str, SocketAddr); 2],
    gateway: Option<SocketAddr>,
    loads_started: AtomicU32,
}

impl Shop {
    /// Starts everything and returns when every part answers and, with a load, the first request was answered.
    /// Blocks for some seconds; `progress` gets a line before each step.
    pub fn start(options: &ShopOptions, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let mut shop = Self::start_stores(options, progress)?;
        shop.start_services(options, progress)?;
        Ok(shop)
    }

    /// The first part of [`Shop::start`], which takes most of its time: PostgreSQL and Redis, whom nobody asks yet.
    pub fn start_stores(options: &ShopOptions, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let programs = Programs::find()?;
        let user = unprivileged_user()?;
        let dir = create_dir(&options.dir, user.as_ref())?;
        let cgroup = if options.stays_in_cgroup { None } else { Some(Cgroup::create(DIR_PREFIX)?) };
        let path = cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
        let cgroup_path = match &path {
            Some(path) => path.clone(),
            None => Cgroup::of_this_process()?,
        };
        let site = Site { programs, cgroup: path, dir: dir.path().to_owned(), user, broker: None };
        let loads_started = AtomicU32::new(0);
        progress("demo shop: creating a database and starting PostgreSQL");
        let postgres = site.start_postgres()?;
        progress("demo shop: starting Redis");
        let redis = site.start_redis()?;
        let stores = [("--postgres", postgres.held_address()?), ("--redis", redis.held_address()?)];
        let parts = vec![postgres, redis];
        Ok(Self { parts, site, cgroup, cgroup_path, dir: Some(dir), stores, gateway: None, loads_started })
    }

    /// The cgroup that holds all of the shop's processes.
    pub fn cgroup_path(&self) -> &Path {
        &self.cgroup_path
    }

    /// The folder with the logs and sockets of all parts.
    pub fn dir(&self) -> &Path {
        &self.site.dir
    }

    /// Where customers go, without a slash at the end.
    pub fn gateway_url(&self) -> String {
        // A shop that was started has its gateway.
        self.gateway.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// All processes that run now, nginx's workers and PostgreSQL's backends included.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let procs = self.cgroup_path.join("cgroup.procs");
        let text = fs::read_to_string(&procs).with_context(|| format!("reading {}", procs.display()))?;
        let pids = text.lines().filter_map(|line| line.parse().ok());
        Ok(pids.filter(|pid| *pid != std::process::id()).collect())
    }

    /// Makes a service slow or wrong; [`Fault::NONE`] heals it.
    pub fn fault(&self, service: Service, fault: Fault) -> Result<()> {
        fault::set(&service.fault_socket(self.dir()), fault).map(drop)
    }

    /// Runs a load inside the shop's cgroup to its end and returns its totals.
    pub fn run_load(&self, load: &LoadOptions) -> Result<Vec<Total>> {
        let from_requests = load.requests.map(|requests| Duration::from_secs_f64(requests as f64 / load.rate));
        let planned = load.duration.into_iter().chain(from_requests).min();
        let planned = planned.context("a load that is waited for needs a number of requests or a duration")?;
        let mut part = self.start_load(load)?;
        part.child.await_success(planned + Duration::from_secs(30))?;
        let log = part.child.log();
        let log = fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
        let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        Ok(lines.filter_map(|line| if let Line::Total(total) = line { Some(total) } else { None }).collect())
    }

    /// Fails if a part has ended, with the last lines of its log. To be called now and then.
    pub fn check(&mut self) -> Result<()> {
        Ok(self.parts.iter_mut().try_for_each(|part| part.child.require())?)
    }

    /// Starts parts again that have ended, each after a pause. To be called now and then; returns what is to be told.
    pub fn look_after(&mut self) -> Result<Vec<String>> {
        let told: Result<Vec<_>> = self.parts.iter_mut().map(Part::look_after).collect();
        Ok(told?.into_iter().flatten().collect())
    }

    /// Stops every part and removes the cgroup and the folder.
    pub fn stop(mut self) -> Result<()> {
        self.stop_all()
    }

    /// Gives the services that start from now on a broker, which somebody else runs.
    pub fn uses(&mut self, broker: Option<Broker>) {
        self.site.broker = broker;
    }

    /// The rest: services, gateway and load. After an error the shop is of no use but to be dropped, which stops what runs.
    pub fn start_services(&mut self, options: &ShopOptions, progress: &mut dyn FnMut(&str)) -> Result<()> {
        let stores = self.stores;
        let catalog = self.start_service(Service::Catalog, &stores, progress)?;
        tls::make_certificate(&self.site.certificate())?;
        let bank = self.start_service(Service::Bank, &[], progress)?;
        let payments = self.start_service(Service::Payments, &[stores[0], ("--bank", bank)], progress)?;
        let catalog_flag = ("--catalog", catalog);
        let peers = [stores[0], catalog_flag, ("--payments", payments)];
        let orders = self.start_service(Service::Orders, &peers, progress)?;
        let peers = [stores[0], catalog_flag];
        let shipping = self.start_service(Service::Shipping, &peers, progress)?;

        progress("demo shop: starting nginx");
        let part = self.site.start_nginx(catalog, orders, shipping)?;
        self.gateway = Some(part.held_address()?);
        self.parts.push(part);
        if let Some(load) = &options.load {
            progress(&format!("demo shop: sending {} requests a second", load.rate));
            let mut part = self.start_load(load)?;
            part.await_ready_line()?;
            self.parts.push(part);
        }
        Ok(())
    }

    fn start_service(
        &mut self,
        service: Service,
        peers: &[(&str, SocketAddr)],
        progress: &mut dyn FnMut(&str),
    ) -> Result<SocketAddr> {
        progress(&format!("demo shop: starting {service}"));
        let (part, address) = self.site.start_service(service, peers)?;
        self.parts.push(part);
        Ok(address)
    }

    fn start_load(&self, load: &LoadOptions) -> Result<Part> {
        let gateway = self.gateway.context("the shop has no gateway yet")?;
        let number = self.loads_started.fetch_add(1, Ordering::Relaxed) + 1;
        self.site.start_load(gateway, load, &format!("shop-load-{number}"))
    }

    /// Goes on after an error, so that as much as possible is given back.
    fn stop_all(&mut self) -> Result<()> {
        let Some(dir) = self.dir.take() else { return Ok(()) };
        // The load goes first and the stores last, so that stopping causes no errors.
        while let Some(mut part) = self.parts.pop() {
            part.child.stop(STOP_PATIENCE);
        }
        let emptied = self.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.remove(Duration::from_secs(5)));
        dir.close().context("removing the shop's folder")?;
        Ok(emptied?)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Whoever wants to know of errors calls `stop`.
        let _ = self.stop_all();
    }
}

/// A fresh folder in `parent` that the unprivileged user can enter.
fn create_dir(parent: &Path, user: Option<&User>) -> Result<TempDir> {
    let parent = fs::canonicalize(parent).with_context(|| format!("looking for the folder {}", parent.display()))?;
    if let Some(user) = user {
        for folder in parent.ancestors() {
            let metadata = fs::metadata(folder).with_context(|| format!("looking at {}", folder.display()))?;
            ensure!(
                metadata.permissions().mode() & 0o001 != 0,
                "the demo shop cannot live in {}, as its PostgreSQL runs as the user {}, which may not enter {}; \
                 choose another folder (TMPDIR or --dir), or `chmod o+x {}`",
                parent.display(),
                user.name,
                folder.display(),
                folder.display()
            );
        }
    }
    tempfile::Builder::new()
        .prefix(DIR_PREFIX)
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(&parent)
        .with_context(|| format!("creating a folder in {}", parent.display()))
}
