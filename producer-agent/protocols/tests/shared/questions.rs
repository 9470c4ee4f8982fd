//! Messages of DNS, as peers write them (RFC 1035, 4).

// Each test needs a part of it.
#![allow(dead_code)]

pub const A: u16 = 1;
pub const SOA: u16 = 6;
pub const AAAA: u16 = 28;
pub const AXFR: u16 = 252;

pub const NOERROR: u8 = 0;
pub const SERVFAIL: u8 = 2;
pub const NXDOMAIN: u8 = 3;

fn header(id: u16, flags: [u8; 2], counts: [u16; 4]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &flags, &counts.map(u16::to_be_bytes).concat()].concat()
}

/// A name as labels with their lengths.
pub fn name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    labels.flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat()).chain([0]).collect()
}

fn question(of: &str, qtype: u16) -> Vec<u8> {
    [name(of), qtype.to_be_bytes().to_vec(), vec![0, 1]].concat()
}

pub fn ask(id: u16, of: &str, qtype: u16) -> Vec<u8> {
    [header(id, [1, 0], [1, 0, 0, 0]), question(of, qtype)].concat()
}

/// With an OPT record (RFC 6891), as most resolvers ask.
pub fn ask_with_opt(id: u16, of: &str, qtype: u16) -> Vec<u8> {
    [header(id, [1, 0x20], [1, 0, 0, 1]), question(of, qtype), vec![0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]].concat()
}

/// Of another opcode.
pub fn order(id: u16, opcode: u8, of: &str) -> Vec<u8> {
    [header(id, [opcode << 3 | 4, 0], [1, 0, 0, 0]), question(of, SOA)].concat()
}

/// What a server answers to that.
pub fn answer_order(id: u16, opcode: u8, of: &str, rcode: u8) -> Vec<u8> {
    [header(id, [0x80 | opcode << 3, rcode], [1, 0, 0, 0]), question(of, SOA)].concat()
}

/// With these records.
pub fn answer(id: u16, of: &str, qtype: u16, rcode: u8, records: &[u8]) -> Vec<u8> {
    let answers = u16::from(!records.is_empty());
    [header(id, [0x81, 0x80 | rcode], [1, answers, 0, 0]), question(of, qtype), records.to_vec()].concat()
}

/// An alias of the name, and that one's addresses.
pub fn answer_by_alias(id: u16, of: &str, addresses: &[[u8; 4]]) -> Vec<u8> {
    let record =
        |owner: &[u8], kind: u8, data: &[u8]| [owner, &[0, kind, 0, 1, 0, 0, 0, 9, 0, data.len() as u8], data].concat();
    let target = name("target.example");
    let all = addresses.iter().flat_map(|address| record(&target, 1, address));
    let counts = [1, 1 + addresses.len() as u16, 0, 0];
    [header(id, [0x81, 0x80], counts), question(of, A), record(&[0xc0, 12], 5, &target), all.collect()].concat()
}

/// Without the question, as servers answer what they could not read.
pub fn refuse(id: u16, rcode: u8) -> Vec<u8> {
    header(id, [0x80, rcode], [0; 4])
}

/// A code beyond 15, whose upper part stands in the OPT record.
pub fn answer_beyond(id: u16, of: &str, qtype: u16, rcode: u16) -> Vec<u8> {
    let (lower, upper) = (rcode as u8 & 0xf, (rcode >> 4) as u8);
    [header(id, [0x81, 0x80 | lower], [1, 0, 0, 1]), question(of, qtype), vec![0, 0, 41, 4, 208, upper, 0, 0, 0, 0, 0]]
        .concat()
}

/// As TCP carries it (RFC 7766, 8).
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}
