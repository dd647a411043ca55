//! The order of those that wait: class, then arrival; waiting raises the class.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use portcullis_types::{Priority, SequenceId};

/// What decides who is first. Kept for a sequence's whole life, so a class that it has reached by
/// waiting protects it from preemption as well: otherwise it could be preempted forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) class: Priority,
    /// Counts the sequences as they come.
    pub(crate) arrival: u64,
    /// Steps of waiting until it rises a class.
    pub(crate) steps_to_rise: u64,
}

impl Standing {
    pub(crate) fn rank(self, id: SequenceId) -> Rank {
        Rank {
            class: Reverse(self.class),
            arrival: self.arrival,
            id,
        }
    }
}

/// A place in the order: the smaller, the sooner. The id tells forks from their parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    class: Reverse<Priority>,
    arrival: u64,
    pub(crate) id: SequenceId,
}

/// The waiting sequences.
#[derive(Debug)]
pub(crate) struct Queue {
    ageing_steps: u64,
    order: BTreeSet<Rank>,
    /// When who rises next, for those that still can.
    rises: BTreeSet<(u64, SequenceId)>,
    entries: HashMap<SequenceId, Entry>,
}

#[derive(Debug)]
struct Entry {
    standing: Standing,
    /// The step at which `standing.steps_to_rise` was right.
    since: u64,
}

impl Entry {
    fn rises_at(&self) -> Option<u64> {
        (self.standing.class < Priority::Realtime).then(|| self.since + self.standing.steps_to_rise)
    }
}

impl Queue {
    pub(crate) fn new(ageing_steps: u64) -> Self {
        Self {
            ageing_steps,
            order: BTreeSet::new(),
            rises: BTreeSet::new(),
            entries: HashMap::new(),
        }
    }

    pub(crate) fn first(&self) -> Option<SequenceId> {
        self.order.first().map(|rank| rank.id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(crate) fn push(&mut self, id: SequenceId, standing: Standing, step: u64) {
        let entry = Entry {
            standing,
            since: step,
        };
        self.order.insert(standing.rank(id));
        self.rises.extend(entry.rises_at().map(|at| (at, id)));
        self.entries.insert(id, entry);
    }

    /// Takes a sequence out, wherever it stands; `None` when it does not wait.
    pub(crate) fn remove(&mut self, id: SequenceId, step: u64) -> Option<Standing> {
        let standing = self.standing(id, step)?;
        let entry = self.entries.remove(&id)?;
        self.order.remove(&entry.standing.rank(id));
        if let Some(at) = entry.rises_at() {
            self.rises.remove(&(at, id));
        }
        Some(standing)
    }

    /// Where a waiting sequence stands by now.
    pub(crate) fn standing(&self, id: SequenceId, step: u64) -> Option<Standing> {
        let entry = self.entries.get(&id)?;
        let waited = step - entry.since;
        let steps_to_rise = entry.standing.steps_to_rise.saturating_sub(waited);
        Some(Standing {
            steps_to_rise,
            ..entry.standing
        })
    }

    /// Raises everyone whose time has come at `step`.
    pub(crate) fn age(&mut self, step: u64) {
        while let Some(&(at, id)) = self.rises.first()
            && at <= step
        {
            let Some(standing) = self.remove(id, at) else {
                break;
            };
            let risen = Standing {
                class: next_class(standing.class),
                steps_to_rise: self.ageing_steps,
                ..standing
            };
            self.push(id, risen, at);
        }
    }
}

fn next_class(class: Priority) -> Priority {
    match class {
        Priority::Batch => Priority::Standard,
        Priority::Standard | Priority::Realtime => Priority::Realtime,
    }
}
