//! What the holder of a key may do.

use serde::{Deserialize, Serialize};

/// What a key is for. The operator's roles contain each other; a client's is apart: the keys that
/// administer cannot call models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Calls models, and nothing else.
    Client,
    /// Sees what an operator sees.
    Viewer,
    /// Stops, resumes and changes budgets.
    Operator,
    /// Makes keys and sets flags as well.
    Admin,
}

/// All roles, the least powerful first.
pub const ROLES: [Role; 4] = [Role::Client, Role::Viewer, Role::Operator, Role::Admin];

impl Role {
    /// The text of the role.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of a text.
    pub fn parse(text: &str) -> Option<Self> {
        ROLES.into_iter().find(|role| role.label() == text)
    }

    /// Whether a holder of this role may do what `needed` may do at the operator's API.
    pub fn may_act_as(self, needed: Self) -> bool {
        let rank = |role| match role {
            Self::Client => 0,
            Self::Viewer => 1,
            Self::Operator => 2,
            Self::Admin => 3,
        };
        self != Self::Client && needed != Self::Client && rank(self) >= rank(needed)
    }

    /// Whether a holder of this role may give somebody the role `given`.
    pub fn may_grant(self, given: Self) -> bool {
        self != Self::Client && (given == Self::Client || self.may_act_as(given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_does_what_lesser_ones_do_and_clients_administer_nothing() {
        for (holder, acts_as, grants) in [
            (Role::Client, vec![], vec![]),
            (Role::Viewer, vec![Role::Viewer], vec![Role::Client, Role::Viewer]),
            (
                Role::Operator,
                vec![Role::Viewer, Role::Operator],
                vec![Role::Client, Role::Viewer, Role::Operator],
            ),
            (Role::Admin, vec![Role::Viewer, Role::Operator, Role::Admin], ROLES.to_vec()),
        ] {
            for other in ROLES {
                assert_eq!(holder.may_act_as(other), acts_as.contains(&other), "{holder:?} as {other:?}");
                assert_eq!(holder.may_grant(other), grants.contains(&other), "{holder:?} gives {other:?}");
            }
            assert_eq!(Role::parse(holder.label()), Some(holder));
        }
    }
}
