//! Methods: which there are, what answers them, and what of their arguments is of use (AMQP 0-9-1, 1.4 and the reference; RabbitMQ's `confirm`).

use crate::Direction;

/// What a method is to those who follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Asked by the client, and answered by the method with this number of the same class.
    Call(u16),
    /// Of the server, which answers.
    Answer,
    /// Has a meaning of its own.
    Own,
    /// Says nothing that is told.
    Silent,
}

#[derive(Debug)]
pub(super) struct Method {
    pub class: u16,
    pub number: u16,
    pub name: &'static str,
    /// Who says it; None: both do.
    from: Option<Direction>,
    pub role: Role,
    /// What its arguments are, up to the last that is of use.
    layout: &'static [Field],
}

/// An argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Skip(usize),
    /// A short string that is not told.
    Text,
    /// The short string that the resource is named by. Of several, all.
    Name,
    /// The short string by which a consumer is known.
    Tag,
    /// Eight bytes: the number of a message on its channel.
    Number,
    /// The reason for an end.
    Code,
    /// Bits, of which this one says that nobody is to answer.
    NoWait(u8),
    /// Bits, of which this one says that messages are not acknowledged.
    NoAck(u8, Option<u8>),
    /// Bits, of which this one says that all up to a number are meant.
    Multiple,
    /// Class and method that failed.
    Failed,
}

/// What the arguments of a method say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arguments<'a> {
    /// As many as there are.
    pub names: [Option<&'a [u8]>; 2],
    pub tag: Option<&'a [u8]>,
    pub number: Option<u64>,
    pub code: Option<u16>,
    pub no_wait: bool,
    pub no_ack: bool,
    pub multiple: bool,
    pub failed: Option<(u16, u16)>,
    /// All that is of use was there.
    pub is_whole: bool,
}

const CLIENT: Option<Direction> = Some(Direction::Request);
const SERVER: Option<Direction> = Some(Direction::Response);

const fn method(
    class: u16,
    number: u16,
    name: &'static str,
    from: Option<Direction>,
    role: Role,
    layout: &'static [Field],
) -> Method {
    Method { class, number, name, from, role, layout }
}

use Field::{Code, Failed, Multiple, Name, NoAck, NoWait, Number, Skip, Tag, Text};
use Role::{Answer, Call, Own, Silent};

#[rustfmt::skip]
const METHODS: [Method; 61] = [
    method(10, 10, "connection.start", SERVER, Own, &[]),
    method(10, 11, "connection.start-ok", CLIENT, Own, &[]),
    method(10, 20, "connection.secure", SERVER, Own, &[]),
    method(10, 21, "connection.secure-ok", CLIENT, Own, &[]),
    method(10, 30, "connection.tune", SERVER, Own, &[]),
    method(10, 31, "connection.tune-ok", CLIENT, Own, &[]),
    method(10, 40, "connection.open", CLIENT, Own, &[Name]),
    method(10, 41, "connection.open-ok", SERVER, Own, &[]),
    method(10, 50, "connection.close", None, Own, &[Code, Text, Failed]),
    method(10, 51, "connection.close-ok", None, Answer, &[]),
    method(10, 60, "connection.blocked", SERVER, Silent, &[]),
    method(10, 61, "connection.unblocked", SERVER, Silent, &[]),
    method(10, 70, "connection.update-secret", CLIENT, Call(71), &[]),
    method(10, 71, "connection.update-secret-ok", SERVER, Answer, &[]),
    method(20, 10, "channel.open", CLIENT, Call(11), &[]),
    method(20, 11, "channel.open-ok", SERVER, Answer, &[]),
    method(20, 20, "channel.flow", None, Silent, &[]),
    method(20, 21, "channel.flow-ok", None, Silent, &[]),
    method(20, 40, "channel.close", None, Own, &[Code, Text, Failed]),
    method(20, 41, "channel.close-ok", None, Answer, &[]),
    method(40, 10, "exchange.declare", CLIENT, Call(11), &[Skip(2), Name, Text, NoWait(4)]),
    method(40, 11, "exchange.declare-ok", SERVER, Answer, &[]),
    method(40, 20, "exchange.delete", CLIENT, Call(21), &[Skip(2), Name, NoWait(1)]),
    method(40, 21, "exchange.delete-ok", SERVER, Answer, &[]),
    method(40, 30, "exchange.bind", CLIENT, Call(31), &[Skip(2), Name, Text, Text, NoWait(0)]),
    method(40, 31, "exchange.bind-ok", SERVER, Answer, &[]),
    method(40, 40, "exchange.unbind", CLIENT, Call(51), &[Skip(2), Name, Text, Text, NoWait(0)]),
    method(40, 51, "exchange.unbind-ok", SERVER, Answer, &[]),
    method(50, 10, "queue.declare", CLIENT, Call(11), &[Skip(2), Name, NoWait(4)]),
    method(50, 11, "queue.declare-ok", SERVER, Answer, &[]),
    method(50, 20, "queue.bind", CLIENT, Call(21), &[Skip(2), Name, Text, Text, NoWait(0)]),
    method(50, 21, "queue.bind-ok", SERVER, Answer, &[]),
    method(50, 30, "queue.purge", CLIENT, Call(31), &[Skip(2), Name, NoWait(0)]),
    method(50, 31, "queue.purge-ok", SERVER, Answer, &[]),
    method(50, 40, "queue.delete", CLIENT, Call(41), &[Skip(2), Name, NoWait(2)]),
    method(50, 41, "queue.delete-ok", SERVER, Answer, &[]),
    method(50, 50, "queue.unbind", CLIENT, Call(51), &[Skip(2), Name]),
    method(50, 51, "queue.unbind-ok", SERVER, Answer, &[]),
    method(60, 10, "basic.qos", CLIENT, Call(11), &[]),
    method(60, 11, "basic.qos-ok", SERVER, Answer, &[]),
    method(60, 20, "basic.consume", CLIENT, Call(21), &[Skip(2), Name, Tag, NoAck(1, Some(3))]),
    method(60, 21, "basic.consume-ok", SERVER, Answer, &[Tag]),
    method(60, 30, "basic.cancel", None, Call(31), &[Tag, NoWait(0)]),
    method(60, 31, "basic.cancel-ok", None, Answer, &[]),
    method(60, 40, "basic.publish", CLIENT, Own, &[Skip(2), Name, Name]),
    method(60, 50, "basic.return", SERVER, Own, &[Code, Text, Name, Name]),
    method(60, 60, "basic.deliver", SERVER, Own, &[Tag, Number, Skip(1), Name, Name]),
    method(60, 70, "basic.get", CLIENT, Call(71), &[Skip(2), Name, NoAck(0, None)]),
    method(60, 71, "basic.get-ok", SERVER, Own, &[Number, Skip(1)]),
    method(60, 72, "basic.get-empty", SERVER, Own, &[]),
    method(60, 80, "basic.ack", None, Own, &[Number, Multiple]),
    method(60, 90, "basic.reject", CLIENT, Own, &[Number]),
    method(60, 100, "basic.recover-async", CLIENT, Silent, &[]),
    method(60, 110, "basic.recover", CLIENT, Call(111), &[]),
    method(60, 111, "basic.recover-ok", SERVER, Answer, &[]),
    method(60, 120, "basic.nack", None, Own, &[Number, Multiple]),
    method(85, 10, "confirm.select", CLIENT, Call(11), &[NoWait(0)]),
    method(85, 11, "confirm.select-ok", SERVER, Answer, &[]),
    method(90, 10, "tx.select", CLIENT, Call(11), &[]),
    method(90, 20, "tx.commit", CLIENT, Call(21), &[]),
    method(90, 30, "tx.rollback", CLIENT, Call(31), &[]),
];
/// Answers of transactions, which are one like the other.
const TX: Method = method(90, 11, "tx.ok", SERVER, Answer, &[]);

