//! Who pays for an exchange, and the most that one of its attempts can cost.
//!
//! Pure arithmetic over what the request says, the target's price and the limits in force. Where the
//! caller set no limit on the output and a hard budget counts it, a limit is put into the request that
//! leaves: what has no bound cannot be reserved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outcrop_core::decision::InputCounted;
use outcrop_core::failure::{Code, Failure};
use outcrop_core::money::{Bounds, Price, Terms, Tier};
use outcrop_core::operation::Operation;
use outcrop_core::{AttemptId, Priority, Protocol, Usage};
use outcrop_policy::Attribution;
use outcrop_policy::ledger::Amounts;
use outcrop_policy::route::{Choice, TargetSpec};
use outcrop_wire::Envelope;
use tokio::time::Instant;

use crate::authenticate::Caller;
use crate::gateway::{Gateway, Snapshot};
use crate::intake::Call;

/// Who pays for an exchange.
pub(crate) struct Payer {
    /// Whose it is; path and region come with a target.
    pub(crate) whose: Attribution,
    pub(crate) priority: Priority,
    // Whether an attempt has been sent: the exchange counts as one request, however many it takes.
    counted: AtomicBool,
}

/// What one attempt may cost at most, and at which price.
#[derive(Debug, Clone)]
pub(crate) struct Quote {
    pub(crate) price: Arc<Price>,
    pub(crate) terms: Terms,
    pub(crate) bounds: Bounds,
    /// Most output tokens that the request may ask for; `None` leaves it as it is.
    pub(crate) cap: Option<u64>,
    /// Service tier to ask for; `None` leaves the request as it is.
    pub(crate) tier: Option<Tier>,
    pub(crate) amounts: Amounts,
    /// The target, as the journal names it.
    pub(crate) whose: Attribution,
    pub(crate) model_id: Arc<str>,
    /// What its input was counted to, where its bytes did not fit.
    pub(crate) input_counted: Option<InputCounted>,
}

/// Who reserves, for which attempt, and how long it may take.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    pub(crate) payer: &'a Arc<Payer>,
    pub(crate) id: &'a AttemptId,
    pub(crate) by: Instant,
}

impl Payer {
    pub(crate) fn of(call: &Call, caller: &Caller, operation: &Operation, priority: Priority) -> Self {
        Self { whose: call.attribution(caller, &operation.name), priority, counted: AtomicBool::new(false) }
    }

    /// The payer of one call of a federated tool.
    pub(crate) fn of_tool(whose: Attribution) -> Self {
        Self { whose, priority: Priority::default(), counted: AtomicBool::new(true) }
    }

    /// What one call of a federated tool costs: the fee that a price row of its path names, if any.
    pub(crate) fn quote_tool(&self, price: Option<Arc<Price>>, tool: &str) -> Quote {
        let price = price.unwrap_or_else(|| Arc::new(Price::free(tool, "no row")));
        let terms = Terms::default();
        let nusd = price.cost(&Usage::of(0, 0), &terms).map_or(0, |fee| fee.0);
        Quote {
            price,
            terms,
            bounds: Bounds::default(),
            cap: None,
            tier: None,
            amounts: Amounts { nusd, tool_calls: 1, ..Amounts::default() },
            whose: self.whose.clone(),
            model_id: Arc::from(tool),
            input_counted: None,
        }
    }

    /// The exchange has been counted as a request.
    pub(crate) fn count(&self) {
        self.counted.store(true, Ordering::Relaxed);
    }

    /// The most that a try at a target can cost.
    pub(crate) fn quote(
        &self,
        gateway: &Gateway,
        snapshot: &Snapshot,
        envelope: &Envelope,
        to: (&Choice, &TargetSpec),
    ) -> Result<Quote, Failure> {
        let (choice, spec) = to;
        let mut whose = self.whose.clone();
        whose.path = Arc::clone(&spec.path);
        if let Some(region) = &spec.region {
            whose.region = Arc::clone(region);
        }
        let must_fit = gateway.ledger().needs_bound(&whose);
        let protocol = snapshot.upstreams.path(&spec.path).and_then(|p| p.speaks(envelope, &choice.model_id));
        let input = outcrop_wire::bounds(envelope, protocol.unwrap_or(envelope.protocol), &choice.model_id);
        if let Some(what) = input.unbounded.filter(|_| must_fit && !choice.price.free) {
            return Err(unbounded(what));
        }
        let output = Output::of(snapshot, envelope, to);
        let tier = self.tier(envelope, protocol, to);
        let paid = tier.filter(|_| !choice.price.free).or(envelope.tier);
        let mut quote = Quote {
            tier,
            price: Arc::clone(&choice.price),
            terms: Terms { tier: paid.unwrap_or_default(), requests: 1 },
            bounds: Bounds {
                input_tokens: input.input_tokens,
                output_tokens: output.most,
                answers: envelope.answers,
            },
            cap: (must_fit && output.must_be_said).then_some(output.most),
            amounts: Amounts::default(),
            whose,
            model_id: Arc::clone(&choice.model_id),
            input_counted: None,
        };
        quote.add_up(!self.counted.load(Ordering::Relaxed), envelope.protocol)?;
        Ok(quote)
    }
}

impl Payer {
    /// The operator's tier for this priority, where the caller names none and its price is known.
    fn tier(
        &self,
        envelope: &Envelope,
        sent: Option<Protocol>,
        (choice, spec): (&Choice, &TargetSpec),
    ) -> Option<Tier> {
        let said = envelope.says_tier || !sent.is_some_and(outcrop_upstream::has_tiers);
        let embeds = envelope.protocol == Protocol::OpenAiEmbeddings;
        let tier = spec.tier(self.priority).filter(|_| !said && !embeds)?;
        (choice.price.free || choice.price.tariff(tier).is_some()).then_some(tier)
    }
}

