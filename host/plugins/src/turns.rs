//! Whose call is next: slots for calls of agents and actions, shared fairly between plugins.
//!
//! ## What always holds
//! - at most as many calls at one time as there are slots
//! - a plugin takes one more slot only while more slots are free than it has: whatever it asks for, some are left for others
//! - of those who wait, the plugin with the fewest slots comes first; of one plugin's calls, the one that came first
//!
//! Source of the second rule: A. K. Choudhury, E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet
//! switches", IEEE/ACM Transactions on Networking 6 (1998), with α = 1.
//!
//! Not here: CPU time (`computing`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// The slots.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Slots of each plugin that has any.
    held: BTreeMap<String, usize>,
    /// In the order in which they came.
    waiting: VecDeque<(String, oneshot::Sender<Turn>)>,
}

/// A slot. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    plugin: String,
}

impl Turns {
    pub(crate) fn new(slots: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: slots.max(1),
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
        })))
    }

    /// Waits for a slot. None only if the slots are gone.
    pub(crate) async fn take(&self, plugin: &str) -> Option<Turn> {
        let turn = {
            let mut state = self.lock();
            // Who came first goes first, also among calls of one plugin.
            let is_behind = state.waiting.iter().any(|(name, sender)| name == plugin && !sender.is_closed());
            if !is_behind && state.may_take(plugin) {
                state.give(plugin);
                return Some(self.turn(plugin));
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push_back((plugin.to_owned(), sender));
            turn
        };
        turn.await.ok()
    }

    fn turn(&self, plugin: &str) -> Turn {
        Turn { turns: self.clone(), plugin: plugin.to_owned() }
    }

    fn give_back(&self, plugin: &str) {
        let mut given = Vec::new();
        {
            let mut state = self.lock();
            state.free += 1;
            if let Some(held) = state.held.get_mut(plugin) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(plugin);
                }
            }
            state.waiting.retain(|(_, sender)| !sender.is_closed());
            while let Some(index) = state.next() {
                let Some((plugin, sender)) = state.waiting.remove(index) else { break };
                state.give(&plugin);
                given.push((sender, self.turn(&plugin)));
            }
        }
        // Not under the lock: a turn that nobody takes any more is given back at once.
        for (sender, turn) in given {
            drop(sender.send(turn));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held_by(&self, plugin: &str) -> usize {
        self.held.get(plugin).copied().unwrap_or_default()
    }

    fn may_take(&self, plugin: &str) -> bool {
        self.held_by(plugin) < self.free
    }

    fn give(&mut self, plugin: &str) {
        self.free -= 1;
        *self.held.entry(plugin.to_owned()).or_default() += 1;
    }

    /// Which of those who wait is next, if one may take a slot.
    fn next(&self) -> Option<usize> {
        let waiting = self.waiting.iter().enumerate();
        let allowed = waiting.filter(|(_, (plugin, _))| self.may_take(plugin));
        allowed.min_by_key(|(index, (plugin, _))| (self.held_by(plugin), *index)).map(|(index, _)| index)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_back(&self.plugin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_now::now;

    /// Polls a future once.
    mod futures_now {
        use std::{
            future::Future,
            pin::Pin,
            task::{Context, Poll, Waker},
        };

        pub(super) fn now<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
            match future.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            }
        }
    }

    fn take_all(turns: &Turns, plugin: &str) -> Vec<Turn> {
        std::iter::from_fn(|| now(std::pin::pin!(turns.take(plugin))).flatten()).collect()
    }

    /// Guarantees: one plugin that wants everything gets half of all slots, the next one half of the rest, and so on, so that
    /// a plugin that asks for one call is not kept waiting; alone, a single slot is enough.
    #[test]
    fn nobody_takes_everything() {
        let turns = Turns::new(32);
        let greedy = take_all(&turns, "greedy");
        assert_eq!(greedy.len(), 16);
        assert_eq!(take_all(&turns, "second").len(), 8);
        let second = take_all(&turns, "second");
        let third = take_all(&turns, "third");
        assert_eq!((second.len(), third.len()), (8, 4));
        assert_eq!(take_all(&turns, "modest").len(), 2);
        drop((greedy, second, third));
        assert_eq!(take_all(&turns, "greedy").len(), 16);
        assert_eq!(take_all(&Turns::new(1), "only").len(), 1);
    }

    /// Guarantees: a slot that becomes free goes to the plugin with the fewest, in the order of its calls; a call that was
    /// given up gets none, and loses none.
    #[test]
    fn the_poorest_is_next() {
        let turns = Turns::new(2);
        let greedy = take_all(&turns, "greedy");
        let other = take_all(&turns, "other");
        assert_eq!((greedy.len(), other.len()), (1, 1));
        let mut greedy_again = Box::pin(turns.take("greedy"));
        let mut gone = Box::pin(turns.take("third"));
        let mut third = Box::pin(turns.take("third"));
        let mut fourth = Box::pin(turns.take("third"));
        assert!(now(greedy_again.as_mut()).is_none() && now(gone.as_mut()).is_none());
        assert!(now(third.as_mut()).is_none() && now(fourth.as_mut()).is_none());
        drop(gone);
        drop(other);
        let turn = now(third.as_mut()).flatten();
        assert!(turn.is_some(), "`third` has none, `greedy` has one");
        assert!(now(greedy_again.as_mut()).is_none() && now(fourth.as_mut()).is_none());
        drop(greedy);
        assert!(now(greedy_again.as_mut()).flatten().is_some());
        drop(turn);
        assert!(now(fourth.as_mut()).flatten().is_some());
        let state = turns.lock();
        assert_eq!(state.free + state.held.values().sum::<usize>(), 2);
    }
}
