//! Which broken streams may be continued by another attempt: a choice of the operator, off by default.

use std::collections::HashSet;

/// Operations and models whose broken streams are continued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resumes {
    /// Names of operations.
    pub operations: HashSet<Box<str>>,
    /// Names of models.
    pub models: HashSet<Box<str>>,
}

impl Resumes {
    /// Whether the stream of such a request may be continued.
    pub fn allow(&self, operation: &str, model: &str) -> bool {
        self.operations.contains(operation) || self.models.contains(model)
    }
}
