//! The trace that an application says a request belongs to (W3C Trace Context).
//!
//! In: values of `traceparent`. Out: one trace, or none: what is malformed says nothing, and neither do two fields that differ.

/// A trace and the span that asks, as the application sent them. Neither is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub id: u128,
    pub parent: u64,
}

impl Trace {
    /// Reads `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`. A later version may have more behind it.
    pub fn of(traceparent: &[u8]) -> Option<Self> {
        let (head, rest) = traceparent.trim_ascii().split_first_chunk::<55>()?;
        let text = str::from_utf8(head).ok()?;
        let is_hex = |digits: &str| digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.split('-');
        let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let has_lengths = [version.len(), id.len(), parent.len(), flags.len()] == [2, 32, 16, 2];
        let version_is_right = match version {
            "ff" => false,
            "00" => rest.is_empty(),
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        if !has_lengths || !version_is_right || ![version, id, parent, flags].into_iter().all(is_hex) {
            return None;
        }
        let trace = Self { id: u128::from_str_radix(id, 16).ok()?, parent: u64::from_str_radix(parent, 16).ok()? };
        (trace.id != 0 && trace.parent != 0).then_some(trace)
    }

    /// The trace's id in 32 hex digits, and that of the span that asks in 16.
    pub fn digits(&self) -> (String, String) {
        (format!("{:032x}", self.id), format!("{:016x}", self.parent))
    }
}

/// What the fields of one request say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evidence {
    #[default]
    Absent,
    Is(Trace),
    /// Two that differ, or one that says nothing.
    Unclear,
}

impl Evidence {
    pub fn add(&mut self, traceparent: &[u8]) {
        *self = match (*self, Trace::of(traceparent)) {
            (Self::Absent, Some(trace)) => Self::Is(trace),
            (Self::Is(before), Some(trace)) if before == trace => *self,
            _ => Self::Unclear,
        };
    }

    pub fn trace(self) -> Option<Trace> {
        if let Self::Is(trace) = self { Some(trace) } else { None }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_and_its_parent_are_told() {
        let trace = Trace::of(SENT.as_bytes()).unwrap();
        assert_eq!(trace.digits(), ("0af7651916cd43dd8448eb211c80319c".into(), "b7ad6b7169203331".into()));
        assert_eq!(Trace::of(format!(" cc{}-more", &SENT[2..]).as_bytes()), Some(trace));
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        let zeros = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let no_parent = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16));
        let others =
            [format!("ff{}", &SENT[2..]), format!("{SENT}-x"), format!("cc{}x", &SENT[2..]), SENT.to_uppercase()];
        for sent in
            [zeros, no_parent].into_iter().chain(others).chain((0..SENT.len()).map(|end| SENT[..end].to_owned()))
        {
            assert_eq!(Trace::of(sent.as_bytes()), None, "{sent}");
        }
    }

    #[test]
    fn two_that_differ_are_none() {
        let mut evidence = Evidence::default();
        assert_eq!(evidence.trace(), None);
        evidence.add(SENT.as_bytes());
        evidence.add(SENT.as_bytes());
        assert!(evidence.trace().is_some());
        evidence.add(SENT.replace("331", "332").as_bytes());
        evidence.add(SENT.as_bytes());
        assert_eq!(evidence.trace(), None);
    }
}
