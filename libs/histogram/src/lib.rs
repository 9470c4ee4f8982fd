//! The base-2 exponential histogram of OpenTelemetry at a fixed scale of 5: 32 buckets an octave.
//!
//! In: non-negative integers (durations in nanoseconds). Out: quantiles that are at most 1.1 % off, and the buckets for OTLP
//! and Prometheus native histograms. Buckets are found with integers alone, so the same values give the same bits on every
//! machine and in any order, and merging is exact addition. Bounded: 64 octaves, so at most 2,048 buckets.
//!
//! Source: OpenTelemetry metrics data model, "ExponentialHistogram".
#![deny(missing_docs)]

use serde::{Deserialize, Serialize};

/// Buckets an octave, as a power of two.
pub const SCALE: i32 = 5;
const BUCKETS_PER_OCTAVE: i32 = 1 << SCALE;
/// Where the value 0 stands among the buckets: below that of 1, which is the first.
const ZERO_PLACE: i32 = -2;

/// A mergeable histogram. Its fields are those of the Avro record `Histogram`.
///
/// Bucket `i` of `counts` holds values in `(2^((offset+i)/32), 2^((offset+i+1)/32)]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    scale: i32,
    zero_count: i64,
    offset: i32,
    counts: Vec<i64>,
    sum: i64,
    min: i64,
    max: i64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { scale: SCALE, zero_count: 0, offset: 0, counts: Vec::new(), sum: 0, min: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a value once.
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts a value `count` times.
    pub fn record_many(&mut self, value: u64, count: u32) {
        if count == 0 {
            return;
        }
        let value = value.min(i64::MAX as u64);
        self.widen_extremes(value as i64, value as i64);
        self.sum = self.sum.saturating_add((value as i64).saturating_mul(i64::from(count)));
        if value == 0 {
            self.zero_count = self.zero_count.saturating_add(i64::from(count));
        } else {
            let bucket = self.bucket(bucket_index(value));
            *bucket = bucket.saturating_add(i64::from(count));
        }
    }

    /// A histogram of values that were counted elsewhere: `counts` of neighbouring buckets from `first` on, and the sum of all values. The
    /// extremes are the ends of the outermost buckets.
    pub fn of_buckets(first: i32, counts: &[u32], sum: u64) -> Histogram {
        let mut histogram = Histogram::default();
        let used = |count: &u32| *count > 0;
        let (Some(from), Some(to)) = (counts.iter().position(used), counts.iter().rposition(used)) else {
            return histogram;
        };
        histogram.offset = first + from as i32;
        histogram.counts = counts[from..=to].iter().map(|count| i64::from(*count)).collect();
        histogram.sum = i64::try_from(sum).unwrap_or(i64::MAX);
        (histogram.min, histogram.max) = (bucket_end(histogram.offset - 1) + 1, bucket_end(first + to as i32));
        histogram
    }

    /// Adds all counts of another histogram.
    ///
    /// # Errors
    /// If its scale is another or its counts are out of bounds; nothing is added then.
    pub fn merge(&mut self, other: &Histogram) -> Result<(), MergeError> {
        other.check()?;
        if other.is_empty() {
            return Ok(());
        }
        self.widen_extremes(other.min, other.max);
        self.sum = self.sum.saturating_add(other.sum);
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        if let (Some(first), Some(last)) =
            (other.counts.iter().position(|&n| n != 0), other.counts.iter().rposition(|&n| n != 0))
        {
            self.bucket(other.offset + last as i32);
            self.bucket(other.offset + first as i32);
            let start = (other.offset + first as i32 - self.offset) as usize;
            for (mine, theirs) in self.counts[start..].iter_mut().zip(&other.counts[first..=last]) {
                *mine = mine.saturating_add(*theirs);
            }
        }
        Ok(())
    }

    /// Takes out as many values as `other` holds: for each of them one of the bucket that is nearest to its own, of two the lower.
    ///
    /// For values that somebody else measured a little differently. The count that is left is exact. The sum shrinks by that of
    /// `other` and the extremes stay while anything is left, so they are no more than near to what is left.
    pub fn take_nearest(&mut self, other: &Histogram) {
        let wanted = std::iter::once((ZERO_PLACE, other.zero_count())).chain(other.buckets());
        for (place, mut count) in wanted {
            while count > 0 {
                let Some(nearest) = self.nearest_place(place) else {
                    break;
                };
                let held = match nearest {
                    ZERO_PLACE => &mut self.zero_count,
                    index => &mut self.counts[(index - self.offset) as usize],
                };
                let taken = count.min(*held as u64);
                *held -= taken as i64;
                count -= taken;
            }
        }
        self.sum = self.sum.saturating_sub(other.sum).max(0);
        if self.is_empty() {
            *self = Histogram::default();
        }
    }

    /// How many values were counted; stops at `i64::MAX`.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(self.zero_count, |count, n| count.saturating_add(*n)) as u64
    }

    /// Bytes that it has allocated.
    pub fn heap_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.zero_count == 0 && self.counts.iter().all(|&n| n == 0)
    }

    /// How many values are 0.
    pub fn zero_count(&self) -> u64 {
        self.zero_count as u64
    }

    /// Counts of the buckets that are not empty, in order: bucket `i` holds values in `(2^(i/32), 2^((i+1)/32)]`.
    pub fn buckets(&self) -> impl Iterator<Item = (i32, u64)> {
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(at, count)| (self.offset + at as i32, *count as u64))
    }

    /// How many values are at most 2^`exponent`: exact, since a power of two ends its bucket.
    pub fn count_up_to_power(&self, exponent: i32) -> u64 {
        let end = exponent.saturating_mul(BUCKETS_PER_OCTAVE);
        self.buckets()
            .take_while(|(index, _)| *index < end)
            .fold(self.zero_count(), |sum, (_, count)| sum.saturating_add(count))
    }

    /// Sum of the values; stops at `i64::MAX`.
    pub fn sum(&self) -> i64 {
        self.sum
    }

    /// The smallest value, 0 if empty.
    pub fn min(&self) -> u64 {
        self.min as u64
    }

    /// The largest value, 0 if empty.
    pub fn max(&self) -> u64 {
        self.max as u64
    }

    /// The value at a quantile (nearest rank), 0 if empty. `q` is brought into 0..=1.
    ///
    /// It is the middle of its bucket on a logarithmic scale, within the extremes that were seen.
    pub fn quantile(&self, q: f64) -> f64 {
        let count = self.count();
        if count == 0 {
            return 0.0;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as i64).max(1);
        let mut seen = self.zero_count;
        if rank <= seen {
            return 0.0;
        }
        for (i, n) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*n);
            if rank <= seen {
                let exponent = (f64::from(self.offset + i as i32) + 0.5) / f64::from(BUCKETS_PER_OCTAVE);
                return exponent.exp2().clamp(self.min as f64, self.max as f64);
            }
        }
        self.max as f64
    }

    /// The bucket that is nearest to a place of those that hold anything.
    fn nearest_place(&self, place: i32) -> Option<i32> {
        let zero = (self.zero_count > 0).then_some(ZERO_PLACE);
        let held = zero.into_iter().chain(self.buckets().map(|(index, _)| index));
        held.min_by_key(|index| index.abs_diff(place))
    }

    fn widen_extremes(&mut self, min: i64, max: i64) {
        if self.is_empty() {
            (self.min, self.max) = (min, max);
        } else {
            (self.min, self.max) = (self.min.min(min), self.max.max(max));
        }
    }

    /// The count of a bucket, making room for it where there is none yet.
    fn bucket(&mut self, index: i32) -> &mut i64 {
        if self.counts.is_empty() {
            self.offset = index;
        }
        if index < self.offset {
            let missing = (self.offset - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.offset = index;
        }
        let at = (index - self.offset) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        &mut self.counts[at]
    }

    /// Whether a histogram that came from outside can be added without harm.
    pub fn check(&self) -> Result<(), MergeError> {
        if self.scale != SCALE {
            return Err(MergeError::Scale(self.scale));
        }
        let last = i64::from(self.offset) + self.counts.len() as i64;
        if self.offset < -1 || last > i64::from(64 * BUCKETS_PER_OCTAVE) {
            return Err(MergeError::Range { offset: self.offset, buckets: self.counts.len() });
        }
        if self.zero_count < 0 || self.counts.iter().any(|&n| n < 0) {
            return Err(MergeError::Negative);
        }
        if self.sum < 0 || self.min < 0 || self.min > self.max {
            return Err(MergeError::Extremes { sum: self.sum, min: self.min, max: self.max });
        }
        Ok(())
    }
}

