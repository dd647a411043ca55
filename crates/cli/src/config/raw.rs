//! Text from flags, environment and file, before anything is made of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::mistake::{Hint, Mistake, Mistakes, Source};
use super::parse::Parsed;
use super::setting::{self, Setting};
use crate::env::Environment;

/// Settings of the command line, as given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// Those that were given.
    pub(crate) settings: Vec<(Setting, String)>,
}

/// The strongest text of each setting, and the mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct RawConfig {
    values: BTreeMap<&'static str, RawValue>,
    mistakes: Vec<Mistake>,
}

#[derive(Clone, Debug)]
struct RawValue {
    text: String,
    source: Source,
}

impl RawConfig {
    /// Gathers what was given: flags over environment over file.
    pub(crate) fn gather(flags: &Flags, environment: &Environment) -> Self {
        let mut raw = Self::default();
        let file = flags.file.clone();
        if let Some(path) = file.or_else(|| environment.get("PORTCULLIS_CONFIG").map(PathBuf::from))
        {
            raw.add_file(&path);
        }
        raw.add_environment(environment);
        for (setting, text) in &flags.settings {
            raw.set(setting, text.clone(), Source::Flag(setting.flag()));
        }
        raw
    }

    /// What a setting was given, made into a value. A mistake is kept for [`Self::finish`].
    pub(crate) fn read<T>(
        &mut self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Option<T> {
        let RawValue { text, source } = self.values.get(setting.key)?.clone();
        match parse(&text) {
            Ok(value) => Some(value),
            Err(allowed) => {
                self.mistakes
                    .push(mistake_of(setting, source, text, allowed));
                None
            }
        }
    }

    /// Notes that a setting has neither a value nor a default.
    pub(crate) fn missing(&mut self, setting: Setting, message: &'static str) {
        // A value that could not be read is a mistake already.
        if !self.values.contains_key(setting.key) {
            self.mistakes.push(Mistake::Missing {
                flag: setting.flag(),
                message,
            });
        }
    }

    /// The configuration, unless a mistake was found on the way.
    pub(crate) fn finish<T>(self, config: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(Mistakes(self.mistakes))
        }
    }

    fn add_environment(&mut self, environment: &Environment) {
        for setting in setting::ALL {
            let names = setting
                .foreign_variable
                .map(str::to_owned)
                .into_iter()
                .chain([setting.variable()]);
            for name in names {
                if let Some(text) = environment.get(&name) {
                    self.set(setting, text.to_owned(), Source::Variable(name));
                }
            }
        }
    }

    fn add_file(&mut self, path: &Path) {
        let place = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                return self.mistakes.push(Mistake::File {
                    place: place.to_string(),
                    message,
                });
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            let line = line_at(&text, error.span().map_or(0, |span| span.start));
            let place = format!("{place}:{line}");
            self.mistakes.push(Mistake::File {
                place,
                message: error.message().to_owned(),
            });
        }
        if errors.is_empty() {
            self.add_entries(path, &text, table.get_ref());
        }
    }

    fn add_entries(&mut self, path: &Path, text: &str, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let line = line_at(text, key.span().start);
            let key = key.get_ref().to_string();
            self.add_entry(
                Source::File {
                    path: path.to_owned(),
                    line,
                    key: key.clone(),
                },
                &key,
                value,
            );
        }
    }

    fn add_entry(&mut self, source: Source, key: &str, value: &Spanned<DeValue<'_>>) {
        let Some(setting) = setting::ALL.iter().find(|setting| setting.key == key) else {
            let hint = Hint(nearest(key));
            return self.mistakes.push(Mistake::UnknownKey { at: source, hint });
        };
        let text = match value.get_ref() {
            DeValue::Array(values) if setting.is_list => texts_of(values),
            value => text_of(value),
        };
        match text {
            Some(text) => self.set(setting, text, source),
            None => {
                let allowed = format!("must be one value, not {}", value.get_ref().type_str());
                self.mistakes.push(Mistake::Secret {
                    at: source,
                    allowed,
                });
            }
        }
    }

    fn set(&mut self, setting: &Setting, text: String, source: Source) {
        self.values.insert(setting.key, RawValue { text, source });
    }
}

/// Variables that look like ours and are none, with what may have been meant.
///
/// Not a mistake: Kubernetes makes `PORTCULLIS_PORT` and more for a service of that name.
pub(crate) fn misspelt_variables(environment: &Environment) -> Vec<(String, String)> {
    let prefix = setting::VARIABLE_PREFIX;
    let is_ours = |name: &str| {
        ["PORTCULLIS_CONFIG", "PORTCULLIS_URL", "PORTCULLIS_API_KEY"].contains(&name)
            || setting::ALL
                .iter()
                .any(|setting| setting.variable() == name)
    };
    let meant = |name: &str| nearest(&name[prefix.len()..].to_lowercase());
    environment
        .names_with_prefix(prefix)
        .filter(|name| !is_ours(name))
        .filter_map(|name| {
            Some((
                name.to_owned(),
                format!("{prefix}{}", meant(name)?.to_uppercase()),
            ))
        })
        .collect()
}

fn mistake_of(setting: Setting, at: Source, text: String, allowed: String) -> Mistake {
    if setting.is_secret {
        Mistake::Secret { at, allowed }
    } else {
        Mistake::Value { at, text, allowed }
    }
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn texts_of(values: &DeArray<'_>) -> Option<String> {
    let texts: Option<Vec<_>> = values.iter().map(|it| text_of(it.get_ref())).collect();
    texts.map(|texts| texts.join(","))
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// The key that a misspelt one is nearest to, if any is near enough to be meant.
fn nearest(key: &str) -> Option<&'static str> {
    let key = key.replace('-', "_");
    let distances = setting::ALL
        .iter()
        .map(|setting| (edit_distance(&key, setting.key), setting.key));
    let (distance, nearest) = distances.min()?;
    (distance <= 1 + key.len() / 4).then_some(nearest)
}

/// Levenshtein's distance, one row at a time.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
