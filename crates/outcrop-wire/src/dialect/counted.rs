//! Counted tokens as upstreams report them, in every spelling at once.
//!
//! One reader for all protocols, because compatible servers, gateways and model families mix the
//! spellings. It never fails: a figure that is no count (negative, broken, a text, beyond all reason)
//! is not reported, which is not zero. Input comes out without its cached part, never below zero.

use outcrop_core::Usage;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess};

use super::lenient::{self, Lenient, List};

/// Largest figure that is believed. A hundred thousand times the largest context window there is.
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// One figure, unless it is no count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tokens(pub(crate) Option<u64>);

/// A `usage` block, or Bedrock's `amazon-bedrock-invocationMetrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counted {
    /// All input, cached tokens among it (OpenAI).
    prompt: Tokens,
    /// Input; without its cached part, unless details say what is inside.
    input: Tokens,
    output: Tokens,
    cache_read: Tokens,
    cache_write: Tokens,
    /// What was written to the cache, by the life it has there.
    lives: Lives,
    /// What is inside `prompt` or `input`.
    inside: Inside,
    reasoning: Tokens,
    /// Whether this is the account of a compaction, inside another.
    is_compaction: bool,
    /// What compactions used beside the account they are in.
    compacted: Option<Usage>,
}

/// `cache_creation` of Anthropic, `cacheDetails` of Converse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Lives {
    short: Tokens,
    hour: Tokens,
}

/// `prompt_tokens_details` of OpenAI and of those who extend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Inside {
    read: Tokens,
    written: Tokens,
    lives: Lives,
}

/// Members of a usage block, by their first spelling.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    PromptTokens,
    #[serde(alias = "inputTokens", alias = "inputTokenCount")]
    InputTokens,
    #[serde(alias = "completion_tokens", alias = "outputTokens", alias = "outputTokenCount")]
    OutputTokens,
    #[serde(alias = "cacheReadInputTokens", alias = "cacheReadInputTokenCount")]
    CacheReadInputTokens,
    #[serde(alias = "cacheWriteInputTokens", alias = "cacheWriteInputTokenCount")]
    CacheCreationInputTokens,
    CacheCreation,
    #[serde(rename = "cacheDetails")]
    CacheDetails,
    #[serde(alias = "input_tokens_details")]
    PromptTokensDetails,
    #[serde(alias = "output_tokens_details")]
    CompletionTokensDetails,
    /// Anthropic: samplings of a request whose context was compacted.
    Iterations,
    /// Cohere.
    BilledUnits,
    Type,
    #[serde(other)]
    Other,
}

/// Members of the objects inside a usage block.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Detail {
    CachedTokens,
    #[serde(alias = "cache_write_tokens")]
    CacheCreationTokens,
    CacheCreationTokenDetails,
    #[serde(rename = "ephemeral_5m_input_tokens")]
    Short,
    #[serde(rename = "ephemeral_1h_input_tokens")]
    Hour,
    #[serde(alias = "thinking_tokens")]
    ReasoningTokens,
    Ttl,
    #[serde(rename = "inputTokens")]
    InputTokens,
    #[serde(other)]
    Other,
}

/// `completion_tokens_details`.
#[derive(Default)]
struct OutputInside {
    reasoning: Tokens,
}

/// An entry of Converse's `cacheDetails`.
#[derive(Default)]
struct Entry {
    is_hour: Is<HourName>,
    tokens: Tokens,
}

/// Whether a value is one certain text.
struct Is<N>(bool, std::marker::PhantomData<N>);
struct HourName;
struct CompactionName;

trait Text {
    const TEXT: &str;
}

impl Text for HourName {
    const TEXT: &str = "1h";
}

impl Text for CompactionName {
    const TEXT: &str = "compaction";
}

impl<N> Default for Is<N> {
    fn default() -> Self {
        Self(false, std::marker::PhantomData)
    }
}

impl Tokens {
    /// The figure, unless it is beyond all reason.
    pub(crate) fn of(figure: u64) -> Self {
        Self((figure <= TOKENS_MAX).then_some(figure))
    }

    /// Takes over a figure that is known.
    fn take(&mut self, later: Self) {
        self.0 = later.0.or(self.0);
    }

    fn or_zero(self) -> u64 {
        self.0.unwrap_or(0)
    }
}

impl Lives {
    /// All that was written, if any part is known.
    fn total(self) -> Option<u64> {
        let known = self.short.0.is_some() || self.hour.0.is_some();
        known.then(|| self.short.or_zero().saturating_add(self.hour.or_zero()))
    }
}

impl Counted {
    /// The counts in core's words.
    pub(crate) fn usage(&self) -> Usage {
        let Self { inside, lives, .. } = self;
        let written_inside = inside.written.0.or(inside.lives.total());
        let cached = inside.read.or_zero().saturating_add(written_inside.unwrap_or(0));
        let all = self.prompt.0.or(self.input.0);
        // Beside an inclusive figure only its own details say what it includes.
        let beside = |tokens: Option<u64>| tokens.filter(|_| self.prompt.0.is_none());
        let mut usage = Usage {
            input: all.map(|all| all.saturating_sub(cached)),
            output: self.output.0,
            cache_read: inside.read.0.or(beside(self.cache_read.0)),
            cache_write: written_inside.or(beside(self.cache_write.0.or(lives.total()))),
            cache_write_1h: inside.lives.hour.0.or(beside(lives.hour.0)),
            reasoning: self.reasoning.0,
        };
        if let Some(compacted) = self.compacted {
            add(&mut usage, compacted);
        }
        usage
    }

