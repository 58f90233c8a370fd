//! What a target costs: the rows of the configuration, and behind them a dated catalogue that ships in
//! the binary.
//!
//! Unknown is never zero: a model that neither names has no price, and then it is not used. The price of a
//! profile (`eu.`, `us.`, `global.`) is its own; none stands in for another.

mod book;
mod catalogue;

pub use book::{FileRow, PriceBook};
pub use catalogue::{Catalogue, CatalogueError, Listed, Origin};

use outcrop_core::PathKind;

/// Whose price is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Name of the path.
    pub path: &'a str,
    /// Its kind.
    pub kind: PathKind,
    /// Its region, as declared.
    pub region: Option<&'a str>,
    /// Model id, profile id or ARN as the upstream knows it.
    pub model_id: &'a str,
}
