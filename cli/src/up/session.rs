//! Everything that one `up` runs: started in order, watched, stopped in the opposite order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_kafka::KafkaSettings;
use headwater_process::{Kept, Seen, tail};
use headwater_stack::{Progress, Services, StackOptions};

use super::access;
use super::demo::Demo;
use super::options::Options;
use super::page::Page;
use super::place::Place;
use super::preflight::Programs;
use super::ready::{DemoReady, Ready};
use super::say::Say;
use crate::child::Program;
use crate::running::{Access, Announced, Running};

const POLL: Duration = Duration::from_millis(100);
/// Loading the probes, registering schemas and creating topics takes a few seconds.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(90);
/// The agent delivers its last records; what it cannot deliver in this time it counts as dropped.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// The order of the fields is the order in which they are given back, should this process fail in between.
pub struct Session {
    agent: Kept,
    processor: Kept,
    page: Page,
    demo: Option<Demo>,
    services: Services,
    kafka: KafkaSettings,
    /// Who is let into what was started.
    access: Option<Access>,
    ready_file: Option<PathBuf>,
    /// So that other commands find this `up` by themselves.
    announced: Option<Announced>,
    place: Place,
}

/// Set by Ctrl-C and SIGTERM. A second one ends this process at once; the kernel then stops its children.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The order counts: the first Ctrl-C finds the flag not set yet.
        let doing = "listen for Ctrl-C";
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop)).context(doing)?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).context(doing)?;
    }
    Ok(stop)
}

impl Session {
    /// Returns when the page is served, the agent's first heartbeat has come through Kafka, and the sample system runs; none if the user
    /// stops it.
    pub fn start(options: &Options, programs: &Programs, say: &Say, stop: &Arc<AtomicBool>) -> Result<Option<Session>> {
        let place = Place::make(&options.args, &programs.folder, say)?;
        say.step(&format!("Logs are in {}", place.log_dir.display()));
        if let Some(user) = place.user {
            say.step(&format!("All but the agent runs as user {}", user.uid));
        }

        // The sample system's databases take about as long as Kafka: both start at the same time.
        let demo = match options.args.demo {
            true => Some(Demo::start(&programs.folder, &place)?),
            false => None,
        };
        let Some(services) = open_services(options, &place, say, stop)? else { return Ok(None) };
        let mut kafka = KafkaSettings {
            brokers: services.bootstrap().to_owned(),
            registry_url: services.registry_url().trim_end_matches('/').to_owned(),
            ..options.settings.kafka.clone()
        };
        let access = access::give(&services, &mut kafka, &place)?;
        let mut variables = [options.for_children.clone(), kafka.connection_variables()].concat();
        let mut page_variables = [variables.as_slice(), &options.for_page].concat();
        place.readable(&mut variables)?;
        place.readable(&mut page_variables)?;

        let program = |name, path: PathBuf, args: Vec<OsString>| {
            let log = place.log_dir.join(format!("{name}.log"));
            Program { name, path, args, variables: variables.clone(), log }
        };
        say.step("Starting the processors");
        let mut flags = processor_flags();
        if let Some(path) = &options.args.objectives {
            let path = std::path::absolute(path).context("find the file of objectives")?;
            flags.extend(["--objectives-file".into(), path.into_os_string()]);
        }
        let processor = program("headwater-processor", place.program("headwater-processor"), flags);
        let plain = place.plain();
        let processor = Kept::start(move || plain(processor.launch()))?;
        let mut cgroups = options.args.cgroup.clone();
        cgroups.extend(demo.as_ref().map(|demo| demo.cgroup().to_owned()));
        say.step("Starting the agent");
        let mut flags = capture_flags(&cgroups, &options.args.pid);
        flags.extend(["--spool-path".into(), place.spool().into_os_string()]);
        let agent = program("headwater-agent", programs.folder.join("headwater-agent"), flags);
        let root = place.root();
        let agent = Kept::start(move || root(agent.launch()))?;
        say.step("Starting the console");
        let page = Page::start(
            &place.program("headwater"),
            options.settings.server.listen,
            page_variables,
            &place.log_dir,
            place.plain(),
        )?;
        let mut session = Session {
            agent,
            processor,
            page,
            demo,
            services,
            kafka,
            access,
            ready_file: options.args.ready_file.clone(),
            announced: None,
            place,
        };
        let begun = session.begin(say, stop).and_then(|begun| {
            if begun {
                session.announce(&options.settings.up_folder, say);
                session.write_ready_file()?;
            }
            Ok(begun)
        });
        match begun {
            Ok(true) => Ok(Some(session)),
            unfinished => {
                session.stop(say);
                unfinished.map(|_| None)
            }
        }
    }

