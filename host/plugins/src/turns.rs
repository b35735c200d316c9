//! Whose call is next: slots for calls of agents and actions, shared fairly between tenants, and of a tenant's between plugins.
//!
//! ## What always holds
//! - at most as many calls at one time as there are slots
//! - a plugin takes one more slot only while more slots are free than it has: whatever it asks for, some are left for others
//! - where more than one tenant calls, the same holds for each tenant, all its plugins together
//! - of those who wait, the tenant with the fewest slots comes first, of its plugins the one with the fewest; of one plugin's
//!   calls, the one that came first
//!
//! A plugin counts for each tenant by itself.
//!
//! Source of the second rule: A. K. Choudhury, E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet
//! switches", IEEE/ACM Transactions on Networking 6 (1998), with α = 1.
//!
//! Not here: CPU time (`computing`).

use salve_model::Tenant;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// The slots.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

/// On whose behalf, and which plugin.
type Caller = Arc<(Tenant, String)>;

#[derive(Debug)]
struct State {
    free: usize,
    /// Slots of each caller that has any.
    held: BTreeMap<Caller, usize>,
    /// In the order in which they came.
    waiting: VecDeque<(Caller, oneshot::Sender<Turn>)>,
    /// Those who have called. Tenants are the operator's, and few.
    tenants: BTreeSet<Tenant>,
}

/// A slot. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    caller: Caller,
}

impl Turns {
    pub(crate) fn new(slots: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: slots.max(1),
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
            tenants: BTreeSet::new(),
        })))
    }

    /// Waits for a slot. None only if the slots are gone.
    pub(crate) async fn take(&self, tenant: &Tenant, plugin: &str) -> Option<Turn> {
        let caller = Arc::new((tenant.clone(), plugin.to_owned()));
        let turn = {
            let mut state = self.lock();
            if !state.tenants.contains(tenant) {
                state.tenants.insert(tenant.clone());
            }
            // Who came first goes first, also among calls of one plugin.
            let is_behind =
                state.waiting.iter().any(|(other, sender)| *other == caller && !sender.is_closed());
            if !is_behind && state.may_take(&caller) {
                state.give(&caller);
                return Some(self.turn(caller));
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push_back((caller, sender));
            turn
        };
        turn.await.ok()
    }

    fn turn(&self, caller: Caller) -> Turn {
        Turn { turns: self.clone(), caller }
    }

    fn give_back(&self, caller: &Caller) {
        let mut given = Vec::new();
        {
            let mut state = self.lock();
            state.free += 1;
            if let Some(held) = state.held.get_mut(caller) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(caller);
                }
            }
            state.waiting.retain(|(_, sender)| !sender.is_closed());
            while let Some(index) = state.next() {
                let Some((caller, sender)) = state.waiting.remove(index) else { break };
                state.give(&caller);
                given.push((sender, self.turn(caller)));
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
    fn held_by(&self, caller: &Caller) -> usize {
        self.held.get(caller).copied().unwrap_or_default()
    }

    fn held_for(&self, tenant: &Tenant) -> usize {
        self.held.iter().filter(|(other, _)| other.0 == *tenant).map(|(_, held)| held).sum()
    }

    fn may_take(&self, caller: &Caller) -> bool {
        let is_shared = self.tenants.len() > 1;
        self.held_by(caller) < self.free && (!is_shared || self.held_for(&caller.0) < self.free)
    }

    fn give(&mut self, caller: &Caller) {
        self.free -= 1;
        *self.held.entry(caller.clone()).or_default() += 1;
    }

    /// Which of those who wait is next, if one may take a slot.
    fn next(&self) -> Option<usize> {
        let waiting = self.waiting.iter().enumerate();
        let allowed = waiting.filter(|(_, (caller, _))| self.may_take(caller));
        let poorest = allowed
            .min_by_key(|(index, (caller, _))| (self.held_for(&caller.0), self.held_by(caller), *index));
        poorest.map(|(index, _)| index)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_back(&self.caller);
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
        take_all_for(&Tenant::default(), turns, plugin)
    }

    fn take_all_for(tenant: &Tenant, turns: &Turns, plugin: &str) -> Vec<Turn> {
        std::iter::from_fn(|| now(std::pin::pin!(turns.take(tenant, plugin))).flatten()).collect()
    }

    /// Scenario: a tenant wants all slots, with as many plugins as it likes; another one calls.
    /// Guarantees: once the other one is known, the first has no more than half of the slots, whatever plugins it uses; the
    /// next slot that becomes free is the poorer tenant's, though the other waited first.
    #[test]
    fn a_tenant_leaves_some_to_others() {
        let (one, two) = (Tenant("one".into()), Tenant("two".into()));
        let turns = Turns::new(8);
        drop(take_all_for(&two, &turns, "a"));
        let mut held: Vec<Turn> =
            ["a", "b", "c", "d"].iter().flat_map(|plugin| take_all_for(&one, &turns, plugin)).collect();
        assert_eq!(held.len(), 4);
        let of_two = take_all_for(&two, &turns, "a");
        assert_eq!(of_two.len(), 2);
        let more = take_all_for(&Tenant("three".into()), &turns, "a");
        assert_eq!(more.len(), 1);
        let last = take_all_for(&Tenant("four".into()), &turns, "a");
        assert_eq!((last.len(), turns.lock().free), (1, 0));
        let mut rich = Box::pin(turns.take(&one, "e"));
        let mut poor = Box::pin(turns.take(&two, "b"));
        assert!(now(rich.as_mut()).is_none() && now(poor.as_mut()).is_none());
        drop(more);
        drop(last);
        assert!(now(rich.as_mut()).is_none());
        held.truncate(2);
        assert!(now(poor.as_mut()).flatten().is_some(), "`two` has fewer than are free");
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
        let (turns, tenant) = (Turns::new(2), Tenant::default());
        let greedy = take_all(&turns, "greedy");
        let other = take_all(&turns, "other");
        assert_eq!((greedy.len(), other.len()), (1, 1));
        let mut greedy_again = Box::pin(turns.take(&tenant, "greedy"));
        let mut gone = Box::pin(turns.take(&tenant, "third"));
        let mut third = Box::pin(turns.take(&tenant, "third"));
        let mut fourth = Box::pin(turns.take(&tenant, "third"));
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
