//! The threads of one lane.
//!
//! Threads in the same state are a group and advance as one: what is to come is the same for all
//! of them, and only where they began differs. So `x+!` costs one step a byte on a row of `x`,
//! however long the row, and still every thread is there when it matches or grows too long.

use regex_automata::util::primitives::StateID;

use super::{
    GaveUp, Match, Piece, Position, Recent,
    automaton::{Lane, Pattern},
};

/// So many groups are not worth looking through for equal ones.
const GROUPS_MIN: usize = 8;
/// Threads that are gone before the list is moved together.
const GONE_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct Threads {
    /// Oldest first. Those before `first` are gone; the one at `first` is alive.
    list: Vec<Thread>,
    first: usize,
    groups: Vec<Group>,
    /// With more groups, equal ones are joined.
    groups_max: usize,
    /// Scratch: what `groups` is to become.
    joined: Vec<Group>,
}

/// A place from which some pattern could still match, as long as its group is alive.
#[derive(Clone, Copy, Debug)]
struct Thread {
    /// First byte in the completion.
    start: usize,
    /// First byte in the view.
    view_start: usize,
    /// Index of its group.
    group: usize,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    state: StateID,
    is_alive: bool,
    /// Whether its last step told of a match.
    matches: bool,
    /// Its new index while groups are joined.
    joined_to: Option<usize>,
}

impl Threads {
    /// Reads `piece`, which begins at `position`.
    pub(super) fn read(
        &mut self,
        lane: &Lane,
        position: Position,
        piece: &Piece,
        recent: Option<&Recent>,
        found: &mut Vec<Match>,
    ) -> Result<(), GaveUp> {
        for (index, &byte) in piece.bytes.iter().enumerate() {
            if !self.groups.is_empty() {
                let context = Context {
                    at: position.before(index, piece),
                    end: piece.origins[index].end,
                    recent,
                };
                self.step(lane, byte, &context, found)?;
            }
            if lane.begins_with(byte) {
                let at = position.before(index, piece);
                self.begin(lane, byte, at, piece.origins[index].start)?;
            }
        }
        self.drop_gone(lane, position.after(piece).len);
        Ok(())
    }

