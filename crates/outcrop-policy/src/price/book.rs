//! The rows of the configuration over the catalogue.

use std::sync::Arc;

use outcrop_core::money::Price;

use super::{Asked, Catalogue};

/// A price row of the configuration.
#[derive(Debug, Clone)]
pub struct FileRow {
    /// Model ids that it prices; `*` stands for any text.
    pub model: Box<str>,
    /// Only on this path.
    pub path: Option<Box<str>>,
    /// The price.
    pub price: Arc<Price>,
}

impl FileRow {
    fn names(&self, asked: &Asked<'_>) -> bool {
        self.path.as_deref().is_none_or(|path| path == asked.path) && matches(&self.model, asked.model_id)
    }
}

/// Everything that is known of prices; part of one immutable snapshot.
#[derive(Debug, Clone, Default)]
pub struct PriceBook {
    rows: Vec<FileRow>,
    catalogue: Option<&'static Catalogue>,
}

impl PriceBook {
    /// Rows of the configuration, in its order, over a catalogue.
    pub fn new(rows: Vec<FileRow>, catalogue: Option<&'static Catalogue>) -> Self {
        Self { rows, catalogue }
    }

    /// The catalogue behind the rows.
    pub fn catalogue(&self) -> Option<&'static Catalogue> {
        self.catalogue
    }

    /// The price that holds at a time in seconds since the Unix epoch: of the rows that name the model the
    /// first that holds, else the catalogue's. A row that has expired is not replaced by the catalogue, whose
    /// price the operator overruled: then the price is unknown.
    pub fn of(&self, asked: &Asked<'_>, unix: u64) -> Option<Arc<Price>> {
        let named = || self.rows.iter().filter(|row| row.names(asked)).map(|row| &row.price);
        if let Some(price) = named().find(|price| price.holds_at(unix)) {
            return Some(Arc::clone(price));
        }
        if named().any(|price| price.valid_until.is_some_and(|until| until <= unix)) {
            return None;
        }
        let listed = self.catalogue?.find(asked.kind, asked.model_id, asked.region)?;
        Some(Arc::clone(listed))
    }

    /// The most output tokens that the model makes, as far as the catalogue knows it.
    pub fn output_tokens_max(&self, asked: &Asked<'_>) -> Option<u64> {
        self.catalogue?.output_tokens_max(asked.kind, asked.model_id, asked.region)
    }
}

/// Whether an id is what a glob describes; `*` stands for any text, also none.
fn matches(glob: &str, id: &str) -> bool {
    let Some((start, rest)) = glob.split_once('*') else { return glob == id };
    let Some(mut left) = id.strip_prefix(start) else { return false };
    let Some((middle, end)) = rest.rsplit_once('*') else { return left.ends_with(rest) };
    for piece in middle.split('*') {
        let Some((_, after)) = left.split_once(piece) else { return false };
        left = after;
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use outcrop_core::PathKind;
    use outcrop_core::money::{PicoUsd, Rates};

    use super::*;

    #[test]
    fn globs_match_whole_ids() {
        for (glob, id, expected) in [
            ("gpt", "gpt", true),
            ("gpt", "gpt-4o", false),
            ("gpt*", "gpt", true),
            ("*", "", true),
            ("*.claude-*", "eu.anthropic.claude-3", true),
            ("*.claude-*", "claude-3", false),
            ("eu.*claude*v1:0", "eu.anthropic.claude-3-v1:0", true),
            ("eu.*claude*v1:0", "eu.anthropic.claude-3-v1:0:28k", false),
            ("a*a", "a", false),
            ("a*b*c", "abc", true),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(matches(glob, id), expected, "{glob} {id}");
        }
    }

    fn row(model: &str, path: Option<&str>, pico: u64, from: Option<u64>, until: Option<u64>) -> FileRow {
        let flat = Price::flat(model, "file", Rates::of(PicoUsd(pico), PicoUsd(pico)));
        let price = Arc::new(Price { valid_from: from, valid_until: until, ..flat });
        FileRow { model: model.into(), path: path.map(Into::into), price }
    }

    #[test]
    fn the_first_row_that_names_the_model_and_holds_counts() {
        let rows = vec![
            row("gpt-4o-mini", Some("lab"), 1, None, None),
            row("gpt-4o-mini", None, 2, Some(100), Some(200)),
            row("gpt-4o-mini", None, 3, Some(200), Some(300)),
        ];
        let book = PriceBook::new(rows, Some(Catalogue::shipped().unwrap()));
        let of = |path, unix| {
            let asked = Asked { path, kind: PathKind::OpenAi, region: None, model_id: "gpt-4o-mini" };
            book.of(&asked, unix).map(|price| price.standard.base().input.0)
        };
        assert_eq!(of("lab", 0), Some(1));
        // Before the first row begins the catalogue holds; after the last has ended nothing does.
        assert_eq!(of("oai", 99), Some(150_000));
        assert_eq!([of("oai", 100), of("oai", 199), of("oai", 200)], [Some(2), Some(2), Some(3)]);
        assert_eq!(of("oai", 300), None);
    }
}
