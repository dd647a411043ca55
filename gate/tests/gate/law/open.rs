//! Which beginnings of a match are open at the end of a text: some text that could follow would make
//! a match of them. Found by walking an expression's NFA over every kind of byte that can follow.

use std::collections::HashSet;

use regex_automata::{
    nfa::thompson::{NFA, State},
    util::{look::LookMatcher, primitives::StateID},
};

/// One byte of each kind that expressions of the law tell apart.
const FOLLOWING: [u8; 8] = *b"abc \nz-7";

/// Where a walk stands: the state, the byte before it, and the byte after it, if any.
type Walk = (StateID, Option<u8>, Option<u8>);

/// How a match from some place stands at the end of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// It is a match already, perhaps only with what follows, or with nothing following.
    pub(crate) complete: bool,
    /// A longer text could be a match.
    pub(crate) grows: bool,
}

/// What can come of a match that begins at byte `start` of `text` and reaches its end.
pub(crate) fn outlook(nfa: &NFA, text: &[u8], start: usize) -> Outlook {
    let before = start.checked_sub(1).map(|at| text[at]);
    let mut states = HashSet::from([(nfa.start_anchored(), before)]);
    for &byte in &text[start..] {
        states = step(nfa, &states, Some(byte)).0;
    }
    let mut outlook = Outlook {
        complete: step(nfa, &states, None).1,
        grows: false,
    };
    let mut seen = HashSet::new();
    let mut is_first = true;
    while !states.is_empty() {
        let mut after = HashSet::new();
        for byte in FOLLOWING {
            let (next, matched) = step(nfa, &states, Some(byte));
            match is_first {
                true => outlook.complete |= matched,
                false => outlook.grows |= matched,
            }
            after.extend(next);
        }
        outlook.grows |= !is_first && step(nfa, &states, None).1;
        after.retain(|state| seen.insert(*state));
        (states, is_first) = (after, false);
    }
    outlook
}

/// The states after `byte`, each with it, and whether there is a match before it.
fn step(
    nfa: &NFA,
    states: &HashSet<(StateID, Option<u8>)>,
    byte: Option<u8>,
) -> (HashSet<(StateID, Option<u8>)>, bool) {
    let (mut next, mut matched) = (HashSet::new(), false);
    let mut seen: HashSet<Walk> = HashSet::new();
    let mut open: Vec<Walk> = states
        .iter()
        .map(|(id, before)| (*id, *before, byte))
        .collect();
    while let Some(walk @ (id, before, after)) = open.pop() {
        if !seen.insert(walk) {
            continue;
        }
        let mut go = |to: StateID| open.push((to, before, after));
        match nfa.state(id) {
            State::ByteRange { trans } => {
                next.extend(
                    byte.filter(|b| trans.matches_byte(*b))
                        .map(|_| (trans.next, byte)),
                );
            }
            State::Sparse(sparse) => {
                let to = byte.and_then(|byte| sparse.matches_byte(byte));
                next.extend(to.map(|to| (to, byte)));
            }
            State::Dense(dense) => {
                let to = byte.and_then(|byte| dense.matches_byte(byte));
                next.extend(to.map(|to| (to, byte)));
            }
            State::Look { look, next } => {
                let around: Vec<u8> = before.into_iter().chain(after).collect();
                let at = usize::from(before.is_some());
                if LookMatcher::new().matches(*look, &around, at) {
                    go(*next);
                }
            }
            State::Union { alternates } => alternates.iter().copied().for_each(go),
            State::BinaryUnion { alt1, alt2 } => {
                go(*alt1);
                go(*alt2);
            }
            State::Capture { next, .. } => go(*next),
            State::Fail => {}
            State::Match { .. } => matched = true,
        }
    }
    (next, matched)
}
