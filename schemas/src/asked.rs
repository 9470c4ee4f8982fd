//! What clients asked for, beside who answered: addresses with ports before any translation, such as a Service's.
//!
//! Bounded: the first `ADDRESSES_MAX` in order, and `MORE` behind them if there were more. So any order and any grouping of the
//! additions gives the same.

use std::collections::BTreeSet;

// Behind every address in order, since `{` is behind digits and `[`.
use crate::records::MORE;

const ADDRESSES_MAX: usize = 8;
/// An address of IPv6 with its brackets and a port has 47.
const CHARS_MAX: usize = 64;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked(BTreeSet<String>);

impl Asked {
    /// Those of a record; none if they are too many or too long for addresses.
    pub fn of(addresses: &[String]) -> Option<Asked> {
        let is_address = |address: &String| !address.is_empty() && address.len() <= CHARS_MAX;
        let are_well = addresses.len() <= ADDRESSES_MAX + 1 && addresses.iter().all(is_address);
        are_well.then(|| Asked(addresses.iter().cloned().collect()))
    }

    /// Adds an address; what cannot be one is left out.
    pub fn add(&mut self, address: &str, port: u16) {
        if address.is_empty() || address.len() > CHARS_MAX - "[]:65535".len() {
            return;
        }
        self.0.insert(with_port(address, port));
        self.cut();
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Asked) {
        self.0.extend(other.0.iter().cloned());
        self.cut();
    }

    /// In order.
    pub fn into_addresses(self) -> Vec<String> {
        self.0.into_iter().collect()
    }

    fn cut(&mut self) {
        let mut are_more = self.0.remove(MORE);
        while self.0.len() > ADDRESSES_MAX {
            self.0.pop_last();
            are_more = true;
        }
        if are_more {
            self.0.insert(MORE.to_owned());
        }
    }
}

/// What stands before the path of a Unix socket, where a connection of IP has an address.
pub const UNIX: &str = "unix:";

/// `10.0.0.1:80`, `[fd00::1]:80`; a Unix socket has no port: `unix:/run/app.sock`.
pub fn with_port(address: &str, port: u16) -> String {
    if address.starts_with(UNIX) {
        return address.to_owned();
    }
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_and_its_port_are_read_as_one() {
        let told = [("10.0.0.1", 80), ("fd00::1", 80), ("unix:/run/app.sock", 0), ("unix:", 0)];
        let told = told.map(|(address, port)| with_port(address, port));
        assert_eq!(told, ["10.0.0.1:80", "[fd00::1]:80", "unix:/run/app.sock", "unix:"]);
    }

    fn of(numbers: &[u8]) -> Asked {
        let mut asked = Asked::default();
        for number in numbers {
            asked.add(if number % 2 == 0 { "10.0.0.1" } else { "fd00::1" }, u16::from(*number));
        }
        asked
    }

    #[test]
    fn the_first_in_order_are_kept_and_more_are_said() {
        assert_eq!(of(&[5, 4, 4]).into_addresses(), ["10.0.0.1:4", "[fd00::1]:5"]);
        let many = of(&(0..100).collect::<Vec<_>>()).into_addresses();
        assert_eq!((many.len(), many[8].as_str()), (9, MORE));
        assert_eq!(Asked::of(&many).unwrap().into_addresses(), many);
        assert!(Asked::of(&[String::new()]).is_none() && Asked::of(&vec!["x".into(); 10]).is_none());
        let mut asked = Asked::default();
        asked.add(&"9".repeat(60), 80);
        assert_eq!(asked, Asked::default());
    }

    proptest! {
        #[test]
        fn order_and_grouping_make_no_difference(mut numbers: Vec<u8>, at: prop::sample::Index) {
            let whole = of(&numbers);
            let (left, right) = numbers.split_at(if numbers.is_empty() { 0 } else { at.index(numbers.len()) });
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(&merged, &whole);
            numbers.reverse();
            prop_assert_eq!(of(&numbers), whole);
        }
    }
}