    /// Where the oldest thread began in the completion.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.list.get(self.first).map(|thread| thread.start)
    }

    /// Where the oldest thread began in the view.
    pub(super) fn oldest_in_view(&self) -> Option<usize> {
        self.list.get(self.first).map(|thread| thread.view_start)
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.first = 0;
        self.groups.clear();
        self.groups_max = GROUPS_MIN;
    }

    /// `clone_from` that keeps allocations.
    pub(super) fn copy_from(&mut self, other: &Threads) {
        self.list.clear();
        self.list.extend_from_slice(&other.list[other.first..]);
        self.first = 0;
        self.groups.clone_from(&other.groups);
        self.groups_max = other.groups_max;
    }

    fn step(
        &mut self,
        lane: &Lane,
        byte: u8,
        context: &Context<'_>,
        found: &mut Vec<Match>,
    ) -> Result<(), GaveUp> {
        let (mut any_alive, mut any_matches) = (false, false);
        for group in &mut self.groups {
            group.matches = false;
            if !group.is_alive {
                continue;
            }
            group.state = lane.next(group.state, byte);
            let outlook = lane.outlook(group.state);
            if outlook.gave_up() {
                return Err(GaveUp);
            }
            group.is_alive = outlook.is_fruitful();
            group.matches = outlook.is_match();
            any_alive |= group.is_alive;
            any_matches |= group.matches;
        }
        if any_matches {
            let matched = |group: &Group| group.matches.then(|| lane.matches(group.state));
            self.report(matched, context, found);
        }
        if !any_alive {
            self.clear();
        } else if lane.max_span().is_some() {
            self.drop_gone(lane, context.at.len + 1);
        }
        Ok(())
    }

    /// Starts a thread with `byte`, which follows `at` and came from the character at `start`.
    fn begin(&mut self, lane: &Lane, byte: u8, at: Position, start: usize) -> Result<(), GaveUp> {
        let state = lane.next(lane.start(at.last), byte);
        if lane.outlook(state).gave_up() {
            return Err(GaveUp);
        }
        if !lane.is_alive(state, 1) {
            return Ok(());
        }
        let group = self.group_in(state);
        self.list.push(Thread {
            start,
            view_start: at.len,
            group,
        });
        Ok(())
    }

    /// The index of a group in `state`.
    fn group_in(&mut self, state: StateID) -> usize {
        let mut groups = self.groups.iter();
        if let Some(known) = groups.position(|group| group.is_alive && group.state == state) {
            return known;
        }
        if self.groups.len() >= self.groups_max.max(GROUPS_MIN) {
            self.join_groups();
        }
        self.groups.push(Group::new(state));
        self.groups.len() - 1
    }

    /// Reports the matches of threads, whose groups tell of which patterns. Of all matches of a rule
    /// that end here only the longest: it holds the others, and a row of `x` has as many for
    /// `x{1,1000}` at each of its bytes as bytes before it.
    fn report<'a, P: Iterator<Item = &'a Pattern>>(
        &self,
        matched: impl Fn(&Group) -> Option<P>,
        context: &Context<'_>,
        found: &mut Vec<Match>,
    ) {
        let known = found.len();
        for thread in &self.list[self.first..] {
            for pattern in matched(&self.groups[thread.group]).into_iter().flatten() {
                let known_at = context.known_at(pattern);
                let mut longer = found[known..].iter();
                let is_held = longer.any(|l| l.rule == pattern.rule && l.known_at == known_at);
                if !is_held && context.counts(pattern, thread) {
                    found.push(Match {
                        rule: pattern.rule,
                        start: thread.start,
                        end: context.at.last_end,
                        known_at,
                    });
                }
            }
        }
    }

    /// Reports what is a match at `at`, and with the end of the completion what is one if nothing
    /// follows.
    pub(super) fn match_at_end(
        &self,
        lane: &Lane,
        at: Position,
        end: Option<usize>,
        recent: Option<&Recent>,
        found: &mut Vec<Match>,
    ) {
        let context = Context {
            at,
            end: end.map_or(at.last_end, |end| end + 1),
            recent,
        };
        let matches = |group: &Group| group.is_alive && lane.outlook(group.state).is_match_at_end();
        let certain = |group: &Group| {
            let patterns = lane.matches_at_end(group.state);
            patterns.filter(|pattern| end.is_some() || !pattern.looks_ahead)
        };
        if self.groups.iter().any(matches) {
            let matched = |group: &Group| matches(group).then(|| certain(group));
            self.report(matched, &context, found);
        }
    }

    /// Lets threads go that have nothing to say but what was reported at the end of the text.
    pub(super) fn drop_spent(&mut self, lane: &Lane, at: Position) {
        let mut any_spent = false;
        for group in &mut self.groups {
            let is_spent = group.is_alive && lane.outlook(group.state).is_spent();
            group.is_alive &= !is_spent;
            any_spent |= is_spent;
        }
        if any_spent || lane.max_span().is_some() {
            self.drop_while(|thread, group| {
                let len = at.len - thread.view_start;
                // At its full length, nothing is to come but what ends here.
                let is_full = lane.max_span().is_some_and(|max| len >= max);
                is_dead(lane, group, len) || (is_full && lane.outlook(group.state).is_told())
            });
        }
    }

    /// Drops threads that are dead or too long, up to the first that is neither. With `max_span`
    /// that is all that are too long, for no younger thread is longer.
    fn drop_gone(&mut self, lane: &Lane, view_end: usize) {
        self.drop_while(|thread, group| is_dead(lane, group, view_end - thread.view_start));
    }

    /// Drops threads up to the first that is not gone.
    fn drop_while(&mut self, is_gone: impl Fn(&Thread, Group) -> bool) {
        let list = self.list[self.first..].iter();
        let gone = list.take_while(|thread| is_gone(thread, self.groups[thread.group]));
        self.first += gone.count();
        if self.first == self.list.len() {
            self.clear();
        } else if self.first > GONE_MAX && 2 * self.first > self.list.len() {
            self.list.drain(..self.first);
            self.first = 0;
        }
    }

    /// Makes one group of all in the same state, and forgets those without threads.
    fn join_groups(&mut self) {
        let Self {
            list,
            groups,
            joined,
            ..
        } = self;
        list.drain(..self.first);
        self.first = 0;
        joined.clear();
        list.retain_mut(|thread| {
            let group = &mut groups[thread.group];
            if group.is_alive {
                thread.group = group.join(joined);
            }
            group.is_alive
        });
        std::mem::swap(groups, joined);
        // With few equal ones it is not tried again before there are many more.
        self.groups_max = 2 * self.groups.len();
    }
}

/// Whether nothing can come of a thread of `len` bytes.
fn is_dead(lane: &Lane, group: Group, len: usize) -> bool {
    !(group.is_alive && lane.is_alive(group.state, len))
}

impl Group {
    fn new(state: StateID) -> Self {
        Self {
            state,
            is_alive: true,
            matches: false,
            joined_to: None,
        }
    }

    /// The index in `joined` of the group in this state.
    fn join(&mut self, joined: &mut Vec<Group>) -> usize {
        *self.joined_to.get_or_insert_with(|| {
            let known = joined.iter().position(|group| group.state == self.state);
            known.unwrap_or_else(|| {
                joined.push(Group::new(self.state));
                joined.len() - 1
            })
        })
    }
}

/// Where a match is reported.
struct Context<'a> {
    /// Where the match ends.
    at: Position,
    /// When it is certain if it depends on what follows.
    end: usize,
    recent: Option<&'a Recent>,
}

impl Context<'_> {
    /// When a match of `pattern` that ends here is certain.
    fn known_at(&self, pattern: &Pattern) -> usize {
        match pattern.looks_ahead {
            true => self.end,
            false => self.at.last_end,
        }
    }

    /// Whether what `thread` has read satisfies the pattern's check.
    fn counts(&self, pattern: &Pattern, thread: &Thread) -> bool {
        match (pattern.check, self.recent) {
            (Some(check), Some(recent)) => {
                check.holds(recent.bytes(thread.view_start..self.at.len))
            }
            _ => true,
        }
    }
}