    /// Tells a person where everything is.
    pub fn introduce(&self, say: &Say) -> Result<()> {
        let KafkaSettings { brokers, registry_url, prefix, .. } = &self.kafka;
        say.step("Headwater is up");
        say.line("");
        say.heading(&format!("  The map:   {}", self.page.url()));
        // As it can be typed, wherever this program is.
        let program = std::env::current_exe().unwrap_or_else(|_| "headwater".into());
        let flags = match (&self.announced, &self.access) {
            (Some(_), _) => String::new(),
            (None, access) => {
                let access = access.as_ref().map(Access::flags).unwrap_or_default();
                format!(" --kafka-brokers {brokers} --registry-url {registry_url}{access}")
            }
        };
        say.line(&format!("  Terminal:  {} map --watch{flags}", program.display()));
        let client_file = self.access.as_ref().and_then(|access| access.client_file.as_ref());
        let reached = client_file.map_or(format!("-b {brokers}"), |file| format!("-F {}", file.display()));
        say.line(&format!("  Topics:    kcat {reached} -t {prefix}edges -f '%o %k\\n'"));
        say.line(&format!("  Schemas:   {registry_url}"));
        if let Some(Access { user, password_file, .. }) = &self.access {
            say.line(&format!("  Password:  of user {user}, in {}", password_file.display()));
        }
        if let Some(demo) = &self.demo {
            say.line(&format!("  Captured:  only the sample system, cgroup {}", demo.cgroup().display()));
            say.line(&format!("  Break it:  {}", words(&demo.fault_command()).join(" ")));
            say.line(&format!("  Heal it:   {}", words(&demo.clear_command()).join(" ")));
        }
        say.line(&format!("  Logs:      {}", self.place.log_dir.display()));
        say.line("  The first window closes in about 15 seconds. Ctrl-C stops everything.");
        say.line("");
        Ok(())
    }

