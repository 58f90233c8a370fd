//! What a path's tool takes and gives: the operator's template, or the gateway's own mapping.

use std::sync::Arc;

use outcrop_core::Failure;
use outcrop_core::path::Effect;
use outcrop_core::reply::ChatReply;
use outcrop_wire::mcp::Template;
use outcrop_wire::{Envelope, TargetModel};
use rmcp::model::{CallToolResult, JsonObject};

use super::outcome;

/// What a path's tool takes and gives.
#[derive(Debug, Clone)]
pub(super) struct Codec {
    template: Option<Arc<Template>>,
    effect: Effect,
}

impl Codec {
    pub(super) fn new(template: Option<&Template>, effect: Effect) -> Self {
        Self { template: template.cloned().map(Arc::new), effect }
    }

    /// What a second run of the tool would do.
    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    /// The arguments that say what is asked.
    pub(super) fn arguments(
        &self,
        envelope: &Envelope,
        model: &TargetModel<'_>,
    ) -> Result<JsonObject, Failure> {
        let arguments = match &self.template {
            None => outcrop_wire::mcp::arguments(envelope, model),
            Some(template) => template.arguments(envelope, model),
        };
        arguments.map_err(crate::outcome::inexpressible)
    }

    /// The answer in a result.
    pub(super) fn reply(&self, result: &CallToolResult) -> Result<ChatReply, Failure> {
        outcome::of_tool(result, self.template.as_deref(), self.effect)
    }
}
