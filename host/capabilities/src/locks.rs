//! One action is in flight on an object at any time.

use salve_model::incident::IncidentId;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Who has which object in hand.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: Mutex<BTreeMap<String, IncidentId>>,
}

/// Objects in hand until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    locks: Arc<Locks>,
    objects: Vec<String>,
}

impl Locks {
    /// Takes all of `objects`, or none.
    ///
    /// # Errors
    /// An object that is taken, and by which incident.
    pub(crate) fn take(
        self: &Arc<Self>,
        objects: Vec<String>,
        incident: &IncidentId,
    ) -> Result<Held, (String, IncidentId)> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for object in &objects {
            if let Some(holder) = held.get(object) {
                return Err((object.clone(), holder.clone()));
            }
        }
        held.extend(objects.iter().map(|object| (object.clone(), incident.clone())));
        Ok(Held { locks: Arc::clone(self), objects })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.locks.held.lock().unwrap_or_else(PoisonError::into_inner);
        for object in &self.objects {
            held.remove(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: an object is in one hand at a time, a refused take holds nothing, and dropping frees.
    #[test]
    fn all_or_none() {
        let locks = Arc::new(Locks::default());
        let (one, two) = (IncidentId("inc-1".into()), IncidentId("inc-2".into()));
        let first = locks.take(vec!["a".into(), "b".into()], &one).unwrap();
        assert_eq!(locks.take(vec!["c".into(), "b".into()], &two).unwrap_err(), ("b".into(), one));
        let third = locks.take(vec!["c".into()], &two).unwrap();
        drop(first);
        drop(locks.take(vec!["a".into(), "b".into()], &two).unwrap());
        drop(third);
    }
}
