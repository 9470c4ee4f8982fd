//! Requests out of memory that the kernel takes out of the program's address space and puts back all the time, as when it moves pages: what a call has
//! just sent may be absent a moment later.

use std::io::{IoSlice, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, block, frame, read_answers, write_all};
use super::{begin, connect, get, listen, read_answer, serve};
use crate::http2;

pub const REQUESTS: usize = 300;

/// Of HTTP/2, two in each call.
pub const STREAMS: usize = 400;

/// Of DNS, two in each call.
pub const QUESTIONS: usize = 400;

/// For so long the memory is absent each time.
const ABSENT: Duration = Duration::from_micros(3);
/// Between two requests, since what the probes may wait in a second is bounded.
const PAUSE: Duration = Duration::from_millis(10);

const PAGE_BYTES: usize = 4096;

/// One page of a file in memory: what is taken out of the address space stays in the file.
struct Page(*mut u8);

// SAFETY: the page belongs to the process until its end.
unsafe impl Sync for Page {}

impl Page {
    fn new() -> Result<Page> {
        // SAFETY: the name ends with a zero; a new mapping takes nobody's memory.
        let at = unsafe {
            let file = libc::memfd_create(c"moving".as_ptr(), 0);
            ensure!(file >= 0, "memfd_create: {}", std::io::Error::last_os_error());
            ensure!(libc::ftruncate(file, PAGE_BYTES as i64) == 0, "ftruncate: {}", std::io::Error::last_os_error());
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), PAGE_BYTES, access, libc::MAP_SHARED, file, 0)
        };
        ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Ok(Page(at.cast()))
    }

    /// Takes it out and puts it back, until it is over.
    fn come_and_go(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            // SAFETY: the mapping of `new`, whose bytes stay in its file. The last of them, which nobody writes, is read, so that it comes back.
            unsafe {
                libc::madvise(self.0.cast(), PAGE_BYTES, libc::MADV_DONTNEED);
                let since = Instant::now();
                while since.elapsed() < ABSENT {}
                ptr::read_volatile(self.0.add(PAGE_BYTES - 1));
            }
        }
    }

    /// Nobody else writes it.
    fn hold(&self, text: &[u8]) -> &[u8] {
        assert!(text.len() < PAGE_BYTES);
        // SAFETY: it is long enough, and only this thread uses its bytes but for the last.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), self.0, text.len());
            std::slice::from_raw_parts(self.0, text.len())
        }
    }

    /// The same of an array of struct mmsghdr, which the kernel writes to.
    fn hold_messages<const N: usize>(&self, messages: [libc::mmsghdr; N]) -> *mut libc::mmsghdr {
        assert!(size_of_val(&messages) < PAGE_BYTES);
        // SAFETY: as in `hold`. A page is aligned to anything.
        unsafe { ptr::write(self.0.cast(), messages) };
        self.0.cast()
    }

    /// The same of an array of struct iovec.
    fn hold_segments<'a>(&'a self, segments: &[IoSlice<'a>]) -> &'a [IoSlice<'a>] {
        assert!(size_of_val(segments) < PAGE_BYTES);
        // SAFETY: as in `hold`. A page is aligned to anything, and an IoSlice is as long as a struct iovec and the same.
        unsafe {
            ptr::copy_nonoverlapping(segments.as_ptr(), self.0.cast(), segments.len());
            std::slice::from_raw_parts(self.0.cast(), segments.len())
        }
    }
}

/// Requests that lie in such memory.
pub fn play() -> Result<()> {
    begin()?;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || serve(listener.accept().context("accept")?.0, 10));
    while_it_moves(|page| ask(page, connect(address)?))?;
    server.join().expect("the server does not panic")
}

/// Requests of HTTP/2 whose segments are named in such memory, where the second one of a call begins behind what is copied at once.
pub fn play_segments() -> Result<()> {
    begin()?;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || frames::serve(&listener));
    while_it_moves(|page| ask_by_segments(page, connect(address)?))?;
    server.join().expect("the server does not panic")
}

/// Questions for names in messages that lie in such memory, two in each call, as `getaddrinfo` asks.
pub fn play_messages() -> Result<()> {
    begin()?;
    let server = UdpSocket::bind(NAME_SERVER).context("bind the name server")?;
    let client = UdpSocket::bind("127.0.0.1:0").context("bind")?;
    client.connect(NAME_SERVER).context("connect")?;
    let answers = thread::spawn(move || {
        let mut question = [0; 512];
        for _ in 0..QUESTIONS {
            let (bytes, client) = server.recv_from(&mut question).context("read a question")?;
            // It is an answer (RFC 1035, 4.1.1).
            question[2] |= 0x80;
            server.send_to(&question[..bytes], client).context("answer")?;
        }
        Ok(())
    });
    while_it_moves(|page| ask_for_names(page, &client))?;
    answers.join().expect("the server does not panic")
}

