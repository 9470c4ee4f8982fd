//! Keeps today's schemas, and bytes written with them, as a released version: `release VERSION`. What is released never changes.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people in a terminal")]

use std::error::Error;
use std::fs;
use std::path::Path;

use headwater_schemas::records::Record;
use headwater_schemas::wire::{Encoder, split};
use headwater_schemas::{each_record, samples};

fn main() -> Result<(), Box<dyn Error>> {
    let version: u32 = std::env::args().nth(1).ok_or("usage: release VERSION")?.parse()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("released").join(version.to_string());
    if folder.exists() {
        return Err(format!("{} is there already: a released version never changes", folder.display()).into());
    }
    fs::create_dir_all(&folder)?;
    macro_rules! keep {
        ($name:literal, $type:ty, $sample:ident) => {
            fs::write(folder.join(concat!($name, ".avsc")), <$type as Record>::SCHEMA)?;
            let value = Encoder::of::<$type>(0)?.encode(&samples::$sample())?;
            fs::write(folder.join(concat!($name, ".bin")), split(&value)?.1)?;
        };
    }
    each_record!(keep);
    println!("{}", folder.display());
    Ok(())
}
