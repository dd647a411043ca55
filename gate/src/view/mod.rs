//! Folding: what a rule sees of a text, so that a match cannot be hidden in how it is written.
//!
//! The fold works on one character at a time: decompose (NFKD), drop what does not show or only
//! decorates, fold case, write every dash as `-`, every apostrophe as `'` and the digits of every
//! script as those of ASCII, and make each run of white space one space. *Strict* then takes the
//! UTS-39 skeleton, which gives characters that look alike one form, and folds that once more.
//!
//! Why decomposed and not composed (NFKC)? Two reasons. Composing depends on what comes next, so a
//! stream would have to hold every letter back for a mark that may follow; folding character by
//! character makes the fold of a text the concatenation of the folds of its pieces, and streaming
//! equal to scanning the whole by construction. And composing keeps marks, so that `n` with a
//! combining acute would slip past a phrase with a plain `n`.
//!
//! What is not caught: other spellings ("guarant33d"), letters spaced out, words broken at a line
//! end, and a capital I written for an l (folding case comes first, and telling `fail` from `fall`
//! matters more). Scripts that write vowels as marks are folded coarsely: use `normalise: none`
//! for them where that matters.

mod table;

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_security::skeleton;

use crate::ruleset::Normalise;
use table::FoldTable;

static BASIC: FoldTable = FoldTable::new(Normalise::Basic);
static STRICT: FoldTable = FoldTable::new(Normalise::Strict);

/// Folds a text as it arrives. Its only memory is whether a run of white space is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    normalise: Normalise,
    after_space: bool,
}

impl Folder {
    pub(crate) fn new(normalise: Normalise) -> Self {
        Self {
            normalise,
            after_space: false,
        }
    }

    /// Appends what `character` folds to, in UTF-8: whole characters, perhaps none.
    pub(crate) fn push(&mut self, character: char, out: &mut Vec<u8>) {
        let table = match self.normalise {
            Normalise::None => {
                return out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Normalise::Basic => &BASIC,
            Normalise::Strict => &STRICT,
        };
        match table.get(character) {
            Some(folded) => self.push_folded(folded, out),
            None => each_folded(self.normalise, character, |part| {
                self.push_folded(part.encode_utf8(&mut [0; 4]).as_bytes(), out);
            }),
        }
    }

    /// Of a run of white space, only the first counts.
    fn push_folded(&mut self, folded: &[u8], out: &mut Vec<u8>) {
        for &byte in folded {
            let is_space = byte == b' ';
            if !(is_space && self.after_space) {
                out.push(byte);
            }
            self.after_space = is_space;
        }
    }
}

/// The fold of a whole text.
pub(crate) fn fold(normalise: Normalise, text: &str) -> String {
    let mut folder = Folder::new(normalise);
    let mut out = Vec::with_capacity(text.len());
    for character in text.chars() {
        folder.push(character, &mut out);
    }
    String::from_utf8(out).expect("characters fold to whole characters")
}

/// What `character` folds to, white space not collapsed.
fn each_folded(normalise: Normalise, character: char, mut take: impl FnMut(char)) {
    if normalise != Normalise::Strict {
        return fold_basic(character).for_each(take);
    }
    for folded in fold_basic(character) {
        // Skeletons are not folded themselves: that of `0` is `O`.
        for look_alike in skeleton(folded.encode_utf8(&mut [0; 4])) {
            fold_basic(look_alike).for_each(&mut take);
        }
    }
}

fn fold_basic(character: char) -> impl Iterator<Item = char> {
    // Lower, upper, lower: a full case fold with what std has (ẞ, ß and SS all end as ss).
    let lowered = decompose(character).flat_map(char::to_lowercase);
    let folded = lowered
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase);
    folded.flat_map(decompose)
}

/// NFKD of one character without what does not count, and in its plainest form.
fn decompose(character: char) -> impl Iterator<Item = char> {
    std::iter::once(character)
        .nfkd()
        .map(plain)
        .filter(|part| !is_dropped(*part))
}

/// White space, dashes, apostrophes and digits as on a keyboard: a number with typographic dashes
/// or in the digits of another script is the same number.
fn plain(character: char) -> char {
    match character {
        ascii if ascii.is_ascii() && !ascii.is_whitespace() => ascii,
        space if space.is_whitespace() => ' ',
        '\u{2018}' | '\u{2019}' | '\u{201B}' | '\u{2032}' | '\u{02BC}' => '\'',
        '\u{2212}' => '-',
        other => match other.general_category() {
            GeneralCategory::DashPunctuation => '-',
            GeneralCategory::DecimalNumber => ascii_digit(other),
            _ => other,
        },
    }
}