/// How many tokens an answer may have.
struct Output {
    most: u64,
    // Whether the caller asked for none or for more, so that the limit must be put into the request.
    must_be_said: bool,
}

impl Output {
    fn of(snapshot: &Snapshot, envelope: &Envelope, (choice, spec): (&Choice, &TargetSpec)) -> Self {
        if matches!(
            envelope.protocol,
            Protocol::OpenAiEmbeddings | Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens
        ) {
            return Self { most: 0, must_be_said: false };
        }
        let able = snapshot.routes.output_tokens_max(spec, &choice.model_id).unwrap_or(u64::MAX);
        let usual = spec.max_tokens_default.unwrap_or(snapshot.limits.output_tokens_default);
        let most = envelope.max_tokens.unwrap_or(usual).min(able);
        Self { most, must_be_said: envelope.max_tokens != Some(most) }
    }
}

impl Quote {
    /// Computes what is to be reserved from the bounds.
    fn add_up(&mut self, counts_as_request: bool, protocol: Protocol) -> Result<(), Failure> {
        let counted = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        let is_free = matches!(protocol, Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens);
        let nusd = if is_free {
            0
        } else {
            self.price.upper_bound(&self.bounds, &self.terms).ok_or_else(|| no_such_tier(&self.terms))?.0
        };
        self.amounts = Amounts {
            nusd,
            input_tokens: counted(self.bounds.input_tokens),
            output_tokens: counted(self.bounds.output_total()),
            requests: i64::from(counts_as_request),
            tool_calls: 0,
        };
        Ok(())
    }

    /// The same attempt with so many output tokens an answer, at most.
    pub(crate) fn with_output(&self, tokens: u64) -> Option<Self> {
        let mut smaller = self.clone();
        smaller.bounds.output_tokens = tokens;
        smaller.cap = Some(tokens);
        smaller.amounts.nusd = self.price.upper_bound(&smaller.bounds, &self.terms)?.0;
        smaller.amounts.output_tokens = i64::try_from(smaller.bounds.output_total()).ok()?;
        Some(smaller)
    }

    /// The same attempt with so many input tokens, at most.
    pub(crate) fn with_input(&self, counted: InputCounted) -> Option<Self> {
        let mut smaller = self.clone();
        smaller.bounds.input_tokens = counted.tokens;
        smaller.input_counted = Some(counted);
        smaller.amounts.nusd = self.price.upper_bound(&smaller.bounds, &self.terms)?.0;
        smaller.amounts.input_tokens = i64::try_from(counted.tokens).ok()?;
        Some(smaller)
    }

    /// The largest output that makes the attempt fit into what is left of a dimension, if it is not
    /// below the floor.
    pub(crate) fn clamped(&self, fits: impl Fn(&Amounts) -> bool, floor_tokens: u64) -> Option<Self> {
        let (mut low, mut high) = (floor_tokens, self.bounds.output_tokens);
        if low >= high {
            return None;
        }
        let at = |tokens| self.with_output(tokens).filter(|quote| fits(&quote.amounts));
        let mut best = at(low)?;
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match at(middle) {
                Some(quote) => (best, low) = (quote, middle),
                None => high = middle - 1,
            }
        }
        Some(best)
    }
}

fn unbounded(what: &str) -> Failure {
    Failure::refusal(
        Code::PriceUnknown,
        format!(
            "The request holds {what}, and no formula bounds what that costs, so it cannot be admitted under \
             a hard budget; send it as text, or have the budget made soft."
        ),
    )
}

fn no_such_tier(terms: &Terms) -> Failure {
    let tier = terms.tier.label();
    Failure::refusal(
        Code::PriceUnknown,
        format!("The price of this model in the service tier `{tier}` is not known; ask for `default`."),
    )
}

#[cfg(test)]
mod tests {
    use outcrop_core::money::{PicoUsd, Rates};

    use super::*;

    fn quote(output_tokens: u64) -> Quote {
        let price = Price::flat("m", "file", Rates::of(PicoUsd(1_000_000), PicoUsd(2_000_000)));
        let mut quote = Quote {
            price: Arc::new(price),
            terms: Terms::default(),
            bounds: Bounds { input_tokens: 100, output_tokens, answers: 2 },
            cap: None,
            tier: None,
            amounts: Amounts::default(),
            whose: Attribution::default(),
            model_id: "m".into(),
            input_counted: None,
        };
        quote.add_up(true, Protocol::OpenAiChat).unwrap();
        quote
    }

    #[test]
    fn a_quote_is_clamped_to_exactly_what_fits() {
        let whole = quote(1000);
        // 100 tokens in at 1,000 n$, 2 × 1000 out at 2,000 n$.
        assert_eq!(whole.amounts.nusd, 100_000 + 4_000_000);
        for (left, floor, expected) in [
            (2_100_000, 1, Some(500)),
            (2_103_999, 1, Some(500)),
            (2_104_000, 1, Some(501)),
            (2_100_000, 501, None),
            (100_000, 1, None),
        ] {
            let clamped = whole.clamped(|amounts| amounts.nusd <= left, floor);
            assert_eq!(clamped.as_ref().map(|q| q.bounds.output_tokens), expected, "{left} {floor}");
            assert_eq!(clamped.and_then(|q| q.cap), expected);
        }
    }
}
