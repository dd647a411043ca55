//! Cancelling with a report: in every phase of a call, by an engine that is stepped by hand.

use portcullis_engine::{End, EngineStatus};
use portcullis_gate::RuleStatus;
use portcullis_types::Usage;

use crate::world::{Call, World};

const MODEL_LEN: usize = 200;

/// Lets `calls` and the engine take their turns.
fn steps(world: &mut World, calls: &mut [&mut Call], count: usize) {
    for step in 0..count {
        calls.iter_mut().for_each(|call| call.turn(step, world));
        world.engine.step();
    }
}

/// One step after its cancelling every choice has ended, and its blocks are back.
#[track_caller]
fn check_cancelled(world: &mut World, call: &mut Call) -> Vec<Usage> {
    call.cancel();
    world.engine.step();
    call.turn(0, world);
    assert!(call.is_over());
    let ends = call.choices.iter().map(|choice| choice.end.as_ref());
    assert!(ends.flatten().all(|end| matches!(end, End::Cancelled)));
    let usages = call.choices.iter().filter_map(|choice| choice.usage);
    usages.collect()
}

/// Of the rules of all choices.
fn statuses(call: &Call) -> Vec<RuleStatus> {
    let reports = call.choices.iter().filter_map(|one| one.report.as_ref());
    let rules = reports.flat_map(|report| &report.rules);
    rules.map(|rule| rule.status).collect()
}

#[track_caller]
fn check_idle(world: &World, cancelled_total: u64) -> EngineStatus {
    let status = world.status();
    assert_eq!(status.cancelled_total, cancelled_total);
    assert_eq!(
        (status.running, status.waiting, status.blocks_used),
        (0, 0, 0)
    );
    assert!(!world.engine.has_work());
    status
}

#[test]
fn what_was_admitted_arrives_before_the_end() {
    let (mut world, mut call) = (World::roomy(MODEL_LEN), Call::long("open", 1));
    // The reader takes nothing for a while: the rest waits for it and is not lost.
    call.turn(0, &world);
    (0..30).for_each(|_| world.engine.step());
    call.cancel();
    world.engine.step();
    while !call.is_over() {
        call.turn(0, &world);
        world.engine.step();
    }
    let choice = &call.choices[0];
    assert!(matches!(choice.end, Some(End::Cancelled)));
    let usage = choice.usage.unwrap();
    // One token was drawn in each step; of the last one the verdict was out.
    assert_eq!((usage.completion_tokens, usage.discarded_tokens), (29, 1));
    assert_eq!((usage.prompt_tokens, choice.tokens), (40, 29));
    let status = check_idle(&world, 1);
    assert_eq!(status.generation_tokens_total, 29);
    assert_eq!(status.discarded_tokens_total, 1);
}

/// Who watches the counters sees a long answer grow, not jump at its end.
#[test]
fn what_is_released_counts_while_the_call_runs() {
    let (mut world, mut call) = (World::roomy(MODEL_LEN), Call::long("open", 1));
    let mut before = 0;
    for _ in 0..3 {
        steps(&mut world, &mut [&mut call], 5);
        let status = world.status();
        let total = status.generation_tokens_total;
        assert!(total > before, "{total} after {before}");
        before = total;
    }
    let usages = check_cancelled(&mut world, &mut call);
    let status = check_idle(&world, 1);
    assert_eq!(status.generation_tokens_total, usages[0].completion_tokens);
    assert_eq!(status.discarded_tokens_total, usages[0].discarded_tokens);
}

#[test]
fn what_was_held_is_counted_as_discarded() {
    let (mut world, mut call) = (World::roomy(MODEL_LEN), Call::long("completion", 1));
    steps(&mut world, &mut [&mut call], 5);
    let usages = check_cancelled(&mut world, &mut call);
    assert_eq!(
        (usages[0].completion_tokens, usages[0].discarded_tokens),
        (0, 5)
    );
    assert_eq!(call.choices[0].text, "");
    let report = call.choices[0].report.as_ref().unwrap();
    assert_eq!(report.evaluations, 4);
    assert_eq!(statuses(&call), [RuleStatus::Pass; 2]);
    let status = check_idle(&world, 1);
    assert_eq!(status.gate_evaluations_total, 4);
}

