//! Rule sets: what a compliance officer writes, parsed once into what cannot be wrong.

mod compile;
pub(crate) mod fields;
mod model;
mod read;
#[cfg(test)]
mod schema;
mod selftest;
pub(crate) mod yaml;

use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use crate::diagnostic::{Diagnostic, RuleSetErrors};
pub use model::{
    Action, CheckpointConfig, Mode, Normalise, OnGateError, ResampleConfig, Rule, Scope, Side, Then,
};

use crate::{Kind, MassLimit, diagnostic::Diagnostics, scan::Matcher};
use compile::{Compiled, RuleGrammar};
pub(crate) use model::Definition;

/// A rule set: validated, compiled, its tests passed. Immutable.
#[derive(Debug)]
pub struct RuleSet {
    definition: Definition,
    compiled: Compiled,
    digest: String,
    source: Vec<u8>,
}

impl RuleSet {
    /// Reads a rule set, compiles its patterns and runs its tests at every split.
    ///
    /// Safe on hostile input: every size is bounded (see [`crate::limits`]).
    ///
    /// # Errors
    /// All mistakes at once, in the order of the file. Tests run only where nothing else is wrong.
    pub fn load(source: &[u8]) -> Result<RuleSet, RuleSetErrors> {
        let mut mistakes = Diagnostics::default();
        let document = yaml::parse(source, &mut mistakes);
        let draft = document.and_then(|document| read::draft(&document, &mut mistakes));
        let compiled = draft.and_then(|draft| compile::compile(draft, &mut mistakes));
        let (definition, compiled, tests) = match compiled {
            Some(compiled) if mistakes.is_empty() => compiled,
            _ => return Err(mistakes.into_errors()),
        };
        let ruleset = Arc::new(RuleSet {
            definition,
            compiled,
            digest: digest(source),
            source: source.to_vec(),
        });
        selftest::run(&ruleset, &tests, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes.into_errors());
        }
        Ok(Arc::into_inner(ruleset).expect("the tests keep no reference to the rule set"))
    }

    /// One of its rules as the only one, so that what it costs can be told; `None` if there is no
    /// such rule. Its digest is that of the whole.
    pub fn alone(&self, rule: &str) -> Option<RuleSet> {
        // The file had no mistakes, and has none with less in it.
        let mut mistakes = Diagnostics::default();
        let document = yaml::parse(&self.source, &mut mistakes)?;
        let mut draft = read::draft(&document, &mut mistakes)?;
        draft.keep_only(rule)?;
        let (definition, compiled, _) = compile::compile(draft, &mut mistakes)?;
        Some(RuleSet {
            definition,
            compiled,
            digest: self.digest.clone(),
            source: self.source.clone(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Its version: with the name, what operators speak of.
    pub fn version(&self) -> u32 {
        self.definition.version
    }

    /// `sha256:` and the lower-case hexadecimal digest of the file's bytes: its identity.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The file, byte for byte.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Whether it acts or only watches.
    pub fn mode(&self) -> Mode {
        self.definition.mode
    }

    /// When it is evaluated, and how much it may hold back.
    pub fn checkpoint(&self) -> CheckpointConfig {
        self.definition.checkpoint
    }

    /// How often, how far back, and what then.
    pub fn resample(&self) -> ResampleConfig {
        self.definition.resample
    }

    /// What happens when it cannot be evaluated.
    pub fn on_gate_error(&self) -> OnGateError {
        self.definition.on_gate_error
    }

    /// The rules, in the order of the file.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.definition.rules.iter()
    }

    /// Whether text may wait for it: it is enforced, and some rule can change what is released.
    pub fn holds(&self) -> bool {
        let mut of_output = self.rules().filter(|rule| rule.on == Side::Output);
        self.mode() == Mode::Enforce && of_output.any(|rule| rule.action.holds())
    }

    /// Whether some rule looks at the prompt.
    pub fn reads_input(&self) -> bool {
        self.rules().any(|rule| rule.on == Side::Input)
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The tokens whose probability its rules watch, in their order.
    pub(crate) fn watched(&self) -> impl Iterator<Item = &MassLimit> {
        let rules = self.rules().filter(|rule| rule.on == Side::Output);
        rules.filter_map(|rule| match &rule.kind {
            Kind::Logits(limits) => limits.mean_mass.as_ref(),
            _ => None,
        })
    }

    /// What its rules say a whole completion must be.
    pub(crate) fn grammars(&self) -> &[RuleGrammar] {
        &self.compiled.grammars
    }

    /// What is looked for in what the model writes.
    pub(crate) fn output(&self) -> &Matcher {
        &self.compiled.output
    }

    /// What is looked for in each text of the prompt.
    pub(crate) fn input(&self) -> &Matcher {
        &self.compiled.input
    }
}

fn digest(source: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(source)))
}
