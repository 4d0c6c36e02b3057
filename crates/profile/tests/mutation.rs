//! Real profiles, damaged at random from a fixed seed: no panic, bounded memory.

use std::io::Read;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(2) {
        let at = random.below(bytes.len());
        match random.below(12) {
            0..4 => bytes[at] = random.next() as u8,
            4..8 => bytes[at] ^= 1 << random.below(8),
            8 => bytes.truncate(at.max(1)),
            9 => {
                // A varint that is far too large.
                let end = (at + 1 + random.below(9)).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
            10 => {
                let piece = bytes[at..(at + random.below(40)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                let end = (at + random.below(40)).min(bytes.len());
                bytes.drain(at..end);
                if bytes.is_empty() {
                    bytes.push(0);
                }
            }
        }
    }
}

#[test]
fn damaged_profiles_neither_panic_nor_grow() {
    let dir = format!("{}/tests/data", env!("CARGO_MANIFEST_DIR"));
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gz") {
            let packed = std::fs::read(path).unwrap();
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&packed[..])
                .read_to_end(&mut plain)
                .unwrap();
            seeds.extend([plain.clone(), plain, packed]);
        }
    }
    assert_eq!(seeds.len(), 15);
    let (mut parsed, rounds) = (0, 5_000);
    for round in 0..rounds {
        let mut random = Random(round);
        let mut bytes = seeds[round as usize % seeds.len()].clone();
        mutate(&mut bytes, &mut random);
        let outcome = std::panic::catch_unwind(|| profile::fuzz::fuzz_one(&bytes));
        assert!(outcome.is_ok(), "the profile made by round {round} panics");
        parsed += usize::from(profile::Profile::parse(&bytes, &profile::fuzz::limits()).is_ok());
    }
    // Neither all refused nor all accepted: the rounds reach the reports and the errors.
    assert!(
        (400..rounds as usize - 1_000).contains(&parsed),
        "{parsed} of {rounds} were readable"
    );
}
