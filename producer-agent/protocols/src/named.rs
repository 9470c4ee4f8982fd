//! What the body of a request of HTTP says is asked for, where the path says nothing: the operation of GraphQL, the method of JSON-RPC.
//!
//! In: the head's path and what it says of the body, and the first bytes of the body, whichever version of HTTP carried them. Out: a name, or none. Of GraphQL over HTTP it is
//! `operationName`; without one, the document has a single operation, whose name stands at its beginning (GraphQL, 2.3). Of JSON-RPC 2.0 (4) it is
//! `method`, if a member says that the body is of that. Where members are cut off that might say otherwise, there is no name: never another one.
//! Nothing but names leaves this: no argument, no literal. Pure; looks at [`BYTES_MAX`] bytes at most.

use memchr::{memchr2, memmem};

/// Most bodies of both kinds are shorter.
pub const BYTES_MAX: usize = 4096;
/// A longer name is none.
const NAME_BYTES_MAX: usize = 64;

/// What a body may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Named {
    #[default]
    Nothing,
    GraphQl,
    JsonRpc,
}

impl Named {
    /// What may be named by a body of JSON that is sent to a path.
    pub fn by_json(method: &str, path: &str) -> Named {
        match method {
            "POST" if is_graphql(path) => Named::GraphQl,
            "POST" => Named::JsonRpc,
            _ => Named::Nothing,
        }
    }

    /// Whether a body that begins so may name something: else nothing that follows makes it do so.
    pub fn may_begin(self, captured: &[u8]) -> bool {
        self != Named::Nothing && matches!(captured.trim_ascii_start().first(), None | Some(b'{'))
    }

    /// The name that stands in the first bytes of the body, which has `length` bytes.
    pub fn find(self, captured: &[u8], length: u64) -> Option<&str> {
        let body = &captured[..captured.len().min(BYTES_MAX).min(usize::try_from(length).unwrap_or(usize::MAX))];
        match self {
            Named::Nothing => None,
            Named::GraphQl => graphql(body),
            // Nearly all bodies of JSON are something else.
            Named::JsonRpc => memmem::find(body, b"\"jsonrpc\"").and_then(|_| json_rpc(body)),
        }
    }
}

/// Whether a path is one at which GraphQL is spoken by custom.
pub fn is_graphql(path: &str) -> bool {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    last.eq_ignore_ascii_case("graphql")
}

/// Whether a content type is that of JSON (RFC 8259, 11, and the suffix of RFC 6839, 3.1).
pub fn is_json(content_type: &[u8]) -> bool {
    let name = without_parameters(content_type);
    let ends = |word: &[u8]| name.len() > word.len() && name[name.len() - word.len()..].eq_ignore_ascii_case(word);
    ends(b"/json") || ends(b"+json")
}

/// A content type's name alone (RFC 9110, 8.3.1).
pub fn without_parameters(content_type: &[u8]) -> &[u8] {
    content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

fn graphql(body: &[u8]) -> Option<&str> {
    let mut members = Members::of(body)?;
    let (mut document, mut has_no_name) = (None, false);
    for (key, value) in &mut members {
        match key {
            b"operationName" if value != b"null" => return name(text(value)?, |byte| byte == b'_'),
            b"operationName" => has_no_name = true,
            b"query" => document = text(value),
            _ => {}
        }
    }
    // Otherwise the name may stand behind what was captured.
    if members.ended || has_no_name { operation_of(document?) } else { None }
}

fn json_rpc(body: &[u8]) -> Option<&str> {
    let (mut method, mut version) = (None, None);
    for (key, value) in Members::of(body)? {
        match key {
            b"method" => method = text(value),
            b"jsonrpc" => version = text(value),
            _ => {}
        }
        if version.is_some() && method.is_some() {
            break;
        }
    }
    (version? == b"2.0").then_some(())?;
    name(method?, |byte| matches!(byte, b'_' | b'.' | b'/' | b':' | b'-' | b'$'))
}

/// The name of a document's operation, or its kind if it has none. A document that begins with something else may hold any.
fn operation_of(document: &[u8]) -> Option<&str> {
    let document = without_space(document);
    if document.first() == Some(&b'{') {
        return Some("query");
    }
    let kind = ["query", "mutation", "subscription"].into_iter().find(|kind| document.starts_with(kind.as_bytes()))?;
    let behind = &document[kind.len()..];
    let rest = without_space(behind);
    let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    match rest.get(length) {
        // The kind's own word went on, or the name is not whole.
        None => None,
        Some(_) if length > 0 && rest.len() == behind.len() => None,
        Some(b'(' | b'{' | b'@') if length == 0 => Some(kind),
        Some(_) => name(&rest[..length], |byte| byte == b'_'),
    }
}

/// Spaces and line ends, which stand in a string of JSON as `\n`.
fn without_space(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [b' ' | b',', rest @ ..] | [b'\\', b'n' | b'r' | b't', rest @ ..] => rest,
            _ => return text,
        }
    }
}