    /// Looks after the children until the user stops, or one of them is beyond help.
    pub fn watch(&mut self, say: &Say, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            if self.look_after(say)? {
                self.write_ready_file()?;
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Stops what was started: first who writes, then who reads, Kafka last.
    pub fn stop(&mut self, say: &Say) {
        say.step("Stopping");
        self.agent.terminate();
        if let Some(demo) = &mut self.demo {
            demo.terminate();
        }
        self.processor.terminate();
        self.page.child.terminate();
        let say_killed = |name: &str| {
            say.warn(&format!("{name} did not stop in {} s and was killed", STOP_PATIENCE.as_secs()));
        };
        if self.agent.wait(STOP_PATIENCE) {
            say_killed(self.agent.name());
        }
        if let Some(demo) = &mut self.demo
            && demo.child.wait(STOP_PATIENCE)
        {
            say_killed(demo.child.name());
        }
        if self.processor.wait(STOP_PATIENCE) {
            say_killed(self.processor.name());
        }
        if self.page.child.wait(STOP_PATIENCE) {
            say_killed(self.page.child.name());
        }
        if let Some(path) = &self.ready_file {
            // It may be gone already; it must not stay and speak of what no longer runs.
            let _ = fs::remove_file(path);
        }
    }

    /// Looks once at each child. Returns whether a process id changed.
    fn look_after(&mut self, say: &Say) -> Result<bool> {
        let mut changed = false;
        for child in [&mut self.agent, &mut self.processor, &mut self.page.child] {
            match child.look_after()? {
                Seen::Running => {}
                Seen::Died(told, pause) => {
                    say.warn(&told.to_string());
                    say.step(&format!("{} is started again in {} s", child.name(), pause.as_secs()));
                }
                Seen::Restarted => {
                    say.step(&format!("{} was started again", child.name()));
                    changed = true;
                }
            }
        }
        if let Some(demo) = &mut self.demo {
            demo.news().iter().for_each(|line| say.step(line));
            if let Err(ended) = demo.child.require() {
                // A new shop would have another cgroup than the agent looks at.
                say.warn(&format!("{ended:#}"));
                say.step("The sample system has ended, and all else goes on; `up --demo` brings a new one");
                self.demo = None;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// What is to be seen begins when the agent looks. Returns false if the user stops it.
    fn begin(&mut self, say: &Say, stop: &AtomicBool) -> Result<bool> {
        Ok(self.wait_for_heartbeat(say, stop)?
            && match &mut self.demo {
                Some(demo) => demo.begin(&self.services, say, stop)?,
                None => true,
            })
    }

    /// Returns false if the user stops it.
    fn wait_for_heartbeat(&mut self, say: &Say, stop: &AtomicBool) -> Result<bool> {
        say.step("Waiting for the agent's first heartbeat");
        let deadline = Instant::now() + HEARTBEAT_TIMEOUT;
        while !self.page.is_fed() {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            // What dies in its first seconds will not do better the second time.
            self.agent.require()?;
            self.processor.require()?;
            self.page.child.require()?;
            self.look_after(say)?;
            if Instant::now() > deadline {
                let log = self.agent.log();
                bail!(
                    "no heartbeat of the agent came in {} s; the end of its log {}:\n{}",
                    HEARTBEAT_TIMEOUT.as_secs(),
                    log.display(),
                    tail(log)
                );
            }
            thread::sleep(POLL);
        }
        Ok(true)
    }

    fn announce(&mut self, folder: &Path, say: &Say) {
        let KafkaSettings { brokers, registry_url, prefix, .. } = &self.kafka;
        let running = Running::this(brokers, registry_url, prefix, self.page.url());
        match running.and_then(|running| running.with_access(self.access.clone()).announce(folder)) {
            Ok(announced) => self.announced = Some(announced),
            Err(error) => say.warn(&format!("Other commands will not find this `up` by themselves: {error:#}")),
        }
    }

    fn write_ready_file(&self) -> Result<()> {
        let Some(path) = &self.ready_file else { return Ok(()) };
        let own = ("headwater".to_owned(), Some(std::process::id()));
        let kept = [&self.agent, &self.processor, &self.page.child].map(|child| (child.name().to_owned(), child.pid()));
        let shop = self.demo.as_ref().map(|demo| (demo.child.name().to_owned(), Some(demo.child.pid())));
        let pids = kept.into_iter().chain(shop).chain([own]);
        let pids: BTreeMap<String, u32> = pids.filter_map(|(name, pid)| Some((name, pid?))).collect();
        let demo = self.demo.as_ref().map(|demo| DemoReady {
            cgroup: demo.cgroup().to_owned(),
            fault_command: words(&demo.fault_command()),
            clear_command: words(&demo.clear_command()),
        });
        let ready = Ready {
            console_url: self.page.url().to_owned(),
            brokers: self.kafka.brokers.clone(),
            registry_url: self.kafka.registry_url.clone(),
            prefix: self.kafka.prefix.clone(),
            access: self.access.clone(),
            log_dir: self.place.log_dir.clone(),
            pids,
            demo,
        };
        ready.write(path)
    }
}

/// Kafka and registry take their time, and a user who presses Ctrl-C meanwhile is not kept waiting: then none is returned,
/// and what runs by then ends with this process.
fn open_services(options: &Options, place: &Place, say: &Say, stop: &Arc<AtomicBool>) -> Result<Option<Services>> {
    let args = &options.args;
    let lines = say.clone();
    let stack = StackOptions {
        data_dir: args.data_dir.clone(),
        log_dir: Some(place.log_dir.clone()),
        user: place.user,
        closed_to: Some(access::credentials()?),
        kafka_port: args.kafka_port,
        registry_port: args.registry_port,
        progress: Progress::new(move |line| lines.step(line)),
        ..StackOptions::default()
    };
    let wanted = options.wanted.clone();
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("services".to_owned())
        .spawn(move || {
            // The receiver is gone if the user stopped waiting.
            let _ = sender.send(Services::open(&wanted, stack));
        })
        .context("start a thread for Kafka and the registry")?;
    while !stop.load(Ordering::Relaxed) {
        match receiver.recv_timeout(POLL) {
            Ok(services) => return Ok(Some(services?)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the thread that starts Kafka and the registry has failed"),
        }
    }
    Ok(None)
}

/// There is one, which goes on where it was also after a kill.
fn processor_flags() -> Vec<OsString> {
    ["all", "--processor-instance", "up"].map(OsString::from).to_vec()
}

fn capture_flags(cgroups: &[PathBuf], pids: &[u32]) -> Vec<OsString> {
    let mut flags = Vec::new();
    if !cgroups.is_empty() {
        let list: Vec<OsString> = cgroups.iter().map(|path| path.as_os_str().to_owned()).collect();
        flags.extend(["--capture-cgroup".into(), list.join(&OsString::from(","))]);
    }
    if !pids.is_empty() {
        let list: Vec<String> = pids.iter().map(u32::to_string).collect();
        flags.extend(["--capture-pid".into(), list.join(",").into()]);
    }
    flags
}

fn words(command: &[OsString]) -> Vec<String> {
    command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}
