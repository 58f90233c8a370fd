//! Flags: the switches of routing, and each path, model and operation, on or off at run time.
//!
//! The routes of the file are the base; what an operator has set lies over them and gives other routes.
//! Nothing here stores or audits a change.

use std::collections::HashSet;
use std::fmt;

use crate::route::Routes;
use crate::switches::Switch;

/// What can be switched on and off.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// A switch of routing.
    Switch(Switch),
    /// A path by its name: its targets get no requests.
    Path(Box<str>),
    /// A model by its alias: it is refused.
    Model(Box<str>),
    /// An operation by its name: it is refused.
    Operation(Box<str>),
}

impl Flag {
    /// Reads `hedging`, `path:fra`, `model:sonnet`, `operation:background`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("path", name)) if !name.is_empty() => Some(Self::Path(name.into())),
            Some(("model", name)) if !name.is_empty() => Some(Self::Model(name.into())),
            Some(("operation", name)) if !name.is_empty() => Some(Self::Operation(name.into())),
            Some(_) => None,
            None => Switch::ALL.into_iter().find(|switch| switch.label() == text).map(Self::Switch),
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(switch) => f.write_str(switch.label()),
            Self::Path(name) => write!(f, "path:{name}"),
            Self::Model(name) => write!(f, "model:{name}"),
            Self::Operation(name) => write!(f, "operation:{name}"),
        }
    }
}

impl Routes {
    /// Every flag of these routes, in the order in which people are shown them.
    pub fn flags(&self) -> Vec<Flag> {
        let mut paths: Vec<Box<str>> = self.targets.iter().map(|spec| Box::from(&*spec.path)).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut models: Vec<Box<str>> = self.models.keys().cloned().collect();
        models.sort_unstable();
        let operations = self.operations.iter().map(|operation| operation.name.clone());
        let switches = Switch::ALL.into_iter().map(Flag::Switch);
        switches
            .chain(paths.into_iter().map(Flag::Path))
            .chain(models.into_iter().map(Flag::Model))
            .chain(operations.map(Flag::Operation))
            .collect()
    }

    /// How a flag stands; `None` when there is no such path, model or operation. A path is on while any of its
    /// targets is.
    pub fn flag(&self, flag: &Flag) -> Option<bool> {
        match flag {
            Flag::Switch(switch) => Some(self.switches.is_on(*switch)),
            Flag::Path(name) => {
                let mut own = self.targets.iter().filter(|spec| *spec.path == **name).peekable();
                own.peek()?;
                Some(own.any(|spec| spec.enabled))
            }
            Flag::Model(name) => self.models.contains_key(name).then(|| !self.off.models.contains(name)),
            Flag::Operation(name) => self.operation(name).map(|_| !self.off.operations.contains(name)),
        }
    }

    /// Sets a flag; one of something that is not here does nothing.
    pub fn set_flag(&mut self, flag: &Flag, on: bool) {
        match flag {
            Flag::Switch(switch) => self.switches.turn(*switch, on),
            // A target that is off on a path that is on stays so.
            Flag::Path(_) if self.flag(flag) == Some(on) => {}
            Flag::Path(name) => {
                self.targets
                    .iter_mut()
                    .filter(|spec| *spec.path == **name)
                    .for_each(|spec| spec.enabled = on);
            }
            Flag::Model(name) => put(&mut self.off.models, name, !on),
            Flag::Operation(name) => put(&mut self.off.operations, name, !on),
        }
    }
}

fn put(set: &mut HashSet<Box<str>>, name: &str, inside: bool) {
    if inside {
        set.insert(name.into());
    } else {
        set.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown() {
        for text in ["hedging", "emergency_over_mcp", "path:fra", "model:a:b", "operation:background"] {
            assert_eq!(Flag::parse(text).map(|flag| flag.to_string()).as_deref(), Some(text));
        }
        for text in ["", "hedge", "path:", "tool:x", "paths:x"] {
            assert_eq!(Flag::parse(text), None, "{text}");
        }
    }

    #[test]
    fn each_switch_turns_itself_and_no_other() {
        let mut routes = Routes::default();
        for switch in Switch::ALL {
            let before = routes.switches;
            routes.set_flag(&Flag::Switch(switch), !before.is_on(switch));
            let turned: Vec<_> =
                Switch::ALL.into_iter().filter(|s| before.is_on(*s) != routes.switches.is_on(*s)).collect();
            assert_eq!(turned, [switch]);
        }
    }

    #[test]
    fn what_is_not_there_has_no_flag() {
        let routes = Routes::default();
        assert_eq!(routes.flag(&Flag::Path("x".into())), None);
        assert_eq!(routes.flag(&Flag::Model("x".into())), None);
        assert_eq!(routes.flag(&Flag::Operation("x".into())), None);
    }
}
