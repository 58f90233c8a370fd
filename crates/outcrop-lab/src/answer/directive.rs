//! Directives in double square brackets inside the last user text.
//!
//! They let any client steer the simulated model without a field its protocol lacks. Unknown directives are text.

use serde_json::Value;

/// Words a directive may ask for at most.
const WORDS_MAX: u64 = 100_000;

/// What the directives of one text ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Directives {
    /// `[[tokens=50]]`: numbered words of the answer, at least 1.
    pub tokens: Option<u64>,
    /// `[[tool]]` or `[[tool=name]]`: call a tool.
    pub tool: bool,
    /// The name in `[[tool=name]]`.
    pub tool_name: Option<String>,
    /// `[[args={…}]]`: arguments of the call instead of generated ones.
    pub arguments: Option<Value>,
    /// `[[think]]`: a thinking block first.
    pub think: bool,
    /// `[[stop]]`: end with the stop-sequence reason.
    pub stop: bool,
    /// `[[filter]]`: end with the content filter's reason.
    pub filter: bool,
    /// `[[say=…]]`: this text instead of numbered words.
    pub say: Option<String>,
}

impl Directives {
    /// Reads all directives of a text.
    pub fn read(text: &str) -> Self {
        let mut directives = Self::default();
        for part in text.split("[[").skip(1) {
            if let Some((directive, _)) = part.split_once("]]") {
                directives.take(directive);
            }
        }
        directives
    }

    fn take(&mut self, directive: &str) {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (directive, None),
        };
        match (name.trim(), value) {
            ("tokens", Some(value)) => {
                self.tokens = value.trim().parse().ok().map(|n: u64| n.clamp(1, WORDS_MAX));
            }
            ("tool", value) => {
                self.tool = true;
                self.tool_name = value.map(|name| name.trim().to_owned());
            }
            ("args", Some(value)) => self.arguments = serde_json::from_str(value).ok(),
            ("think", None) => self.think = true,
            ("stop", None) => self.stop = true,
            ("filter", None) => self.filter = true,
            ("say", Some(value)) => self.say = Some(value.to_owned()),
            _ => {}
        }
    }
}