/// A short word that begins with a letter or `_`.
fn name(text: &[u8], is_sign: impl Fn(u8) -> bool) -> Option<&str> {
    let begins = |first: &u8| first.is_ascii_alphabetic() || *first == b'_';
    let is_name = text.first().is_some_and(begins)
        && text.len() <= NAME_BYTES_MAX
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || is_sign(*byte));
    is_name.then(|| std::str::from_utf8(text).ok())?
}

/// What stands between the quotes of a string.
fn text(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// The members of an object of JSON (RFC 8259, 4), as far as they are whole: keys without their quotes, and values as they stand.
struct Members<'b> {
    rest: &'b [u8],
    /// The object's end was seen.
    ended: bool,
}

impl<'b> Members<'b> {
    fn of(body: &'b [u8]) -> Option<Members<'b>> {
        Some(Members { rest: body.trim_ascii_start().strip_prefix(b"{")?, ended: false })
    }
}

impl<'b> Iterator for Members<'b> {
    type Item = (&'b [u8], &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_ascii_start();
        if let Some(rest) = self.rest.strip_prefix(b",") {
            self.rest = rest.trim_ascii_start();
        }
        self.ended = self.rest.first() == Some(&b'}');
        let (key, behind) = string(self.rest)?;
        let value = behind.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let (value, rest) = value_of(value)?;
        self.rest = rest;
        Some((text(key)?, value))
    }
}

/// The string that the bytes begin with, and what is behind it; none if it is cut.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = usize::from(bytes.first() == Some(&b'"'));
    if at == 0 {
        return None;
    }
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(bytes.split_at(at + 1));
        }
        at += 2;
    }
}