/// On a processor of its own: on the same one, the page would never go while the other thread makes a call.
fn while_it_moves(work: impl FnOnce(&Page) -> Result<()>) -> Result<()> {
    let page = Page::new()?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mover = scope.spawn(|| {
            stay_on(1)?;
            page.come_and_go(&over);
            anyhow::Ok(())
        });
        let worked = stay_on(0).and_then(|()| work(&page));
        over.store(true, Ordering::Relaxed);
        mover.join().expect("the mover does not panic")?;
        worked
    })
}

/// Keeps this thread on one of the processors that it may use.
fn stay_on(nth: usize) -> Result<()> {
    let bytes = size_of::<libc::cpu_set_t>();
    // SAFETY: a set of zeros is one of no processors; the calls take sets of this size, and no number is as large as a set.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        ensure!(libc::sched_getaffinity(0, bytes, &raw mut allowed) == 0, "{}", std::io::Error::last_os_error());
        let processor = (0..8 * bytes).filter(|at| libc::CPU_ISSET(*at, &allowed)).nth(nth);
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor.context("this takes two processors")?, &mut one);
        ensure!(libc::sched_setaffinity(0, bytes, &raw const one) == 0, "{}", std::io::Error::last_os_error());
    }
    Ok(())
}

fn ask(page: &Page, mut stream: TcpStream) -> Result<()> {
    for number in 0..REQUESTS {
        stream.write_all(page.hold(get(&format!("/moving/{number:05}")).as_bytes())).context("ask")?;
        read_answer(&mut stream)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// The longest frame without an agreement (RFC 9113, 4.2), so that what follows lies behind the 16 KiB that a probe copies.
const BODY_BYTES: usize = 16_384;

fn ask_by_segments(page: &Page, mut stream: TcpStream) -> Result<()> {
    frames::begin(&mut stream)?;
    for number in 0..STREAMS as u32 / 2 {
        let [asks, other] = [1, 3].map(|of_two| 4 * number + of_two);
        // Indices of the static table (RFC 7541, appendix A): POST and GET.
        let with_body = frame(HEADERS, END_HEADERS, asks, &block(0x83, &http2::path(false, 100, 2 * number as usize)));
        let body = frame(DATA, END_STREAM, asks, &[b'b'; BODY_BYTES]);
        let last = block(0x82, &http2::path(false, 100, 2 * number as usize + 1));
        let last = frame(HEADERS, END_HEADERS | END_STREAM, other, &last);
        let segments = [&with_body, &body, &last].map(|bytes| IoSlice::new(bytes));
        let segments = page.hold_segments(&segments);
        write_all(&mut stream, segments)?;
        read_answers(&mut stream, 2)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// An address that no resolver of the machine has.
const NAME_SERVER: &str = "127.5.3.1:53";

fn ask_for_names(page: &Page, client: &UdpSocket) -> Result<()> {
    for number in 0..QUESTIONS / 2 {
        // RFC 1035, 4.1: the id, wanted recursion, one question; a name, A or AAAA, IN.
        let question = |kind: u8| {
            let id = (2 * number) as u16 + u16::from(kind == AAAA);
            let name = format!("\x05moves\x04n{:03}\x07example\0", number % 1000);
            [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name.as_bytes(), &[0, kind, 0, 1]].concat()
        };
        let mut questions = [question(A), question(AAAA)];
        let mut parts =
            questions.each_mut().map(|bytes| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() });
        let messages = parts.each_mut().map(|part| {
            // SAFETY: a struct of numbers and pointers, for which zero is none.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
            message
        });
        // SAFETY: two messages, whose parts and bytes live until the call has ended.
        let sent = unsafe { libc::sendmmsg(client.as_raw_fd(), page.hold_messages(messages), 2, 0) };
        ensure!(sent == 2, "sendmmsg sent {sent}: {}", std::io::Error::last_os_error());
        for _ in 0..2 {
            client.recv(&mut [0; 512]).context("read an answer")?;
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Types of RFC 1035 and RFC 3596.
const A: u8 = 1;
const AAAA: u8 = 28;
