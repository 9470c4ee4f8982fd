//! Builds the kernel probes with `bpf-linker`, so that plain `cargo build` at the root does all.
//!
//! `core` for the BPF machine is compiled from the library's sources, which needs a compiler that has them: the current one
//! with the component `rust-src`, or Debian's `rustc-web` with `rust-web-src`. All profiles share one target folder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let manifest_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR is not set")?);
    let probes = manifest_dir.join("../../kernel-probes");
    for source in ["src", "types/src", "types/Cargo.toml", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"] {
        println!("cargo::rerun-if-changed={}", probes.join(source).display());
    }
    println!("cargo::rerun-if-env-changed=HEADWATER_PROBE_RUSTC");

    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let target_dir = out_dir.ancestors().nth(4).context("OUT_DIR is too short")?.join("kernel-probes");
    build(&probes, &target_dir)?;
    let object = target_dir.join("bpfel-unknown-none/release/headwater-probes");
    let copy = out_dir.join("headwater-probes");
    // A new file: the old one may be linked into a copy of the target folder, which has probes of its own.
    if copy.exists() {
        std::fs::remove_file(&copy).with_context(|| format!("remove the probes of before at {}", copy.display()))?;
    }
    std::fs::copy(&object, &copy)
        .with_context(|| format!("copy the probes from {} to {}", object.display(), copy.display()))?;
    Ok(())
}

fn build(probes: &Path, target_dir: &Path) -> Result<()> {
    let cargo = env::var_os("CARGO").context("CARGO is not set")?;
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked"]).current_dir(probes);
    // What the outer cargo says of its own build does not hold for this one.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO") && name_text != "CARGO_HOME"
            || name_text.starts_with("RUSTC")
            || name_text == "RUSTFLAGS"
        {
            command.env_remove(&name);
        }
    }
    command.env("CARGO_TARGET_DIR", target_dir).env("RUSTC", compiler()?).env("RUSTC_BOOTSTRAP", "1");
    let status = command.status().context("run cargo for the kernel probes")?;
    if !status.success() {
        bail!(
            "the kernel probes did not build ({status}); they need bpf-linker 0.10 (`cargo install bpf-linker --version \
             0.10.1 --locked`); `cargo xtask setup` installs all that is needed"
        );
    }
    Ok(())
}

/// A compiler that has its library's sources.
fn compiler() -> Result<PathBuf> {
    let candidates = [
        env::var_os("HEADWATER_PROBE_RUSTC").map(PathBuf::from),
        env::var_os("RUSTC").map(PathBuf::from),
        Some(PathBuf::from("/usr/bin/rustc")),
    ];
    for compiler in candidates.into_iter().flatten() {
        if has_library_sources(&compiler) {
            return Ok(compiler);
        }
    }
    bail!(
        "no compiler with its library's sources was found for the kernel probes: run `rustup component add rust-src`, or on \
         Debian `apt-get install rustc-web rust-web-src`, or set HEADWATER_PROBE_RUSTC; `cargo xtask setup` does it"
    )
}

fn has_library_sources(compiler: &Path) -> bool {
    let Ok(output) = Command::new(compiler).args(["--print", "sysroot"]).output() else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists()
}
