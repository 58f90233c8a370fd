//! A sheet of SVG: every text and every attribute is escaped here, and nowhere else.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;

use super::WIDTH;

/// Finished SVG, safe to put into a page as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::certify::report) struct Svg(String);

/// SVG in the making.
pub(super) struct Canvas {
    body: String,
}

impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Svg {}

impl Canvas {
    pub(super) fn new() -> Self {
        Self { body: String::new() }
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.element(&format!(
            r#"<line class="{}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#,
            escaped(class)
        ));
    }

    pub(super) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        self.element(&format!(
            r#"<rect class="{}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#,
            escaped(class)
        ));
    }

    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        self.element(&format!(
            r#"<circle class="{}" cx="{x:.1}" cy="{y:.1}" r="{radius:.1}"/>"#,
            escaped(class)
        ));
    }

    /// A line through points; one alone is drawn as a dot.
    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        if let [point] = points {
            return self.dot(&format!("{class} dot"), *point, 2.5);
        }
        let mut way = String::new();
        for (at, (x, y)) in points.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(way, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
        }
        self.element(&format!(r#"<path class="{}" d="{way}"/>"#, escaped(class)));
    }

    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let class = escaped(class);
        self.element(&format!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escaped(text)));
    }

    /// The sheet as SVG that says what it shows to whoever cannot see it.
    pub(super) fn finish(self, id: &str, height: f64, title: &str, description: &str) -> Svg {
        let (id, title, description) = (escaped(id), escaped(title), escaped(description));
        Svg(format!(
            "<svg class=\"plot\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{description}</desc>\n{}</svg>",
            self.body
        ))
    }

    fn element(&mut self, text: &str) {
        self.body.push_str(text);
        self.body.push('\n');
    }
}

fn escaped(text: &str) -> String {
    askama::filters::escape(text, askama::filters::Html)
        .map_or_else(|never| match never {}, |safe| safe.to_string())
}
