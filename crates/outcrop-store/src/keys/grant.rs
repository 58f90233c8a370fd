//! Who may give which key: a grant never exceeds the rights of its grantor.

use std::sync::Arc;

use jiff::Timestamp;
use outcrop_core::Role;
use outcrop_policy::{Attribution, Residency, Scope};

use super::KeyRecord;

/// Somebody at the operator's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administrator {
    /// Name, as in records.
    pub name: Arc<str>,
    /// What he may do.
    pub role: Role,
    /// Where he may do it; empty is everywhere.
    pub manages: Vec<Scope>,
    /// Aliases that the keys he makes may use at most; `None` is all.
    pub models: Option<Vec<String>>,
    /// Residency that the keys he makes must keep.
    pub residency: Option<Residency>,
    /// When his own right ends.
    pub expires_at: Option<Timestamp>,
}

impl Administrator {
    /// Whoever may open the operator's socket: an admin without bounds.
    pub fn of_the_machine(name: &str) -> Self {
        Self {
            name: name.into(),
            role: Role::Admin,
            manages: Vec::new(),
            models: None,
            residency: None,
            expires_at: None,
        }
    }

    /// Whether he may do something that concerns all requests of a scope.
    pub fn may_administer(&self, scope: &Scope) -> bool {
        self.manages.is_empty() || self.manages.iter().any(|own| own.covers(scope))
    }

    /// Whether a key lies where he may administer.
    pub fn may_see(&self, key: &KeyRecord) -> bool {
        let whose = Attribution {
            org: Attribution::value(&key.org),
            team: Attribution::value(&key.team),
            key: Attribution::value(&key.name),
            ..Attribution::default()
        };
        self.manages.is_empty() || self.manages.iter().any(|own| own.matches(&whose))
    }

    /// Whether he may make or revoke this key; the text says why not.
    pub fn may_grant(&self, key: &KeyRecord) -> Result<(), String> {
        if !self.role.may_grant(key.role) {
            let (own, wanted) = (self.role.label(), key.role.label());
            return Err(format!("a key with role {own} cannot give or take the role {wanted}"));
        }
        if !self.may_see(key) {
            return Err(format!("this key administers {} only", self.places()));
        }
        self.may_pass_on(key)
    }

    /// The rights that a key would hand on.
    fn may_pass_on(&self, key: &KeyRecord) -> Result<(), String> {
        if key.role != Role::Client && !self.manages.is_empty() {
            let inside = |text: &String| Scope::parse(text).is_ok_and(|scope| self.may_administer(&scope));
            if key.manages.is_empty() || !key.manages.iter().all(inside) {
                return Err(format!("the new key may administer no more than {}", self.places()));
            }
        }
        if let Some(own) = &self.models {
            let listed = |models: &Vec<String>| models.iter().all(|model| own.contains(model));
            if !key.models.as_ref().is_some_and(listed) {
                return Err(format!("the new key may use no models but {}", own.join(", ")));
            }
        }
        if self.residency.is_some() && key.residency != self.residency {
            return Err("the new key must keep the residency of the key that makes it".to_owned());
        }
        match (self.expires_at, key.expires_at) {
            (Some(own), theirs) if key.role != Role::Client && theirs.is_none_or(|end| end > own) => {
                Err(format!("the new key must end with the key that makes it, by {own}"))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    fn places(&self) -> String {
        self.manages.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}
