//! Personal data told by hand-written readers: no pattern and no arithmetic of the gate's.

use std::ops::Range;

use portcullis_gate::PersonalData;

use super::oracle::Engine;

/// Every stretch of folded `text` that is such data.
pub(crate) fn matches(data: PersonalData, text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    match data {
        PersonalData::Email => emails(bytes),
        PersonalData::Phone => phones(text),
        PersonalData::Iban => framed(bytes, iban_ends),
        PersonalData::PaymentCard => framed(bytes, card_ends),
        PersonalData::UsSsn => framed(bytes, ssn_ends),
        PersonalData::Ipv4 => framed(bytes, ipv4_ends),
        PersonalData::Ipv6 => ipv6s(bytes),
    }
}

fn is_word(byte: Option<&u8>) -> bool {
    byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn is_boundary(text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| text.get(at));
    is_word(before) != is_word(text.get(at))
}

/// Where a match may begin whose number begins at `at`.
fn frame_start(text: &[u8], at: usize) -> Option<usize> {
    match at.checked_sub(1) {
        Some(before) if text[before] == b'_' => Some(before),
        _ => is_boundary(text, at).then_some(at),
    }
}

fn frame_end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at) {
        Some(b'_') => Some(at + 1),
        _ => is_boundary(text, at).then_some(at),
    }
}

/// Numbers with a word boundary or an underscore on both sides; `ends` gives where one that begins
/// at a place may end.
fn framed(text: &[u8], ends: impl Fn(&[u8], usize) -> Vec<usize>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for at in 0..text.len() {
        let Some(start) = frame_start(text, at) else {
            continue;
        };
        let ends = ends(text, at).into_iter();
        found.extend(ends.filter_map(|end| Some(start..frame_end(text, end)?)));
    }
    found
}

fn digits_of(text: &[u8]) -> String {
    let digits = text.iter().filter(|b| b.is_ascii_digit());
    digits.map(|b| char::from(*b)).collect()
}

fn card_ends(text: &[u8], start: usize) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = start;
    let mut count = 0;
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        (at, count) = (at + 1, count + 1);
        if (12..=19).contains(&count) {
            ends.push(at);
        }
        let gap = text[at..].iter().take_while(|b| b" -".contains(b)).count();
        if gap > 3 || count == 19 {
            break;
        }
        at += gap;
    }
    let dotted = |group: &[u8], place: usize| match (place, group) {
        (3, digits) => digits.iter().all(u8::is_ascii_digit),
        (_, [digits @ .., last]) => digits.iter().all(u8::is_ascii_digit) && *last == b'.',
        _ => false,
    };
    if let Some(nineteen) = text.get(start..start + 19) {
        let mut groups = nineteen.chunks(5).enumerate();
        if groups.all(|(place, group)| dotted(group, place)) {
            ends.push(start + 19);
        }
    }
    ends.retain(|end| is_card(&digits_of(&text[start..*end])));
    ends
}

fn is_card(number: &str) -> bool {
    const ISSUERS: &[(&str, &[usize])] = &[
        ("4", &[13, 16, 17, 18, 19]),
        ("34 37", &[15]),
        ("300 301 302 303 304 305 36 38 39", &[14]),
        ("1800 2131", &[15]),
        (
            "51 52 53 54 55 6011 644 645 646 647 648 649 65 62 81",
            &[16, 17, 18, 19],
        ),
        (
            "5018 5020 5038 5893 6304 6759 6761 6762 6763",
            &[12, 13, 14, 15, 16, 17, 18, 19],
        ),
    ];
    let four: u32 = number[..4].parse().unwrap();
    let ranged = (2221..=2720).contains(&four) || (3528..=3589).contains(&four);
    let listed = ISSUERS.iter().any(|(prefixes, lengths)| {
        lengths.contains(&number.len()) && prefixes.split(' ').any(|p| number.starts_with(p))
    });
    (listed || (ranged && number.len() >= 16)) && luhn(number)
}

/// By the table of doubled digits, from the right.
fn luhn(number: &str) -> bool {
    const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let digits = number.bytes().rev().map(|b| usize::from(b - b'0'));
    let mut sum = 0;
    for (place, digit) in digits.enumerate() {
        sum += [digit as u32, DOUBLED[digit]][place % 2];
    }
    sum % 10 == 0
}