/// Why a histogram cannot be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeError {
    /// Its scale is another than [`SCALE`].
    Scale(i32),
    /// Its buckets are more than there can be, or lie elsewhere.
    Range {
        /// Index of its first bucket.
        offset: i32,
        /// How many it has.
        buckets: usize,
    },
    /// A count is below 0.
    Negative,
    /// These cannot be of the values that it counted.
    Extremes {
        /// Sum of the values.
        sum: i64,
        /// The smallest one.
        min: i64,
        /// The largest one.
        max: i64,
    },
}

impl std::error::Error for MergeError {}

impl std::fmt::Display for MergeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MergeError::Scale(scale) => write!(f, "histogram has scale {scale}, only {SCALE} can be merged"),
            MergeError::Range { offset, buckets } => {
                write!(f, "histogram with {buckets} buckets from {offset} exceeds 64 octaves")
            }
            MergeError::Negative => write!(f, "histogram has a negative count"),
            MergeError::Extremes { sum, min, max } => {
                write!(f, "histogram cannot have a sum of {sum} and values from {min} to {max}")
            }
        }
    }
}

/// The bucket of a value above 0: the `i` with `2^(i/32) < value <= 2^((i+1)/32)`.
fn bucket_index(value: u64) -> i32 {
    let octave = 63 - value.leading_zeros() as i32;
    if value.is_power_of_two() {
        return octave * BUCKETS_PER_OCTAVE - 1;
    }
    let shifted = value << value.leading_zeros();
    octave * BUCKETS_PER_OCTAVE + BOUNDS.partition_point(|&bound| shifted > bound) as i32
}

