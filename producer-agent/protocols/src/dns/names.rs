//! Names of types, opcodes and codes, as IANA lists them (RFC 6895; dns-parameters), in the capitals that all programs write them with.

use std::borrow::Cow;

use crate::{Code, Outcome};

pub type Name = Cow<'static, str>;

/// Of an opcode that is asked and answered by messages of one form.
pub fn of_opcode(opcode: u8) -> Option<&'static str> {
    Some(match opcode {
        0 => "QUERY",
        1 => "IQUERY",
        2 => "STATUS",
        4 => "NOTIFY",
        5 => "UPDATE",
        _ => return None,
    })
}

/// Of a type; one without a name is written as RFC 3597 says.
pub fn of_type(number: u16) -> Name {
    match known_type(number) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("TYPE{number}")),
    }
}

pub fn is_known_type(number: u16) -> bool {
    known_type(number).is_some()
}

fn known_type(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        17 => "RP",
        18 => "AFSDB",
        24 => "SIG",
        25 => "KEY",
        28 => "AAAA",
        29 => "LOC",
        33 => "SRV",
        35 => "NAPTR",
        36 => "KX",
        37 => "CERT",
        39 => "DNAME",
        42 => "APL",
        43 => "DS",
        44 => "SSHFP",
        45 => "IPSECKEY",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        49 => "DHCID",
        50 => "NSEC3",
        51 => "NSEC3PARAM",
        52 => "TLSA",
        53 => "SMIMEA",
        55 => "HIP",
        59 => "CDS",
        60 => "CDNSKEY",
        61 => "OPENPGPKEY",
        62 => "CSYNC",
        63 => "ZONEMD",
        64 => "SVCB",
        65 => "HTTPS",
        99 => "SPF",
        249 => "TKEY",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        256 => "URI",
        257 => "CAA",
        _ => return None,
    })
}

/// What an answer's code says. That it went well needs no code.
pub fn outcome(rcode: u16) -> (Outcome, Code) {
    let name = match rcode {
        0 => return (Outcome::Ok, Code::default()),
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        11 => "DSOTYPENI",
        16 => "BADVERS",
        17 => "BADKEY",
        18 => "BADTIME",
        19 => "BADMODE",
        20 => "BADNAME",
        21 => "BADALG",
        22 => "BADTRUNC",
        23 => "BADCOOKIE",
        _ => "",
    };
    let code = if name.is_empty() { Code::new(format!("RCODE{rcode}").as_bytes()) } else { Code::new(name.as_bytes()) };
    let outcome = match rcode {
        // It has failed, or cannot do what is asked of it.
        2 | 4 => Outcome::ServerError,
        _ => Outcome::ClientError,
    };
    (outcome, code)
}