/// Source: SWIFT IBAN registry.
const IBANS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 \
    CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 \
    HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 \
    ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 \
    SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

fn iban_ends(text: &[u8], start: usize) -> Vec<usize> {
    let Some([a, b, c, d]) = text.get(start..start + 4) else {
        return Vec::new();
    };
    if ![a, b].iter().all(|l| l.is_ascii_lowercase()) || ![c, d].iter().all(|n| n.is_ascii_digit())
    {
        return Vec::new();
    }
    let mut ends = Vec::new();
    let mut at = start + 4;
    for count in 1..=30 {
        at += usize::from(text.get(at).is_some_and(|b| b" -".contains(b)));
        if !text.get(at).is_some_and(u8::is_ascii_alphanumeric) {
            break;
        }
        at += 1;
        if count >= 11 && is_iban(&text[start..at]) {
            ends.push(at);
        }
    }
    ends
}

fn is_iban(text: &[u8]) -> bool {
    let symbols: String = text
        .iter()
        .filter(|b| b.is_ascii_alphanumeric())
        .map(|b| char::from(b.to_ascii_uppercase()))
        .collect();
    let listed = format!("{}{}", &symbols[..2], symbols.len());
    let turned = format!("{}{}", &symbols[4..], &symbols[..4]);
    let number: String = turned
        .chars()
        .map(|symbol| symbol.to_digit(36).unwrap().to_string())
        .collect();
    // Piecewise long division.
    let rest = number.as_bytes().chunks(7).fold(0_u64, |rest, piece| {
        let piece = std::str::from_utf8(piece).unwrap();
        format!("{rest}{piece}").parse::<u64>().unwrap() % 97
    });
    IBANS.split_whitespace().any(|known| known == listed) && rest == 1
}

fn ssn_ends(text: &[u8], start: usize) -> Vec<usize> {
    let Some(text) = text.get(start..start + 11) else {
        return Vec::new();
    };
    let shape: String = text
        .iter()
        .map(|b| match b {
            b'0'..=b'9' => 'n',
            b' ' | b'.' | b'-' => '-',
            _ => 'x',
        })
        .collect();
    let number = digits_of(text);
    let never_issued = || {
        number.starts_with("000")
            || number.starts_with("666")
            || number.starts_with('9')
            || &number[3..5] == "00"
            || number.ends_with("0000")
    };
    let issued = shape == "nnn-nn-nnnn" && !never_issued();
    issued.then_some(start + 11).into_iter().collect()
}

