//! A seeded simulation of everything between a submitted call and its stream: arrivals, cancels,
//! slow readers, preemption, forks, rollbacks, faults, memory that runs out. After each step the scheduler's blocks are
//! conserved; at the end every choice has ended exactly once, nothing unadmitted was released, and
//! each answer is the one that the call gets alone.
//!
//! `PORTCULLIS_SIM_SCENARIOS=100000 cargo test -p portcullis-engine --test simulation --release`
//! runs more; `PORTCULLIS_SIM_SEED=n` repeats one.

mod cancelling;
mod world;

use portcullis_engine::{End, EngineStatus};
use portcullis_gate::RuleStatus;
use world::{Call, Reader, Received, Rng, World, leaks};

/// Scenarios of the normal test run.
const SCENARIOS: u64 = 10_000;
/// No scenario needs more steps than this: one that does has hung.
const STEPS_MAX: usize = 20_000;

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the number of scenarios is the caller's choice"
)]
fn every_call_ends_and_nothing_unadmitted_leaves() {
    if let Some(seed) = number(std::env::var("PORTCULLIS_SIM_SEED")) {
        return scenario(seed);
    }
    let scenarios = number(std::env::var("PORTCULLIS_SIM_SCENARIOS")).unwrap_or(SCENARIOS);
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                (thread..scenarios)
                    .step_by(threads as usize)
                    .for_each(scenario)
            });
        }
    });
}

fn number(variable: Result<String, std::env::VarError>) -> Option<u64> {
    variable.ok()?.parse().ok()
}

fn scenario(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut world = World::new(&mut rng);
    let mut calls: Vec<Call> = (0..rng.within(1, 7))
        .map(|_| Call::random(&mut rng, &world))
        .collect();
    let mut steps = 0;
    while calls.iter().any(|call| !call.is_over()) || world.engine.has_work() {
        for call in &mut calls {
            call.turn(steps, &world);
        }
        world.engine.step();
        world.check_blocks(seed);
        steps += 1;
        assert!(steps < STEPS_MAX, "seed {seed}: the scenario does not end");
    }
    world.engine.step();
    world.check_nothing_is_left(seed);
    check_every_choice_is_counted(&calls, &world, seed);
    for call in &calls {
        check_call(call, &world, seed);
    }
}

/// Also those whose reader went away, and those that never began.
fn check_every_choice_is_counted(calls: &[Call], world: &World, seed: u64) {
    let status = world.status();
    let ended = status.finished_stop_total
        + status.finished_length_total
        + status.finished_content_filter_total
        + status.cancelled_total
        + status.failed_total;
    let choices: usize = calls.iter().map(|call| call.choices.len()).sum();
    assert_eq!(ended, choices as u64, "seed {seed}: {status:?}");
}

fn check_call(call: &Call, world: &World, seed: u64) {
    for choice in &call.choices {
        assert!(
            !call.enforces() || !leaks(&choice.text),
            "seed {seed}: released {:?} under {}",
            choice.text,
            call.rules
        );
        if let Reader::Leaves { .. } = call.reader {
            continue;
        }
        let end = choice
            .end
            .as_ref()
            .unwrap_or_else(|| panic!("seed {seed}: a choice has no end"));
        assert_eq!(
            choice.usage.map(|usage| usage.completion_tokens),
            Some(choice.tokens),
            "seed {seed}: what is counted is what was released"
        );
        check_statuses(choice, seed);
        if world.is_faulty() && matches!(end, End::Failed(_)) {
            continue;
        }
        assert!(!matches!(end, End::Failed(_)), "seed {seed}: {end:?}");
        let may_be_cancelled = matches!(call.reader, Reader::Cancels { .. });
        assert!(
            may_be_cancelled || !matches!(end, End::Cancelled),
            "seed {seed}: nobody cancelled"
        );
    }
    if !world.is_faulty() && !matches!(call.reader, Reader::Leaves { .. }) {
        check_same_as_alone(call, seed);
    }
}

/// However a choice ended, its rules do not all pass if its text has what they look for.
fn check_statuses(choice: &Received, seed: u64) {
    let report = choice.report.as_ref().expect("every end has a report");
    let rules = &report.rules;
    let matches: u64 = rules.iter().map(|rule| rule.matches).sum();
    assert_eq!(matches, report.findings_total, "seed {seed}");
    let all_pass = rules.iter().all(|rule| rule.status == RuleStatus::Pass);
    assert!(
        rules.is_empty() || !all_pass || !leaks(&choice.text),
        "seed {seed}: {:?} passes {rules:?}",
        choice.text
    );
}

/// Neighbours, preemption, block sharing and slow reading change nothing in an answer; of one that
/// was cancelled there is the beginning.
fn check_same_as_alone(call: &Call, seed: u64) {
    let alone = call.run_alone();
    for (together, alone) in call.choices.iter().zip(&alone.choices) {
        if let Some(End::Cancelled) = together.end {
            assert!(
                alone.text.starts_with(&together.text),
                "seed {seed}: {:?} begins {:?}",
                alone.text,
                together.text
            );
            continue;
        }
        assert_eq!(
            together.text, alone.text,
            "seed {seed}: under {}",
            call.rules
        );
        assert_eq!(
            format!("{:?}", together.end),
            format!("{:?}", alone.end),
            "seed {seed}: under {}",
            call.rules
        );
        assert_eq!(together.scores, alone.scores, "seed {seed}: of the prompt");
        assert_eq!(
            together.usage.map(|u| u.completion_tokens),
            alone.usage.map(|u| u.completion_tokens)
        );
    }
}

#[test]
fn observing_changes_no_byte() {
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let world = World::new(&mut rng);
        let mut call = Call::random(&mut rng, &world);
        let texts = ["open", "observe"].map(|rules| {
            call.rules = rules;
            let texts: Vec<_> = call
                .run_alone()
                .choices
                .into_iter()
                .map(|c| c.text)
                .collect();
            texts
        });
        assert_eq!(texts[0], texts[1], "seed {seed}");
    }
}

#[test]
fn a_rollback_costs_only_what_was_rolled_back() {
    let mut rolled_back = 0;
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let world = World::new(&mut rng);
        let mut call = Call::random(&mut rng, &world);
        (call.rules, call.n, call.max_tokens) = ("resample", 1, 60);
        let (done, status) = call.run_alone_with_status();
        let usage = done.choices[0].usage.expect("it ended");
        let attempts = status.gate_attempts_total;
        rolled_back += attempts;
        // Each prompt token once, each token drawn once, and for each rollback the last kept token
        // again, whose logits are drawn from anew. The last token of all is never computed.
        let drawn = usage.completion_tokens + usage.discarded_tokens;
        let most = usage.prompt_tokens + drawn + attempts;
        assert!(
            status.computed_tokens_total <= most,
            "seed {seed}: {} computed, at most {most} expected: {usage:?}",
            status.computed_tokens_total
        );
    }
    assert!(
        rolled_back > 100,
        "only {rolled_back} rollbacks: the test shows nothing"
    );
}

#[test]
fn counters_add_up() {
    let mut rng = Rng::new(7);
    let world = World::new(&mut rng);
    let call = Call::random(&mut rng, &world);
    let (done, status): (Call, EngineStatus) = call.run_alone_with_status();
    let ends = status.finished_stop_total
        + status.finished_length_total
        + status.finished_content_filter_total;
    assert_eq!(ends, done.choices.len() as u64);
    assert_eq!(
        (status.running, status.waiting, status.blocks_used),
        (0, 0, 0)
    );
}