/// The largest value of a bucket.
fn bucket_end(index: i32) -> i64 {
    let (octave, within) = (index.div_euclid(BUCKETS_PER_OCTAVE), index.rem_euclid(BUCKETS_PER_OCTAVE) as usize);
    match BOUNDS.get(within) {
        _ if octave < 0 => 0,
        Some(bound) => (bound >> (63 - octave)) as i64,
        None if octave >= 62 => i64::MAX,
        None => 1 << (octave + 1),
    }
}

/// `floor(2^(63 + k/32))` for k in 1..=31: where the buckets of one octave end, for values shifted to 64 bits.
const BOUNDS: [u64; 31] = [
    0x82cd8698ac2ba1d7,
    0x85aac367cc487b14,
    0x88980e8092da8527,
    0x8b95c1e3ea8bd6e6,
    0x8ea4398b45cd53c0,
    0x91c3d373ab11c336,
    0x94f4efa8fef70961,
    0x9837f0518db8a96f,
    0x9b8d39b9d54e5538,
    0x9ef5326091a111ad,
    0xa27043030c496818,
    0xa5fed6a9b15138ea,
    0xa9a15ab4ea7c0ef8,
    0xad583eea42a14ac6,
    0xb123f581d2ac258f,
    0xb504f333f9de6484,
    0xb8fbaf4762fb9ee9,
    0xbd08a39f580c36be,
    0xc12c4cca66709456,
    0xc5672a115506dadd,
    0xc9b9bd866e2f27a2,
    0xce248c151f8480e3,
    0xd2a81d91f12ae45a,
    0xd744fccad69d6af4,
    0xdbfbb797daf23755,
    0xe0ccdeec2a94e111,
    0xe5b906e77c8348a8,
    0xeac0c6e7dd24392e,
    0xefe4b99bdcdaf5cb,
    0xf5257d152486cc2c,
    0xfa83b2db722a033a,
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_power_of_two_ends_its_bucket() {
        assert_eq!(bucket_index(1), -1);
        assert_eq!(bucket_index(2), 31);
        assert_eq!(bucket_index(3), 50);
        assert_eq!(bucket_index(1024), 10 * 32 - 1);
        assert_eq!(bucket_index(1025), 10 * 32);
        assert_eq!(bucket_index(u64::MAX), 64 * 32 - 1);
    }

    #[test]
    fn a_foreign_scale_is_refused() {
        let other = Histogram { scale: 4, ..Histogram::default() };
        assert_eq!(Histogram::default().merge(&other), Err(MergeError::Scale(4)));
    }

    #[test]
    fn what_no_histogram_can_hold_is_refused_and_large_counts_do_not_overflow() {
        let upside_down = Histogram { min: 2, max: 1, counts: vec![1], ..Histogram::default() };
        assert!(matches!(Histogram::default().merge(&upside_down), Err(MergeError::Extremes { .. })));
        let full = Histogram { counts: vec![i64::MAX, i64::MAX], max: 2, ..Histogram::default() };
        let mut sum = full.clone();
        sum.merge(&full).unwrap();
        assert_eq!(sum.count(), i64::MAX as u64);
        assert!(sum.quantile(1.0) <= 2.0);
    }

    #[test]
    fn what_is_taken_out_is_nearest_and_the_count_stays_exact() {
        let of = |values: &[u64]| {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.record(value));
            histogram
        };
        let mut histogram = of(&[0, 1_000, 1_000, 50_000, 1 << 40]);
        histogram.take_nearest(&of(&[1_100, 45_000]));
        assert_eq!((histogram.count(), histogram.zero_count()), (3, 1));
        assert_eq!(histogram.buckets().map(|(_, count)| count).collect::<Vec<_>>(), [1, 1]);
        assert_eq!((histogram.count_up_to_power(11), histogram.sum()), (2, 52_000 + (1 << 40) - 46_100));
        histogram.take_nearest(&of(&[1, 1, 1, 1]));
        assert_eq!(histogram, Histogram::default());
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_promised_error(mut values in prop::collection::vec(1u64..10_000_000_000, 1..500), q in 0.0f64..=1.0) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.record(value));
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1] as f64;
            prop_assert!((histogram.quantile(q) / exact - 1.0).abs() < 0.011, "{} against {exact}", histogram.quantile(q));
        }

        #[test]
        fn counts_up_to_a_power_of_two_are_exact(values in prop::collection::vec(0u64..10_000, 0..200), exponent in 0..20) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.record(value));
            let exact = values.iter().filter(|&&value| value <= 1_u64 << exponent).count();
            prop_assert_eq!(histogram.count_up_to_power(exponent), exact as u64);
            let in_buckets: u64 = histogram.buckets().map(|(_, count)| count).sum();
            prop_assert_eq!(in_buckets + histogram.zero_count(), values.len() as u64);
        }

        #[test]
        fn any_order_and_any_grouping_gives_the_same_bits(values in prop::collection::vec(0u64.., 0..200), cut in 0usize..200) {
            let mut whole = Histogram::default();
            values.iter().for_each(|&value| whole.record(value));
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = Histogram::default();
            for part in [right, left] {
                let mut histogram = Histogram::default();
                part.iter().rev().for_each(|&value| histogram.record(value));
                merged.merge(&histogram).unwrap();
            }
            prop_assert_eq!(merged, whole);
        }
    }
}
