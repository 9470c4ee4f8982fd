//! How long requests take, as counts in buckets of an eighth of an octave: what a past keeps of many windows.
//!
//! In: histograms of single windows. Out: their sum, its quantiles, and which share of it is longer than a time. Bounded: 512 buckets, of which
//! those from the first to the last that hold anything are kept; a bucket is 9 % wide.

use headwater_histogram::{Histogram, SCALE};

/// Buckets of a histogram that are one here.
const MERGED: i32 = 4;
const BUCKETS_PER_OCTAVE: f64 = ((1 << SCALE) / MERGED) as f64;

/// A sum of histograms. Values are in microseconds, of which the records have nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    first: i32,
    counts: Vec<u32>,
    /// Of all, also those that took no time at all.
    total: u64,
    zeros: u64,
}

/// Mean and standard deviation of the logarithms of times in microseconds, and of how many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logarithms {
    pub mean: f64,
    pub deviation: f64,
    pub count: f64,
}

impl Shape {
    pub fn add(&mut self, histogram: &Histogram) {
        self.total += histogram.count();
        self.zeros += histogram.zero_count();
        histogram.buckets().for_each(|(bucket, count)| {
            self.add_to(bucket.div_euclid(MERGED), u32::try_from(count).unwrap_or(u32::MAX));
        });
    }

    pub fn merge(&mut self, other: &Shape) {
        self.total = self.total.saturating_add(other.total);
        self.zeros = self.zeros.saturating_add(other.zeros);
        // The last one first, so that there is room for all.
        for (at, count) in other.counts.iter().enumerate().rev().filter(|(_, count)| **count > 0) {
            self.add_to(other.first + at as i32, *count);
        }
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    /// The time that a share of the requests does not exceed, by nearest rank and linear within its bucket; 0 without requests.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let rank = share.clamp(0.0, 1.0) * self.total as f64;
        let mut below = self.zeros as f64;
        if rank <= below {
            return 0.0;
        }
        for (at, count) in self.counts.iter().enumerate() {
            let count = f64::from(*count);
            if rank <= below + count {
                let within = (rank - below) / count.max(1.0);
                return self.start_us(at as f64 + within);
            }
            below += count;
        }
        self.start_us(self.counts.len() as f64)
    }

    /// None of nothing.
    pub fn logarithms(&self) -> Option<Logarithms> {
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for (at, number) in self.counts.iter().enumerate().filter(|(_, number)| **number > 0) {
            let (number, ln) = (f64::from(*number), self.start_us(at as f64 + 0.5).ln());
            (count, sum, squares) = (count + number, sum + number * ln, squares + number * ln * ln);
        }
        let mean = sum / count;
        let deviation = (squares / count - mean * mean).max(0.0).sqrt();
        (count > 0.0).then_some(Logarithms { mean, deviation, count })
    }

    /// How many took longer, to a bucket.
    pub fn slower_than(&self, us: f64) -> f64 {
        let bucket = ((us * 1000.0).max(1.0).log2() * BUCKETS_PER_OCTAVE).floor() as i32 - self.first;
        let first = usize::try_from(bucket).unwrap_or(0).min(self.counts.len());
        self.counts[first..].iter().map(|count| f64::from(*count)).sum()
    }

    fn start_us(&self, at: f64) -> f64 {
        ((f64::from(self.first) + at) / BUCKETS_PER_OCTAVE).exp2() / 1000.0
    }

    fn add_to(&mut self, bucket: i32, count: u32) {
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            let missing = (self.first - bucket) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = bucket;
        }
        let at = (bucket - self.first) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] = self.counts[at].saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_a_bucket_wrong_at_most() {
        let mut shape = Shape::default();
        for part in 0..10_u64 {
            let mut histogram = Histogram::default();
            (1..=1000_u64).filter(|value| value % 10 == part).for_each(|value| histogram.record(value * 1_000_000));
            let mut other = Shape::default();
            other.add(&histogram);
            shape.merge(&other);
        }
        assert_eq!(shape.count(), 1000);
        for (share, expected_us) in [(0.5, 500_000.0), (0.95, 950_000.0), (0.99, 990_000.0)] {
            let us = shape.quantile_us(share);
            assert!((us / expected_us - 1.0_f64).abs() < 0.09, "{us} is not {expected_us}");
        }
        assert_eq!(Shape::default().quantile_us(0.5), 0.0);
    }
}
