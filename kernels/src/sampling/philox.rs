//! Philox 4x32-10: random numbers as a function of key and counter, with no state to carry.
//!
//! Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011; the constants
//! and the test vectors are those of the authors' Random123 library.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Four random words for one key and counter.
pub(super) fn philox(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [
            key[0].wrapping_add(KEY_STEPS[0]),
            key[1].wrapping_add(KEY_STEPS[1]),
        ];
    }
    counter
}

/// The randomness of one draw: a Gumbel variate for every token of the vocabulary, as a function
/// of seed, position, attempt and token alone.
#[derive(Clone, Copy)]
pub(super) struct DrawNoise {
    key: [u32; 2],
    position: u64,
    attempt: u32,
}

impl DrawNoise {
    /// Above every variate.
    pub(super) const LARGEST: f32 = 17.0;

    pub(super) fn new(seed: u64, position: u64, attempt: u32) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            position,
            attempt,
        }
    }

    /// A standard Gumbel variate for `token`. One Philox block serves four neighbouring tokens.
    pub(super) fn gumbel(&self, token: u32) -> f32 {
        gumbel_of(self.block(token / 4)[(token % 4) as usize])
    }

    fn block(&self, index: u32) -> [u32; 4] {
        // Positions stay far below 2^32: contexts are bounded by the model.
        debug_assert!(self.position <= u64::from(u32::MAX));
        philox(self.key, [index, self.position as u32, self.attempt, 0])
    }
}

/// The Gumbel variate of a random word.
fn gumbel_of(word: u32) -> f32 {
    // 24 bits in the middle of their interval, so never 0. The sum is rounded, for the largest word
    // up to the 1 whose variate is infinite: a token in 2^24 would be drawn whatever its logit.
    let uniform = ((word >> 8) as f32 + 0.5) * (1.0 / 16_777_216.0);
    -(-uniform.min(1.0f32.next_down()).ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An infinite variate would be drawn whatever the logits are: with 128k tokens, in one draw of
    /// 130.
    #[test]
    fn no_word_is_drawn_whatever_its_logit() {
        for word in [0, 1 << 8, 1 << 31, u32::MAX - (1 << 8), u32::MAX] {
            let gumbel = gumbel_of(word);
            assert!(
                (-3.0..DrawNoise::LARGEST).contains(&gumbel),
                "{word:#x}: {gumbel}"
            );
        }
    }

    /// Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds).
    #[test]
    fn equals_the_published_vectors() {
        assert_eq!(
            philox([0, 0], [0, 0, 0, 0]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
