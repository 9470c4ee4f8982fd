//! Errors by their number (native_protocol_v5.spec, 8), and whose fault they are.

use crate::{Code, Outcome};

pub fn name(number: i32) -> Option<&'static str> {
    Some(match number {
        0x0000 => "SERVER_ERROR",
        0x000a => "PROTOCOL_ERROR",
        0x0100 => "BAD_CREDENTIALS",
        0x1000 => "UNAVAILABLE",
        0x1001 => "OVERLOADED",
        0x1002 => "IS_BOOTSTRAPPING",
        0x1003 => "TRUNCATE_ERROR",
        0x1100 => "WRITE_TIMEOUT",
        0x1200 => "READ_TIMEOUT",
        0x1300 => "READ_FAILURE",
        0x1400 => "FUNCTION_FAILURE",
        0x1500 => "WRITE_FAILURE",
        0x1600 => "CDC_WRITE_FAILURE",
        0x1700 => "CAS_WRITE_UNKNOWN",
        0x2000 => "SYNTAX_ERROR",
        0x2100 => "UNAUTHORIZED",
        0x2200 => "INVALID",
        0x2300 => "CONFIG_ERROR",
        0x2400 => "ALREADY_EXISTS",
        0x2500 => "UNPREPARED",
        _ => return None,
    })
}

pub fn outcome(number: i32) -> (Outcome, Code) {
    let code = match name(number) {
        Some(name) => Code::new(name.as_bytes()),
        None => Code::new(format!("{number:#06x}").as_bytes()),
    };
    let outcome = match number {
        // It is to be prepared again, which drivers do by themselves.
        0x2500 => Outcome::Ok,
        0x0000 | 0x1000..=0x1fff => Outcome::ServerError,
        _ => Outcome::ClientError,
    };
    (outcome, code)
}
