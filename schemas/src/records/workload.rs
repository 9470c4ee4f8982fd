use std::fmt;

use serde::{Deserialize, Serialize};

/// Who one end of a connection is. See `avro/edge.avsc` for the meaning of each field.
///
/// Two workloads are the same if all four fields are: a name alone says little where there are two namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// Empty outside of a cluster, or where it has no name.
    pub cluster: String,
    /// Of Kubernetes; empty outside of it.
    pub namespace: String,
    /// Of Kubernetes, such as `Deployment`; else `container`, `unit` or `program`; [`HOST`], [`ADDRESS`] or [`UNKNOWN`].
    pub kind: String,
    /// Its name among those of its kind.
    pub name: String,
}

/// The kind, and the name, of an end that nobody has named.
pub const UNKNOWN: &str = "unknown";

/// In a list of names or addresses: there are more, which are not told.
pub const MORE: &str = "{more}";

/// The kind of an end that no agent observes, which is named by its address and port.
pub const ADDRESS: &str = "address";

/// The kind of an end that no agent observes, which is named as its client came to it, with its port.
pub const HOST: &str = "host";

impl Workload {
    /// A workload outside of any cluster.
    pub fn local(kind: &str, name: &str) -> Workload {
        Workload { cluster: String::new(), namespace: String::new(), kind: kind.to_owned(), name: name.to_owned() }
    }

    /// An end that nobody has named.
    pub fn unknown() -> Workload {
        Workload::local(UNKNOWN, UNKNOWN)
    }

    /// False for [`Workload::unknown`].
    pub fn is_known(&self) -> bool {
        self.kind != UNKNOWN
    }

    /// One text for all four fields, `cluster/namespace/kind/name`, different for different workloads: see [`push_key`].
    pub fn key(&self) -> String {
        let mut key = String::new();
        push_key(&mut key, [&self.cluster, &self.namespace, &self.kind, &self.name]);
        key
    }

    /// The workload of a key; none if the text is no key.
    pub fn from_key(key: &str) -> Option<Workload> {
        let mut parts = key.split('/').map(unescape);
        let mut next = || parts.next().flatten();
        let workload = Workload { cluster: next()?, namespace: next()?, kind: next()?, name: next()? };
        parts.next().is_none().then_some(workload)
    }
}

/// As a person would say it: `name`, or `namespace/name` where there is a namespace.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// Appends `cluster/namespace/kind/name`, with `%`, `/` and `>` in the parts written as `%25`, `%2F` and `%3E` (RFC 3986,
/// section 2.1), so that keys can be joined with these characters.
pub fn push_key(key: &mut String, parts: [&str; 4]) {
    for (number, part) in parts.into_iter().enumerate() {
        if number > 0 {
            key.push('/');
        }
        push_escaped(key, part);
    }
}

pub(super) fn push_escaped(text: &mut String, part: &str) {
    for character in part.chars() {
        match character {
            '%' => text.push_str("%25"),
            '/' => text.push_str("%2F"),
            '>' => text.push_str("%3E"),
            other => text.push(other),
        }
    }
}

/// None where a percent sign begins none of the three, or where one of them stands as itself: a key has one spelling.
fn unescape(part: &str) -> Option<String> {
    if part.contains(['/', '>']) {
        return None;
    }
    let mut pieces = part.split('%');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        text.push(match code {
            "25" => '%',
            "2F" => '/',
            "3E" => '>',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::super::{edge_id, latency_key};
    use super::*;

    fn workload(parts: [&str; 4]) -> Workload {
        let [cluster, namespace, kind, name] = parts.map(str::to_owned);
        Workload { cluster, namespace, kind, name }
    }

    /// Names out of the characters that are special here.
    fn tricky() -> impl Strategy<Value = Workload> {
        proptest::array::uniform4("[ab/>%25F3E ]{0,4}").prop_map(|parts| workload(parts.each_ref().map(String::as_str)))
    }

    #[test]
    fn a_calling_b_to_c_is_not_a_to_b_calling_c() {
        let plain = |name| Workload::local("program", name);
        assert_ne!(edge_id(&plain("a>b"), &plain("c"), "tcp"), edge_id(&plain("a"), &plain("b>c"), "tcp"));
        let in_namespace = |namespace| workload(["east", namespace, "Deployment", "web"]);
        assert_ne!(in_namespace("shop").key(), in_namespace("test").key());
        assert_eq!(in_namespace("shop").key(), "east/shop/Deployment/web");
        assert_eq!(Workload::from_key(">///"), None);
    }

    proptest! {
        #[test]
        fn different_workloads_have_different_keys(a in tricky(), b in tricky(), c in tricky(), d in tricky()) {
            prop_assert_eq!(Workload::from_key(&a.key()).unwrap(), a.clone());
            prop_assert_eq!(edge_id(&a, &b, "http") == edge_id(&c, &d, "http"), (&a, &b) == (&c, &d));
            prop_assert_eq!(
                latency_key(&a, &b, "http", "GET /", "2xx") == latency_key(&c, &d, "http", "GET /", "2xx"), (&a, &b) == (&c, &d)
            );
        }

        #[test]
        fn different_operations_and_status_classes_have_different_keys(
            edge in tricky(), texts in proptest::array::uniform4("[a/%> ]{0,3}"),
        ) {
            let [one, other, class, another] = texts.each_ref().map(String::as_str);
            prop_assert_eq!(
                latency_key(&edge, &edge, "http", one, class) == latency_key(&edge, &edge, "http", other, another),
                (one, class) == (other, another)
            );
        }

        #[test]
        fn any_text_is_a_key_or_none(text in ".{0,40}") {
            if let Some(workload) = Workload::from_key(&text) {
                prop_assert_eq!(workload.key(), text);
            }
        }
    }
}
