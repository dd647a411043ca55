//! One anchored automaton over many patterns.

use regex_automata::{
    Anchored, MatchKind,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, start},
};
use regex_syntax::hir::Hir;

use crate::kind::Check;
use crate::limits::{DETERMINISE_BYTES_MAX, DFA_BYTES_MAX, NFA_BYTES_MAX};

/// What the automaton knows of a pattern.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    /// Index of the rule in its set.
    pub(crate) rule: usize,
    /// Whether it depends on what follows its match (`$`, `\b`).
    pub(crate) looks_ahead: bool,
    /// What a match must satisfy besides.
    pub(crate) check: Option<Check>,
}

/// Patterns of one view that live and die together: all hold text back or none does, and all have
/// the same `max_span`, so that no pattern is held for by the measure of another.
#[derive(Debug)]
pub(crate) struct Lane {
    dfa: Dfa,
    patterns: Vec<Pattern>,
    /// The start state for each byte that may come before, and at 256 for the start of the text.
    starts: Vec<StateID>,
    /// What is ahead of each state, by its index.
    outlooks: Vec<Outlook>,
    /// For each byte, whether a match may begin with it.
    begins: Box<[bool; 256]>,
    holds: bool,
    max_span: Option<usize>,
}

/// Why a lane could not be built.
#[derive(Debug)]
pub(crate) enum BuildError {
    /// An automaton over its limit, in bytes.
    TooLarge(usize),
    /// Something the automaton cannot express, such as a Unicode word boundary.
    Unsupported(String),
}

type Dfa = dense::DFA<Vec<u32>>;

const AT_START: usize = 256;

impl Lane {
    /// Compiles `hirs`, of which each belongs to the pattern at its index.
    pub(crate) fn build(
        hirs: &[Hir],
        patterns: Vec<Pattern>,
        holds: bool,
        max_span: Option<usize>,
    ) -> Result<Self, BuildError> {
        let dfa = build_dfa(hirs)?;
        let starts = start_states(&dfa)?;
        let outlooks = outlooks(&dfa, &starts, &patterns);
        let begins = begins(&dfa, &starts, &outlooks);
        Ok(Self {
            dfa,
            patterns,
            starts,
            outlooks,
            begins,
            holds,
            max_span,
        })
    }

    /// Whether text waits for these patterns.
    pub(crate) fn holds(&self) -> bool {
        self.holds
    }

    /// The patterns that it runs, by rule.
    pub(crate) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// States within reach.
    pub(crate) fn num_states(&self) -> usize {
        self.outlooks.len()
    }

    /// Whether some match must satisfy more than its pattern.
    pub(super) fn has_checks(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.check.is_some())
    }

    /// Bytes of memory it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.dfa.memory_usage() + self.outlooks.len() * size_of::<Outlook>()
    }

    pub(super) fn max_span(&self) -> Option<usize> {
        self.max_span
    }

    /// Whether a match may begin with `byte`.
    pub(super) fn begins_with(&self, byte: u8) -> bool {
        self.begins[usize::from(byte)]
    }

    /// The state before the first byte of a match that follows `previous`.
    pub(super) fn start(&self, previous: Option<u8>) -> StateID {
        self.starts[previous.map_or(AT_START, usize::from)]
    }

    pub(super) fn next(&self, state: StateID, byte: u8) -> StateID {
        self.dfa.next_state(state, byte)
    }

    /// What is ahead of `state`.
    pub(super) fn outlook(&self, state: StateID) -> Outlook {
        self.outlooks[index(&self.dfa, state)]
    }

    /// The patterns that have matched before the byte that led to `state`.
    pub(super) fn matches(&self, state: StateID) -> impl Iterator<Item = &Pattern> {
        let patterns = 0..match_len(&self.dfa, state);
        patterns.map(move |index| &self.patterns[self.dfa.match_pattern(state, index)])
    }

    /// The patterns that have matched if the text ends in `state`.
    pub(super) fn matches_at_end(&self, state: StateID) -> impl Iterator<Item = &Pattern> {
        self.matches(self.dfa.next_eoi_state(state))
    }

    /// Whether a match may still come of a thread that is in `state` and has read `len` bytes.
    pub(super) fn is_alive(&self, state: StateID, len: usize) -> bool {
        let outlook = self.outlook(state);
        match self.max_span {
            // At its full length, only a match that is about to be reported counts.
            Some(max) if len >= max => len == max && outlook.is_ripe(),
            _ => outlook.is_fruitful(),
        }
    }
}

