//! A text as a rule sees it, folded by a table of the characters that tests use.

use std::ops::Range;

use portcullis_gate::Normalise;

/// Characters with their basic and their strict fold. The first are what most patterns are of.
pub(crate) const LETTERS: [(char, &str, &str); 21] = [
    ('a', "a", "a"),
    ('b', "b", "b"),
    ('c', "c", "c"),
    (' ', " ", " "),
    ('A', "a", "a"),
    ('B', "b", "b"),
    ('ａ', "a", "a"),
    ('á', "a", "a"),
    ('ж', "ж", "ж"),
    // Cyrillic.
    ('а', "а", "a"),
    ('0', "0", "o"),
    ('o', "o", "o"),
    ('m', "m", "rn"),
    ('r', "r", "r"),
    ('n', "n", "n"),
    ('.', ".", "."),
    ('\n', " ", " "),
    ('\u{200B}', "", ""),
    ('\u{0301}', "", ""),
    ('ß', "ss", "ss"),
    ('🙂', "🙂", "🙂"),
];

/// Other ways to write what stands in numbers and addresses, with their basic fold.
pub(crate) const DISGUISES: [(char, &str); 14] = [
    ('\u{00A0}', " "),
    ('\u{2009}', " "),
    ('\u{2011}', "-"),
    ('\u{2013}', "-"),
    ('\u{2212}', "-"),
    ('\u{200D}', ""),
    ('\u{00AD}', ""),
    ('\u{202E}', ""),
    ('\u{200F}', ""),
    ('\u{FEFF}', ""),
    ('\u{FE0F}', ""),
    ('é', "e"),
    ('²', "2"),
    ('①', "1"),
];

/// A text as a rule sees it.
pub(crate) struct View {
    pub(crate) text: String,
    /// For each of its bytes, the character of the raw text that it came from.
    origins: Vec<Range<usize>>,
}

impl View {
    pub(crate) fn new(raw: &str, normalise: Normalise) -> Self {
        let mut view = View {
            text: String::new(),
            origins: Vec::new(),
        };
        for (at, character) in raw.char_indices() {
            let folded = match normalise {
                Normalise::None => character.to_string(),
                Normalise::Basic => basic(character),
                Normalise::Strict => strict(character).to_owned(),
            };
            let folds = normalise != Normalise::None;
            if folds && folded == " " && view.text.ends_with(' ') {
                continue;
            }
            view.text += &folded;
            let origin = at..at + character.len_utf8();
            view.origins.resize(view.text.len(), origin);
        }
        view
    }

    /// The whole characters of the raw text that `span` of the view came from.
    pub(crate) fn raw(&self, span: Range<usize>) -> Range<usize> {
        self.origins[span.start].start..self.origins[span.end - 1].end
    }
}

fn basic(character: char) -> String {
    let letter = LETTERS.iter().map(|entry| (entry.0, entry.1));
    let mut table = letter.chain(DISGUISES);
    if let Some((_, folded)) = table.find(|entry| entry.0 == character) {
        return folded.to_owned();
    }
    match character {
        '\n' | '\t' => " ".to_owned(),
        ascii if ascii.is_ascii_graphic() => ascii.to_ascii_lowercase().to_string(),
        // Full-width forms stand in the order of ASCII, Arabic digits in a row.
        wide @ '！'..='～' => {
            let plain = char::from_u32(u32::from(wide) - 0xFEE0).unwrap();
            plain.to_ascii_lowercase().to_string()
        }
        digit @ '٠'..='٩' => (u32::from(digit) - 0x660).to_string(),
        other => panic!("{other:?} is in no table"),
    }
}

fn strict(character: char) -> &'static str {
    let entry = LETTERS.iter().find(|entry| entry.0 == character);
    entry.expect("strict folds are of letters only").2
}
