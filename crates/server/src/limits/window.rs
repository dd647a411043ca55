//! What was spent in the last minute, second by second, so that no minute holds more than a limit
//! wherever it begins. A bucket that fills evenly would let twice as much through in its first one.

/// Seconds in which what was spent still counts: one more than a minute has, since a minute that
/// begins within a second ends within another.
const SLOTS: u64 = 61;

/// One amount in the last minute. Every method wants the same `limit`, more than zero; it may
/// change between two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// What was spent in each second, at its number modulo [`SLOTS`].
    slots: [u64; SLOTS as usize],
    /// The sum of `slots`.
    spent: u64,
    /// What was spent beyond the limit. It takes every place that gets free, so that over time no
    /// more is spent than the limit allows.
    owed: u64,
    /// The second up to which all this is true.
    at: u64,
}

impl Window {
    pub(super) fn new(now_s: u64) -> Self {
        Self {
            slots: [0; SLOTS as usize],
            spent: 0,
            owed: 0,
            at: now_s,
        }
    }

    /// What counts now.
    pub(super) fn used(&self) -> u64 {
        self.spent.saturating_add(self.owed)
    }

    /// Goes on to a later second.
    pub(super) fn advance(&mut self, now_s: u64, limit: u64) {
        let mut left = now_s.saturating_sub(self.at);
        left -= self.step_up_to(left.min(SLOTS), limit);
        left -= self.turn_up_to(left / SLOTS, limit) * SLOTS;
        // By now less is owed than fits into one turn; after another, all of it is past.
        self.step_up_to(left.min(2 * SLOTS), limit);
        self.at = self.at.max(now_s);
    }

    /// Counts what was spent; returns the second to [give it back](Self::give_back) to.
    pub(super) fn spend(&mut self, amount: u64, limit: u64) -> u64 {
        let fits = amount.min(limit.saturating_sub(self.spent));
        *self.slot() += fits;
        self.spent += fits;
        self.owed = self.owed.saturating_add(amount - fits);
        self.at
    }

    /// Takes back what was spent in a second, as far as it still counts there.
    pub(super) fn give_back(&mut self, amount: u64, second: u64) {
        let forgiven = amount.min(self.owed);
        self.owed -= forgiven;
        if self.at.saturating_sub(second) < SLOTS {
            let slot = &mut self.slots[(second % SLOTS) as usize];
            let given = (amount - forgiven).min(*slot);
            *slot -= given;
            self.spent -= given;
        }
    }

    /// The first second with room for so much, `limit` at most.
    pub(super) fn second_with_room(&self, wanted: u64, limit: u64) -> u64 {
        let wanted = wanted.min(limit);
        let mut later = self.clone();
        let has_room = |window: &Self| limit.saturating_sub(window.used()) >= wanted;
        for _ in 0..SLOTS {
            if has_room(&later) {
                return later.at;
            }
            later.step(limit);
        }
        later.turn_up_to(u64::MAX, limit);
        while !has_room(&later) {
            later.step(limit);
        }
        later.at
    }

    /// Whether nothing of it counts at `now_s`.
    pub(super) fn is_over(&self, now_s: u64) -> bool {
        self.owed == 0 && (self.spent == 0 || now_s.saturating_sub(self.at) >= SLOTS)
    }

    fn step_up_to(&mut self, seconds: u64, limit: u64) -> u64 {
        for _ in 0..seconds {
            self.step(limit);
        }
        seconds
    }

    /// One second: the oldest is past, and what is owed takes its place.
    fn step(&mut self, limit: u64) {
        self.at += 1;
        let past = std::mem::take(self.slot());
        self.spent -= past;
        let paid = self.owed.min(limit.saturating_sub(self.spent));
        *self.slot() = paid;
        self.spent += paid;
        self.owed -= paid;
    }

    /// Whole turns, after the first: while a limit's worth is owed, each leaves every slot as it
    /// was, and that much less owed.
    fn turn_up_to(&mut self, turns: u64, limit: u64) -> u64 {
        let turns = turns.min(self.owed / limit);
        self.owed -= turns * limit;
        self.at += turns * SLOTS;
        turns
    }

    fn slot(&mut self) -> &mut u64 {
        &mut self.slots[(self.at % SLOTS) as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_spent_counts_for_a_minute() {
        let mut window = Window::new(5);
        window.spend(3, 10);
        window.advance(65, 10);
        assert_eq!(window.used(), 3);
        window.advance(66, 10);
        assert_eq!(window.used(), 0);
    }

    #[test]
    fn what_was_overspent_is_worked_off_minute_by_minute() {
        let mut window = Window::new(0);
        window.spend(35, 10);
        assert_eq!(window.used(), 35);
        for (second, used) in [(60, 35), (61, 25), (122, 15), (183, 5), (243, 5), (244, 0)] {
            window.advance(second, 10);
            assert_eq!(window.used(), used, "{second}");
        }
        assert!(window.is_over(244));
    }

    #[test]
    fn a_debt_of_centuries_is_counted_at_once() {
        let mut window = Window::new(0);
        window.spend(1 << 50, 1);
        assert!(window.second_with_room(1, 1) > 1 << 55);
        window.advance(1 << 40, 1);
        assert!(window.used() > 1 << 49);
        window.advance(1 << 60, 1);
        assert_eq!(window.used(), 0);
    }

    #[test]
    fn what_is_given_back_is_what_was_taken() {
        let mut window = Window::new(0);
        let early = window.spend(4, 10);
        window.advance(50, 10);
        window.spend(4, 10);
        window.give_back(4, early);
        // What was spent later counts for its whole minute.
        window.advance(110, 10);
        assert_eq!(window.used(), 4);
        // The slot of a second long past belongs to another now.
        window.advance(50 + SLOTS, 10);
        window.spend(4, 10);
        window.give_back(4, 50);
        assert_eq!(window.used(), 4);
    }

    #[test]
    fn a_limit_may_change_while_it_holds() {
        let mut window = Window::new(0);
        window.spend(10, 10);
        assert_eq!(window.second_with_room(1, 3), 61);
        window.advance(1, 3);
        window.spend(2, 3);
        assert_eq!(window.used(), 12, "the lower limit forgets nothing");
        window.advance(2, 20);
        assert_eq!(window.used(), 12);
        assert_eq!(window.second_with_room(8, 20), 2);
    }

    proptest! {
        /// Skipping time is worth as much as waiting for every second of it.
        #[test]
        fn a_leap_ends_where_steps_end(
            limit in 1u64..50,
            spends in prop::collection::vec((0u64..400, 0u64..2000), 1..8),
        ) {
            let (mut leaping, mut stepping) = (Window::new(0), Window::new(0));
            let mut now = 0;
            for (wait, amount) in spends {
                now += wait;
                leaping.advance(now, limit);
                while stepping.at < now {
                    stepping.step(limit);
                }
                prop_assert_eq!(&leaping, &stepping);
                leaping.spend(amount, limit);
                stepping.spend(amount, limit);
            }
            let free = leaping.second_with_room(1, limit);
            if free > now {
                stepping.step_up_to(free - now - 1, limit);
                prop_assert!(stepping.used() >= limit, "there was room earlier");
            }
            leaping.advance(free, limit);
            prop_assert!(leaping.used() < limit);
        }
    }
}
