//! Checks a folder against a list in the format of `sha256sum`.
//!
//! In: the text of a list and a folder. Out: nothing, or the first file that is missing, changed or not listed.
//! Promise: after [`Checksums::verify_folder`] the folder holds exactly the listed files, so that a class path of
//! `folder/*` runs nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::StackError;

/// Checksums in hexadecimal, by path relative to a root.
#[derive(Debug, PartialEq, Eq)]
pub struct Checksums(BTreeMap<String, String>);

impl Checksums {
    pub fn parse(text: &str) -> Result<Self, StackError> {
        let mut by_name = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            match line.split_once("  ") {
                Some((sum, name)) if is_sha256(sum) && !name.is_empty() && !name.contains("..") => {
                    by_name.insert(name.to_owned(), sum.to_owned());
                }
                _ => return Err(StackError::ChecksumList { line: index + 1, text: line.to_owned() }),
            }
        }
        Ok(Self(by_name))
    }

    /// Lists what is in `root/folder`; used for files that come out of a verified archive.
    pub fn of_folder(root: &Path, folder: &str) -> Result<Self, StackError> {
        files_below(root, folder)?
            .into_iter()
            .map(|name| Ok((name.clone(), sha256_of(&root.join(name))?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn to_text(&self) -> String {
        self.0.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect()
    }

    pub fn verify_file(&self, root: &Path, name: &str) -> Result<(), StackError> {
        let file = root.join(name);
        let Some(expected) = self.0.get(name) else {
            return Err(StackError::Checksum { file, detail: "it is not in the list of checksums".to_owned() });
        };
        if !file.exists() {
            return Err(StackError::Checksum { file, detail: "it is missing".to_owned() });
        }
        let found = sha256_of(&file)?;
        if found != *expected {
            return Err(StackError::Checksum { file, detail: format!("its SHA-256 is {found}, expected {expected}") });
        }
        Ok(())
    }

    pub fn verify_folder(&self, root: &Path, folder: &str) -> Result<(), StackError> {
        let present = files_below(root, folder)?;
        if let Some(name) = present.iter().find(|name| !self.0.contains_key(*name)) {
            let detail = "it is not in the list of checksums".to_owned();
            return Err(StackError::Checksum { file: root.join(name), detail });
        }
        let prefix = format!("{folder}/");
        self.0.keys().filter(|name| name.starts_with(&prefix)).try_for_each(|name| self.verify_file(root, name))
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn sha256_of(file: &Path) -> Result<String, StackError> {
    let reading = || StackError::io("reading", file);
    let mut source = File::open(file).map_err(reading())?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(reading()(error)),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All files under `root/folder`, as paths relative to `root`, in order.
fn files_below(root: &Path, folder: &str) -> Result<Vec<String>, StackError> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(relative) = folders.pop() {
        let path = root.join(&relative);
        let listing = || StackError::io("listing", &path);
        for entry in fs::read_dir(&path).map_err(listing())? {
            let entry = entry.map_err(listing())?;
            let name = relative.join(entry.file_name());
            match entry.file_type().map_err(listing())?.is_dir() {
                true => folders.push(name),
                false => files.push(name.to_string_lossy().into_owned()),
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder_with_two_jars() -> (tempfile::TempDir, Checksums) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("kafka/lib")).unwrap();
        fs::write(root.path().join("kafka/a.jar"), b"first").unwrap();
        fs::write(root.path().join("kafka/lib/b.jar"), b"second").unwrap();
        let sums = Checksums::of_folder(root.path(), "kafka").unwrap();
        (root, sums)
    }

    #[test]
    fn sums_are_those_of_sha256sum() {
        let (_root, sums) = folder_with_two_jars();
        let expected = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e  kafka/a.jar\n";
        assert!(sums.to_text().starts_with(expected), "{}", sums.to_text());
    }

    #[test]
    fn an_untouched_folder_passes_and_the_list_survives_being_written() {
        let (root, sums) = folder_with_two_jars();
        sums.verify_folder(root.path(), "kafka").unwrap();
        assert_eq!(Checksums::parse(&sums.to_text()).unwrap(), sums);
    }

    #[test]
    fn one_flipped_bit_is_found_and_named() {
        let (root, sums) = folder_with_two_jars();
        fs::write(root.path().join("kafka/lib/b.jar"), b"recond").unwrap();
        let error = sums.verify_folder(root.path(), "kafka").unwrap_err().to_string();
        assert!(error.contains("kafka/lib/b.jar is not the file that was released"), "{error}");
    }

    #[test]
    fn a_missing_file_and_an_extra_file_are_found() {
        let (root, sums) = folder_with_two_jars();
        fs::write(root.path().join("kafka/extra.jar"), b"").unwrap();
        let error = sums.verify_folder(root.path(), "kafka").unwrap_err().to_string();
        assert!(error.contains("extra.jar") && error.contains("not in the list"), "{error}");
        fs::remove_file(root.path().join("kafka/extra.jar")).unwrap();
        fs::remove_file(root.path().join("kafka/a.jar")).unwrap();
        let error = sums.verify_folder(root.path(), "kafka").unwrap_err().to_string();
        assert!(error.contains("a.jar") && error.contains("missing"), "{error}");
    }

    #[test]
    fn a_list_with_a_strange_line_is_refused() {
        let error = Checksums::parse("abc  kafka/a.jar\n").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        let outside = format!("{}  ../a.jar", "0".repeat(64));
        assert!(Checksums::parse(&outside).is_err());
    }
}
