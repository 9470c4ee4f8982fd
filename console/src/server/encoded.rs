//! An answer in the form in which it is sent: encoded once, for all who ask for it.
//!
//! In: bytes and their type. Out: the whole answer, compressed for those who can read that, or the word that they have it already.

use std::hash::{DefaultHasher, Hasher};
use std::io::Write;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Less than this is one packet anyway.
const COMPRESSED_FROM_BYTES: usize = 1024;

pub struct Encoded {
    content_type: &'static str,
    etag: String,
    plain: Bytes,
    gzip: Option<Bytes>,
}

impl Encoded {
    pub fn new(content_type: &'static str, plain: Vec<u8>) -> Encoded {
        let mut hasher = DefaultHasher::new();
        hasher.write(&plain);
        // Weak, since the same tag stands for the compressed form too.
        let etag = format!("W/\"{:016x}-{:x}\"", hasher.finish(), plain.len());
        let gzip = gzip(&plain).map(Bytes::from);
        Encoded { content_type, etag, plain: plain.into(), gzip }
    }

    /// The answer to a request with these headers.
    pub fn respond(&self, request: &HeaderMap) -> Response {
        let common = [(header::ETAG, self.etag.as_str()), (header::VARY, "accept-encoding")];
        if is_known(request, &self.etag) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let (body, encoding) = match &self.gzip {
            Some(gzip) if accepts_gzip(request) => (gzip.clone(), Some("gzip")),
            _ => (self.plain.clone(), None),
        };
        let mut response = (common, [(header::CONTENT_TYPE, self.content_type)], body).into_response();
        if let Some(encoding) = encoding {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }
}

/// None if it does not pay.
fn gzip(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < COMPRESSED_FROM_BYTES {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail; if it ever did, the plain form serves.
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().filter(|gzip| gzip.len() < plain.len())
}

fn is_known(request: &HeaderMap, etag: &str) -> bool {
    let tags = texts(request, header::IF_NONE_MATCH);
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.flat_map(|tags| tags.split(',')).any(|tag| tag.trim() == "*" || strong(tag) == strong(etag))
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    texts(request, header::ACCEPT_ENCODING).flat_map(|codings| codings.split(',')).any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = parameters.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn texts(request: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    request.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn who_has_the_answer_is_told_so_and_who_reads_gzip_gets_it() {
        let encoded = Encoded::new("text/plain", "much of the same ".repeat(1000).into_bytes());
        let whole = encoded.respond(&HeaderMap::new());
        assert_eq!((whole.status(), whole.headers().get(header::CONTENT_ENCODING)), (StatusCode::OK, None));
        let smaller = encoded.respond(&headers(&[(header::ACCEPT_ENCODING, "br, gzip;q=0.5")]));
        assert_eq!(smaller.headers()[header::CONTENT_ENCODING], "gzip");
        for refused in ["br", "gzip;q=0", "gzipped"] {
            let plain = encoded.respond(&headers(&[(header::ACCEPT_ENCODING, refused)]));
            assert!(!plain.headers().contains_key(header::CONTENT_ENCODING), "{refused}");
        }
        let mut known = HeaderMap::new();
        let both = format!("\"other\", {}", encoded.etag);
        known.insert(header::IF_NONE_MATCH, both.parse().unwrap());
        assert_eq!(encoded.respond(&known).status(), StatusCode::NOT_MODIFIED);
        let other = Encoded::new("text/plain", b"something else".to_vec());
        assert_eq!(other.respond(&known).status(), StatusCode::OK);
    }
}
