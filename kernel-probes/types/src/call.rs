//! Which system calls move bytes of a socket, and how their second argument names the memory.

/// The second argument is the buffer.
pub const BUFFER: u8 = 1;
/// It is a vector of buffers, as long as the third says.
pub const VECTOR: u8 = 2;
/// It is a struct msghdr.
pub const MESSAGE: u8 = 3;

/// System calls of larger numbers move none.
pub const NUMBERS: usize = 512;

/// What a table of system calls has of one: its form, and its [`direction`](crate::direction). 0 stands for one that moves nothing.
#[inline(always)]
pub const fn entry(form: u8, direction: u32) -> u8 {
    form << 1 | direction as u8
}

/// The form of a call that moves bytes in this direction; 0 if it does not.
#[inline(always)]
pub const fn form(entry: u8, direction: u32) -> u8 {
    if entry as u32 & 1 == direction { entry >> 1 } else { 0 }
}

const _: () = assert!(form(0, 0) == 0 && form(0, 1) == 0);
const _: () = assert!(form(entry(MESSAGE, 1), 1) == MESSAGE && form(entry(MESSAGE, 1), 0) == 0);
