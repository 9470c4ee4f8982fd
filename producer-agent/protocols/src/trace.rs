//! What an application says a request belongs to: a trace (W3C Trace Context; B3, <https://github.com/openzipkin/b3-propagation>), and a number that proxies
//! give to each request (`x-request-id`, as Envoy and nginx write it: a UUID of RFC 9562, or 32 hex digits).
//!
//! In: values of `traceparent`, `b3`, `x-b3-traceid`, `x-b3-spanid` and `x-request-id`. Out: one of each, or none: what is malformed says nothing, and neither do
//! two that differ.

/// A trace and the span that asks, as the application sent them. Neither is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub id: u128,
    pub parent: u64,
}

/// The number of a request, as the application sent it: 128 bits, with the dashes of a UUID or without. Anything else could be anything, and is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    id: u128,
    is_uuid: bool,
}

/// What one request carries on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Propagated {
    pub trace: Option<Trace>,
    pub request_id: Option<RequestId>,
}

impl Propagated {
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// A field that names a trace, one half of it, or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Traceparent,
    B3,
    B3TraceId,
    B3SpanId,
    RequestId,
}

impl Carrier {
    /// The one that the name of a field of a head is, in any case.
    pub fn of(name: &[u8]) -> Option<Self> {
        const NAMES: [(&[u8], Carrier); 5] = [
            (b"traceparent", Carrier::Traceparent),
            (b"b3", Carrier::B3),
            (b"x-b3-traceid", Carrier::B3TraceId),
            (b"x-b3-spanid", Carrier::B3SpanId),
            (b"x-request-id", Carrier::RequestId),
        ];
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, carrier)| *carrier)
    }

    /// Whether a value is one that this field may have. Any other may be anything, and is not to be kept.
    pub fn may_be(self, value: &[u8]) -> bool {
        match self {
            Carrier::Traceparent => Trace::of(value).is_some(),
            Carrier::B3 => is_sampling(value.trim_ascii()) || Trace::of_b3(value).is_some(),
            Carrier::B3TraceId => id(value.trim_ascii()).is_some(),
            Carrier::B3SpanId => span(value.trim_ascii()).is_some(),
            Carrier::RequestId => RequestId::of(value).is_some(),
        }
    }
}

impl RequestId {
    /// The places of the dashes in a UUID.
    const DASHES: [usize; 4] = [8, 13, 18, 23];

    /// Reads `2f1acc6c-3a60-4b43-b4a0-4fd7c7aa7b5d`, or the same without dashes, in any case.
    fn of(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let is_uuid = value.len() == 36 && Self::DASHES.iter().all(|at| value[*at] == b'-');
        if !is_uuid && value.len() != 32 {
            return None;
        }
        let mut id = 0;
        for (at, digit) in value.iter().enumerate() {
            if !(is_uuid && Self::DASHES.contains(&at)) {
                id = id << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
        }
        (id != 0).then_some(Self { id, is_uuid })
    }

    /// As it was sent, in lower case.
    pub fn text(self) -> String {
        let mut text = format!("{:032x}", self.id);
        if self.is_uuid {
            Self::DASHES.into_iter().for_each(|at| text.insert(at, '-'));
        }
        text
    }
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

    /// Reads `80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90`, of which the last two parts may be missing, and the id's first half.
    fn of_b3(value: &[u8]) -> Option<Self> {
        let mut parts = value.trim_ascii().split(|byte| *byte == b'-');
        let (id, parent) = (id(parts.next()?)?, span(parts.next()?)?);
        let tail_is_right =
            parts.next().is_none_or(is_sampling) && parts.next().is_none_or(|part| span(part).is_some());
        (tail_is_right && parts.next().is_none()).then_some(Self { id, parent })
    }

    /// The trace's id in 32 hex digits, and that of the span that asks in 16.
    pub fn digits(&self) -> (String, String) {
        (format!("{:032x}", self.id), format!("{:016x}", self.parent))
    }
}

/// Whether a trace is sampled, which says nothing of which one it is.
fn is_sampling(part: &[u8]) -> bool {
    matches!(part, b"0" | b"1" | b"d")
}

/// An id of a trace in 32 or 16 digits; never 0.
fn id(digits: &[u8]) -> Option<u128> {
    if matches!(digits.len(), 16 | 32) { hex(digits).filter(|id| *id != 0) } else { None }
}

/// Of a span in 16.
fn span(digits: &[u8]) -> Option<u64> {
    if digits.len() == 16 { hex(digits).map(|id| id as u64).filter(|id| *id != 0) } else { None }
}

fn hex(digits: &[u8]) -> Option<u128> {
    let are_digits = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    are_digits.then(|| u128::from_str_radix(str::from_utf8(digits).ok()?, 16).ok())?
}

/// What the fields of one request say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    trace: Said<Trace>,
    /// Of B3 in fields of their own.
    id: Said<u128>,
    span: Said<u64>,
    request_id: Said<RequestId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said<T> {
    #[default]
    Nothing,
    Is(T),
    /// Two that differ, or one that is malformed.
    Unclear,
}

impl<T: Copy + PartialEq> Said<T> {
    fn add(&mut self, said: Option<T>) {
        *self = match (*self, said) {
            (Self::Nothing, Some(said)) => Self::Is(said),
            (Self::Is(before), Some(said)) if before == said => *self,
            _ => Self::Unclear,
        };
    }
}

impl Evidence {
    pub fn add(&mut self, carrier: Carrier, value: &[u8]) {
        match carrier {
            Carrier::Traceparent => self.trace.add(Trace::of(value)),
            Carrier::B3 if is_sampling(value.trim_ascii()) => {}
            Carrier::B3 => self.trace.add(Trace::of_b3(value)),
            Carrier::B3TraceId => self.id.add(id(value.trim_ascii())),
            Carrier::B3SpanId => self.span.add(span(value.trim_ascii())),
            Carrier::RequestId => self.request_id.add(RequestId::of(value)),
        }
    }

