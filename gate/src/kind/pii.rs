//! `pii`: personal data by shape and check digits. No names, no addresses: those have no shape.

use super::{Check, TextPattern};
use crate::kind::checksum::{digits, luhn, mod97};

/// Personal data that can be told by its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PersonalData {
    /// An address as people write it: no quoted local part, no address literal.
    Email,
    /// E.164 with its `+` or 00, North American, and national numbers that begin with a trunk 0.
    Phone,
    /// Of every country in the registry, by length and check digits. Source: ISO 13616.
    Iban,
    /// 12 to 19 digits of a known issuer that satisfy Luhn. Source: ISO/IEC 7812.
    PaymentCard,
    /// A US social security number with its separators, without the numbers never issued.
    UsSsn,
    /// Dotted decimal; a version with four small numbers looks the same.
    Ipv4,
    /// Of a range in use and with a decimal digit in it; the loopback address is nobody's.
    Ipv6,
}

impl PersonalData {
    /// The words of the format.
    pub(crate) const WORDS: [(&'static str, PersonalData); 7] = [
        ("email", PersonalData::Email),
        ("phone", PersonalData::Phone),
        ("iban", PersonalData::Iban),
        ("payment_card", PersonalData::PaymentCard),
        ("us_ssn", PersonalData::UsSsn),
        ("ipv4", PersonalData::Ipv4),
        ("ipv6", PersonalData::Ipv6),
    ];

    /// The word of the format.
    pub fn as_str(self) -> &'static str {
        let mut words = Self::WORDS.iter();
        words
            .find(|(_, data)| *data == self)
            .map_or("", |(word, _)| word)
    }

    /// What its writings look like in folded text. An underscore beside a number is emphasis or the
    /// end of a name and hides nothing; a letter beside it does.
    pub(crate) fn patterns(self) -> Vec<TextPattern> {
        let patterns: &[(&'static str, Option<Check>)] = match self {
            Self::Email => &[(
                r"(?-u:\b)[a-z0-9_][a-z0-9._%+'\-]{0,63}@(?:[a-z0-9\-]{1,63}\.){1,5}[a-z]{2,24}(?:(?-u:\b)|_)",
                Some(Check::Email),
            )],
            Self::Phone => PHONES,
            Self::Iban => &[(
                r"(?:(?-u:\b)|_)[a-z]{2}[0-9]{2}(?:[ \-]?[a-z0-9]){11,30}(?:(?-u:\b)|_)",
                Some(Check::Iban),
            )],
            Self::PaymentCard => &[
                (
                    r"(?:(?-u:\b)|_)[0-9](?:[ \-]{0,3}[0-9]){11,18}(?:(?-u:\b)|_)",
                    Some(Check::PaymentCard),
                ),
                // Single dots only between groups of four: decimals have as many digits.
                (
                    r"(?:(?-u:\b)|_)(?:[0-9]{4}\.){3}[0-9]{4}(?:(?-u:\b)|_)",
                    Some(Check::PaymentCard),
                ),
            ],
            Self::UsSsn => &[(
                r"(?:(?-u:\b)|_)[0-9]{3}[ .\-][0-9]{2}[ .\-][0-9]{4}(?:(?-u:\b)|_)",
                Some(Check::UsSsn),
            )],
            // Without leading zeros, which dates have.
            Self::Ipv4 => &[(
                r"(?:(?-u:\b)|_)(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:(?-u:\b)|_)",
                None,
            )],
            Self::Ipv6 => &[
                (
                    r"(?:(?-u:\b)|_)[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}(?:(?-u:\b)|_)",
                    Some(Check::Ipv6),
                ),
                (
                    r"(?:(?-u:\b)|_)[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6}::",
                    Some(Check::Ipv6),
                ),
            ],
        };
        let patterns = patterns.iter().copied();
        patterns
            .map(|(regex, check)| TextPattern { regex, check })
            .collect()
    }
}

/// International, North American, and national with a trunk 0.
const PHONES: &[(&str, Option<Check>)] = &[
    (
        r"(?-u:\B)\+[1-9](?:[ .\-()/]{0,3}[0-9]){6,14}(?:(?-u:\b)|_)",
        Some(Check::InternationalPhone),
    ),
    // 00 instead of the +, and something after the country code: long numbers begin with zeros too.
    (
        r"(?:(?-u:\b)|_)00[1-9][0-9]{0,2}[ .\-(/](?:[ .\-()/]{0,3}[0-9]){5,13}(?:(?-u:\b)|_)",
        Some(Check::InternationalPhone),
    ),
    (
        r"(?:(?:(?:(?-u:\b)|_)1[ .\-])?\([2-9][0-9]{2}\)[ .\-]?|(?:(?-u:\b)|_)(?:1[ .\-])?[2-9][0-9]{2}[ .\-])[0-9]{3}[ .\-][0-9]{4}(?:(?-u:\b)|_)",
        None,
    ),
    (
        r"(?:\(|(?-u:\b)|_)0[1-9][0-9]{0,4}(?:[ .\-/)]{0,3}[0-9]{2,8}){1,4}(?:(?-u:\b)|_)",
        Some(Check::NationalPhone),
    ),
];

/// Names of pictures for dense screens look like addresses: `icon@2x.png`.
pub(super) fn email(text: &[u8]) -> bool {
    const PICTURES: [&[u8]; 6] = [b"png", b"jpg", b"jpeg", b"gif", b"webp", b"svg"];
    let mut labels = text.rsplit(|byte| *byte == b'.');
    let ending = labels
        .next()
        .map(|ending| ending.strip_suffix(b"_").unwrap_or(ending));
    ending.is_some_and(|ending| !PICTURES.contains(&ending))
}

/// 9 to 15 digits, with up to two zeros for a `+`: fewer are sums, more no number has. Source:
/// ITU-T E.164.
pub(super) fn international_phone(text: &[u8]) -> bool {
    (9..=15).contains(&digits(text).skip_while(|digit| *digit == 0).count())
}

/// 9 to 13 digits that do not begin with a date.
pub(super) fn national_phone(text: &[u8]) -> bool {
    (9..=13).contains(&digits(text).count()) && !begins_with_date(text)
}

/// `01.02.2023` or the end of one, `02.2023`; also with `/` or `-`.
fn begins_with_date(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"_").unwrap_or(text);
    let text = text.strip_prefix(b"(").unwrap_or(text);
    let is_year = |text: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
        digits.count() == 4 && (text.starts_with(b"19") || text.starts_with(b"20"))
    };
    let Some((dash, rest)) = day_or_month(text) else {
        return false;
    };
    let month = day_or_month(rest).filter(|(again, _)| *again == dash);
    is_year(rest) || month.is_some_and(|(_, rest)| is_year(rest))
}