fn build_dfa(hirs: &[Hir]) -> Result<Dfa, BuildError> {
    let nfa_config = thompson::Config::new()
        .utf8(false)
        .which_captures(thompson::WhichCaptures::None)
        .nfa_size_limit(Some(NFA_BYTES_MAX));
    let nfa = thompson::Compiler::new()
        .configure(nfa_config)
        .build_many_from_hir(hirs)
        .map_err(|error| match error.size_limit() {
            Some(_) => BuildError::TooLarge(NFA_BYTES_MAX),
            None => BuildError::Unsupported(error.to_string()),
        })?;
    // All matches, not the leftmost: which of them counts is for the actions to say.
    let config = dense::Config::new()
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .accelerate(false)
        .dfa_size_limit(Some(DFA_BYTES_MAX))
        .determinize_size_limit(Some(DETERMINISE_BYTES_MAX));
    dense::Builder::new()
        .configure(config)
        .build_from_nfa(&nfa)
        .map_err(|error| match error.is_size_limit_exceeded() {
            true => BuildError::TooLarge(DFA_BYTES_MAX),
            false => BuildError::Unsupported(error.to_string()),
        })
}

fn start_states(dfa: &Dfa) -> Result<Vec<StateID>, BuildError> {
    let before = (0..=u8::MAX).map(Some).chain([None]);
    before
        .map(|byte| {
            let config = start::Config::new()
                .anchored(Anchored::Yes)
                .look_behind(byte);
            dfa.start_state(&config)
                .map_err(|error| BuildError::Unsupported(error.to_string()))
        })
        .collect()
}

/// What is ahead of a state. The automaton itself only knows a dead state; a state that is as good
/// as dead would hold text back for nothing. A set of flags, for the scan asks at every byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outlook(u8);

impl Outlook {
    const FRUITFUL: u8 = 1;
    const RIPE: u8 = 1 << 1;
    const SPENT: u8 = 1 << 2;
    const MATCH: u8 = 1 << 3;
    const MATCH_AT_END: u8 = 1 << 4;
    const GAVE_UP: u8 = 1 << 5;
    const TOLD: u8 = 1 << 6;

    /// At least one step leads to a match, sooner or later.
    pub(super) fn is_fruitful(self) -> bool {
        self.0 & Self::FRUITFUL != 0
    }

    /// The next step may: what was read up to here is a match, perhaps depending on what follows.
    fn is_ripe(self) -> bool {
        self.0 & Self::RIPE != 0
    }

    /// Which matches end here is certain already: none depends on what follows.
    pub(super) fn is_told(self) -> bool {
        self.0 & Self::TOLD != 0
    }

    /// Nothing can come of the state but matches that are certain already: what was read is a
    /// match whatever follows, and nothing longer can be.
    pub(super) fn is_spent(self) -> bool {
        self.0 & Self::SPENT != 0
    }

    /// What was read before the last byte is a match.
    pub(super) fn is_match(self) -> bool {
        self.0 & Self::MATCH != 0
    }

    /// What was read is a match if the text ends here.
    pub(super) fn is_match_at_end(self) -> bool {
        self.0 & Self::MATCH_AT_END != 0
    }

    pub(super) fn gave_up(self) -> bool {
        self.0 & Self::GAVE_UP != 0
    }
}

