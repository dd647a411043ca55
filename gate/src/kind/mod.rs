//! What a rule can look for: one module for each kind, with how it is read and how it judges.
//!
//! Kinds come in three sorts. *Patterns* (phrases, regex, pii, injection) are compiled into shared
//! automata, which `scan` runs. *Judges* (length, logits, require, language) look at the
//! completion as a whole, token by token or at its end. *Masks* (`json_schema`, grammar) say before
//! a token is drawn which ones may be.

pub(crate) mod checksum;
pub(crate) mod grammar;
pub(crate) mod injection;
pub(crate) mod language;
pub(crate) mod length;
pub(crate) mod logits;
pub(crate) mod pii;
pub(crate) mod text;

pub use checksum::Checksum;
pub use injection::InjectionList;
pub use language::Languages;
pub use length::LengthLimits;
pub use logits::{LogitLimits, MassLimit};
pub use pii::PersonalData;

use crate::{
    Action, Normalise,
    diagnostic::{Diagnostics, Place},
    ruleset::fields::Fields,
    ruleset::yaml::Node,
};

/// What a rule looks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Any of several texts, literally.
    Phrases {
        /// The texts as written.
        phrases: Vec<String>,
        /// Not inside a longer word (of ASCII letters, digits and `_`).
        whole_word: bool,
    },
    /// A regular expression.
    Regex {
        /// The expression as written.
        pattern: String,
        /// Longer matches, in bytes of the text it looks at, do not count.
        max_span: Option<usize>,
        /// Only what satisfies it is a match.
        checksum: Option<Checksum>,
    },
    /// Personal data.
    Pii(Vec<PersonalData>),
    /// Known turns of phrase of prompt injection.
    Injection(InjectionList),
    /// Texts of which one must be there; judged at the end.
    Require(Vec<String>),
    /// How long the text may be.
    Length(LengthLimits),
    /// How sure the model must have been.
    Logits(LogitLimits),
    /// In which languages the text may be; judged at the end.
    Language(Languages),
    /// JSON that satisfies a schema, whose source this is: a mask on what is drawn.
    JsonSchema(String),
    /// A text of a grammar: a mask on what is drawn.
    Grammar(GrammarSource),
}

/// How a grammar is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrammarSource {
    /// In the notation of Lark.
    Lark(String),
    /// As one regular expression over the whole completion.
    Regex(String),
}

/// How much of a rule a text alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldByText {
    /// All of it.
    All,
    /// Not this, which only the model knows.
    AllBut(&'static str),
    /// Nothing, for this reason.
    Nothing(&'static str),
}

/// A pattern that this crate ships, for folded text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextPattern {
    pub(crate) regex: &'static str,
    pub(crate) check: Option<Check>,
}

/// What a match must satisfy besides its pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    Checksum(Checksum),
    PaymentCard,
    Iban,
    UsSsn,
    Email,
    InternationalPhone,
    NationalPhone,
    Ipv6,
}

impl Check {
    /// Whether `text`, as the pattern saw it, counts.
    pub(crate) fn holds(self, text: &[u8]) -> bool {
        match self {
            Self::Checksum(checksum) => checksum.holds(text),
            Self::PaymentCard => pii::payment_card(text),
            Self::Iban => pii::iban(text),
            Self::UsSsn => pii::us_ssn(text),
            Self::Email => pii::email(text),
            Self::InternationalPhone => pii::international_phone(text),
            Self::NationalPhone => pii::national_phone(text),
            Self::Ipv6 => pii::ipv6(text),
        }
    }
}

/// How a kind is written.
pub(crate) struct Spec {
    /// The key of a rule that makes it one of this kind.
    pub(crate) name: &'static str,
    /// Further keys of such a rule.
    pub(crate) options: &'static [&'static str],
    pub(crate) read: Read,
}

