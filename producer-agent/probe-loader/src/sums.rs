//! The cells in which the probes add up plain exchanges, in a table that both map; see [`headwater_probe_types::sums`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::maps::Map;
use headwater_probe_types::sums::{BUCKETS, CELLS, Cell, Last, SECONDS, Sums};

use crate::error::LoadError;
use crate::mapped::Mapped;

/// What was added up in one second, taken out of a cell.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Of the time of day.
    pub second: u64,
    pub exchanges: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub duration_ns: u64,
    /// The request's position of the first exchange.
    pub first_position: u64,
    pub last: Last,
    /// From [`headwater_probe_types::sums::OCTAVE_FIRST`] on.
    pub counts: Box<[u32; BUCKETS]>,
}

/// What a cell takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fits {
    pub key: u64,
    pub request_bytes_min: u32,
    pub request_bytes_max: u32,
    /// See [`headwater_probe_types::sums::status_of`].
    pub status: u32,
    /// See [`headwater_probe_types::sums::Cell::settled_from`].
    pub settled_from: u64,
}

/// The mapped cells. They stay valid when the probes are gone; nobody adds anything then.
#[derive(Debug)]
pub struct SumTable {
    cells: Mapped<Cell>,
    day_offset_ns: Mapped<u64>,
}

impl SumTable {
    pub(crate) fn map(cells: &Map, day_offset: &Map) -> Result<SumTable, LoadError> {
        Ok(SumTable {
            cells: Mapped::of(cells, CELLS, "CELLS_OF_SUMS")?,
            day_offset_ns: Mapped::of(day_offset, 1, "DAY_OFFSET")?,
        })
    }

    /// How far the time of day is ahead of CLOCK_MONOTONIC: it says in which second an exchange ends.
    pub fn set_day_offset(&mut self, offset_ns: i64) {
        // SAFETY: one aligned number of the mapping, which the probes only read.
        let word = unsafe { AtomicU64::from_ptr(self.day_offset_ns.at(0).as_ptr()) };
        word.store(offset_ns.cast_unsigned(), Ordering::Relaxed);
    }

    /// From now on a cell takes the exchanges that fit. Its place is one of [`headwater_probe_types::sums::places`], and nothing is left in it.
    pub fn open(&mut self, place: u32, fits: Fits) {
        let cell = self.cell(place);
        // SAFETY: numbers of a mapped cell, each aligned; the probes read them as whole numbers, and the key is written last.
        unsafe {
            let u32_at = |at: *mut u32, value| AtomicU32::from_ptr(at).store(value, Ordering::Relaxed);
            u32_at(&raw mut (*cell).request_bytes_min, fits.request_bytes_min);
            u32_at(&raw mut (*cell).request_bytes_max, fits.request_bytes_max);
            u32_at(&raw mut (*cell).status, fits.status);
            AtomicU64::from_ptr(&raw mut (*cell).settled_from).store(fits.settled_from, Ordering::Relaxed);
            AtomicU64::from_ptr(&raw mut (*cell).key).store(fits.key, Ordering::Release);
        }
    }

    /// All commands before a checkpoint of the cell's connection had been answered; see [`headwater_probe_types::sums::Cell::settled_from`].
    pub fn settle(&mut self, place: u32, from: u64) {
        let cell = self.cell(place);
        // SAFETY: as in `open`.
        unsafe { AtomicU64::from_ptr(&raw mut (*cell).settled_from) }.store(from, Ordering::Release);
    }

    /// A cell takes no further exchanges. What runs of the probes that are under way still add to it can be taken later.
    pub fn close(&mut self, place: u32) {
        let cell = self.cell(place);
        // SAFETY: as in `open`.
        unsafe { AtomicU64::from_ptr(&raw mut (*cell).key) }.store(0, Ordering::Release);
    }

    /// Takes out what a cell has of seconds before this one, a record for each.
    pub fn take(&mut self, place: u32, before_second: u64, mut to: impl FnMut(Taken)) {
        let cell = self.cell(place);
        for part in 0..SECONDS {
            // SAFETY: one of the cell's parts.
            let sums = unsafe { &raw mut (*cell).sums[part] };
            // SAFETY: aligned numbers, each read or exchanged as a whole. The probes add to the parts of the running second only.
            let (exchanges, second) = unsafe {
                (
                    AtomicU32::from_ptr(&raw mut (*sums).exchanges).load(Ordering::Acquire),
                    (&raw const (*sums).second).read_volatile(),
                )
            };
            if exchanges != 0 && second < before_second {
                to(take(sums));
            }
        }
    }

    fn cell(&self, place: u32) -> *mut Cell {
        self.cells.at(place as usize & (CELLS - 1)).as_ptr()
    }
}

fn take(sums: *mut Sums) -> Taken {
    let mut counts = Box::new([0; BUCKETS]);
    // SAFETY: the caller gives a part of a mapped cell; its numbers are aligned, and each is exchanged as a whole.
    unsafe {
        let u64_at = |at: *mut u64| AtomicU64::from_ptr(at).swap(0, Ordering::Relaxed);
        let first_count = (&raw mut (*sums).counts).cast::<u32>();
        for (at, count) in counts.iter_mut().enumerate() {
            let from = AtomicU32::from_ptr(first_count.add(at));
            // Most are 0, and need not be written.
            if from.load(Ordering::Relaxed) != 0 {
                *count = from.swap(0, Ordering::Relaxed);
            }
        }
        Taken {
            second: (&raw const (*sums).second).read_volatile(),
            first_position: (&raw const (*sums).first_position).read_volatile(),
            last: (&raw const (*sums).last).read_volatile(),
            request_bytes: u64_at(&raw mut (*sums).request_bytes),
            response_bytes: u64_at(&raw mut (*sums).response_bytes),
            duration_ns: u64_at(&raw mut (*sums).duration_ns),
            exchanges: u64::from(AtomicU32::from_ptr(&raw mut (*sums).exchanges).swap(0, Ordering::Relaxed)),
            counts,
        }
    }
}
