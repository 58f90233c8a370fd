//! Scopes: which requests a budget, a rate limit or a stop speaks of.
//!
//! A scope is a set of conditions that must all hold, written `key:ci`, `user:*` or
//! `team:blue+model:sonnet`; `all` has none. A star stands for every value, and each value then has an
//! account of its own. The same words are used wherever a scope is named. In a value, `%`, `+` and a
//! lone star are written as `%25`, `%2B` and `%2A`, so that no value a caller chooses reads as more
//! than one value.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

/// Most conditions that one scope joins.
pub const CONDITIONS_MAX: usize = 4;
/// Longest value of a condition, in characters; longer ones of callers are cut.
pub const VALUE_CHARS_MAX: usize = 200;

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Facet {
    /// Organisation of the key.
    Org,
    /// Team of the key.
    Team,
    /// Name of the key.
    Key,
    /// End user, as the request names it.
    User,
    /// Run or session, as the request names it.
    Run,
    /// Model, as the request names it.
    Model,
    /// Path of the target.
    Path,
    /// Region of the target.
    Region,
    /// Operation.
    Operation,
    /// Federated tool.
    Tool,
}

/// All facets, in the order in which scopes are written.
pub const FACETS: [Facet; 10] = [
    Facet::Org,
    Facet::Team,
    Facet::Key,
    Facet::User,
    Facet::Run,
    Facet::Model,
    Facet::Path,
    Facet::Region,
    Facet::Operation,
    Facet::Tool,
];

impl Facet {
    /// The word in front of the colon.
    pub fn label(self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::Team => "team",
            Self::Key => "key",
            Self::User => "user",
            Self::Run => "run",
            Self::Model => "model",
            Self::Path => "path",
            Self::Region => "region",
            Self::Operation => "operation",
            Self::Tool => "tool",
        }
    }

    /// Whether the value is only known once a target is chosen.
    pub fn is_of_target(self) -> bool {
        matches!(self, Self::Path | Self::Region)
    }
}

/// Whose a request is and what it asks: the values that scopes look at. Empty is "none".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    /// Organisation of the key.
    pub org: Arc<str>,
    /// Team of the key.
    pub team: Arc<str>,
    /// Name of the key.
    pub key: Arc<str>,
    /// End user.
    pub user: Arc<str>,
    /// Run or session.
    pub run: Arc<str>,
    /// Model as the caller named it.
    pub model: Arc<str>,
    /// Path of the target; empty before one is chosen.
    pub path: Arc<str>,
    /// Region of the target; empty before one is chosen, or when it has none.
    pub region: Arc<str>,
    /// Operation.
    pub operation: Arc<str>,
    /// Federated tool.
    pub tool: Arc<str>,
}

impl Default for Attribution {
    fn default() -> Self {
        let none: Arc<str> = Arc::from("");
        Self {
            org: Arc::clone(&none),
            team: Arc::clone(&none),
            key: Arc::clone(&none),
            user: Arc::clone(&none),
            run: Arc::clone(&none),
            model: Arc::clone(&none),
            path: Arc::clone(&none),
            region: Arc::clone(&none),
            operation: Arc::clone(&none),
            tool: none,
        }
    }
}

impl Attribution {
    /// The value of a facet.
    pub fn of(&self, facet: Facet) -> &Arc<str> {
        match facet {
            Facet::Org => &self.org,
            Facet::Team => &self.team,
            Facet::Key => &self.key,
            Facet::User => &self.user,
            Facet::Run => &self.run,
            Facet::Model => &self.model,
            Facet::Path => &self.path,
            Facet::Region => &self.region,
            Facet::Operation => &self.operation,
            Facet::Tool => &self.tool,
        }
    }

    /// The same request at a target.
    #[must_use]
    pub fn at(mut self, path: &Arc<str>, region: Option<&Arc<str>>) -> Self {
        self.path = Arc::clone(path);
        if let Some(region) = region {
            self.region = Arc::clone(region);
        }
        self
    }

    /// A value as a caller gave it, cut to what a scope may hold, control characters taken out.
    pub fn value(given: &str) -> Arc<str> {
        let plain = |c: &char| !c.is_control();
        if given.len() <= VALUE_CHARS_MAX && given.chars().all(|c| plain(&c)) {
            return Arc::from(given);
        }
        given.chars().filter(plain).take(VALUE_CHARS_MAX).collect::<String>().into()
    }
}

/// One condition; `None` is the star.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Condition {
    facet: Facet,
    value: Option<Box<str>>,
}