    pub fn propagated(self) -> Propagated {
        let request_id = if let Said::Is(id) = self.request_id { Some(id) } else { None };
        Propagated { trace: self.trace(), request_id }
    }

    fn trace(self) -> Option<Trace> {
        let mut trace = self.trace;
        match (self.id, self.span) {
            (Said::Is(id), Said::Is(parent)) => trace.add(Some(Trace { id, parent })),
            (Said::Unclear, _) | (_, Said::Unclear) => trace.add(None),
            // A half of it names no span that asks.
            (Said::Nothing, _) | (_, Said::Nothing) => {}
        }
        if let Said::Is(trace) = trace { Some(trace) } else { None }
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

    fn told(fields: &[(&str, &str)]) -> Option<(String, String)> {
        let mut evidence = Evidence::default();
        fields.iter().for_each(|(name, value)| evidence.add(Carrier::of(name.as_bytes()).unwrap(), value.as_bytes()));
        evidence.trace().map(|trace| trace.digits())
    }

    #[test]
    fn two_that_differ_are_none() {
        let other = SENT.replace("331", "332");
        assert_eq!(told(&[]), None);
        assert!(told(&[("traceparent", SENT), ("Traceparent", SENT)]).is_some());
        assert_eq!(told(&[("traceparent", SENT), ("traceparent", &other), ("traceparent", SENT)]), None);
        assert_eq!(told(&[("traceparent", SENT), ("traceparent", "0")]), None);
    }

    #[test]
    fn a_request_has_the_number_that_was_sent_if_that_is_one() {
        let (uuid, digits) = ("2f1acc6c-3a60-4b43-b4a0-4fd7c7aa7b5d", "0af7651916cd43dd8448eb211c80319c");
        let said = |values: &[&str]| {
            let mut evidence = Evidence::default();
            values.iter().for_each(|value| evidence.add(Carrier::of(b"X-Request-Id").unwrap(), value.as_bytes()));
            evidence.propagated().request_id.map(RequestId::text)
        };
        assert_eq!(said(&[uuid]).as_deref(), Some(uuid));
        assert_eq!(said(&[digits, digits]).as_deref(), Some(digits));
        assert_eq!(said(&[&format!(" {} ", uuid.to_uppercase())]).as_deref(), Some(uuid));
        let (zero, cut, moved) = ("0".repeat(32), &uuid[..35], uuid.replace("-3a60", "3-a60"));
        for values in
            [&[][..], &[uuid, digits], &[&zero], &[cut], &[&moved], &["a secret of 32 bytes, or the like"], &[""]]
        {
            assert_eq!(said(values), None, "{values:?}");
        }
    }

    #[test]
    fn b3_says_the_same_in_one_field_and_in_two() {
        let (id, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let same = Some((id.to_owned(), parent.to_owned()));
        let tail = format!("{id}-{parent}-d-05e3ac9a4f6e3b90");
        let (short, both) = (format!("{id}-{parent}"), [("X-B3-TraceId", id), ("X-B3-SpanId", parent)]);
        for fields in [
            &[("b3", &*tail)][..],
            &[("B3", &short)],
            &both,
            &[both[0], both[1], ("traceparent", SENT), ("b3", &short)],
        ] {
            assert_eq!(told(fields), same, "{fields:?}");
        }
        // Ids of 64 bits are the lower half.
        let half = format!("{}-{parent}-0", &id[16..]);
        assert_eq!(told(&[("b3", &half)]), Some((format!("{}{}", "0".repeat(16), &id[16..]), parent.to_owned())));
        // One half of it, whether it is sampled, what is malformed, what differs.
        let zero = format!("{}-{parent}", "0".repeat(32));
        let upper = tail.to_uppercase();
        for fields in [
            &both[..1],
            &both[1..],
            &[("b3", "0")],
            &[("b3", &zero)],
            &[("b3", &upper)],
            &[("b3", &tail[..40])],
            &[("b3", "")],
            &[("b3", &half), ("traceparent", SENT)],
            &[both[0], ("x-b3-spanid", "b7ad6b7169203332"), ("b3", &short)],
            &[both[0], ("x-b3-spanid", "x"), ("b3", &short)],
        ] {
            assert_eq!(told(fields), None, "{fields:?}");
        }
        assert_eq!(told(&[("b3", "1"), ("b3", &short)]), same);
    }

    #[test]
    fn what_is_no_value_of_a_field_is_not_kept() {
        for (carrier, value, may_be) in [
            (Carrier::Traceparent, SENT, true),
            (Carrier::B3, "1", true),
            (Carrier::B3SpanId, "b7ad6b7169203331", true),
            (Carrier::Traceparent, "secret", false),
            (Carrier::B3, "secret-secret", false),
            (Carrier::B3TraceId, "secret", false),
        ] {
            assert_eq!(carrier.may_be(value.as_bytes()), may_be, "{value}");
        }
    }
}
