//! Who has which session, and who is about to open one.
//!
//! A place is taken before a session is opened and kept only if one was, so that callers who open many
//! at once get no more than those who wait. Invariant: places are bounded, in all and per caller.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use tokio_util::sync::CancellationToken;

const SESSIONS_MAX: usize = 1024;
const SESSIONS_PER_CALLER_MAX: usize = 256;

/// The places of all sessions.
#[derive(Default)]
pub(super) struct Places {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    owners: HashMap<Box<str>, Held>,
    /// One entry for each session that is being opened: its caller.
    opening: Vec<Arc<str>>,
}

/// A session's place; its calls end with it.
struct Held {
    owner: Arc<str>,
    ended: CancellationToken,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// A place for a session that is being opened; free again with the value, unless it is kept.
pub(super) struct Place<'a> {
    places: &'a Places,
    caller: Arc<str>,
}

impl Places {
    /// The end of the session, if it is the caller's.
    pub(super) fn end_of(&self, caller: &Arc<str>, session: &str) -> Option<CancellationToken> {
        let taken = self.taken.lock();
        let held = taken.owners.get(session).filter(|held| held.owner == *caller);
        held.map(|held| held.ended.clone())
    }

    /// A place, if there is one; those of sessions that ended by themselves are free.
    pub(super) async fn take(&self, caller: &Arc<str>, alive: &LocalSessionManager) -> Option<Place<'_>> {
        if let Some(place) = self.try_take(caller) {
            return Some(place);
        }
        let alive = alive.sessions.read().await;
        self.taken.lock().owners.retain(|session, _| alive.contains_key(&**session));
        drop(alive);
        self.try_take(caller)
    }

    fn try_take(&self, caller: &Arc<str>) -> Option<Place<'_>> {
        let mut taken = self.taken.lock();
        let of_all = taken.owners.len() + taken.opening.len();
        let everyone = taken.owners.values().map(|held| &held.owner).chain(&taken.opening);
        let own = everyone.filter(|owner| *owner == caller).count();
        if of_all >= SESSIONS_MAX || own >= SESSIONS_PER_CALLER_MAX {
            return None;
        }
        taken.opening.push(Arc::clone(caller));
        Some(Place { places: self, caller: Arc::clone(caller) })
    }

    /// The session was ended, and so are the calls that run in it.
    pub(super) fn free(&self, session: &str) {
        self.taken.lock().owners.remove(session);
    }
}

impl Place<'_> {
    /// The place belongs to this session from here on.
    pub(super) fn keep(self, session: Box<str>) {
        let held = Held { owner: Arc::clone(&self.caller), ended: CancellationToken::new() };
        self.places.taken.lock().owners.insert(session, held);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(index) = taken.opening.iter().position(|caller| *caller == self.caller) {
            taken.opening.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_while_sessions_are_being_opened() {
        let places = Places::default();
        let caller: Arc<str> = Arc::from("anna");
        let mut opening: Vec<_> =
            (0..SESSIONS_PER_CALLER_MAX).map(|_| places.try_take(&caller).unwrap()).collect();
        assert!(places.try_take(&caller).is_none());
        assert!(places.try_take(&Arc::from("bert")).is_some());
        opening.pop().unwrap().keep("s".into());
        let ended = places.end_of(&caller, "s").unwrap();
        assert!(!ended.is_cancelled() && places.end_of(&Arc::from("bert"), "s").is_none());
        assert!(places.try_take(&caller).is_none(), "a kept place is still taken");
        drop(opening.pop());
        assert!(places.try_take(&caller).is_some());
        drop(opening);
        places.free("s");
        assert!(ended.is_cancelled(), "its calls end with it");
        assert!(places.taken.lock().owners.is_empty() && places.taken.lock().opening.is_empty());
    }
}
