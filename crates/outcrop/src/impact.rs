//! What this gateway itself costs: its time by step.

use std::sync::Arc;

use outcrop_proxy::Gateway;
use serde_json::{Map, Value, json};

/// What this process costs.
#[derive(Clone)]
pub(crate) struct Impacting {
    gateway: Arc<Gateway>,
}

impl Impacting {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Each step's times since the process began.
    fn stages(&self) -> Value {
        let views = self.gateway.metrics.stages.views();
        let stages: Map<String, Value> =
            views.map(|(stage, view)| (stage.label().to_owned(), json!(view))).collect();
        Value::Object(stages)
    }
}

impl outcrop_admin::Impact for Impacting {
    fn report(&self) -> Value {
        json!({"stages": self.stages()})
    }
}