/// Reads the value of a kind's key; the places are those of its patterns.
type Read = fn(&Fields<'_>, &Node, &mut Diagnostics) -> Option<(Kind, Vec<Place>)>;

/// Every kind that is built.
pub(crate) const SPECS: [Spec; 10] = [
    Spec {
        name: "phrases",
        options: &["normalise", "whole_word"],
        read: text::read_phrases,
    },
    Spec {
        name: "regex",
        options: &["normalise", "max_span", "checksum"],
        read: text::read_regex,
    },
    Spec {
        name: "pii",
        options: &[],
        read: text::read_pii,
    },
    Spec {
        name: "injection",
        options: &[],
        read: text::read_injection,
    },
    Spec {
        name: "require",
        options: &["normalise"],
        read: text::read_require,
    },
    Spec {
        name: "length",
        options: &[],
        read: length::read,
    },
    Spec {
        name: "logits",
        options: &[],
        read: logits::read,
    },
    Spec {
        name: "language",
        options: &[],
        read: language::read,
    },
    Spec {
        name: "json_schema",
        options: &[],
        read: grammar::read_json_schema,
    },
    Spec {
        name: "grammar",
        options: &[],
        read: grammar::read_grammar,
    },
];

/// Kinds that the format names and this version does not evaluate.
pub(crate) const UNBUILT: [&str; 2] = ["semantic", "judge"];

impl Kind {
    /// The word of the format.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Phrases { .. } => "phrases",
            Self::Regex { .. } => "regex",
            Self::Pii(_) => "pii",
            Self::Injection(_) => "injection",
            Self::Require(_) => "require",
            Self::Length(_) => "length",
            Self::Logits(_) => "logits",
            Self::Language(_) => "language",
            Self::JsonSchema(_) => "json_schema",
            Self::Grammar(_) => "grammar",
        }
    }

    /// Whether its verdict is on the whole text, so that it is out only at the end.
    pub fn is_judged_at_end(&self) -> bool {
        matches!(self, Self::Require(_) | Self::Language(_))
    }

    /// Whether only a completion that came to its end can satisfy it.
    pub(crate) fn is_about_whole(&self) -> bool {
        self.is_judged_at_end() || self.is_mask()
    }

    /// Whether it says before a token is drawn which ones may be.
    pub fn is_mask(&self) -> bool {
        matches!(self, Self::JsonSchema(_) | Self::Grammar(_))
    }

    /// Whether what it finds is a stretch of text that can be replaced.
    pub(crate) fn finds_stretches(&self) -> bool {
        matches!(
            self,
            Self::Phrases { .. } | Self::Regex { .. } | Self::Pii(_) | Self::Injection(_)
        )
    }

    /// Whether it can look at a prompt.
    pub(crate) fn reads_input(&self) -> bool {
        !matches!(self, Self::Logits(_)) && !self.is_mask()
    }

    /// Whether a text alone is enough to test it.
    pub(crate) fn is_told_by_text(&self) -> bool {
        match self {
            Self::Logits(_) => false,
            Self::Length(limits) => limits.max_tokens.is_none(),
            _ => true,
        }
    }

    /// How much of it a past text decides, without the model that wrote it.
    pub fn told_by_text(&self) -> ToldByText {
        match self {
            Self::Logits(_) => ToldByText::Nothing("it looks at the model's probabilities"),
            Self::JsonSchema(_) | Self::Grammar(_) => {
                ToldByText::Nothing("it is followed token by token, while the model writes")
            }
            Self::Length(limits) => match limits.max_tokens {
                None => ToldByText::All,
                Some(_) if limits.counts_text() => ToldByText::AllBut("max_tokens"),
                Some(_) => ToldByText::Nothing("it counts tokens, and a text has none"),
            },
            _ => ToldByText::All,
        }
    }

    /// How its texts are folded unless the rule says otherwise.
    pub(crate) fn default_normalise(&self) -> Normalise {
        match self {
            Self::Phrases { .. } | Self::Require(_) => Normalise::Strict,
            Self::Pii(_) | Self::Injection(_) => Normalise::Basic,
            _ => Normalise::None,
        }
    }

    /// Whether `action` means something for it.
    pub(crate) fn allows(&self, action: Action) -> bool {
        action != Action::Redact || self.finds_stretches()
    }
}
