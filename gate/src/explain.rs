//! What a rule set compiles to, as plain data: for people who have to answer for it.

use regex_syntax::hir::Hir;

use crate::{
    Action, Kind, Normalise, Rule, RuleSet, Scope, Side,
    kind::{Check, text},
    limits::SPAN_BYTES_MAX,
    scan::Matcher,
    view,
};

/// A rule set, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// In the order of the file.
    pub rules: Vec<RuleExplanation>,
    /// All automata of the set.
    pub automata: Vec<AutomatonExplanation>,
}

/// A rule, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleExplanation {
    /// Its id.
    pub id: String,
    /// What it looks for, ready to run; empty for kinds that look for no pattern.
    pub patterns: Vec<PatternExplanation>,
    /// Indices into [`Explanation::automata`] of those that run its patterns.
    pub automata: Vec<usize>,
    /// The most text that may wait for it.
    pub holds: Holds,
    /// What it does not find, in sentences.
    pub blind_to: Vec<&'static str>,
}

/// A pattern as it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternExplanation {
    /// What the automaton looks for in the text as it is folded: the folded phrase, or the
    /// expression as written.
    pub looks_for: String,
    /// Bytes of its longest match in the folded text; more characters of the text may belong to it
    /// where the fold drops them.
    pub longest_match_bytes: usize,
    /// Whether the character after a match decides (`$`, a word boundary).
    pub looks_ahead: bool,
    /// What a match must satisfy besides.
    pub check: Option<&'static str>,
}

/// An automaton.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutomatonExplanation {
    /// Which text it reads.
    pub on: Side,
    /// How the text is folded before.
    pub normalise: Normalise,
    /// Patterns of all rules that share it.
    pub patterns: usize,
    /// States.
    pub states: usize,
    /// Bytes of memory.
    pub memory_bytes: usize,
    /// Ids of the rules that share it.
    pub rules: Vec<String>,
}

/// How much text waits until it is clear that a rule does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Nothing: it only notes, or it acts before anything is written.
    Nothing(NothingHeld),
    /// From the first byte from which a match has begun: at most so many bytes of folded text.
    Bytes(usize),
    /// The tokens of the window that is judged.
    Tokens(usize),
    /// Everything, until the completion ends.
    All,
}

/// Why a rule holds nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NothingHeld {
    /// Its action, or the mode of its set, changes no text.
    OnlyNotes,
    /// It looks at the prompt, which is there at once.
    OnInput,
    /// It says before a token is drawn which ones may be.
    Mask,
    /// What is beyond a limit is refused, what is before it is known to be within.
    KnownAtOnce,
}

impl RuleSet {
    /// What each rule compiles to, what it holds back, and what it cannot find.
    pub fn explain(&self) -> Explanation {
        let mut automata = explain_automata(self, Side::Input, self.input());
        automata.extend(explain_automata(self, Side::Output, self.output()));
        let rules = self.rules().enumerate();
        let rules = rules.map(|(index, rule)| {
            let patterns: Vec<PatternExplanation> = explain_patterns(rule);
            let shared = automata.iter().enumerate();
            let shared = shared.filter(|(_, one)| one.rules.iter().any(|id| *id == *rule.id));
            RuleExplanation {
                id: rule.id.to_string(),
                automata: shared.map(|(automaton, _)| automaton).collect(),
                holds: self.explain_hold(index, rule, &patterns),
                blind_to: blind_spots(rule),
                patterns,
            }
        });
        Explanation {
            rules: rules.collect(),
            automata,
        }
    }

    fn explain_hold(&self, index: usize, rule: &Rule, patterns: &[PatternExplanation]) -> Holds {
        let acts = self.definition().action(index).holds();
        let longest = patterns.iter().map(|pattern| pattern.longest_match_bytes);
        match &rule.kind {
            _ if rule.on == Side::Input => Holds::Nothing(NothingHeld::OnInput),
            _ if !acts => Holds::Nothing(NothingHeld::OnlyNotes),
            kind if kind.is_mask() => Holds::Nothing(NothingHeld::Mask),
            _ if self.resample().scope == Scope::Completion => Holds::All,
            kind if kind.is_judged_at_end() => Holds::All,
            Kind::Logits(limits) => Holds::Tokens(limits.window - 1),
            Kind::Length(_) => Holds::Nothing(NothingHeld::KnownAtOnce),
            _ => Holds::Bytes(longest.max().unwrap_or_default()),
        }
    }
}

