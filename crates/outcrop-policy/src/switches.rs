//! Switches of routing that an operator turns at run time.
//!
//! They are part of the snapshot: a request sees all of them as they were when it came.

use std::collections::HashSet;

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

/// The names that callers use and that are switched off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Off {
    /// Aliases.
    pub models: HashSet<Box<str>>,
    /// Operations.
    pub operations: HashSet<Box<str>>,
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

/// The name of one of the switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Switch {
    /// `intelligent_routing`.
    IntelligentRouting,
    /// `direct_fallback`.
    DirectFallback,
    /// `mcp_fallback`.
    McpFallback,
    /// `emergency_direct`.
    EmergencyDirect,
    /// `emergency_over_mcp`.
    EmergencyOverMcp,
    /// `hedging`.
    Hedging,
    /// `optimizer`.
    Optimizer,
}

impl Switch {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::IntelligentRouting,
        Self::DirectFallback,
        Self::McpFallback,
        Self::EmergencyDirect,
        Self::EmergencyOverMcp,
        Self::Hedging,
        Self::Optimizer,
    ];

    /// The name, as in the file.
    pub fn label(self) -> &'static str {
        match self {
            Self::IntelligentRouting => "intelligent_routing",
            Self::DirectFallback => "direct_fallback",
            Self::McpFallback => "mcp_fallback",
            Self::EmergencyDirect => "emergency_direct",
            Self::EmergencyOverMcp => "emergency_over_mcp",
            Self::Hedging => "hedging",
            Self::Optimizer => "optimizer",
        }
    }
}

impl Switches {
    /// How a switch stands.
    pub fn is_on(&self, switch: Switch) -> bool {
        let mut copy = *self;
        *copy.place(switch)
    }

    /// Turns a switch.
    pub fn turn(&mut self, switch: Switch, on: bool) {
        *self.place(switch) = on;
    }

    fn place(&mut self, switch: Switch) -> &mut bool {
        match switch {
            Switch::IntelligentRouting => &mut self.intelligent_routing,
            Switch::DirectFallback => &mut self.direct_fallback,
            Switch::McpFallback => &mut self.mcp_fallback,
            Switch::EmergencyDirect => &mut self.emergency_direct,
            Switch::EmergencyOverMcp => &mut self.emergency_over_mcp,
            Switch::Hedging => &mut self.hedging,
            Switch::Optimizer => &mut self.optimizer,
        }
    }
}
