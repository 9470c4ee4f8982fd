//! User and password in an address (`http://user:password@host`), which are taken out of it before anyone shows it.

/// What stood in an address before its host, decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Userinfo {
    /// Who asks.
    pub user: String,
    /// What proves it.
    pub password: Option<String>,
}

/// The address without user and password, and these. All that comes before the last `@` counts as such: an `@` in a path is rare, and a
/// password that is shown since somebody did not encode it would be worse.
pub fn take_userinfo(address: &str) -> (String, Option<Userinfo>) {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let Some((userinfo, host)) = rest.rsplit_once('@') else { return (address.to_owned(), None) };
    let (user, password) = userinfo.split_once(':').map_or((userinfo, None), |(user, it)| (user, Some(it)));
    let separator = if scheme.is_empty() { "" } else { "://" };
    let userinfo = Userinfo { user: decoded(user), password: password.map(decoded) };
    (format!("{scheme}{separator}{host}"), Some(userinfo))
}

/// Percent-encoding undone (RFC 3986, section 2.1); what is none stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        // A sign is no digit, though `from_str_radix` takes one.
        let code = hex.filter(|hex| !hex.starts_with('+')).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(code.unwrap_or(byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_password_stays_in_the_address() {
        let taken = |address: &str| {
            let (clean, userinfo) = take_userinfo(address);
            (clean, userinfo.map(|it| (it.user, it.password)))
        };
        let with = |user: &str, password: Option<&str>| Some((user.to_owned(), password.map(str::to_owned)));
        assert_eq!(taken("http://r:8081/x"), ("http://r:8081/x".into(), None));
        assert_eq!(taken("https://ann:hush@r:8081/x"), ("https://r:8081/x".into(), with("ann", Some("hush"))));
        assert_eq!(taken("http://ann@r"), ("http://r".into(), with("ann", None)));
        assert_eq!(taken("http://a%40b:h%3A%75%zz%é@r"), ("http://r".into(), with("a@b", Some("h:u%zz%é"))));
        // Not encoded as it should be, or without what is an address.
        assert_eq!(taken("http://ann:hu/s@h@r"), ("http://r".into(), with("ann", Some("hu/s@h"))));
        assert_eq!(taken("ann:hush@r"), ("r".into(), with("ann", Some("hush"))));
    }
}
