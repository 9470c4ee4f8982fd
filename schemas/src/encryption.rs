//! How connections are encrypted: the words of flows, and how many connections of an edge each stands for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All words, the weakest first. What is not known may be in clear text; it stands behind what is known to be weak (RFC 8996).
pub const WORDS: [&str; 8] = ["none", "ssl3.0", "tls1.0", "tls1.1", "unknown", "tls", "tls1.2", "tls1.3"];

/// The most that a count in a record may be.
const COUNT_MAX: i64 = i64::MAX / 2;

/// One of [`WORDS`], by its place there, which is how programs of ours may keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Encryption(u8);

impl From<Encryption> for u8 {
    fn from(encryption: Encryption) -> u8 {
        encryption.0
    }
}

impl TryFrom<u8> for Encryption {
    type Error = String;

    fn try_from(place: u8) -> Result<Encryption, String> {
        let is_one = usize::from(place) < WORDS.len();
        if is_one { Ok(Encryption(place)) } else { Err(format!("{place} is no place of a word for encryption")) }
    }
}

impl Encryption {
    /// A protocol was recognised in clear text.
    pub const NONE: Encryption = Encryption(0);
    /// Nothing was recognised.
    pub const UNKNOWN: Encryption = Encryption(4);

    /// A word that nobody here knows means nothing.
    pub fn of(word: &str) -> Encryption {
        WORDS.iter().position(|known| *known == word).map_or(Encryption::UNKNOWN, |place| Encryption(place as u8))
    }

    /// What two records say of one connection: what one of them knows; of two that know, the stronger, since encryption may begin
    /// behind a beginning in clear text.
    #[must_use]
    pub fn or(self, other: Encryption) -> Encryption {
        match (self, other) {
            (Encryption::UNKNOWN, known) | (known, Encryption::UNKNOWN) => known,
            (one, other) => Encryption(one.0.max(other.0)),
        }
    }
}

/// So many connections of each kind. Any order and any grouping of the additions gives the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encryptions([i64; WORDS.len()]);

impl Encryptions {
    /// Those of a record; None if they cannot be any.
    pub fn of(counts: &BTreeMap<String, i64>) -> Option<Encryptions> {
        let mut all = Encryptions::default();
        for (word, count) in counts {
            let place = WORDS.iter().position(|known| known == word)?;
            all.0[place] = *count;
        }
        all.0.iter().all(|count| (0..=COUNT_MAX).contains(count)).then_some(all)
    }

    /// Counts a connection.
    pub fn add(&mut self, encryption: Encryption) {
        self.0[usize::from(encryption.0)] = self.0[usize::from(encryption.0)].saturating_add(1);
    }

    /// Adds the counts of others.
    pub fn merge(&mut self, other: &Encryptions) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// Takes the greater count of each kind: a connection that lives on is seen again in the next window.
    pub fn at_least(&mut self, other: &Encryptions) {
        for (count, other) in self.0.iter_mut().zip(other.0) {
            *count = (*count).max(other);
        }
    }

    /// The words of which there are any, the weakest first, with their counts.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, i64)> {
        WORDS.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// As it stands in records.
    pub fn into_map(self) -> BTreeMap<String, i64> {
        self.counts().map(|(word, count)| (word.to_owned(), count)).collect()
    }
}

/// The word as people say it: `TLS 1.3`.
pub fn title(word: &str) -> String {
    match word.split_at_checked(3) {
        Some((name @ ("tls" | "ssl"), "")) => name.to_uppercase(),
        Some((name @ ("tls" | "ssl"), version)) => format!("{} {version}", name.to_uppercase()),
        _ if word == "none" => "clear text".to_owned(),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_knows_tells_for_both() {
        let of = Encryption::of;
        for (one, other, expected) in [
            ("unknown", "none", "none"),
            ("none", "tls1.3", "tls1.3"),
            ("tls", "unknown", "tls"),
            ("odd", "odd", "unknown"),
        ] {
            assert_eq!(of(one).or(of(other)), of(expected));
            assert_eq!(of(other).or(of(one)), of(expected));
        }
        assert_eq!((of("none"), of("unknown")), (Encryption::NONE, Encryption::UNKNOWN));
    }

    #[test]
    fn counts_come_back_as_they_were_and_others_are_refused() {
        let mut counts = Encryptions::default();
        for word in ["tls1.3", "none", "tls1.3"] {
            counts.add(Encryption::of(word));
        }
        counts.merge(&counts.clone());
        assert_eq!(counts.counts().collect::<Vec<_>>(), [("none", 2), ("tls1.3", 4)]);
        let map = counts.into_map();
        assert_eq!(Encryptions::of(&map), Some(counts));
        for (word, count) in [("tls9", 1), ("none", -1), ("none", i64::MAX)] {
            assert_eq!(Encryptions::of(&BTreeMap::from([(word.to_owned(), count)])), None, "{word} {count}");
        }
        assert_eq!(
            ["tls1.3", "ssl3.0", "tls", "none", "unknown"].map(title),
            ["TLS 1.3", "SSL 3.0", "TLS", "clear text", "unknown"]
        );
    }
}
