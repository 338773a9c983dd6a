//! Runtime filters: which keys one side of a join has, so that the other need not send rows of any other key.
//!
//! A Bloom filter of the hashes that divide the rows: it may let a row pass in vain, it never holds one back that meets
//! another. (`fastbloom`: the fastest of those that take a hash as it is, and can be united.)

use fastbloom::BloomFilter;

/// Bits that each key sets.
const BITS_SET: u32 = 4;
/// With fewer bits a key, most others pass as well.
const LEAST_BITS_A_KEY: u64 = 4;
const WORD_BITS: u64 = u64::BITS as u64;

/// The keys of some rows.
#[derive(Clone)]
pub struct KeyFilter {
    bloom: BloomFilter,
    /// Different ones, about.
    keys: u64,
}

impl KeyFilter {
    /// Without keys; `bits` is its size, by which alone filters can be united.
    pub fn new(bits: u64) -> Self {
        Self { bloom: BloomFilter::with_num_bits(bits.max(WORD_BITS) as usize).hashes(BITS_SET), keys: 0 }
    }

    /// What [`to_bytes`](Self::to_bytes) has made; `None` of anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks();
        if words.is_empty() || !rest.is_empty() {
            return None;
        }
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let set: u64 = words.iter().map(|word| u64::from(word.count_ones())).sum();
        Some(Self { bloom: BloomFilter::from_vec(words).hashes(BITS_SET), keys: set / u64::from(BITS_SET) })
    }

    /// Its bits, in words of 64, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bloom.iter().flat_map(u64::to_le_bytes).collect()
    }

    pub fn insert(&mut self, hash: u64) {
        if !self.bloom.insert_hash(hash) {
            self.keys += 1;
        }
    }

    /// Whether a row of the key may be there.
    pub fn may_have(&self, hash: u64) -> bool {
        self.bloom.contains_hash(hash)
    }

    /// Whether it holds enough rows back to be worth asking.
    pub fn is_useful(&self) -> bool {
        self.keys.saturating_mul(LEAST_BITS_A_KEY) <= self.bloom.num_bits() as u64
    }

    /// The keys of both; `None` if they have not the same size.
    pub fn united(mut self, other: &Self) -> Option<Self> {
        if self.bloom.num_bits() != other.bloom.num_bits() {
            return None;
        }
        self.bloom.union(&other.bloom);
        self.keys += other.keys;
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Different numbers, spread as hashes are.
    fn hash(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn of(numbers: std::ops::Range<u64>) -> KeyFilter {
        let mut filter = KeyFilter::new(1 << 16);
        numbers.for_each(|number| filter.insert(hash(number)));
        filter
    }

    #[test]
    fn no_key_is_held_back_and_most_others_are() {
        let united = of(0..3000).united(&of(2000..6000)).unwrap();
        let filter = KeyFilter::from_bytes(&united.to_bytes()).unwrap();
        assert!((0..6000).all(|number| filter.may_have(hash(number))));
        let passed = (6000..106_000).filter(|number| filter.may_have(hash(*number))).count();
        assert!(passed < 5_000, "{passed} of 100,000");
    }

    #[test]
    fn too_many_keys_are_not_worth_it() {
        assert!(of(0..10_000).is_useful());
        assert!(!of(0..40_000).is_useful());
        // Also of tasks elsewhere, which alone had few enough.
        let parts =
            [0, 15_000, 30_000].map(|first| KeyFilter::from_bytes(&of(first..first + 15_000).to_bytes()).unwrap());
        assert!(parts.iter().all(KeyFilter::is_useful));
        let [first, second, third] = parts;
        assert!(!first.united(&second).unwrap().united(&third).unwrap().is_useful());
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        assert!(KeyFilter::from_bytes(&[]).is_none());
        assert!(KeyFilter::from_bytes(&[0; 9]).is_none());
        assert!(KeyFilter::new(64).united(&KeyFilter::new(128)).is_none());
    }
}