/// Likewise any value. Brackets of both kinds count as one: what is no JSON has no names that matter.
fn value_of(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                let (string, _) = string(&bytes[at..])?;
                at += string.len();
                if depth == 0 {
                    return Some(bytes.split_at(at));
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => {
                // The end of the value, or of what it stands in.
                return Some(bytes.split_at(at + depth));
            }
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return Some(bytes.split_at(at)),
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(named: Named, body: &str) -> Option<&str> {
        named.find(body.as_bytes(), body.len() as u64)
    }

    #[test]
    fn operations_of_graphql_have_the_name_that_is_chosen() {
        for (body, name) in [
            (r#"{"operationName":"GetUser","query":"query A{a} query GetUser{b}"}"#, Some("GetUser")),
            (r#"{"query":"query A { a } query B { b }","variables":{"x":"}"},"operationName":"B"}"#, Some("B")),
            (r#"{"operationName":null,"query":"\n  mutation AddItem($id: ID!) { add(id: $id) }"}"#, Some("AddItem")),
            (r#" { "query" : "query GetUser($a:[Int!]){a}" , "variables" : null } "#, Some("GetUser")),
            (r#"{"query":"{ users { id } }"}"#, Some("query")),
            (r#"{"query":"subscription @live { a }"}"#, Some("subscription")),
            (r#"{"query":"mutation($id: ID!) { a }","variables":{"id":"secret"}}"#, Some("mutation")),
            // A stored document, by its hash.
            (r#"{"operationName":"Home","extensions":{"persistedQuery":{"version":1}}}"#, Some("Home")),
            // Nothing that can be told: fragments first, a comment, no document, several at once, names that are none.
            (r#"{"query":"fragment F on T { a } query Q { ...F }"}"#, None),
            (r##"{"query":"# query A\nquery B { b }"}"##, None),
            (r#"{"id":"abc","variables":{}}"#, None),
            (r#"[{"operationName":"A"}]"#, None),
            (r#"{"operationName":"with space"}"#, None),
            (r#"{"operationName":{"a":1},"query":"query A{a}"}"#, None),
            (r#"{"query":"queryable { a }"}"#, None),
            (r#"{"query":"query"}"#, None),
            ("", None),
        ] {
            assert_eq!(found(Named::GraphQl, body), name, "{body}");
        }
    }

    #[test]
    fn methods_of_json_rpc_are_named_where_the_body_says_that_it_is_that() {
        for (body, name) in [
            (r#"{"jsonrpc":"2.0","method":"eth_getBalance","params":["0x1","latest"],"id":1}"#, Some("eth_getBalance")),
            (
                r#"{"id":"a\"b","params":{"method":"not_this"},"method":"tools/call","jsonrpc":"2.0"}"#,
                Some("tools/call"),
            ),
            (r#"{"method":"POST","url":"/x"}"#, None),
            (r#"{"jsonrpc":"1.0","method":"a"}"#, None),
            (r#"{"jsonrpc":"2.0","result":1,"id":1}"#, None),
            (r#"{"jsonrpc":"2.0","method":"a b"}"#, None),
            (r#"{"note":"\"jsonrpc\"","method":"a"}"#, None),
        ] {
            assert_eq!(found(Named::JsonRpc, body), name, "{body}");
        }
        let long = format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, "a".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(found(Named::JsonRpc, &long), None);
    }

    #[test]
    fn only_posts_name_something_and_graphql_is_known_by_its_path() {
        assert_eq!(Named::by_json("POST", "/api/GraphQL/"), Named::GraphQl);
        assert_eq!(Named::by_json("POST", "/graphql/schema"), Named::JsonRpc);
        assert_eq!(Named::by_json("GET", "/graphql"), Named::Nothing);
    }

    const WHOLE: [(Named, &str, &str); 3] = [
        (Named::GraphQl, r#"{"query":"query A { a } query B { b }","variables":{"x":["}"]},"operationName":"B"}"#, "B"),
        (Named::GraphQl, r#"{"variables":{"x":1},"query":"query Only { a }"}"#, "Only"),
        (Named::JsonRpc, r#"{"id":1,"params":{"a":[1,{"b":"\\"}]},"method":"sum","jsonrpc":"2.0"}"#, "sum"),
    ];

    #[test]
    fn a_body_that_is_cut_has_its_name_or_none() {
        for (named, body, name) in WHOLE {
            assert_eq!(found(named, body), Some(name));
            for cut in 0..body.len() {
                let found = named.find(&body.as_bytes()[..cut], body.len() as u64);
                assert!(found.is_none_or(|found| found == name), "{body} at {cut}: {found:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(prop::sample::select(&b"{}[]\",:\\ \n0aquerymtionNjspcd2."[..]), 0..80), cut in 0_u64..90) {
            for named in [Named::GraphQl, Named::JsonRpc] {
                let _ = named.find(&bytes, cut);
                // What stands around a document makes no difference to what it names.
                let body = [&b"{\"jsonrpc\":\"2.0\",\"operationName\":\"x\",\"method\":\"x\",\"z\":\""[..], &bytes, b"\"}"].concat();
                prop_assert_eq!(named.find(&body, u64::MAX), Some("x"));
            }
        }
    }
}
