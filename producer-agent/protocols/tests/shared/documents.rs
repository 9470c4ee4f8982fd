//! Messages of MongoDB, as peers write them.

// Each test needs a part of it.
#![allow(dead_code)]

/// A value of an element.
#[derive(Clone, Debug)]
pub enum Value {
    Double(f64),
    Text(String),
    Document(Vec<u8>),
    Array(Vec<Value>),
    True,
    Int(i32),
    Long(i64),
}

use Value::{Array, Document, Double, Int, Long, Text, True};

pub fn text(text: &str) -> Value {
    Text(text.to_owned())
}

pub fn document(elements: &[(&str, Value)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in elements {
        let (kind, value) = encoded(value);
        bytes.extend([&[kind][..], name.as_bytes(), &[0], &value].concat());
    }
    [&(bytes.len() as u32 + 5).to_le_bytes()[..], &bytes, &[0]].concat()
}

fn encoded(value: &Value) -> (u8, Vec<u8>) {
    match value {
        Double(number) => (0x01, number.to_le_bytes().to_vec()),
        Text(text) => (0x02, [&(text.len() as u32 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()),
        Document(document) => (0x03, document.clone()),
        Array(values) => {
            let names: Vec<String> = (0..values.len()).map(|at| at.to_string()).collect();
            let elements: Vec<(&str, Value)> = names.iter().map(String::as_str).zip(values.iter().cloned()).collect();
            (0x04, document(&elements))
        }
        True => (0x08, vec![1]),
        Int(number) => (0x10, number.to_le_bytes().to_vec()),
        Long(number) => (0x12, number.to_le_bytes().to_vec()),
    }
}

pub fn message(id: u32, answers: u32, opcode: u32, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let header = [body.len() as u32 + 16, id, answers, opcode].map(u32::to_le_bytes).concat();
    [header, body].concat()
}

pub const MORE_TO_COME: u32 = 1 << 1;
pub const EXHAUST_ALLOWED: u32 = 1 << 16;

pub fn op_msg(id: u32, answers: u32, flags: u32, document: &[u8]) -> Vec<u8> {
    message(id, answers, 2013, &[&flags.to_le_bytes(), &[0], document])
}

/// A command, in the database `shop`.
pub fn ask(id: u32, elements: &[(&str, Value)]) -> Vec<u8> {
    ask_with(id, 0, elements)
}

pub fn ask_with(id: u32, flags: u32, elements: &[(&str, Value)]) -> Vec<u8> {
    op_msg(id, 0, flags, &document(&[elements, &[("$db", text("shop"))]].concat()))
}

/// Documents that a command writes.
pub fn section(name: &str, documents: &[Vec<u8>]) -> Vec<u8> {
    let documents = documents.concat();
    let length = (4 + name.len() + 1 + documents.len()) as u32;
    [&[1][..], &length.to_le_bytes(), name.as_bytes(), &[0], &documents].concat()
}

pub fn insert(id: u32, flags: u32, collection: &str, documents: &[Vec<u8>]) -> Vec<u8> {
    let command = document(&[("insert", text(collection)), ("ordered", True), ("$db", text("shop"))]);
    message(id, 0, 2013, &[&flags.to_le_bytes(), &[0], &command, &section("documents", documents)])
}

pub fn answer(id: u32, answers: u32, elements: &[(&str, Value)]) -> Vec<u8> {
    op_msg(id, answers, 0, &document(elements))
}

pub fn ok(id: u32, answers: u32) -> Vec<u8> {
    answer(id, answers, &[("ok", Double(1.0))])
}

pub fn failed(id: u32, answers: u32, code: i32, name: &str) -> Vec<u8> {
    let mut elements = vec![("ok", Double(0.0)), ("errmsg", text("secret")), ("code", Int(code))];
    if !name.is_empty() {
        elements.push(("codeName", text(name)));
    }
    answer(id, answers, &elements)
}

/// A batch of a cursor.
pub fn batch(id: u32, answers: u32, (name, cursor): (&str, i64), documents: &[Vec<u8>]) -> Vec<u8> {
    let documents = documents.iter().map(|bytes| Document(bytes.clone())).collect();
    let cursor = document(&[(name, Array(documents)), ("id", Long(cursor)), ("ns", text("shop.orders"))]);
    answer(id, answers, &[("cursor", Document(cursor)), ("ok", Double(1.0))])
}

/// The first that a client says: OP_QUERY.
pub fn legacy_hello(id: u32) -> Vec<u8> {
    let command = document(&[("ismaster", Int(1)), ("helloOk", True)]);
    message(id, 0, 2004, &[&[0; 4], b"admin.$cmd\0", &[0; 4], &[0xff; 4], &command])
}

/// What answers it: OP_REPLY.
pub fn legacy_reply(id: u32, answers: u32, flags: u32, elements: &[(&str, Value)]) -> Vec<u8> {
    message(id, answers, 1, &[&flags.to_le_bytes(), &[0; 12], &[1, 0, 0, 0], &document(elements)])
}

pub fn compressed(id: u32, answers: u32) -> Vec<u8> {
    message(id, answers, 2012, &[&2013u32.to_le_bytes(), &100u32.to_le_bytes(), &[2], b"x\x9cnothing that is read"])
}