/// Two digits from 01 to 31 and what divides them from the rest.
fn day_or_month(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [
            b'0'..=b'2',
            b'0'..=b'9',
            dash @ (b'.' | b'/' | b'-'),
            rest @ ..,
        ]
        | [b'3', b'0' | b'1', dash @ (b'.' | b'/' | b'-'), rest @ ..]
            if !text.starts_with(b"00") =>
        {
            Some((*dash, rest))
        }
        _ => None,
    }
}

/// Source: Social Security Administration, randomisation FAQ: area 000, 666 and 900 to 999, group
/// 00 and serial 0000 are not issued.
pub(super) fn us_ssn(text: &[u8]) -> bool {
    let part =
        |from: usize, len: usize| digits(text).skip(from).take(len).fold(0, |n, d| n * 10 + d);
    let (area, group, serial) = (part(0, 3), part(3, 2), part(5, 4));
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

/// Length and first digits of the issuers in use. Source: ISO/IEC 7812-1 and the issuers' ranges.
pub(super) fn payment_card(text: &[u8]) -> bool {
    const MAESTRO: [u32; 9] = [5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763];
    let length = digits(text).count();
    let first = |count: usize| digits(text).take(count).fold(0, |n, digit| n * 10 + digit);
    let known = match length {
        13 => first(1) == 4,
        14 => (300..=305).contains(&first(3)) || matches!(first(2), 36 | 38 | 39),
        15 => matches!(first(2), 34 | 37) || matches!(first(4), 1800 | 2131),
        _ => false,
    };
    let sixteen = (16..=19).contains(&length)
        && (first(1) == 4
            || (51..=55).contains(&first(2))
            || (2221..=2720).contains(&first(4))
            || first(4) == 6011
            || (644..=649).contains(&first(3))
            || matches!(first(2), 62 | 65 | 81)
            || (3528..=3589).contains(&first(4)));
    let maestro = (12..=19).contains(&length) && MAESTRO.contains(&first(4));
    (known || sixteen || maestro) && luhn(text)
}

pub(super) fn iban(text: &[u8]) -> bool {
    let symbols: Vec<u8> = text
        .iter()
        .copied()
        .filter(u8::is_ascii_alphanumeric)
        .collect();
    let Some((head, account)) = symbols.split_at_checked(4) else {
        return false;
    };
    let country = [head[0].to_ascii_uppercase(), head[1].to_ascii_uppercase()];
    let known = IBAN_LENGTHS.iter().find(|(code, _)| **code == country);
    known.is_some_and(|(_, length)| symbols.len() == *length)
        && mod97(account.iter().chain(head).copied())
}

/// Source: SWIFT IBAN registry, release 100.
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// In a range that is in use, and with a decimal digit, so that `f32::add` in a program stays.
/// Source: IANA IPv6 address space: global unicast, unique local, link local, multicast, NAT64.
pub(super) fn ipv6(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let address = text.trim_matches('_').parse::<std::net::Ipv6Addr>();
    let in_use = |first: u16| matches!(first, 0x2000..=0x3fff | 0xfc00..=0xfdff | 0xfe80..=0xfebf | 0xff00..=0xff0f | 0x64);
    digits(text.as_bytes()).next().is_some()
        && address.is_ok_and(|address| in_use(address.segments()[0]))
}
