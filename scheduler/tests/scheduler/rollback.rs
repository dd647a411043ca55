//! Truncation: what it costs, frees, copies and makes void.

use portcullis_scheduler::{Advance, SchedulerConfig};
use portcullis_types::SequenceId;

use crate::world::{ROOMY, World, common_prompt, shape};

/// A sequence of 70 + 10 tokens, of which all but the last are computed.
fn generated() -> (World, SequenceId) {
    let mut world = World::new(ROOMY);
    let id = world.add(common_prompt(70), 200);
    for _ in 0..10 {
        world.step();
    }
    assert_eq!(world.num_computed(id), 79);
    (world, id)
}

#[test]
fn costs_only_what_was_rolled_back() {
    let (mut world, id) = generated();
    let before = world.scheduler.stats().computed_tokens;
    world.truncate(id, 76);
    for _ in 0..4 {
        world.step();
    }
    assert_eq!(world.tokens(id).len(), 80);
    assert_eq!(world.scheduler.stats().computed_tokens - before, 4);
}

#[test]
fn frees_the_blocks_beyond() {
    let (mut world, id) = generated();
    assert_eq!(world.scheduler.stats().blocks_used, 3);
    world.truncate(id, 64);
    assert_eq!(world.num_computed(id), 63);
    assert_eq!(world.scheduler.stats().blocks_used, 2);
    world.truncate(id, 33);
    assert_eq!(world.num_computed(id), 32);
    assert_eq!(world.scheduler.stats().blocks_used, 1);
    assert_eq!(shape(&world.step()), [(32, 1, true)]);
}

#[test]
fn to_all_tokens_draws_again() {
    let (mut world, id) = generated();
    world.truncate(id, 1000);
    assert_eq!(world.tokens(id).len(), 80);
    assert_eq!(shape(&world.step()), [(79, 1, true)]);
}

#[test]
fn in_flight_makes_the_late_row_void() {
    let (mut world, id) = generated();
    let late = world.schedule().rows.remove(0);
    world.truncate(id, 78);
    assert_eq!(world.advance(&late), Advance::Stale);
    assert_eq!(world.tokens(id).len(), 78);
    assert_eq!(shape(&world.step()), [(77, 1, true)]);
}

#[test]
fn in_flight_can_run_again_before_the_late_row_is_back() {
    let (mut world, id) = generated();
    let late = world.schedule().rows.remove(0);
    world.truncate(id, 80);
    let next = world.schedule().rows.remove(0);
    assert_eq!((late.start, next.start), (79, 79));
    assert_eq!(world.advance(&late), Advance::Stale);
    assert_eq!(world.advance(&next), Advance::Applied);
}

#[test]
fn into_a_block_that_others_found_copies_it() {
    let (mut world, first) = generated();
    let second = world.add(common_prompt(70), 200);
    world.step();
    assert_eq!(world.scheduler.sequence(second).unwrap().num_cached(), 64);
    world.truncate(first, 40);
    let output = world.step();
    assert_eq!(output.block_copies.len(), 1);
    assert_eq!(output.block_copies[0].0, output.rows[1].block_table[1]);
    world.drain(200);
}

#[test]
fn into_a_block_of_its_own_copies_nothing_and_is_found_no_more() {
    let (mut world, first) = generated();
    world.truncate(first, 40);
    assert!(world.step().block_copies.is_empty());
    let second = world.add(common_prompt(70), 200);
    world.step();
    assert_eq!(world.scheduler.sequence(second).unwrap().num_cached(), 32);
    world.drain(200);
}

#[test]
fn to_a_block_boundary_recomputes_one_token() {
    let (mut world, id) = generated();
    world.truncate(id, 64);
    assert_eq!(shape(&world.step()), [(63, 1, true)]);
    // The block is full again, and offered again.
    let other = world.add(common_prompt(70), 200);
    world.step();
    assert_eq!(world.scheduler.sequence(other).unwrap().num_cached(), 64);
}

#[test]
fn of_a_prompt_in_chunks_keeps_what_is_computed() {
    let mut world = World::new(SchedulerConfig {
        max_batched_tokens: 40,
        ..ROOMY
    });
    let id = world.add(common_prompt(100), 110);
    world.step();
    world.schedule();
    world.truncate(id, 60);
    world.collect();
    assert_eq!(shape(&world.step()), [(40, 20, true)]);
}
