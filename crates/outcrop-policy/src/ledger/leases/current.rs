//! The open accounts of one budget: for each concrete scope the one in the window of its last use.
//!
//! A budget whose scope has no star has one, so that finding it is neither text nor a table. It does not
//! know what an account is.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Attribution, Scope};

/// Ids of open accounts, by concrete scope.
#[derive(Debug)]
pub(super) enum Current {
    /// The scope is concrete already.
    One(Arc<str>, Option<u64>),
    /// Each value of its stars has an account. Values come from callers, so the table is the standard
    /// one, whose order nobody can guess.
    Each(HashMap<Arc<str>, u64>),
}

impl Current {
    pub(super) fn of(scope: &Scope) -> Self {
        if scope.has_star() { Self::Each(HashMap::new()) } else { Self::One(scope.to_string().into(), None) }
    }

    /// The open account of a request. `text` is only room to write in.
    pub(super) fn get(&self, scope: &Scope, whose: &Attribution, text: &mut String) -> Option<u64> {
        match self {
            Self::One(_, id) => *id,
            Self::Each(ids) => {
                text.clear();
                scope.write_instance(whose, text);
                ids.get(&**text).copied()
            }
        }
    }

    /// The open account of a concrete scope.
    pub(super) fn open_of(&self, instance: &str) -> Option<u64> {
        match self {
            Self::One(_, id) => *id,
            Self::Each(ids) => ids.get(instance).copied(),
        }
    }

    /// The concrete scope of a request.
    pub(super) fn instance(&self, scope: &Scope, whose: &Attribution) -> Arc<str> {
        match self {
            Self::One(fixed, _) => Arc::clone(fixed),
            Self::Each(_) => scope.instance(whose).into(),
        }
    }

    /// Opens an account; gives back the one that was open before it.
    pub(super) fn insert(&mut self, instance: Arc<str>, id: u64) -> Option<u64> {
        match self {
            Self::One(_, before) => before.replace(id),
            Self::Each(ids) => ids.insert(instance, id),
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        let (one, each) = match self {
            Self::One(_, id) => (*id, None),
            Self::Each(ids) => (None, Some(ids.values().copied())),
        };
        one.into_iter().chain(each.into_iter().flatten())
    }

    /// Forgets an account, unless another is open for its scope.
    pub(super) fn remove(&mut self, instance: &str, id: u64) {
        match self {
            Self::One(_, open) => *open = open.filter(|open| *open != id),
            Self::Each(ids) => {
                if ids.get(instance) == Some(&id) {
                    ids.remove(instance);
                }
            }
        }
    }
}
