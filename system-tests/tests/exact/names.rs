//! Whose a socket is: names come from what lasts, also where programs live for milliseconds, where cgroups are made again, and where a
//! name of the same kind stands somewhere else.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, stop, wait_for, wait_for_port};
use headwater_system_tests::topics;

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Requests of each server and each step.
const EACH: usize = 100;

/// Programs that live for a moment: in a container, and in a unit.
const SHELLS: usize = 100;
const CLIENTS: usize = 2_000;

/// Asks a server, over connections of this test's own, which are not captured.
fn ask(address: SocketAddr, path: &str, times: usize) -> Result<()> {
    for i in 0..times {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET /{path}/{i} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.") {
            bail!("{address} answered `{answer}`");
        }
    }
    Ok(())
}

/// Records of one side by the name of their workload, of requests whose path begins so.
fn by_name(lab: &Lab, side: Side, prefix: &str) -> Result<BTreeMap<String, usize>> {
    let mut names = BTreeMap::new();
    for request in topics::requests(&lab.settings)? {
        if request.side == side && request.path.starts_with(prefix) {
            let namespace = if request.namespace.is_empty() { String::new() } else { request.namespace + "/" };
            *names.entry(namespace + &request.workload).or_default() += 1;
        }
    }
    Ok(names)
}

/// Waits until so many records came, and says whose they are.
fn names_of(lab: &Lab, side: Side, prefix: &str, count: usize) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let came = wait_for("the records", || {
        names = by_name(lab, side, prefix)?;
        Ok(names.values().sum::<usize>() >= count)
    });
    if let Err(error) = came {
        let counters = topics::agents(&lab.settings).unwrap().last().map(|agent| agent.counters.clone());
        panic!("{error}: {names:?} of {count}; {counters:?}");
    }
    names
}

/// A cgroup below that of the lab, such as `system.slice/ssh.service`; removed at its end.
struct Below {
    path: PathBuf,
    top: PathBuf,
}

impl Below {
    fn make(lab: &Lab, path: &str) -> Result<Below> {
        let top = lab.cgroup.path().to_owned();
        let path = top.join(path);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Below { path, top })
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        // The kernel lets go of ended processes a moment later.
        let _ = wait_for("the cgroup's end", || Ok(fs::remove_dir(&self.path).is_ok()));
        let between = self.path.ancestors().skip(1).take_while(|folder| *folder != self.top);
        between.take_while(|folder| fs::remove_dir(folder).is_ok()).for_each(drop);
    }
}

fn server(lab: &Lab, cgroup: Option<&Path>, label: &str, command: Command, port: &Port) -> Result<Child> {
    let launch = Launch::new(label, command, lab.folder.path().join(format!("{label}.log")));
    let launch = match cgroup {
        Some(cgroup) => launch.in_cgroup(cgroup),
        None => launch,
    };
    let process = launch.spawn()?;
    wait_for_port(port.address())?;
    Ok(process)
}

/// A Python program that serves, as a file of this name.
fn python(lab: &Lab, file: &str) -> Result<(Command, Port)> {
    let port = Port::free()?;
    let number = port.number();
    let path = lab.folder.path().join(file);
    let text = format!(
        "import http.server, socketserver\n\
         class Handler(http.server.BaseHTTPRequestHandler):\n    \
             def do_GET(self):\n        \
                 self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')\n\
         http.server.ThreadingHTTPServer(('127.0.0.1', {number}), Handler).serve_forever()\n"
    );
    fs::write(&path, text)?;
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-u").arg(&path);
    Ok((command, port))
}

#[test]
fn programs_that_live_for_milliseconds_have_the_name_of_their_container_or_unit() {
    let lab = Lab::start().unwrap();
    let port = Port::free().unwrap();
    let _nginx = lab.nginx(&[port.address().to_string()], None).unwrap();
    wait_for_port(port.address()).unwrap();
    let mut agent = lab.agent().unwrap();
    let address = port.address();
    // Made after the agent was started, as containers are.
    let container = Below::make(&lab, &format!("docker-{CONTAINER}.scope")).unwrap();
    let unit = Below::make(&lab, "system.slice/shop.service").unwrap();
    let run = |cgroup: &Below, path: &str, count: usize, threads: usize| {
        let script = format!("echo 0 > {}/cgroup.procs; exec curl -s -o /dev/null $0", cgroup.path.display());
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let script = &script;
                scope.spawn(move || {
                    for i in 0..count / threads {
                        let url = format!("http://{address}/ok/{path}/{thread}/{i}");
                        let status = Command::new("sh").args(["-c", script, &url]).status().unwrap();
                        assert!(status.success(), "curl ended with {status}");
                    }
                });
            }
        });
    };
    run(&container, "container", SHELLS, 1);
    run(&unit, "unit", CLIENTS, 4);
    // Gone before anyone could look.
    drop((container, unit));
    let names = names_of(&lab, Side::Client, "/ok/container/", SHELLS);
    assert_eq!(names, BTreeMap::from([("curl@0123456789ab".to_owned(), SHELLS)]));
    let names = names_of(&lab, Side::Client, "/ok/unit/", CLIENTS);
    assert_eq!(names, BTreeMap::from([("shop".to_owned(), CLIENTS)]));
    stop(&mut agent).unwrap();
}