/// The method of these numbers, if that side may say it.
pub(super) fn of(class: u16, number: u16, direction: Direction) -> Option<&'static Method> {
    if class == 90 && matches!(number, 11 | 21 | 31) && direction == Direction::Response {
        return Some(&TX);
    }
    let at = METHODS.binary_search_by_key(&(class, number), |method| (method.class, method.number)).ok()?;
    Some(&METHODS[at]).filter(|method| method.from.is_none_or(|from| from == direction))
}

impl Method {
    pub fn read<'a>(&self, bytes: &'a [u8]) -> Arguments<'a> {
        let mut arguments = Arguments::default();
        let mut rest = bytes;
        arguments.is_whole = self.layout.iter().all(|field| arguments.take(*field, &mut rest).is_some());
        arguments
    }
}

impl<'a> Arguments<'a> {
    fn take(&mut self, field: Field, rest: &mut &'a [u8]) -> Option<()> {
        match field {
            Skip(bytes) => drop(take(rest, bytes)?),
            Text => drop(text(rest)?),
            Name => {
                let name = text(rest)?;
                *self.names.iter_mut().find(|known| known.is_none())? = Some(name);
            }
            Tag => self.tag = Some(text(rest)?),
            Number => self.number = Some(u64::from_be_bytes(*take(rest, 8)?.first_chunk()?)),
            Code => self.code = Some(word(rest)?),
            Failed => self.failed = Some((word(rest)?, word(rest)?)),
            NoWait(bit) => self.no_wait = is_set(rest, bit)?,
            NoAck(bit, no_wait) => {
                let bits = *take(rest, 1)?.first()?;
                self.no_ack = bits >> bit & 1 == 1;
                self.no_wait = no_wait.is_some_and(|bit| bits >> bit & 1 == 1);
            }
            Multiple => self.multiple = is_set(rest, 0)?,
        }
        Some(())
    }
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(bytes)?;
    *rest = behind;
    Some(taken)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let bytes = *take(rest, 1)?.first()?;
    take(rest, usize::from(bytes))
}

fn word(rest: &mut &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*take(rest, 2)?.first_chunk()?))
}

fn is_set(rest: &mut &[u8], bit: u8) -> Option<bool> {
    Some(*take(rest, 1)?.first()? >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_stand_in_order_and_calls_have_their_answers() {
        assert!(METHODS.is_sorted_by_key(|method| (method.class, method.number)));
        for method in &METHODS {
            if let Call(answer) = method.role {
                assert!(of(method.class, answer, Direction::Response).is_some(), "{}", method.name);
            }
        }
    }
}
