//! Seeded randomness: the same seed and the same request give the same draws.
//!
//! A written-out SplitMix64 rather than a library generator, because recorded runs must repeat after an upgrade
//! of a dependency. Not for secrets.

/// A stream of pseudo-random numbers.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Dice that depend on the seed and on each of the parts.
    pub fn new<'a>(seed: u64, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
        for part in parts {
            // FNV-1a, with the length folded in so that ("ab","c") and ("a","bc") differ.
            for byte in part.iter().chain(&(part.len() as u64).to_le_bytes()) {
                state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        Self { state }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in 0..1.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below the bound; 0 for the bound 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.bits() % bound }
    }

    /// A draw from the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.fraction()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.fraction()).cos()
    }

    /// Random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.bits().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// An identifier in the shape of a version 4 UUID.
    pub fn uuid(&mut self) -> String {
        let high = u128::from(self.bits());
        let low = u128::from(self.bits());
        uuid::Builder::from_random_bytes(((high << 64) | low).to_be_bytes()).into_uuid().to_string()
    }

    /// Letters and digits, as used in ids such as `toolu_…` and `chatcmpl-…`.
    pub fn letters(&mut self, count: usize) -> String {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..count).map(|_| char::from(ALPHABET[self.below(62) as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_seed_and_parts_repeat() {
        let draw = |seed, part: &'static [u8]| Dice::new(seed, [part]).bits();
        assert_eq!(draw(7, b"fra"), draw(7, b"fra"));
        assert_ne!(draw(7, b"fra"), draw(8, b"fra"));
        assert_ne!(draw(7, b"fra"), draw(7, b"dub"));
    }

    #[test]
    fn the_split_of_parts_matters() {
        let mut left = Dice::new(1, [b"ab".as_slice(), b"c"]);
        let mut right = Dice::new(1, [b"a".as_slice(), b"bc"]);
        assert_ne!(left.bits(), right.bits());
    }

    #[test]
    fn fractions_stay_below_one() {
        let mut dice = Dice::new(3, []);
        assert!((0..1000).map(|_| dice.fraction()).all(|x| (0.0..1.0).contains(&x)));
    }
}
