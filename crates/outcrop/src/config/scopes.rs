//! Scopes as the file writes them: read, and their names looked up where the file knows all there are.
//!
//! Models, paths and operations are closed sets, so a name that is not among them is a mistake. Keys,
//! teams, organisations, users, runs and tools come from elsewhere, and any name will do.

use outcrop_policy::{Facet, Routes, Scope};
use toml::Spanned;

use super::check::Findings;
use super::problem::nearest;
use super::raw;
use super::text::Text;

/// What scopes may name.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) raw: &'a raw::Config,
    pub(crate) routes: &'a Routes,
}

impl Names<'_> {
    /// Reads a scope; `None` with a finding when it is none, or names what does not exist.
    pub(crate) fn scope(self, text: &Spanned<Text>, findings: &mut Findings) -> Option<Scope> {
        let scope = match Scope::parse(text.get_ref()) {
            Ok(scope) => scope,
            Err(error) => {
                findings.add(text.span(), error.to_string(), "");
                return None;
            }
        };
        let strangers: Vec<_> = scope.named().filter(|(facet, name)| !self.knows(*facet, name)).collect();
        for (facet, name) in &strangers {
            let message = format!("there is no {} `{name}`", facet.label());
            let hint = nearest(name, self.all(*facet)).map(|near| format!("did you mean `{near}`?"));
            findings.add(text.span(), message, hint.unwrap_or_default());
        }
        strangers.is_empty().then(|| scope.clone())
    }

    fn knows(self, facet: Facet, name: &str) -> bool {
        match facet {
            Facet::Model => self.routes.targets_of(name).is_some(),
            Facet::Path | Facet::Operation => self.all(facet).any(|known| known == name),
            Facet::Org
            | Facet::Team
            | Facet::Key
            | Facet::User
            | Facet::Run
            | Facet::Region
            | Facet::Tool => true,
        }
    }

    /// The names of a closed set; nothing for the others.
    fn all<'n>(self, facet: Facet) -> Box<dyn Iterator<Item = &'n str> + 'n>
    where
        Self: 'n,
    {
        match facet {
            Facet::Model => Box::new(self.raw.model.iter().map(|model| &**model.name.get_ref())),
            Facet::Path => Box::new(self.raw.path.iter().map(|path| &**path.name.get_ref())),
            Facet::Operation => Box::new(self.routes.operations.iter().map(|operation| &*operation.name)),
            Facet::Org
            | Facet::Team
            | Facet::Key
            | Facet::User
            | Facet::Run
            | Facet::Region
            | Facet::Tool => Box::new(std::iter::empty()),
        }
    }
}