/// The digits of a script stand in rows from 0 to 9. Source: The Unicode Standard, chapter 4.6.
fn ascii_digit(digit: char) -> char {
    let is_digit = |code| {
        char::from_u32(code).is_some_and(|c| c.general_category() == GeneralCategory::DecimalNumber)
    };
    let before = (1..=u32::from(digit)).take_while(|back| is_digit(u32::from(digit) - back));
    let value = before.count() % 10;
    (b'0'..=b'9').nth(value).map_or(digit, char::from)
}

/// Marks, controls, and what by default is not shown: zero-width characters, soft hyphens,
/// variation selectors, tags and bidi controls among them.
fn is_dropped(character: char) -> bool {
    character.general_category_group() == GeneralCategoryGroup::Mark
        || character.is_control()
        || matches!(character, '\u{FFF9}'..='\u{FFFB}')
        || is_default_ignorable(character)
}

/// Default_Ignorable_Code_Point: exactly what a skeleton leaves out.
fn is_default_ignorable(character: char) -> bool {
    !character.is_ascii()
        && skeleton(character.encode_utf8(&mut [0; 4]))
            .next()
            .is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(normalise: Normalise, text: &str, expected: &str) {
        assert_eq!(fold(normalise, text), expected, "{text:?}");
    }

    #[test]
    fn basic_folds_forms_case_marks_and_space() {
        use Normalise::Basic;
        check(Basic, "Guaranteed  \r\n\u{00A0}Return", "guaranteed return");
        check(Basic, "Ｇｕａｒ", "guar");
        check(Basic, "gu\u{200B}ar\u{00AD}an\u{2060}", "guaran");
        check(Basic, "n\u{0301}o\u{0308} Ñandú", "no nandu");
        check(Basic, "\u{202E}abc\u{202C}\u{E0041}", "abc");
        check(Basic, "Straße STRASSE Straẞe", "strasse strasse strasse");
        check(Basic, "ﬁne İ ſ Σς K", "fine i s σσ k");
        check(Basic, "a\u{0000}b\u{3164}c", "abc");
        check(
            Basic,
            "1\u{2011}2\u{2013}3\u{2014}4\u{2212}5\u{FF0D}6",
            "1-2-3-4-5-6",
        );
        check(Basic, "It\u{2019}s \u{2018}so\u{2019}", "it's 'so'");
        check(Basic, "٠١٢٣٤٥٦٧٨٩ ०१९ ４２ ²①𝟘", "0123456789 019 42 210");
    }

    /// What [`ascii_digit`] builds on.
    #[test]
    fn the_digits_of_a_script_stand_in_rows() {
        let is_digit = |c: &char| c.general_category() == GeneralCategory::DecimalNumber;
        let plain = |c: &char| std::iter::once(*c).nfkd().eq([*c]);
        let digits: Vec<char> = ('\0'..=char::MAX).filter(is_digit).filter(plain).collect();
        for row in digits.chunks(10) {
            let values: String = row.iter().map(|digit| ascii_digit(*digit)).collect();
            assert_eq!(values, "0123456789", "{row:?}");
        }
        assert!(digits.len() > 500);
    }

    #[test]
    fn strict_folds_look_alikes() {
        use Normalise::Strict;
        // Cyrillic а, е, о, р, с.
        check(
            Strict,
            "gu\u{0430}r\u{0430}nt\u{0435}\u{0435}d",
            &fold(Strict, "guaranteed"),
        );
        check(Strict, "retum", &fold(Strict, "return"));
        check(Strict, "𝐫𝐞𝐭𝐮𝐫𝐧", "return");
        check(Strict, "10", "lo");
    }

    #[test]
    fn none_changes_nothing() {
        check(Normalise::None, "A  \u{200B}ß", "A  \u{200B}ß");
    }

    #[test]
    fn the_fold_of_a_text_is_that_of_its_pieces() {
        for normalise in [Normalise::Basic, Normalise::Strict] {
            for character in ('\0'..=char::MAX).step_by(7) {
                let text = format!("a{character}\u{0301} {character} b");
                let whole = fold(normalise, &text);
                let mut folder = Folder::new(normalise);
                let mut pieces = Vec::new();
                text.chars()
                    .for_each(|piece| folder.push(piece, &mut pieces));
                assert_eq!(whole.as_bytes(), pieces);
                assert!(!whole.contains("  "), "{character:?}");
            }
        }
    }
}
