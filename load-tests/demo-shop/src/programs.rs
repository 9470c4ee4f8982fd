//! Where the programs are, and as whom those run that refuse root.
//!
//! Our own programs lie beside the running one, as cargo puts them; nginx, redis-server and PostgreSQL come from the
//! distribution. All that is missing is reported at once, each with what to do.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The places of everything that a shop runs.
pub struct Programs {
    pub bank: PathBuf,
    pub catalog: PathBuf,
    pub orders: PathBuf,
    pub payments: PathBuf,
    pub shipping: PathBuf,
    pub load: PathBuf,
    pub nginx: PathBuf,
    pub redis_server: PathBuf,
    pub postgres: PathBuf,
    pub initdb: PathBuf,
}

impl Programs {
    pub fn find() -> Result<Self> {
        let mut missing = Vec::new();
        let own_dir = headwater_process::program_folder()?;
        let mut own = |name: &str| {
            let path = own_dir.join(name);
            if !path.is_file() {
                missing.push(format!("{} (build it with `cargo build -p headwater-demo-shop`)", path.display()));
            }
            path
        };
        let (bank, catalog, orders) = (own("shop-bank"), own("shop-catalog"), own("shop-orders"));
        let (payments, shipping, load) = (own("shop-payments"), own("shop-shipping"), own("shop-load"));

        let (path_dirs, postgres_dirs) = (path_dirs(), postgres_dirs());
        let mut installed = |name: &str, dirs: &[PathBuf], package: &str| {
            let found = dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
            found.unwrap_or_else(|| {
                missing.push(format!("{name} (install it, on Debian with `apt-get install {package}`)"));
                PathBuf::new()
            })
        };
        let programs = Self {
            bank,
            catalog,
            orders,
            payments,
            shipping,
            load,
            nginx: installed("nginx", &path_dirs, "nginx"),
            redis_server: installed("redis-server", &path_dirs, "redis-server"),
            postgres: installed("postgres", &postgres_dirs, "postgresql"),
            initdb: installed("initdb", &postgres_dirs, "postgresql"),
        };
        if missing.is_empty() {
            return Ok(programs);
        }
        bail!("the demo shop needs programs that are not here:\n  {}", missing.join("\n  "));
    }
}

/// A user to run a program as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The user for nginx, Redis and PostgreSQL: `nobody` when we are root, since PostgreSQL refuses root; else the
/// caller.
pub fn unprivileged_user() -> Result<Option<User>> {
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let user = find_user(&passwd, "nobody").context("/etc/passwd has no user `nobody` to run PostgreSQL as")?;
    Ok(Some(user))
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = line.split(':').skip(2).map(str::parse);
    let (uid, gid) = (ids.next()?.ok()?, ids.next()?.ok()?);
    Some(User { name: name.to_owned(), uid, gid })
}

/// The folders of PATH, and the two of the administrator, which a plain user's PATH may lack.
fn path_dirs() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    dirs
}

/// Debian keeps PostgreSQL's server programs out of PATH, one folder a version: the newest comes first.
fn postgres_dirs() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut versions: Vec<PathBuf> = versions.collect();
    versions.sort_by_key(|path| std::cmp::Reverse(version_number(path)));
    versions.into_iter().map(|path| path.join("bin")).chain(path_dirs()).collect()
}

fn version_number(path: &Path) -> u32 {
    path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_user() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n";
        let nobody = User { name: "nobody".to_owned(), uid: 65534, gid: 65533 };
        assert_eq!(find_user(passwd, "nobody"), Some(nobody));
        assert_eq!(find_user(passwd, "no"), None);
    }
}
