//! `language`: an answer in a language that was not asked for. Judged at the end, on all of it.

use whatlang::Lang;

use super::Kind;
use crate::{
    diagnostic::{Diagnostics, Place},
    limits::{LANGUAGES_MAX, NAME_BYTES_MAX},
    ruleset::fields::{self, Fields},
    ruleset::yaml::Node,
};

const KEYS: [&str; 2] = ["allow", "min_characters"];

/// Detection guesses below so many characters.
const MIN_CHARACTERS: usize = 60;

/// Languages in which a text may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Languages {
    /// ISO 639 codes as written in the file.
    pub allow: Vec<String>,
    /// Shorter texts are not judged.
    pub min_characters: usize,
    langs: Vec<Lang>,
}

pub(super) fn read(
    _: &Fields<'_>,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> Option<(Kind, Vec<Place>)> {
    let fields = Fields::open(node, "`language`", &KEYS, mistakes)?;
    let mut min_characters = MIN_CHARACTERS;
    if let Some(node) = fields.get("min_characters") {
        let read = fields::number(node, "`min_characters`", 1..=100_000, mistakes);
        min_characters = read.unwrap_or(MIN_CHARACTERS);
    }
    let mend = "write `language: {allow: [en]}`";
    let allow = fields.require("allow", mend, mistakes)?;
    let codes = fields::items(allow, "`allow`", LANGUAGES_MAX, mistakes)?;
    let read = codes.iter().filter_map(|node| read_code(node, mistakes));
    let (allow, langs) = read.unzip();
    let languages = Languages {
        allow,
        min_characters,
        langs,
    };
    Some((Kind::Language(languages), Vec::new()))
}

fn read_code(node: &Node, mistakes: &mut Diagnostics) -> Option<(String, Lang)> {
    let mend = "use an ISO 639 code such as en, de, fr, es, it, pt, nl, pl";
    let code = fields::text(node, "a language", NAME_BYTES_MAX, mistakes)?;
    let known = lang(code);
    if known.is_none() {
        let message = format!(
            "`{}` is no language that can be told",
            fields::printable(code)
        );
        mistakes.push(node.at, message, mend);
    }
    Some((code.to_owned(), known?))
}

impl Languages {
    /// Whether `text` is long enough to be judged, and reliably in another language.
    pub(crate) fn objects_to(&self, text: &str) -> bool {
        let long_enough = text.chars().nth(self.min_characters - 1).is_some();
        let told = || whatlang::detect(text).filter(|info| info.is_reliable());
        long_enough && told().is_some_and(|info| !self.langs.contains(&info.lang()))
    }
}

fn lang(code: &str) -> Option<Lang> {
    let known = ISO_639_1.iter().find(|(two, _)| *two == code);
    Lang::from_code(known.map_or(code, |(_, three)| three))
}

const ISO_639_1: [(&str, &str); 48] = [
    ("af", "afr"),
    ("ar", "ara"),
    ("bg", "bul"),
    ("bn", "ben"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("es", "spa"),
    ("et", "est"),
    ("fa", "pes"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("gu", "guj"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("hy", "hye"),
    ("id", "ind"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("ka", "kat"),
    ("kn", "kan"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lt", "lit"),
    ("lv", "lav"),
    ("nb", "nob"),
    ("nl", "nld"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sr", "srp"),
    ("sv", "swe"),
    ("ta", "tam"),
    ("th", "tha"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("ur", "urd"),
    ("vi", "vie"),
    ("zh", "cmn"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_letter_code_is_a_language() {
        for (two, _) in ISO_639_1 {
            assert!(lang(two).is_some(), "{two}");
        }
        assert_eq!(lang("deu"), Some(Lang::Deu));
        assert_eq!(lang("xx"), None);
    }
}
