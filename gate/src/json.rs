//! Reads JSON text as it arrives, one character at a time.
//!
//! Where a completion is JSON, rules see what its reader will see: `\u0041C-…` is `AC-…`. And a
//! redaction keeps it JSON: see `redact`. Whether the text *is* JSON is not looked at here: a mask
//! has seen to that.

use std::ops::Range;

/// Where in a JSON text the reader stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JsonReader {
    place: Place,
    /// The first half of a surrogate pair, and where its escape begins.
    high: Option<(u16, usize)>,
}

/// What a character belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Brackets, commas, colons, white space, and the quotes of strings.
    #[default]
    Structure,
    /// A number, `true`, `false` or `null` that begins at this byte.
    Scalar(usize),
    /// Inside a string.
    String,
    /// Inside an escape of a string.
    Escape {
        /// Where it begins.
        start: usize,
        /// The hexadecimal digits of `\u` so far, and how many; `None` right after the backslash.
        digits: Option<(u16, u8)>,
    },
}

/// What one character of the text means: up to two characters, and the bytes they came from.
pub(crate) type Meaning = [Option<(char, Range<usize>)>; 2];

impl JsonReader {
    /// Reads the character at byte `at`.
    pub(crate) fn push(&mut self, character: char, at: usize) -> Meaning {
        let here = at..at + character.len_utf8();
        match self.place {
            Place::Structure | Place::Scalar(_) => {
                self.place = self.place_outside(character, at);
                [Some((character, here)), None]
            }
            Place::String => match character {
                '\\' => {
                    self.place = Place::Escape {
                        start: at,
                        digits: None,
                    };
                    [None, None]
                }
                '"' => {
                    self.place = Place::Structure;
                    [self.lone_high(), Some((character, here))]
                }
                plain => [self.lone_high(), Some((plain, here))],
            },
            Place::Escape { start, digits } => {
                self.push_escaped(character, start..here.end, digits)
            }
        }
    }

    /// What the last character belonged to; the closing quote of a string is structure.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The first byte of what is not complete: a scalar, an escape, half a surrogate pair.
    pub(crate) fn open_from(&self) -> Option<usize> {
        let high = self.high.map(|(_, start)| start);
        match self.place {
            Place::Scalar(start) => Some(start),
            Place::Escape { start, .. } => Some(high.unwrap_or(start)),
            Place::Structure | Place::String => high,
        }
    }

    fn place_outside(&self, character: char, at: usize) -> Place {
        match (character, self.place) {
            ('"', _) => Place::String,
            ('{' | '}' | '[' | ']' | ',' | ':', _) => Place::Structure,
            (space, _) if space.is_whitespace() => Place::Structure,
            (_, Place::Scalar(start)) => Place::Scalar(start),
            _ => Place::Scalar(at),
        }
    }

    fn push_escaped(
        &mut self,
        character: char,
        escape: Range<usize>,
        digits: Option<(u16, u8)>,
    ) -> Meaning {
        let start = escape.start;
        let Some((value, count)) = digits else {
            if character == 'u' {
                let digits = Some((0, 0));
                self.place = Place::Escape { start, digits };
                return [None, None];
            }
            self.place = Place::String;
            return [self.lone_high(), Some((unescaped(character), escape))];
        };
        let digit = character
            .to_digit(16)
            .and_then(|digit| u16::try_from(digit).ok());
        let value = value << 4 | digit.unwrap_or(0);
        if count < 3 {
            let digits = Some((value, count + 1));
            self.place = Place::Escape { start, digits };
            return [None, None];
        }
        self.place = Place::String;
        self.push_unit(value, escape)
    }

    /// A whole `\uXXXX`.
    fn push_unit(&mut self, unit: u16, escape: Range<usize>) -> Meaning {
        if let (Some((high, start)), 0xDC00..=0xDFFF) = (self.high, unit) {
            self.high = None;
            let pair = char::decode_utf16([high, unit]).next().and_then(Result::ok);
            return [pair.map(|pair| (pair, start..escape.end)), None];
        }
        let lone = self.lone_high();
        if (0xD800..=0xDBFF).contains(&unit) {
            self.high = Some((unit, escape.start));
            return [lone, None];
        }
        let meant = char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER);
        [lone, Some((meant, escape))]
    }

    /// Half a surrogate pair that nothing completes means no character.
    fn lone_high(&mut self) -> Option<(char, Range<usize>)> {
        const ESCAPE_BYTES: usize = 6;
        let (_, start) = self.high.take()?;
        Some((char::REPLACEMENT_CHARACTER, start..start + ESCAPE_BYTES))
    }
}

/// Source: RFC 8259, section 7.
fn unescaped(character: char) -> char {
    match character {
        'b' => '\u{0008}',
        'f' => '\u{000C}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other => other,
    }
}

/// Appends `text` as it stands in a JSON string. Source: RFC 8259, section 7.
pub(crate) fn escape(text: &str, out: &mut String) {
    use std::fmt::Write;
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, JsonReader) {
        let mut reader = JsonReader::default();
        let mut meant = String::new();
        let mut covered = 0;
        for (at, character) in text.char_indices() {
            for (character, origin) in reader.push(character, at).into_iter().flatten() {
                assert_eq!(origin.start, covered, "{text}: origins touch");
                covered = origin.end;
                meant.push(character);
            }
        }
        (meant, reader)
    }

    #[test]
    fn strings_mean_what_their_escapes_say() {
        assert_eq!(
            read(r#"{"a\u0041\n\"\\\/": [1.5e3, "é😀\ud83d\ude00"]}"#).0,
            "{\"aA\n\"\\/\": [1.5e3, \"é😀😀\"]}"
        );
        assert_eq!(
            read(r#""\ud83dx\ud83d\u0041\ud83d""#).0,
            "\"\u{FFFD}x\u{FFFD}A\u{FFFD}\""
        );
    }

    #[test]
    fn what_is_not_complete_is_open() {
        for (text, open) in [
            ("{\"a\": ", None),
            ("{\"a\": 12", Some(6)),
            ("{\"a\": 12,", None),
            ("[\"x\\", Some(3)),
            ("[\"x\\u00", Some(3)),
            ("[\"x\\u0041", None),
            ("[\"x\\ud83d", Some(3)),
            ("[\"x\\ud83d\\ude", Some(3)),
            ("[\"x\\ud83d\\ude00", None),
        ] {
            assert_eq!(read(text).1.open_from(), open, "{text}");
        }
    }
}