fn explain_automata(set: &RuleSet, on: Side, matcher: &Matcher) -> Vec<AutomatonExplanation> {
    let views = matcher.views.iter();
    let lanes = views.flat_map(|view| view.lanes.iter().map(|lane| (view.normalise, lane)));
    let explain = |(normalise, lane): (Normalise, &crate::scan::Lane)| {
        let mut rules: Vec<usize> = lane.patterns().iter().map(|one| one.rule).collect();
        rules.dedup();
        let ids = rules.iter().map(|rule| &set.definition().rules[*rule].id);
        AutomatonExplanation {
            on,
            normalise,
            patterns: lane.patterns().len(),
            states: lane.num_states(),
            memory_bytes: lane.memory_bytes(),
            rules: ids.map(ToString::to_string).collect(),
        }
    };
    lanes.map(explain).collect()
}

fn explain_patterns(rule: &Rule) -> Vec<PatternExplanation> {
    let expressions = text::expressions(rule).into_iter();
    let written = written_patterns(rule);
    // What is loaded compiled: none is unusable.
    let usable = expressions
        .zip(written)
        .filter_map(|(expression, written)| {
            let expression = expression.ok()?;
            Some(PatternExplanation {
                looks_for: written,
                longest_match_bytes: longest(&expression.hir, expression.max_span),
                looks_ahead: expression.looks_ahead,
                check: expression.check.map(check_name),
            })
        });
    usable.collect()
}

fn longest(hir: &Hir, max_span: Option<usize>) -> usize {
    let longest = hir.properties().maximum_len().unwrap_or(SPAN_BYTES_MAX);
    max_span.map_or(longest, |max| max.min(longest))
}

fn written_patterns(rule: &Rule) -> Vec<String> {
    let fold = |text: &String| view::fold(rule.normalise, text);
    match &rule.kind {
        Kind::Phrases { phrases, .. } => phrases.iter().map(fold).collect(),
        Kind::Require(texts) => texts.iter().map(fold).collect(),
        Kind::Regex { pattern, .. } => vec![pattern.clone()],
        Kind::Pii(data) => {
            let shipped = data.iter().flat_map(|one| one.patterns());
            shipped.map(|pattern| pattern.regex.to_owned()).collect()
        }
        Kind::Injection(list) => {
            let shipped = list.patterns().into_iter();
            shipped.map(|pattern| pattern.regex.to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

fn check_name(check: Check) -> &'static str {
    match check {
        Check::Checksum(checksum) => checksum.as_str(),
        Check::PaymentCard => "known issuer, length and Luhn digit",
        Check::Iban => "country, length and check digits",
        Check::UsSsn => "a number that is issued",
        Check::Email => "not the name of a picture",
        Check::InternationalPhone | Check::NationalPhone => "as many digits as a number has",
        Check::Ipv6 => "an address of a range in use",
    }
}

fn blind_spots(rule: &Rule) -> Vec<&'static str> {
    let mut spots = of_kind(&rule.kind).to_vec();
    if rule.kind.finds_stretches() || matches!(rule.kind, Kind::Require(_)) {
        spots.push(of_view(rule.normalise));
    }
    if rule.action == Action::Redact {
        spots.push("what a reader can guess from the text around a redaction");
    }
    spots
}

fn of_kind(kind: &Kind) -> &'static [&'static str] {
    match kind {
        Kind::Phrases { .. } => &["the same meaning in other words, or in another language"],
        Kind::Regex { checksum: None, .. } => &["the same meaning in another form"],
        Kind::Regex { .. } => &[
            "a number with a slip in it: its check digits fail",
            "a number that is written out in words",
        ],
        Kind::Pii(_) => &[
            "names, addresses and all that has no shape",
            "numbers that are written out in words, or with a slip in their check digits",
        ],
        Kind::Injection(_) => &[
            "attacks that are reworded, encoded (base64, rot13), in a language that is not \
             listed, or spread over several messages: this is a list and no classifier",
        ],
        Kind::Require(_) => &["whether the text is there in a place where it is read"],
        Kind::Length(_) => &["sentences exactly: \"Dr. Smith\" counts as two"],
        Kind::Logits(_) => &["what the model is sure of and wrong about"],
        Kind::Language(_) => &[
            "a few foreign words: the language of most of the text counts",
            "texts that are short or hard to tell: in doubt they pass",
        ],
        Kind::JsonSchema(_) | Kind::Grammar(_) => &["whether what fits the form is true"],
    }
}

fn of_view(normalise: Normalise) -> &'static str {
    match normalise {
        Normalise::None => {
            "other case, invisible characters, look-alike letters: the text counts as written"
        }
        Normalise::Basic => {
            "look-alike letters of other scripts, letters spaced out, digits for letters"
        }
        Normalise::Strict => "letters spaced out (g u a r), digits for letters (guarant33d)",
    }
}
