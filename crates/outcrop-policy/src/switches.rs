//! Switches of routing that an operator turns at run time.
//!
//! They are part of the snapshot: a request sees all of them as they were when it came.

use serde::{Deserialize, Serialize};

/// Switches of routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// Health, times and prices decide among targets that are equally preferred; otherwise the configured
    /// order does. Breakers are obeyed either way.
    pub intelligent_routing: bool,
    /// Whether direct paths stand in for MCP.
    pub direct_fallback: bool,
    /// Whether MCP stands in for direct paths.
    pub mcp_fallback: bool,
    /// Whether emergencies go directly first, whatever the order of their operation says.
    pub emergency_direct: bool,
    /// Whether emergencies may travel over MCP at all.
    pub emergency_over_mcp: bool,
    /// Whether a second leg is started beside a slow one, for what is urgent.
    pub hedging: bool,
    /// Whether the optimizer applies what it proposes.
    pub optimizer: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            intelligent_routing: true,
            direct_fallback: true,
            mcp_fallback: true,
            emergency_direct: true,
            emergency_over_mcp: false,
            hedging: false,
            optimizer: false,
        }
    }
}
