//! Request methods: the common ones as numbers, so that a waiting exchange allocates nothing for its method.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other(Box<str>),
}

impl Method {
    pub fn new(name: &str) -> Self {
        Self::numbered(name).unwrap_or_else(|| Self::Other(name.into()))
    }

    fn numbered(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            _ => return None,
        })
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other(name) => name,
        }
    }
}

/// One of the registered methods, or one that caches and devices have made common. What begins with one of them is not the rest of
/// something, but for a call that ends in the middle of the longer of two: PROPPATCH, UNLOCK.
pub(super) fn is_common(name: &str) -> bool {
    Method::numbered(name).is_some() || OTHERS.contains(&name)
}

/// <https://www.iana.org/assignments/http-methods>, and those of caches (PURGE, BAN) and of UPnP (M-SEARCH, NOTIFY, SUBSCRIBE).
const OTHERS: [&str; 31] = [
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "QUERY",
    "PURGE",
    "BAN",
    "MERGE",
    "ACL",
    "BIND",
    "UNBIND",
    "REBIND",
    "LINK",
    "UNLINK",
    "CHECKIN",
    "CHECKOUT",
    "UNCHECKOUT",
    "LABEL",
    "UPDATE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKWORKSPACE",
    "M-SEARCH",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
];
