//! The guest's first file system: a static busybox, the modules that reach the machine's files, and the script that runs the command.
//!
//! Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel ("newc").

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;

const INIT: &str = include_str!("init.sh");
const BUSYBOX: &str = "/bin/busybox";
/// What the guest needs to be one, and what tests make networks of; with all that they depend on.
const MODULES: [&str; 10] = [
    "virtio_pci",
    "virtio_net",
    "9pnet_virtio",
    "9p",
    "overlay",
    "veth",
    // libcrc32c, which nf_tables depends on, asks for it by another name.
    "crc32c_generic",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
];
const FOLDERS: [&str; 8] = ["bin", "dev", "machine", "modules", "proc", "root", "sys", "written"];

const FILE: u32 = 0o100_755;
const FOLDER: u32 = 0o040_755;

/// Writes the image for a kernel and a script.
pub fn write(path: &Path, kernel: &Kernel, script: &str) -> Result<()> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.add(folder, FOLDER, &[]);
    }
    let busybox = fs::read(BUSYBOX).with_context(|| {
        format!(
            "read {BUSYBOX}, which has to be a static one: `cargo xtask setup` installs it (Debian: busybox-static)"
        )
    })?;
    archive.add("bin/busybox", FILE, &busybox);
    archive.add("init", FILE, INIT.as_bytes());
    archive.add("command", FILE, script.as_bytes());
    let mut order = Vec::new();
    for module in with_dependencies(kernel)? {
        let name = Path::new(&module).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let packed = kernel.modules.join(&module);
        let name = match name.strip_suffix(".xz") {
            Some(plain) => {
                archive.add(&format!("modules/{plain}"), FILE, &unpacked(&packed)?);
                plain.to_owned()
            }
            None => {
                let bytes = fs::read(&packed).with_context(|| format!("read {}", packed.display()))?;
                archive.add(&format!("modules/{name}"), FILE, &bytes);
                name
            }
        };
        order.push(name);
    }
    archive.add("modules/order", FILE, order.join("\n").as_bytes());
    fs::write(path, archive.finish()).with_context(|| format!("write {}", path.display()))
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("xz").args(["-dc"]).arg(path).output().context("run xz (Debian: xz-utils)")?;
    if !output.status.success() {
        bail!("xz cannot unpack {}", path.display());
    }
    Ok(output.stdout)
}

/// Files of the modules, each behind those that it needs: lines of `file: needed needed ...`, the last needed one first.
fn with_dependencies(kernel: &Kernel) -> Result<Vec<String>> {
    let read = |name: &str| {
        let path = kernel.modules.join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let found = order(&read("modules.dep")?, &read("modules.builtin")?, &MODULES);
    found.with_context(|| format!("look for modules in {}", kernel.modules.display()))
}

/// Those that are part of the kernel need no file.
fn order(dependencies: &str, built_in: &str, modules: &[&str]) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for module in modules {
        let is_it = |file: &str| {
            let name = file.rsplit('/').next().unwrap_or_default();
            name.split('.').next() == Some(module)
        };
        if built_in.lines().any(is_it) {
            continue;
        }
        let line = dependencies.lines().filter_map(|line| line.split_once(':')).find(|(file, _)| is_it(file));
        let (file, needed) = line.with_context(|| format!("there is no module {module}"))?;
        for file in needed.split_whitespace().rev().chain([file]) {
            if !order.iter().any(|there| there == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // Inode, mode, owner, group, links, time, size, four device numbers, length of the name with its zero, no checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_behind_what_it_needs() {
        let text = "k/9p.ko.xz: k/9pnet.ko.xz k/netfs.ko.xz\nk/9pnet.ko.xz:\nk/9pnet_virtio.ko.xz: k/9pnet.ko.xz k/virtio.ko.xz\n";
        let found = order(text, "k/virtio_pci.ko\n", &["virtio_pci", "9pnet_virtio", "9p"]).unwrap_or_default();
        assert_eq!(found, ["k/virtio.ko.xz", "k/9pnet.ko.xz", "k/9pnet_virtio.ko.xz", "k/netfs.ko.xz", "k/9p.ko.xz"]);
        assert!(order(text, "", &["overlay"]).is_err());
    }
}