#[test]
fn a_call_that_waits_ends_at_once() {
    let mut world = World::of(512, 1, MODEL_LEN);
    let (mut first, mut second) = (Call::long("open", 1), Call::long("open", 2));
    steps(&mut world, &mut [&mut first, &mut second], 3);
    assert_eq!(world.status().waiting, 1);
    let usages = check_cancelled(&mut world, &mut second);
    assert_eq!(usages.len(), 2);
    assert!(usages.iter().all(|usage| usage.completion_tokens == 0));
    assert_eq!(world.status().waiting, 0);
    check_cancelled(&mut world, &mut first);
    check_idle(&world, 3);
}

#[test]
fn a_call_that_the_engine_has_not_taken_ends_in_the_step_that_takes_it() {
    let (mut world, mut call) = (World::roomy(MODEL_LEN), Call::long("reject", 3));
    call.turn(0, &world);
    assert_eq!(check_cancelled(&mut world, &mut call).len(), 3);
    assert_eq!(statuses(&call), [RuleStatus::NotRun; 6]);
    let status = check_idle(&world, 3);
    assert_eq!(status.computed_tokens_total, 0);
}

#[test]
fn choices_that_are_not_forked_yet_end_too() {
    // The prompt takes five steps.
    let (mut world, mut call) = (World::of(8, 8, MODEL_LEN), Call::long("open", 3));
    steps(&mut world, &mut [&mut call], 2);
    let usages = check_cancelled(&mut world, &mut call);
    assert_eq!(usages.len(), 3);
    check_idle(&world, 3);
}

#[test]
fn all_choices_end_in_one_step() {
    let (mut world, mut call) = (World::roomy(MODEL_LEN), Call::long("open", 3));
    steps(&mut world, &mut [&mut call], 10);
    call.turn(0, &world);
    let usages = check_cancelled(&mut world, &mut call);
    assert!(usages.iter().all(|usage| usage.completion_tokens > 0));
    check_idle(&world, 3);
}

#[test]
fn a_natural_end_stays() {
    let (mut world, mut call) = (World::roomy(MODEL_LEN), Call::long("open", 1));
    // The last token is drawn in step 100 and judged in step 101.
    (0..101).for_each(|step| {
        if step < 99 {
            call.turn(step, &world);
        }
        world.engine.step();
    });
    call.cancel();
    steps(&mut world, &mut [&mut call], 3);
    assert!(matches!(call.choices[0].end, Some(End::Finished(_))));
    assert_eq!(call.choices[0].tokens, 100);
    check_idle(&world, 0);
}

#[test]
fn a_last_token_without_a_verdict_is_no_end() {
    let (mut world, mut call) = (World::roomy(MODEL_LEN), Call::long("open", 1));
    steps(&mut world, &mut [&mut call], 100);
    call.turn(0, &world);
    let usages = check_cancelled(&mut world, &mut call);
    assert_eq!(usages[0].completion_tokens, 99);
}

#[test]
fn a_reader_who_leaves_is_counted_in_the_same_way() {
    let (mut world, mut call) = (World::roomy(MODEL_LEN), Call::long("open", 2));
    steps(&mut world, &mut [&mut call], 10);
    call.leave();
    world.engine.step();
    let left = check_idle(&world, 2);
    let (mut world, mut call) = (World::roomy(MODEL_LEN), Call::long("open", 2));
    steps(&mut world, &mut [&mut call], 10);
    call.turn(0, &world);
    check_cancelled(&mut world, &mut call);
    assert_eq!(left, check_idle(&world, 2));
    assert!(left.generation_tokens_total > 0);
}

#[test]
fn leaving_after_cancelling_counts_once() {
    let (mut world, mut call) = (World::of(8, 8, MODEL_LEN), Call::long("open", 3));
    steps(&mut world, &mut [&mut call], 2);
    call.cancel();
    call.leave();
    steps(&mut world, &mut [], 2);
    check_idle(&world, 3);
}