#[test]
fn a_filter_by_cgroup_survives_that_the_cgroup_is_made_again_and_sees_sockets_made_outside_of_it() {
    let lab = Lab::start().unwrap();
    let mut agent = lab.agent().unwrap();
    for step in ["first", "again"] {
        let (command, port) = python(&lab, "again.py").unwrap();
        let mut process = server(&lab, Some(lab.cgroup.path()), step, command, &port).unwrap();
        ask(port.address(), step, EACH).unwrap();
        process.kill();
        wait_for("the cgroup's end", || Ok(fs::remove_dir(lab.cgroup.path()).is_ok())).unwrap();
        fs::create_dir(lab.cgroup.path()).unwrap();
    }
    // It binds its socket outside, and moves in before it serves.
    let (command, port) = python(&lab, "moved.py").unwrap();
    let moved = server(&lab, None, "moved", command, &port).unwrap();
    fs::write(lab.cgroup.path().join("cgroup.procs"), moved.pid().to_string()).unwrap();
    ask(port.address(), "moved", EACH).unwrap();
    for step in ["first", "again", "moved"] {
        let names = names_of(&lab, Side::Server, &format!("/{step}/"), EACH);
        assert_eq!(names.values().sum::<usize>(), EACH, "{step}");
    }
    stop(&mut agent).unwrap();
}

#[test]
fn guests_and_sessions_are_not_taken_for_units() {
    let lab = Lab::start().unwrap();
    let mut agent = lab.agent().unwrap();
    let other = CONTAINER.replace('0', "1");
    let places = [
        ("ssh", "system.slice/ssh.service".to_owned(), "served.py"),
        ("cron", "system.slice/cron.service".to_owned(), "served.py"),
        ("lxc", "lxc.payload.web1/system.slice/nginx.service".to_owned(), "web1/nginx"),
        ("machine", "system.slice/nginx.service".to_owned(), "nginx"),
        (
            "nspawn",
            "machine.slice/systemd-nspawn@db1.service/payload/system.slice/nginx.service".to_owned(),
            "db1/nginx",
        ),
        ("podman", format!("system.slice/shop.service/libpod-payload-{CONTAINER}"), "shop"),
        ("podman-again", format!("system.slice/shop.service/libpod-payload-{other}"), "shop"),
        (
            "user",
            format!("user.slice/user-1000.slice/user@1000.service/docker-{CONTAINER}.scope"),
            "served.py@0123456789ab@uid-1000",
        ),
    ];
    for (label, place, _) in &places {
        let cgroup = Below::make(&lab, place).unwrap();
        let (command, port) = python(&lab, "served.py").unwrap();
        let mut process = server(&lab, Some(&cgroup.path), label, command, &port).unwrap();
        ask(port.address(), label, 5).unwrap();
        process.kill();
    }
    for (label, _, name) in &places {
        let names = names_of(&lab, Side::Server, &format!("/{label}/"), 5);
        assert_eq!(names, BTreeMap::from([((*name).to_owned(), 5)]), "{label}");
    }
    stop(&mut agent).unwrap();
}

#[test]
fn programs_are_named_by_what_tells_them_apart() {
    let lab = Lab::start().unwrap();
    let mut agent = lab.agent().unwrap();
    let mut programs = Vec::new();
    for file in ["a.py", "b.py"] {
        let (command, port) = python(&lab, file).unwrap();
        programs.push((file, file, command, port));
    }
    let port = Port::free().unwrap();
    let mut node = Command::new("node");
    let code = "require('http').createServer((q, a) => a.end('ok')).listen(Number(process.argv[1]), '127.0.0.1')";
    node.args(["-e", code]).arg(port.number().to_string());
    programs.push(("node", "node", node, port));
    // What setproctitle does, in a language that can do it by itself.
    for title in ["shop", "blog"] {
        let port = Port::free().unwrap();
        let mut perl = Command::new("perl");
        let code = "use IO::Socket::INET; $0 = \"gunicorn: worker [$ARGV[1]]\"; \
             my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ARGV[0], Listen => 64, ReuseAddr => 1) or die; \
             while (my $c = $l->accept) { while (<$c>) { last if /^\\r?$/ } print $c \"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok\"; close $c }";
        perl.args(["-e", code]).arg(port.number().to_string()).arg(title);
        programs.push((title, title, perl, port));
    }
    let (mut command, port) = python(&lab, "c.py").unwrap();
    command.env("OTEL_SERVICE_NAME", "checkout");
    programs.push(("otel", "checkout", command, port));

    let mut running = Vec::new();
    for (label, name, command, port) in programs {
        let process = server(&lab, Some(lab.cgroup.path()), label, command, &port).unwrap();
        ask(port.address(), label, 5).context(label).unwrap();
        running.push((label, name, process, port));
    }
    for (label, name, ..) in &running {
        let names = names_of(&lab, Side::Server, &format!("/{label}/"), 5);
        assert_eq!(names, BTreeMap::from([((*name).to_owned(), 5)]), "{label}");
    }
    stop(&mut agent).unwrap();
}
