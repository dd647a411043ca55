//! Check digits: what tells a number of some scheme from any other row of digits.

/// A named check-digit scheme. It looks at the letters and digits of a match and skips the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checksum {
    /// Payment cards, IMEI, many national numbers. Source: ISO/IEC 7812-1, annex B.
    Luhn,
    /// The number, letters as 10 to 35, is 1 modulo 97: LEI and others. Source: ISO/IEC 7064.
    Mod97,
    /// German tax numbers among others. Source: ISO/IEC 7064, MOD 11,10.
    Mod11_10,
    /// Ten digits, weights 10 to 2: the NHS number. Source: NHS Data Dictionary.
    Nhs,
    /// Aadhaar among others. Source: J. Verhoeff, Error Detecting Decimal Codes, 1969.
    Verhoeff,
    /// Source: H. M. Damm, Total anti-symmetrische Quasigruppen, 2004.
    Damm,
}

impl Checksum {
    /// The words of the format.
    pub(crate) const WORDS: [(&'static str, Checksum); 6] = [
        ("luhn", Checksum::Luhn),
        ("mod97", Checksum::Mod97),
        ("mod11_10", Checksum::Mod11_10),
        ("nhs", Checksum::Nhs),
        ("verhoeff", Checksum::Verhoeff),
        ("damm", Checksum::Damm),
    ];

    /// The word of the format.
    pub fn as_str(self) -> &'static str {
        let mut words = Self::WORDS.iter();
        words
            .find(|(_, checksum)| *checksum == self)
            .map_or("", |(word, _)| word)
    }

    pub(crate) fn holds(self, text: &[u8]) -> bool {
        match self {
            Self::Luhn => luhn(text),
            Self::Mod97 => mod97(text.iter().copied()),
            Self::Mod11_10 => mod11_10(text),
            Self::Nhs => nhs(text),
            Self::Verhoeff => verhoeff(text),
            Self::Damm => damm(text),
        }
    }
}

/// The decimal digits of `text`, in order.
pub(crate) fn digits(text: &[u8]) -> impl DoubleEndedIterator<Item = u32> + Clone + '_ {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    digits.map(|byte| u32::from(byte - b'0'))
}

pub(crate) fn luhn(text: &[u8]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let weighted = digits(text).rev().enumerate().map(|(place, digit)| {
        if place % 2 == 1 {
            doubled(digit)
        } else {
            digit
        }
    });
    digits(text).next().is_some() && weighted.sum::<u32>().is_multiple_of(10)
}

pub(crate) fn mod97(text: impl Iterator<Item = u8>) -> bool {
    let remainder = text.fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        b'a'..=b'z' => (rest * 100 + u32::from(byte - b'a') + 10) % 97,
        b'A'..=b'Z' => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
        _ => rest,
    });
    remainder == 1
}

fn mod11_10(text: &[u8]) -> bool {
    let all: Vec<u32> = digits(text).collect();
    let Some((check, rest)) = all.split_last() else {
        return false;
    };
    let product = rest.iter().fold(10, |product, digit| {
        let sum = (product + digit) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    !rest.is_empty() && (11 - product) % 10 == *check
}

fn nhs(text: &[u8]) -> bool {
    let weights = (1..=10).rev();
    let sum: u32 = digits(text)
        .zip(weights)
        .map(|(digit, weight)| digit * weight)
        .sum();
    digits(text).count() == 10 && sum.is_multiple_of(11)
}

fn verhoeff(text: &[u8]) -> bool {
    const MULTIPLY: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const PERMUTE: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permuted = |place: usize, digit: u32| {
        (0..place % 8).fold(digit as usize, |digit, _| usize::from(PERMUTE[digit]))
    };
    let check = digits(text)
        .rev()
        .enumerate()
        .fold(0, |check, (place, digit)| {
            usize::from(MULTIPLY[check][permuted(place, digit)])
        });
    digits(text).next().is_some() && check == 0
}

fn damm(text: &[u8]) -> bool {
    const TABLE: [[u8; 10]; 10] = [
        [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
        [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
        [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
        [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
        [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
        [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
        [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
        [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
        [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
        [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
    ];
    let check = digits(text).fold(0usize, |row, digit| usize::from(TABLE[row][digit as usize]));
    digits(text).next().is_some() && check == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(checksum: Checksum, good: &str) {
        assert!(checksum.holds(good.as_bytes()), "{good}");
        // One digit off is always found.
        for (at, byte) in good.bytes().enumerate().filter(|(_, b)| b.is_ascii_digit()) {
            let mut wrong = good.as_bytes().to_vec();
            wrong[at] = b'0' + (byte - b'0' + 1) % 10;
            assert!(!checksum.holds(&wrong), "{good} with place {at} changed");
        }
        assert!(!checksum.holds(b""));
    }

    #[test]
    fn each_scheme_finds_every_single_wrong_digit() {
        check(Checksum::Luhn, "4111 1111 1111 1111");
        check(Checksum::Luhn, "79927398713");
        check(Checksum::Mod97, "5493001KJTIIGC8Y1R12");
        check(Checksum::Mod11_10, "86095742719");
        check(Checksum::Nhs, "943 476 5919");
        check(Checksum::Verhoeff, "2363");
        check(Checksum::Verhoeff, "123451");
        check(Checksum::Damm, "5724");
    }

    #[test]
    fn the_words_name_each_scheme_once() {
        for (word, checksum) in Checksum::WORDS {
            assert_eq!(checksum.as_str(), word);
        }
    }
}
