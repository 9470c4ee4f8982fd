//! What a certificate says of who issued it and until when (RFC 5280).
//!
//! Nothing of it is verified: that is its reader's to do, and both ends have done it.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::bytes::Bytes;

/// Longer names are cut.
const ISSUER_BYTES_MAX: usize = 256;

/// The issuer, and the end of the validity in seconds since the epoch.
#[derive(Debug, PartialEq, Eq)]
pub struct Issued {
    pub issuer: Box<str>,
    pub expires_at_s: i64,
}

/// Whether the message Certificate of TLS 1.2 and before (RFC 5246 section 7.4.2) has any; None if that is not known.
pub fn is_any(body: &[u8]) -> Option<bool> {
    body.get(..3).map(|length| length != [0, 0, 0])
}

/// The first one, which is whose who sends the message. None if it was not captured to its end, or is none.
pub fn first(body: &[u8]) -> Option<Issued> {
    let mut rest = Bytes(body);
    rest.take(3)?;
    let length = rest.take(3)?;
    let length = u32::from_be_bytes([0, length[0], length[1], length[2]]);
    let certificate = rest.take(usize::try_from(length).ok()?)?;
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut issuer = certificate.issuer().to_string().replace(char::is_control, "?");
    if issuer.len() > ISSUER_BYTES_MAX {
        issuer.truncate(issuer.floor_char_boundary(ISSUER_BYTES_MAX - 3));
        issuer.push_str("...");
    }
    Some(Issued { issuer: issuer.into(), expires_at_s: certificate.validity().not_after.timestamp() })
}
