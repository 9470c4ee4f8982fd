//! Two network namespaces with a router between them that translates both addresses, as a Kubernetes service does.
//!
//! ```text
//! client 10.71.1.2 --- router: DNAT 10.71.9.9:80 to the server, SNAT to 10.71.2.1 --- server 10.71.2.2
//! ```
//!
//! The same for IPv6. Nothing leaves the namespaces, which go away with the value.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What the client connects to.
pub const VIRTUAL_PORT: u16 = 80;

/// One address family's addresses.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub client: IpAddr,
    pub server: IpAddr,
    /// What the client takes for the server.
    pub virtual_server: IpAddr,
    /// What the server takes for the client.
    pub translated_client: IpAddr,
}

/// The namespaces, named after this process.
pub struct Nat {
    pub client: String,
    pub server: String,
    router: String,
    pub server_port: u16,
    pub families: [Addresses; 2],
}

impl Nat {
    /// Makes the namespaces and translates the virtual address to `server_port`.
    pub fn make(server_port: u16) -> Result<Nat> {
        let name = |part: &str| format!("headwater-{part}-{}", std::process::id());
        let nat = Nat {
            client: name("client"),
            server: name("server"),
            router: name("router"),
            server_port,
            families: [
                addresses(["10.71.1.2", "10.71.2.2", "10.71.9.9", "10.71.2.1"])?,
                addresses(["fd71:1::2", "fd71:2::2", "fd71:9::9", "fd71:2::1"])?,
            ],
        };
        for namespace in [&nat.client, &nat.server, &nat.router] {
            ip(&["netns", "add", namespace])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        nat.connect(&nat.client, "1")?;
        nat.connect(&nat.server, "2")?;
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let forward = format!("echo 1 > /proc/sys/net/{setting}");
            run(Command::new("ip").args(["netns", "exec", &nat.router, "sh", "-c", &forward]))?;
        }
        nat.translate()?;
        Ok(nat)
    }

    /// A link between a namespace and the router; `net` is the number of its network.
    fn connect(&self, namespace: &str, net: &str) -> Result<()> {
        let at_router = format!("hw{net}");
        // Linux 6.1 refuses a name that a device has where the command runs, too.
        let link = ["link", "add", "hw0", "netns", namespace, "type", "veth", "peer", &at_router, "netns"];
        ip(&[&link[..], &[&self.router]].concat())?;
        let (v4, v6) = (format!("10.71.{net}"), format!("fd71:{net}:"));
        for (namespace, device, host) in [(namespace, "hw0", "2"), (&self.router, &at_router, "1")] {
            ip(&["-n", namespace, "address", "add", &format!("{v4}.{host}/24"), "dev", device])?;
            // Without the search for duplicates, the address can be used at once.
            ip(&["-n", namespace, "address", "add", &format!("{v6}:{host}/64"), "dev", device, "nodad"])?;
            ip(&["-n", namespace, "link", "set", device, "up"])?;
        }
        ip(&["-n", namespace, "route", "add", "default", "via", &format!("{v4}.1")])?;
        ip(&["-n", namespace, "-6", "route", "add", "default", "via", &format!("{v6}:1")])
    }

    fn translate(&self) -> Result<()> {
        let mut rules = String::new();
        for (family, addresses) in ["ip", "ip6"].into_iter().zip(&self.families) {
            let Addresses { server, virtual_server, translated_client, .. } = addresses;
            let target = SocketAddr::new(*server, self.server_port);
            rules.push_str(&format!(
                "table {family} headwater {{\n\
                 chain before {{\ntype nat hook prerouting priority dstnat;\n\
                 {family} daddr {virtual_server} tcp dport {VIRTUAL_PORT} dnat to {target}\n}}\n\
                 chain after {{\ntype nat hook postrouting priority srcnat;\n\
                 {family} daddr {server} snat to {translated_client}\n}}\n}}\n"
            ));
        }
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.router, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("start nft")?;
        nft.stdin.take().context("no standard input")?.write_all(rules.as_bytes())?;
        let status = nft.wait()?;
        if !status.success() {
            bail!("nft ended with {status} on\n{rules}");
        }
        Ok(())
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        for namespace in [&self.client, &self.server, &self.router] {
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

fn addresses(texts: [&str; 4]) -> Result<Addresses> {
    let [client, server, virtual_server, translated_client] = texts.map(str::parse);
    Ok(Addresses {
        client: client?,
        server: server?,
        virtual_server: virtual_server?,
        translated_client: translated_client?,
    })
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
