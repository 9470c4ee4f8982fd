//! Random numbers that a seed decides: the same on every machine and for ever, so that a failure is found again from its seed.

/// SplitMix64. Libraries change their generators from version to version; a plan must stay the same.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any of the 2^64 numbers.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Any of the 256 bytes.
    pub fn byte(&mut self) -> u8 {
        self.number() as u8
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// An index of something that has `length` elements.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below((most - least + 1).max(1) as u64) as i64
    }

    /// True in so many cases of a hundred.
    pub fn chance(&mut self, percent: i64) -> bool {
        self.between(0, 99) < percent
    }

    /// True once in so many cases.
    pub fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    /// Above 0 and below 1.
    pub fn unit(&mut self) -> f64 {
        ((self.number() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// From the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// How many events there are where `mean` are usual.
    pub fn poisson(&mut self, mean: f64) -> i64 {
        let mut time = 0.0;
        let mut events = -1;
        while time < mean {
            time -= self.unit().ln();
            events += 1;
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_the_published_numbers_of_its_algorithm() {
        let mut random = Random::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(expected.map(|_| random.number()), expected);
    }

    #[test]
    fn each_distribution_keeps_its_bounds_and_its_mean() {
        const DRAWS: u32 = 20_000;
        let mut random = Random::new(1);
        let mut mean = |draw: &mut dyn FnMut(&mut Random) -> f64| {
            (0..DRAWS).map(|_| draw(&mut random)).sum::<f64>() / f64::from(DRAWS)
        };
        let near = |mean: f64, expected: f64| assert!((mean - expected).abs() < 0.05, "{mean} is not {expected}");
        near(mean(&mut |random| random.below(2) as f64), 0.5);
        near(mean(&mut |random| random.between(-1, 1) as f64), 0.0);
        near(mean(&mut |random| f64::from(u8::from(random.chance(30)))), 0.3);
        near(mean(&mut |random| f64::from(u8::from(random.one_in(4)))), 0.25);
        near(mean(&mut |random| random.unit()), 0.5);
        near(mean(&mut |random| random.normal()), 0.0);
        near(mean(&mut |random| random.normal().powi(2)), 1.0);
        near(mean(&mut |random| random.poisson(2.5) as f64), 2.5);
        assert_eq!((random.below(0), random.index(1), random.between(7, 7)), (0, 0, 7));
    }
}
