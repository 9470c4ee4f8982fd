//! Requests out of memory that the kernel takes out of the program's address space and puts back all the time, as when it moves pages: what a call has
//! just sent may be absent a moment later.

use std::io::Write;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{begin, connect, get, listen, read_answer, serve};

pub const REQUESTS: usize = 300;

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
}

pub fn play() -> Result<()> {
    begin()?;
    let page = Page::new()?;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || serve(listener.accept().context("accept")?.0, 10));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| page.come_and_go(&over));
        let asked = ask(&page, connect(address)?);
        over.store(true, Ordering::Relaxed);
        asked
    })?;
    server.join().expect("the server does not panic")
}

fn ask(page: &Page, mut stream: std::net::TcpStream) -> Result<()> {
    for number in 0..REQUESTS {
        stream.write_all(page.hold(get(&format!("/moving/{number:05}")).as_bytes())).context("ask")?;
        read_answer(&mut stream)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}