/// Which requests something speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Scope {
    conditions: SmallVec<[Condition; 2]>,
}

/// A text that is no scope; the message names the cause and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAScope(pub String);

impl fmt::Display for NotAScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAScope {}

impl Scope {
    /// The scope of everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads `all`, `key:ci`, `user:*`, `team:blue+model:sonnet`. A value may contain colons.
    pub fn parse(text: &str) -> Result<Self, NotAScope> {
        if text == "all" {
            return Ok(Self::all());
        }
        let mut conditions: SmallVec<[Condition; 2]> = SmallVec::new();
        for part in text.split('+') {
            conditions.push(condition(part)?);
        }
        conditions.sort();
        let twice = conditions.windows(2).any(|pair| matches!(pair, [a, b] if a.facet == b.facet));
        if twice || conditions.len() > CONDITIONS_MAX {
            return Err(NotAScope(format!(
                "`{text}` names a facet twice or joins more than {CONDITIONS_MAX} of them"
            )));
        }
        Ok(Self { conditions })
    }

    /// Whether the scope speaks of such a request. A star matches every value, and also "none", so
    /// that nobody gets around a limit by leaving a header out; only a request that belongs to no run
    /// or calls no tool is not one run or one tool.
    pub fn matches(&self, whose: &Attribution) -> bool {
        self.conditions.iter().all(|condition| match &condition.value {
            None if matches!(condition.facet, Facet::Run | Facet::Tool) => {
                !whose.of(condition.facet).is_empty()
            }
            None => true,
            Some(value) => **value == **whose.of(condition.facet),
        })
    }

    /// The scope with every star replaced by the request's value; `None` where it has no such value.
    pub fn of(&self, whose: &Attribution) -> Option<Self> {
        let concrete = |condition: &Condition| {
            let value: &str = match &condition.value {
                Some(value) => value,
                None => whose.of(condition.facet),
            };
            let value = (!value.is_empty()).then(|| value.into())?;
            Some(Condition { facet: condition.facet, value: Some(value) })
        };
        let conditions: Option<_> = self.conditions.iter().map(concrete).collect();
        conditions.map(|conditions| Self { conditions })
    }

    /// Whether this scope speaks of every request that `inner` speaks of: each of its conditions stands
    /// in `inner` too, or is met by a narrower one there.
    pub fn covers(&self, inner: &Self) -> bool {
        self.conditions.iter().all(|outer| {
            let meets = |c: &&Condition| c.facet == outer.facet;
            let Some(found) = inner.conditions.iter().find(meets) else { return false };
            outer.value.is_none() || outer.value == found.value
        })
    }

    /// Whether a star stands in it: then each combination of values has an account of its own.
    pub fn has_star(&self) -> bool {
        self.conditions.iter().any(|condition| condition.value.is_none())
    }

    /// The facets it looks at.
    pub fn facets(&self) -> impl Iterator<Item = Facet> {
        self.conditions.iter().map(|condition| condition.facet)
    }

    /// The facets for which it names one value, with that value.
    pub fn named(&self) -> impl Iterator<Item = (Facet, &str)> {
        self.conditions.iter().filter_map(|condition| Some((condition.facet, condition.value.as_deref()?)))
    }

    /// The scope with every star replaced by the request's value, as it is written.
    pub fn instance(&self, whose: &Attribution) -> String {
        let mut text = String::new();
        self.write_instance(whose, &mut text);
        text
    }

    /// `instance`, into text that is there already.
    pub(crate) fn write_instance(&self, whose: &Attribution, text: &mut String) {
        self.write(text, |condition| match &condition.value {
            Some(value) => Some(value),
            None => Some(whose.of(condition.facet)),
        });
    }

    fn write<'a>(&'a self, text: &mut String, value: impl Fn(&'a Condition) -> Option<&'a str>) {
        if self.conditions.is_empty() {
            text.push_str("all");
        }
        for (n, condition) in self.conditions.iter().enumerate() {
            if n > 0 {
                text.push('+');
            }
            text.push_str(condition.facet.label());
            text.push(':');
            match value(condition) {
                None => text.push('*'),
                Some("*") => text.push_str("%2A"),
                Some(value) => write_value(text, value),
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text, |condition| condition.value.as_deref());
        f.write_str(&text)
    }
}

fn write_value(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '%' => text.push_str("%25"),
            '+' => text.push_str("%2B"),
            c => text.push(c),
        }
    }
}

