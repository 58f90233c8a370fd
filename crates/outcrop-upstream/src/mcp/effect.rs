//! What a server says of its own tools, as far as it is heard.
//!
//! Annotations are hints of a stranger: they can make what the operator says stricter, never looser. What
//! a server does not say changes nothing.

use outcrop_core::path::Effect;
use rmcp::model::ToolAnnotations;

use super::Catalogue;

/// The stricter of what the operator and the server say of a tool.
pub(super) fn stricter(operators: Effect, tool: &str, catalogue: &Catalogue) -> Effect {
    let listed = catalogue.tools.iter().find(|listed| listed.name == tool);
    let said = listed.and_then(|listed| listed.annotations.as_ref());
    said.map_or(operators, |said| operators.max(admitted(said)))
}

/// The least effect that a tool admits to have.
fn admitted(said: &ToolAnnotations) -> Effect {
    let writes = said.read_only_hint == Some(false) || said.destructive_hint == Some(true);
    match (said.read_only_hint, said.idempotent_hint) {
        // The other hints mean nothing where a tool only reads.
        (Some(true), _) => Effect::ReadOnly,
        (_, Some(false)) => Effect::Unsafe,
        (_, Some(true)) if writes => Effect::Idempotent,
        // By the protocol, what writes is not idempotent unless it says so.
        (_, None) if writes => Effect::Unsafe,
        (None | Some(false), _) => Effect::ReadOnly,
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::Tool;

    use super::*;

    fn check(
        operators: Effect,
        (reads, repeats, destroys): (Option<bool>, Option<bool>, Option<bool>),
        expected: Effect,
    ) {
        let mut said = ToolAnnotations::new();
        (said.read_only_hint, said.idempotent_hint, said.destructive_hint) = (reads, repeats, destroys);
        let tool = Tool::new("t", "", serde_json::Map::new()).with_annotations(said.clone());
        let catalogue = Catalogue { tools: vec![tool], ..Catalogue::default() };
        assert_eq!(stricter(operators, "t", &catalogue), expected, "{operators:?} {said:?}");
    }

    #[test]
    fn a_server_can_only_be_stricter_than_the_operator() {
        use Effect::{Idempotent, Keyed, ReadOnly, Unsafe};
        let (yes, no) = (Some(true), Some(false));
        check(Unsafe, (yes, yes, no), Unsafe);
        check(Keyed, (yes, yes, no), Keyed);
        check(ReadOnly, (None, None, None), ReadOnly);
        check(ReadOnly, (yes, no, yes), ReadOnly);
        check(ReadOnly, (no, None, None), Unsafe);
        check(ReadOnly, (no, yes, None), Idempotent);
        check(ReadOnly, (None, None, yes), Unsafe);
        check(Idempotent, (None, no, None), Unsafe);
        check(Idempotent, (no, yes, yes), Idempotent);
        assert_eq!(stricter(ReadOnly, "other", &Catalogue::default()), ReadOnly);
    }
}
