//! Does the same to many things, as many at a time as there are processors.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

/// What becomes of each, in the order in which they stand.
///
/// # Errors
/// The error of the first one that has any; the others are done all the same.
pub fn map<T: Sync, R: Send>(things: &[T], each: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<R>>>> = things.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some((thing, place)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            things.get(at).zip(done.get(at))
        } {
            let result = each(thing);
            *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(result);
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(things.len());
    // A thread that panics makes the scope panic.
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let results =
        done.into_iter().filter_map(|place| place.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
    results.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_things_and_the_first_error_is_told() {
        let numbers: Vec<u64> = (0..100).collect();
        assert_eq!(map(&numbers, |number| Ok(number * 2)).unwrap(), (0..200).step_by(2).collect::<Vec<u64>>());
        let fails = |number: &u64| if *number < 7 { Ok(*number) } else { Err(anyhow::anyhow!("{number}")) };
        assert_eq!(map(&numbers, fails).unwrap_err().to_string(), "7");
    }
}
