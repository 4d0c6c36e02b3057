//! Random numbers that are the same for a seed on every machine.
//!
//! Source of the generator: G. Steele, D. Lea, C. Flood (2014), Fast splittable pseudorandom number generators.

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own: what is drawn from it changes nothing here.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Evenly between `low` and `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Between `low` and `high`, each power of ten as likely as the next: for what varies in size. Both are above 0.
    pub fn sized(&mut self, low: f64, high: f64) -> f64 {
        (low.ln() + (high.ln() - low.ln()) * self.unit()).exp()
    }

    /// A whole number from `low` up to `high`, both included.
    pub fn whole(&mut self, low: u32, high: u32) -> u32 {
        low + (self.unit() * f64::from(high - low + 1)) as u32
    }

    /// True in this part of all cases.
    pub fn chance(&mut self, part: f64) -> bool {
        self.unit() < part
    }

    /// Around 0, with a standard deviation of 1.
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// A value that wanders around 0 and comes back: a standard deviation of 1, and a memory of some seconds.
#[derive(Debug, Clone)]
pub struct Wander {
    value: f64,
    memory_s: f64,
}

impl Wander {
    /// Begins somewhere.
    pub fn new(memory_s: f64, random: &mut Random) -> Self {
        Self {
            value: random.normal(),
            memory_s,
        }
    }

    /// Its value some seconds later.
    pub fn after(&mut self, seconds: f64, random: &mut Random) -> f64 {
        let kept = (-seconds / self.memory_s).exp();
        self.value = kept * self.value + (1.0 - kept * kept).sqrt() * random.normal();
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_as_they_should_be() {
        let mut random = Random::new(7);
        let values: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e5).sqrt();
        assert!(
            mean.abs() < 0.02 && (spread - 1.0).abs() < 0.02,
            "{mean} {spread}"
        );
        let small = (0..100_000)
            .filter(|_| random.sized(1.0, 100.0) < 10.0)
            .count();
        assert!((49_000..51_000).contains(&small), "{small}");
        assert!((0..1000).all(|_| (3..=5).contains(&random.whole(3, 5))));
    }

    #[test]
    fn what_wanders_stays_around_zero_whatever_the_step() {
        for step in [1.0, 60.0, 3600.0] {
            let mut random = Random::new(9);
            let mut wander = Wander::new(600.0, &mut random);
            let values: Vec<f64> = (0..200_000)
                .map(|_| wander.after(step, &mut random))
                .collect();
            let square = values.iter().map(|v| v * v).sum::<f64>() / 2e5;
            assert!((0.8..1.2).contains(&square), "{step}: {square}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            let mut other = random.split();
            (random.next(), other.next())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
