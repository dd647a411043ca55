//! From text to values. What is not allowed is answered by what is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use portcullis_server::{Cors, NoOrigins, Prices};
use portcullis_store::{DeploymentName, NameError, TextClass};

use super::EmbeddingConfig;
use super::setting::Setting;

/// A value, or a sentence that says what is allowed.
pub(crate) type Parsed<T> = Result<T, String>;

/// Any text but none.
pub(crate) fn text(text: &str) -> Parsed<String> {
    if text.trim().is_empty() {
        return Err("must not be empty".into());
    }
    Ok(text.to_owned())
}

/// A path.
pub(crate) fn path(given: &str) -> Parsed<PathBuf> {
    text(given).map(PathBuf::from)
}

/// An address with its port.
pub(crate) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse()
        .map_err(|_| "must be an IP address with a port, such as 127.0.0.1:8000".into())
}

/// One of several words.
pub(crate) fn one_of<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        let found = choices.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| must_be_one_of(choices))
    }
}

fn must_be_one_of<T>(choices: &[(&str, T)]) -> String {
    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
    match words.split_last() {
        Some((last, [])) => format!("must be {last}"),
        Some((last, others)) => format!("must be {} or {last}", others.join(", ")),
        None => unreachable!("a setting has choices"),
    }
}

/// A whole number within bounds.
pub(crate) fn number<T>(min: T, max: T) -> impl Fn(&str) -> Parsed<T>
where
    T: FromStr + PartialOrd + std::fmt::Display + Copy,
{
    move |text| {
        let within = text
            .parse()
            .ok()
            .filter(|number| (min..=max).contains(number));
        within.ok_or_else(|| format!("must be a whole number from {min} to {max}"))
    }
}

/// A whole number up to a bound, or `off` for no limit.
pub(crate) fn number_or_off(max: u32) -> impl Fn(&str) -> Parsed<Option<u32>> {
    move |text| match text {
        "off" => Ok(None),
        text => number(0, max)(text)
            .map(Some)
            .map_err(|allowed| format!("{allowed}, or off")),
    }
}

/// A number that another setting bounds.
pub(crate) fn at_most(number: usize, by: Setting, bound: usize) -> Parsed<usize> {
    match number > bound {
        true => Err(format!("must be at most {}, which is {bound}", by.key)),
        false => Ok(number),
    }
}

/// An amount of memory, in bytes.
pub(crate) fn size(text: &str) -> Parsed<u64> {
    let bytes = text
        .parse::<ByteSize>()
        .ok()
        .map(|size| size.as_u64())
        .filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "must be an amount of memory, such as 4GiB or 512MB".into())
}

/// A time with its unit.
pub(crate) fn duration(text: &str) -> Parsed<Duration> {
    let (digits, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let ms = unit_ms.and_then(|unit| digits.parse::<u64>().ok()?.checked_mul(unit));
    ms.map(Duration::from_millis)
        .ok_or_else(|| "must be a whole number with ms, s, m or h, such as 30s".into())
}

/// How long the texts of each class are kept: `standard=30d,clinical=10y`.
pub(crate) fn text_classes(text: &str) -> Parsed<Vec<TextClass>> {
    let allowed = || {
        "must be names with days or years, such as standard=30d,clinical=10y, each name once"
            .to_owned()
    };
    let mut classes: Vec<TextClass> = Vec::new();
    for (name, time) in pairs(text) {
        let keep_s = time.and_then(days).ok_or_else(allowed)?;
        if !is_class_name(name) || classes.iter().any(|class| class.name == name) {
            return Err(allowed());
        }
        let name = name.to_owned();
        classes.push(TextClass { name, keep_s });
    }
    Ok(classes)
}

/// Whole days or years, in seconds.
fn days(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let days = match unit {
        "d" => 1,
        "y" => 365,
        _ => return None,
    };
    let number: u32 = digits.parse().ok().filter(|number| *number > 0)?;
    Some(u64::from(number) * days * 24 * 60 * 60)
}

fn is_class_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(is_plain)
}

/// What a million tokens of each kind cost.
pub(crate) fn token_prices(text: &str) -> Parsed<Prices> {
    let mut prices = Prices::default();
    for (kind, price) in pairs(text) {
        let price: Option<f64> = price.and_then(|price| price.parse().ok());
        let place = match kind {
            "prompt" => &mut prices.prompt,
            "cached" => &mut prices.cached,
            "released" => &mut prices.released,
            "discarded" => &mut prices.discarded,
            _ => return Err(PRICES_ALLOWED.into()),
        };
        let is_price = |price: &f64| price.is_finite() && *price >= 0.0;
        *place = price.filter(is_price).ok_or(PRICES_ALLOWED)?;
    }
    Ok(prices)
}

const PRICES_ALLOWED: &str = "must be prices of a million tokens, such as \
    prompt=0.15,cached=0.08,released=0.60,discarded=0.60";

/// `name=value` with commas between.
fn pairs(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(',').map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (pair.trim(), None),
    })
}

/// An Ed25519 private key in PEM.
pub(crate) fn private_key(text: &str) -> Parsed<String> {
    let read = portcullis_sign::SecretKey::from_pem(text);
    read.map(|_| text.to_owned())
        .map_err(|_| "must be an Ed25519 private key in PEM (BEGIN PRIVATE KEY)".into())
}

/// Yes or no, as the environment variables of the hub write it too.
pub(crate) fn switch(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// Where a hub is.
pub(crate) fn url(text: &str) -> Parsed<String> {
    let parsed = reqwest::Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    parsed
        .map(|_| text.trim_end_matches('/').to_owned())
        .ok_or_else(|| "must be a URL that begins with http:// or https://".into())
}

/// Pages in browsers that may call.
pub(crate) fn origins(text: &str) -> Parsed<Cors> {
    text.parse()
        .map_err(|allowed: NoOrigins| allowed.to_string())
}

/// What clients send as `model`.
pub(crate) fn deployment(text: &str) -> Parsed<DeploymentName> {
    text.parse()
        .map_err(|error: NameError| error.rule.to_owned())
}

/// A model for embeddings, and what clients send for it.
pub(crate) fn embedding_model(given: &str) -> Parsed<EmbeddingConfig> {
    let (name, called) = match given.rsplit_once('=') {
        Some((name, called)) => (name, Some(deployment(called)?)),
        None => (given, None),
    };
    Ok(EmbeddingConfig {
        name: text(name)?,
        deployment: called,
    })
}

/// Directives of the log.
pub(crate) fn log_filter(text: &str) -> Parsed<String> {
    let parsed = tracing_subscriber::EnvFilter::try_new(text);
    parsed.map(|_| text.to_owned()).map_err(|_| {
        "must be error, warn, info, debug or trace, also for one part: info,portcullis_engine=debug".into()
    })
}
