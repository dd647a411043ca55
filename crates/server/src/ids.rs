//! Ids and seeds.

/// An id that was never given before, such as `chatcmpl-4f…`.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}{}", hex::encode(random::<16>()))
}

/// The seed of a call that brings none.
pub(crate) fn new_seed() -> u64 {
    u64::from_le_bytes(random())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system always has randomness after boot");
    bytes
}

/// An id of a tool call for models whose templates take nine letters and digits and nothing else.
pub(crate) fn new_call_id() -> String {
    hex::encode(random::<5>())[..9].to_owned()
}
