//! What is found again, by whom, and what is evicted first.

use portcullis_scheduler::SchedulerConfig;
use portcullis_types::{Priority, SequenceId};

use crate::world::{ROOMY, World, common_prompt, distinct_prompt, shape};

fn num_cached(world: &World, id: SequenceId) -> usize {
    world.scheduler.sequence(id).expect("it lives").num_cached()
}

#[test]
fn spares_full_blocks_and_outlives_their_sequence() {
    let mut world = World::new(ROOMY);
    let first = world.add(common_prompt(100), 110);
    world.step();
    world.remove(first);
    assert_eq!(world.scheduler.stats().blocks_cached, 3);
    let second = world.add(common_prompt(100), 110);
    assert_eq!(shape(&world.step()), [(96, 4, true)]);
    assert_eq!(num_cached(&world, second), 96);
    let stats = world.scheduler.stats();
    assert_eq!(
        (stats.cache_queried_tokens, stats.cache_hit_tokens),
        (200, 96)
    );
}

#[test]
fn leaves_the_last_token_to_compute() {
    let mut world = World::new(ROOMY);
    world.add(common_prompt(64), 110);
    world.step();
    world.add(common_prompt(64), 110);
    assert_eq!(shape(&world.step())[1], (32, 32, true));
}

#[test]
fn ends_where_the_tokens_differ() {
    let mut world = World::new(ROOMY);
    world.add(common_prompt(100), 110);
    world.step();
    let mut tokens = common_prompt(100);
    tokens[40] += 1;
    let second = world.add(tokens, 110);
    world.step();
    assert_eq!(num_cached(&world, second), 32);
}

#[test]
fn is_not_offered_before_it_is_computed() {
    let mut world = World::new(ROOMY);
    world.add(common_prompt(100), 110);
    world.schedule();
    let second = world.add(common_prompt(100), 110);
    assert_eq!(shape(&world.schedule()), [(0, 100, true)]);
    world.collect();
    assert_eq!(num_cached(&world, second), 0);
}

#[test]
fn offers_what_two_computed_at_once_only_once() {
    let mut world = World::new(ROOMY);
    world.add(common_prompt(100), 110);
    let second = world.add(common_prompt(100), 110);
    world.step();
    assert_eq!(world.scheduler.stats().blocks_used, 8);
    world.remove(second);
    assert_eq!(world.scheduler.stats().blocks_cached, 0);
}

#[test]
fn is_one_for_each_tenant() {
    let mut world = World::new(ROOMY);
    world
        .try_add(common_prompt(100), Priority::Standard, 1, 110)
        .unwrap();
    world.step();
    let other = world
        .try_add(common_prompt(100), Priority::Standard, 2, 110)
        .unwrap();
    let same = world
        .try_add(common_prompt(100), Priority::Standard, 1, 110)
        .unwrap();
    world.step();
    assert_eq!(
        (num_cached(&world, other), num_cached(&world, same)),
        (0, 96)
    );
}

#[test]
fn holds_what_was_generated_as_well() {
    let mut world = World::new(ROOMY);
    let first = world.add(common_prompt(60), 110);
    for _ in 0..10 {
        world.step();
    }
    let turn = world.tokens(first).to_vec();
    world.remove(first);
    let second = world.add(turn, 110);
    world.step();
    assert_eq!(num_cached(&world, second), 64);
}

#[test]
fn gives_way_ends_of_chains_first_and_the_oldest_before() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 8,
        ..ROOMY
    });
    let old = world.add(distinct_prompt(1, 97), 110);
    world.step();
    world.remove(old);
    let recent = world.add(distinct_prompt(2, 97), 110);
    world.step();
    world.remove(recent);
    // Two free, six cached: five blocks take the two and the three of the old one.
    let big = world.add(distinct_prompt(3, 130), 140);
    world.step();
    world.remove(big);
    let probe = |world: &mut World, seed| {
        let id = world.add(distinct_prompt(seed, 97), 110);
        world.step();
        let cached = num_cached(world, id);
        world.remove(id);
        cached
    };
    assert_eq!(probe(&mut world, 2), 96);
    assert_eq!(probe(&mut world, 1), 0);
}

#[test]
fn evicts_the_end_of_a_chain_first() {
    let mut world = World::new(SchedulerConfig {
        num_blocks: 4,
        ..ROOMY
    });
    let old = world.add(distinct_prompt(1, 97), 110);
    world.step();
    world.remove(old);
    let other = world.add(distinct_prompt(2, 40), 50);
    world.step();
    world.remove(other);
    let again = world.add(distinct_prompt(1, 97), 110);
    world.step();
    assert_eq!(num_cached(&world, again), 64);
}