fn ipv4_ends(text: &[u8], start: usize) -> Vec<usize> {
    let mut at = start;
    for part in 0..4 {
        let len = text[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let number = digits_of(&text[at..at + len]);
        let plain = number == "0" || !number.starts_with('0');
        if !(1..=3).contains(&len) || !plain || number.parse::<u32>().unwrap() > 255 {
            return Vec::new();
        }
        at += len;
        if part < 3 && text.get(at) != Some(&b'.') {
            return Vec::new();
        }
        at += usize::from(part < 3);
    }
    vec![at]
}

fn ipv6s(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for at in 0..text.len() {
        let Some(start) = frame_start(text, at) else {
            continue;
        };
        let len = text[at..]
            .iter()
            .take_while(|b| **b == b':' || b.is_ascii_digit() || (b'a'..=b'f').contains(b))
            .count();
        for end in at + 2..=at + len {
            let address = &text[at..end];
            if !is_ipv6(address) || address[0] == b':' {
                continue;
            }
            found.extend(frame_end(text, end).map(|end| start..end));
            if address.ends_with(b"::") {
                found.push(start..end);
            }
        }
    }
    found
}

fn is_ipv6(text: &[u8]) -> bool {
    let address: Option<std::net::Ipv6Addr> = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    let known = address.is_some_and(|address| {
        let [high, low, ..] = address.octets();
        let nat64 = [high, low] == [0x00, 0x64];
        matches!(high >> 5, 1)
            || matches!(high, 0xfc | 0xfd)
            || (high == 0xfe && low >> 6 == 2)
            || (high == 0xff && low < 0x10)
            || nat64
    });
    known && text.iter().any(u8::is_ascii_digit)
}

fn emails(text: &[u8]) -> Vec<Range<usize>> {
    let is_local = |b: &u8| b.is_ascii_alphanumeric() || b"._%+'-".contains(b);
    let mut found = Vec::new();
    for start in (0..text.len()).filter(|at| is_boundary(text, *at)) {
        let len = text[start..].iter().take_while(|b| is_local(b)).count();
        let begins = text[start].is_ascii_alphanumeric() || text[start] == b'_';
        let at = start + len;
        if !begins || !(1..=64).contains(&len) || text.get(at) != Some(&b'@') {
            continue;
        }
        let ends = (at + 2..=text.len()).filter(|end| is_domain(&text[at + 1..*end]));
        found.extend(ends.filter_map(|end| Some(start..frame_end(text, end)?)));
    }
    found
}

fn is_domain(text: &[u8]) -> bool {
    let labels: Vec<&[u8]> = text.split(|b| *b == b'.').collect();
    let Some((ending, labels)) = labels.split_last() else {
        return false;
    };
    let picture = ["png", "jpg", "jpeg", "gif", "webp", "svg"];
    let is_label = |label: &&[u8]| {
        (1..=63).contains(&label.len())
            && label
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    };
    (1..=5).contains(&labels.len())
        && labels.iter().all(is_label)
        && (2..=24).contains(&ending.len())
        && ending.iter().all(u8::is_ascii_lowercase)
        && !picture.iter().any(|picture| picture.as_bytes() == *ending)
}

/// The four ways to write a number, as expressions over digits and what stands between.
fn phones(text: &str) -> Vec<Range<usize>> {
    thread_local! {
        static WAYS: [Engine; 4] = [
            r"\+[1-9]([-() ./]{0,3}\d){6,14}",
            r"00[1-9]\d{0,2}[-( ./]([-() ./]{0,3}\d){5,13}",
            r"(1[- .])?(\([2-9]\d\d\)[- .]?|[2-9]\d\d[- .])\d{3}[- .]\d{4}",
            r"\(?0[1-9]\d{0,4}([-) ./]{0,3}\d{2,8}){1,4}",
        ].map(|pattern| Engine::new(&pattern.replace(r"\d", "[0-9]"), false));
    }
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for way in 0..4 {
        let spans = WAYS.with(|ways| ways[way].full_matches(text));
        for span in spans {
            let number = &text[span.clone()];
            let start = match number.as_bytes()[0] {
                b'+' => (!is_boundary(bytes, span.start)).then_some(span.start),
                b'(' => Some(span.start),
                _ => frame_start(bytes, span.start),
            };
            // A (555) after a word is one, a digit after a word is none.
            if let (Some(start), Some(end)) = (start, frame_end(bytes, span.end))
                && is_phone(way, number)
            {
                found.push(start..end);
            }
        }
    }
    found
}

fn is_phone(way: usize, number: &str) -> bool {
    let digits = digits_of(number.as_bytes());
    match way {
        0 | 1 => (9..=15).contains(&digits.trim_start_matches('0').len()),
        2 => true,
        _ => (9..=13).contains(&digits.len()) && !begins_with_date(number),
    }
}

fn begins_with_date(number: &str) -> bool {
    let number = number.strip_prefix('(').unwrap_or(number);
    let day = |text: &str| text.parse().is_ok_and(|day| (1..=31).contains(&day));
    let year = |text: &str| text.len() == 4 && (text.starts_with("19") || text.starts_with("20"));
    ['.', '/', '-'].iter().any(|dash| {
        let mut parts = number.split(*dash);
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        // What comes after the year belongs to no date.
        let digits = |part: Option<&str>| -> String {
            let part = part.unwrap_or_default();
            part.chars().take_while(char::is_ascii_digit).collect()
        };
        let two = |text: Option<&str>| text.is_some_and(|text| text.len() == 2 && day(text));
        two(first) && (year(&digits(second)) || (two(second) && year(&digits(third))))
    })
}
