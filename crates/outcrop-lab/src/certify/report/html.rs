//! The page for people: one file, no network, no script.
//!
//! The page's own policy forbids everything but its one style sheet, which it names by its hash. All text passes
//! the template's escaping; plots are escaped where they are drawn.

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::view::View;
use super::{HTML_NAME, JSON_NAME, Provenance, SIGNATURE_NAME};
use crate::certify::outcome::Outcome;

/// The page's only style sheet.
const STYLE: &str = include_str!("html/style.css");

#[derive(Template)]
#[template(path = "certify/report.html")]
struct Page {
    view: View,
    style: Style,
    style_hash: String,
    json_name: &'static str,
    signature_name: &'static str,
    html_name: &'static str,
}

/// Our own style sheet, which needs no escaping.
struct Style;

impl std::fmt::Display for Style {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(STYLE)
    }
}

impl askama::filters::HtmlSafe for Style {}

/// Renders a run as a page.
pub fn render(outcome: &Outcome, provenance: &Provenance) -> Result<String, std::fmt::Error> {
    let page = Page {
        view: View::new(outcome, provenance),
        style: Style,
        style_hash: STANDARD.encode(digest(&SHA256, STYLE.as_bytes())),
        json_name: JSON_NAME,
        signature_name: SIGNATURE_NAME,
        html_name: HTML_NAME,
    };
    page.render().map_err(|_| std::fmt::Error)
}
