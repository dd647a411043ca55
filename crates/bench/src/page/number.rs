//! Numbers as people read them.

/// Three significant digits; whole from a hundred on, in groups of three digits.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e12).contains(&size) {
        return format!("{value:.2e}");
    }
    // What rounds up to the next power of ten has a digit more before the point.
    let whole_digits = (size * 1.0005).log10().floor() as i32;
    let decimals = (2 - whole_digits).max(0) as usize;
    fixed(value, decimals)
}

/// A whole number as it is, any other in three digits.
pub(super) fn plain(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e12 {
        return fixed(value, 0);
    }
    short(value)
}

/// So many decimals, thousands in groups.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (sign, text) = text.strip_prefix('-').map_or(("", &*text), |t| ("−", t));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{dot}{fraction}", grouped(whole))
}

/// A count, thousands in groups.
pub(super) fn count(value: usize) -> String {
    grouped(&value.to_string())
}

/// A part of a whole, in percent.
pub(super) fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 {
        format!("{} %", short(100.0 * part / whole))
    } else {
        "–".to_owned()
    }
}

/// A duration given in ms, in the unit that suits it.
pub(super) fn duration(ms: f64) -> String {
    let (value, unit) = in_unit(ms);
    format!("{} {unit}", short(value))
}

/// A duration given in ms that is round, without zeros at its end.
pub(super) fn round_duration(ms: f64) -> String {
    let (value, unit) = in_unit(ms);
    format!("{} {unit}", (value * 1000.0).round() / 1000.0)
}

fn in_unit(ms: f64) -> (f64, &'static str) {
    match ms.abs() {
        size if size >= 999.5 => (ms / 1000.0, "s"),
        size if size >= 0.9995 || size == 0.0 => (ms, "ms"),
        _ => (ms * 1000.0, "µs"),
    }
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_say_enough() {
        let cases = [
            (0.0, "0"),
            (0.000_012_34, "1.23e-5"),
            (0.012_34, "0.0123"),
            (1.0, "1.00"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (123.4, "123"),
            (-1234.5, "−1,234"),
            (1_234_567.0, "1,234,567"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_duration_takes_the_unit_that_suits_it() {
        let cases = [
            (0.0, "0 ms"),
            (0.0123, "12.3 µs"),
            (45.6, "45.6 ms"),
            (999.9, "1.00 s"),
            (90_000.0, "90.0 s"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(round_duration(1500.0), "1.5 s");
        assert_eq!(round_duration(0.2), "200 µs");
    }
}