fn read_value(text: &str) -> Box<str> {
    if !text.contains('%') {
        return text.into();
    }
    // The percent sign last: what it makes is no sign of another.
    text.replace("%2B", "+").replace("%2A", "*").replace("%25", "%").into()
}

fn condition(text: &str) -> Result<Condition, NotAScope> {
    let known = || FACETS.map(Facet::label).join(", ");
    let (word, value) = text.split_once(':').ok_or_else(|| {
        NotAScope(format!("`{text}` is not a scope; write `all` or `{}:name` with {}", "key", known()))
    })?;
    let facet = FACETS
        .into_iter()
        .find(|facet| facet.label() == word)
        .ok_or_else(|| NotAScope(format!("`{word}` is not a kind of scope; known: all, {}", known())))?;
    let star = value == "*";
    let value = read_value(value);
    if value.is_empty() || value.chars().count() > VALUE_CHARS_MAX || value.chars().any(char::is_control) {
        return Err(NotAScope(format!("`{text}`: a value has 1 to {VALUE_CHARS_MAX} printable characters")));
    }
    Ok(Condition { facet, value: (!star).then_some(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whose() -> Attribution {
        Attribution { key: "ci".into(), model: "sonnet".into(), ..Attribution::default() }
    }

    #[test]
    fn a_scope_speaks_of_the_requests_that_meet_all_its_conditions() {
        for (text, matches, instance) in [
            ("all", true, "all"),
            ("key:ci", true, "key:ci"),
            ("key:cd", false, "key:cd"),
            ("user:*", true, "user:"),
            ("run:*", false, "run:"),
            ("key:*", true, "key:ci"),
            ("model:sonnet+key:ci", true, "key:ci+model:sonnet"),
            ("key:ci+model:haiku", false, "key:ci+model:haiku"),
            ("key:*+model:*", true, "key:ci+model:sonnet"),
        ] {
            let scope = Scope::parse(text).unwrap();
            assert_eq!(scope.matches(&whose()), matches, "{text}");
            assert_eq!(scope.instance(&whose()), instance, "{text}");
            assert_eq!(Scope::parse(&scope.to_string()), Ok(scope));
        }
    }

    #[test]
    fn a_scope_covers_what_is_narrower() {
        for (outer, inner, covers) in [
            ("all", "key:ci", true),
            ("key:ci", "all", false),
            ("team:a", "team:a", true),
            ("team:a", "team:a+key:ci", true),
            ("team:a", "team:b+key:ci", false),
            ("team:a+key:ci", "team:a", false),
            ("team:*", "team:a", true),
            ("team:a", "team:*", false),
        ] {
            let (outer, inner) = (Scope::parse(outer).unwrap(), Scope::parse(inner).unwrap());
            assert_eq!(outer.covers(&inner), covers, "{outer} {inner}");
        }
    }

    #[test]
    fn what_is_no_scope_is_refused_with_the_way_out() {
        for (text, says) in [
            ("", "is not a scope"),
            ("ci", "is not a scope"),
            ("kee:ci", "known: all, org"),
            ("key:", "1 to 200"),
            ("key:a+key:b", "twice"),
            ("key:a\n", "printable"),
            ("org:a+team:b+key:c+user:d+run:e", "more than 4"),
        ] {
            let NotAScope(message) = Scope::parse(text).unwrap_err();
            assert!(message.contains(says), "{text}: {message}");
        }
    }

    #[test]
    fn no_value_reads_as_more_than_one_value() {
        for user in ["a+key:ci", "*", "100%", "%2B", "a:b", "all"] {
            let whose = Attribution { user: user.into(), ..whose() };
            let scope = Scope::parse("user:*").unwrap().of(&whose).unwrap();
            assert!(scope.matches(&whose) && !scope.matches(&Attribution::default()), "{user}");
            assert_eq!(Scope::parse(&scope.to_string()).as_ref(), Ok(&scope), "{user}");
            assert_eq!(Scope::parse("user:*").unwrap().instance(&whose), scope.to_string());
        }
        assert_eq!(Scope::parse("user:*").unwrap().of(&whose()), None, "nobody is not a user");
        assert_eq!(Scope::all().of(&whose()), Some(Scope::all()));
    }

    #[test]
    fn values_of_callers_are_cut_and_plain() {
        assert_eq!(&*Attribution::value("a\nb"), "ab");
        assert_eq!(Attribution::value(&"ä".repeat(300)).chars().count(), VALUE_CHARS_MAX);
    }
}