fn outlooks(dfa: &Dfa, starts: &[StateID], patterns: &[Pattern]) -> Vec<Outlook> {
    let (states, before) = explore(dfa, starts);
    let fruitful = fruitful_states(dfa, &states, &before);
    let mut outlooks = vec![Outlook::default(); before.len()];
    for state in states {
        let next = successors(dfa, state);
        let certain = |state: &StateID| {
            let mut matched = (0..match_len(dfa, *state)).map(|i| dfa.match_pattern(*state, i));
            matched.all(|pattern| !patterns[pattern].looks_ahead)
        };
        let is_told = next.iter().all(certain);
        let is_spent = is_told && !next.iter().any(|next| fruitful[index(dfa, *next)]);
        let flags = [
            (Outlook::FRUITFUL, fruitful[index(dfa, state)]),
            (
                Outlook::RIPE,
                next.iter().any(|next| dfa.is_match_state(*next)),
            ),
            (Outlook::TOLD, is_told),
            (Outlook::SPENT, is_spent),
            (Outlook::MATCH, dfa.is_match_state(state)),
            (
                Outlook::MATCH_AT_END,
                dfa.is_match_state(dfa.next_eoi_state(state)),
            ),
            (Outlook::GAVE_UP, dfa.is_quit_state(state)),
        ];
        let set = flags.into_iter().filter(|(_, holds)| *holds);
        outlooks[index(dfa, state)] = Outlook(set.fold(0, |set, (flag, _)| set | flag));
    }
    outlooks
}

/// Matches are whole characters, so none begins inside one.
fn begins(dfa: &Dfa, starts: &[StateID], outlooks: &[Outlook]) -> Box<[bool; 256]> {
    let mut starts = starts.to_vec();
    starts.sort_unstable();
    starts.dedup();
    let mut begins = Box::new([false; 256]);
    for byte in (0..=u8::MAX).filter(|byte| !is_continuation(*byte)) {
        let next = starts.iter().map(|start| dfa.next_state(*start, byte));
        let mut outlooks = next.map(|state| outlooks[index(dfa, state)]);
        begins[usize::from(byte)] =
            outlooks.any(|outlook| outlook.is_fruitful() || outlook.gave_up());
    }
    begins
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

fn match_len(dfa: &Dfa, state: StateID) -> usize {
    if dfa.is_match_state(state) {
        dfa.match_len(state)
    } else {
        0
    }
}

/// For each index of a state, whether at least one step leads to a match.
fn fruitful_states(dfa: &Dfa, states: &[StateID], before: &[Vec<StateID>]) -> Vec<bool> {
    let mut fruitful = vec![false; before.len()];
    let mut open: Vec<StateID> = Vec::new();
    open.extend(states.iter().filter(|state| dfa.is_match_state(**state)));
    while let Some(state) = open.pop() {
        for &previous in &before[index(dfa, state)] {
            let known = &mut fruitful[index(dfa, previous)];
            if !std::mem::replace(known, true) {
                open.push(previous);
            }
        }
    }
    fruitful
}

/// All states within reach, and for each index of a state those that lead to it.
fn explore(dfa: &Dfa, starts: &[StateID]) -> (Vec<StateID>, Vec<Vec<StateID>>) {
    let mut seen = vec![false; 1];
    let mut before: Vec<Vec<StateID>> = Vec::new();
    let (mut states, mut open) = (Vec::new(), starts.to_vec());
    while let Some(state) = open.pop() {
        let at = index(dfa, state);
        grow(&mut seen, at);
        grow(&mut before, at);
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        states.push(state);
        for next in successors(dfa, state) {
            let to = index(dfa, next);
            grow(&mut before, to);
            before[to].push(state);
            open.push(next);
        }
    }
    (states, before)
}

fn successors(dfa: &Dfa, state: StateID) -> Vec<StateID> {
    let bytes = dfa.byte_classes().representatives(0..=u8::MAX);
    let units = bytes.filter_map(|unit| unit.as_u8());
    let mut next: Vec<StateID> = units.map(|byte| dfa.next_state(state, byte)).collect();
    next.push(dfa.next_eoi_state(state));
    next.sort_unstable();
    next.dedup();
    next
}

fn grow<T: Default>(list: &mut Vec<T>, index: usize) {
    if list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
}

fn index(dfa: &Dfa, state: StateID) -> usize {
    state.as_usize() >> dfa.stride2()
}