    /// What this account knows that `seen` does not: metrics stand beside the model's own usage,
    /// which is the finer account, and never replace it.
    pub(crate) fn beside(&self, seen: &Usage) -> Usage {
        let usage = self.usage();
        Usage {
            input: usage.input.filter(|_| seen.input.is_none()),
            output: usage.output.filter(|_| seen.output.is_none()),
            cache_read: usage.cache_read.filter(|_| seen.cache_read.is_none()),
            cache_write: usage.cache_write.filter(|_| seen.cache_write.is_none()),
            cache_write_1h: usage.cache_write_1h.filter(|_| seen.cache_write_1h.is_none()),
            reasoning: usage.reasoning.filter(|_| seen.reasoning.is_none()),
        }
    }

    fn take<'de, A: MapAccess<'de>>(&mut self, name: &Name, map: &mut A) -> Result<(), A::Error> {
        match name {
            Name::PromptTokens => self.prompt.take(map.next_value()?),
            Name::InputTokens => self.input.take(map.next_value()?),
            Name::OutputTokens => self.output.take(map.next_value()?),
            Name::CacheReadInputTokens => self.cache_read.take(map.next_value()?),
            Name::CacheCreationInputTokens => self.cache_write.take(map.next_value()?),
            Name::CacheCreation => self.lives = map.next_value()?,
            Name::CacheDetails => {
                let List(entries) = map.next_value()?;
                self.lives = lives_of(&entries);
            }
            Name::PromptTokensDetails => self.inside = map.next_value()?,
            Name::CompletionTokensDetails => {
                self.reasoning = map.next_value::<OutputInside>()?.reasoning;
            }
            Name::Iterations => {
                let List(iterations) = map.next_value()?;
                self.compacted = compacted(&iterations);
            }
            Name::BilledUnits => {
                let billed: Counted = map.next_value()?;
                self.input.take(billed.input);
                self.output.take(billed.output);
            }
            Name::Type => self.is_compaction = map.next_value::<Is<CompactionName>>()?.0,
            Name::Other => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Adds to figures that are known: what is unknown stays so.
fn add(usage: &mut Usage, more: Usage) {
    let plus = |figure: Option<u64>, more: Option<u64>| figure.map(|n| n.saturating_add(more.unwrap_or(0)));
    usage.input = plus(usage.input, more.input);
    usage.output = plus(usage.output, more.output);
    usage.cache_read = plus(usage.cache_read.or(more.cache_read.map(|_| 0)), more.cache_read);
    usage.cache_write = plus(usage.cache_write.or(more.cache_write.map(|_| 0)), more.cache_write);
    usage.cache_write_1h = plus(usage.cache_write_1h.or(more.cache_write_1h.map(|_| 0)), more.cache_write_1h);
}

/// What the compactions among the samplings used: Anthropic's own figures leave it out, its bill
/// does not.
fn compacted(iterations: &[Counted]) -> Option<Usage> {
    let mut sum = None;
    for iteration in iterations.iter().filter(|iteration| iteration.is_compaction) {
        add(sum.get_or_insert(Usage::of(0, 0)), iteration.usage());
    }
    sum
}

fn lives_of(entries: &[Entry]) -> Lives {
    let sum = |hour: bool| {
        let known = entries.iter().filter(|entry| entry.is_hour.0 == hour).filter_map(|entry| entry.tokens.0);
        Tokens(known.reduce(u64::saturating_add))
    };
    Lives { short: sum(false), hour: sum(true) }
}

impl Lenient<'_> for Tokens {
    fn whole(figure: u64) -> Self {
        Self::of(figure)
    }
}

impl<N: Text> Lenient<'_> for Is<N> {
    fn text(text: &str) -> Self {
        Self(text == N::TEXT, std::marker::PhantomData)
    }
}

impl<'de> Lenient<'de> for Counted {
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut counted = Self::default();
        while let Some(name) = map.next_key()? {
            counted.take(&name, &mut map)?;
        }
        Ok(counted)
    }
}

impl<'de> Lenient<'de> for Lives {
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut lives = Self::default();
        while let Some(name) = map.next_key()? {
            match name {
                Detail::Short => lives.short = map.next_value()?,
                Detail::Hour => lives.hour = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(lives)
    }
}

impl<'de> Lenient<'de> for Inside {
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut inside = Self::default();
        while let Some(name) = map.next_key()? {
            match name {
                Detail::CachedTokens => inside.read = map.next_value()?,
                Detail::CacheCreationTokens => inside.written.take(map.next_value()?),
                Detail::CacheCreationTokenDetails => inside.lives = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(inside)
    }
}

impl<'de> Lenient<'de> for OutputInside {
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut inside = Self::default();
        while let Some(name) = map.next_key()? {
            match name {
                Detail::ReasoningTokens => inside.reasoning.take(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(inside)
    }
}

impl<'de> Lenient<'de> for Entry {
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut entry = Self::default();
        while let Some(name) = map.next_key()? {
            match name {
                Detail::Ttl => entry.is_hour = map.next_value()?,
                Detail::InputTokens => entry.tokens = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(entry)
    }
}

lenient::deserialize!(Tokens, Counted, Lives, Inside, OutputInside, Entry, Is<HourName>, Is<CompactionName>);

#[cfg(test)]
mod tests;
