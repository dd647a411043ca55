//! Keeps apart the control tokens that a template writes and those that messages quote.
//!
//! Before the template runs, every control token's name in a user's text is replaced by a single
//! private-use character that occurs in none of the texts. A template can move it, drop it or
//! repeat it, but hardly change it. Afterwards each becomes a plain [`Segment`].
//!
//! That leaves names that only come together on the way: `<|eot_` in one field and `id|>` in the
//! next, or `<|eot_/thinkid|>` under a template that takes out `/think`. Such a name begins or ends
//! with a character of a user. So the template is run a second time with all such characters
//! altered, and only if it writes the same control tokens is it certain that none came about so.
//!
//! What remains is a template that writes both ends itself, `<|{{ name }}|>`: it means to make
//! control tokens of names. Roles, with which templates do that, are a closed set.

use std::collections::HashMap;

use portcullis_types::TokenId;

use crate::TextError;
use crate::prompt::{RenderedPrompt, Segment};
use crate::tokenizer::{Tokenizer, UnusedChars};

/// The control tokens that the texts of one conversation quote.
pub(super) struct Quotes<'a> {
    tokenizer: &'a Tokenizer,
    unused: UnusedChars,
    /// Whether some text has a character that a control token could begin or end with.
    bordered: bool,
    by_text: HashMap<String, char>,
    by_place: HashMap<char, String>,
    mask: Option<char>,
    exhausted: bool,
}

impl<'a> Quotes<'a> {
    /// None yet; place-holders are taken from `unused`.
    pub(super) fn new(tokenizer: &'a Tokenizer, unused: UnusedChars) -> Self {
        Self {
            tokenizer,
            unused,
            bordered: false,
            by_text: HashMap::new(),
            by_place: HashMap::new(),
            mask: None,
            exhausted: false,
        }
    }

    /// Looks at a text. All must have been looked at before the first is quoted.
    pub(super) fn survey(&mut self, text: &str) {
        self.unused.exclude(text);
        self.bordered |= self.has_border(text);
    }

    /// Whether names of control tokens could come together while the template runs.
    pub(super) fn could_spell(&self) -> bool {
        self.bordered
    }

    /// The text with a place-holder for each control token's name.
    pub(super) fn quote(&mut self, text: &str) -> String {
        if !self.has_border(text) {
            return text.to_owned();
        }
        let mut quoted = String::with_capacity(text.len());
        let mut end = 0;
        for span in self.tokenizer.control_spans(text) {
            quoted.push_str(&text[end..span.range.start]);
            quoted.extend(self.place_holder(&text[span.range.clone()]));
            end = span.range.end;
        }
        quoted.push_str(&text[end..]);
        quoted
    }

    /// The quoted text with all characters altered that a control token could begin or end with.
    pub(super) fn mask(&mut self, text: &str) -> String {
        let quoted = self.quote(text);
        if self.mask.is_none() {
            self.mask = self.unused.next();
        }
        let Some(mask) = self.mask else {
            self.exhausted = true;
            return String::new();
        };
        let control = self.tokenizer.control();
        let masked = |c| {
            if control.is_border(c) && !self.by_place.contains_key(&c) {
                mask
            } else {
                c
            }
        };
        quoted.chars().map(masked).collect()
    }

    /// That both renderings have the same control tokens.
    pub(super) fn compare(&self, rendered: &str, probe: &str) -> Result<(), TextError> {
        let controls = |text| -> Vec<TokenId> {
            self.tokenizer
                .control_spans(text)
                .into_iter()
                .map(|span| span.id)
                .collect()
        };
        match controls(rendered) == controls(probe) {
            true => Ok(()),
            false => Err(TextError::ControlTokenSpelled),
        }
    }

    /// Puts the quoted names back, marked as plain.
    pub(super) fn segments(
        &self,
        template: &str,
        rendered: String,
    ) -> Result<RenderedPrompt, TextError> {
        if self.exhausted {
            return Err(TextError::encode(
                "the messages use every private-use character",
            ));
        }
        if self
            .by_place
            .keys()
            .any(|&place| spelled_out(place, &rendered))
        {
            return Err(TextError::ControlTokenRewritten {
                template: template.to_owned(),
            });
        }
        let mut segments = Vec::new();
        let mut rest = rendered.as_str();
        while let Some(at) = rest.find(|c| self.by_place.contains_key(&c)) {
            let place = rest[at..].chars().next().unwrap_or_default();
            push(&mut segments, &rest[..at], false);
            push(&mut segments, &self.by_place[&place], true);
            rest = &rest[at + place.len_utf8()..];
        }
        push(&mut segments, rest, false);
        Ok(RenderedPrompt { segments })
    }

    fn has_border(&self, text: &str) -> bool {
        text.contains(|c| self.tokenizer.control().is_border(c))
    }

    fn place_holder(&mut self, name: &str) -> Option<char> {
        if let Some(place) = self.by_text.get(name) {
            return Some(*place);
        }
        let place = self.unused.next();
        self.exhausted |= place.is_none();
        let place = place?;
        self.by_text.insert(name.to_owned(), place);
        self.by_place.insert(place, name.to_owned());
        Some(place)
    }
}

fn push(segments: &mut Vec<Segment>, text: &str, plain: bool) {
    if !text.is_empty() {
        segments.push(Segment {
            text: text.to_owned(),
            plain,
        });
    }
}

/// Whether a template escaped a place-holder, as `tojson(ensure_ascii=True)` does.
fn spelled_out(place: char, rendered: &str) -> bool {
    let mut units = [0; 2];
    let units = place.encode_utf16(&mut units).iter();
    let escaped: String = units.map(|unit| format!("\\u{unit:04x}")).collect();
    rendered.contains(&escaped)
}
