use proptest::prelude::*;

use super::*;
use crate::Usage;

fn sonnet() -> Price {
    let rates = Rates {
        cache_read: PicoUsd(330_000),
        cache_write: PicoUsd(4_125_000),
        cache_write_1h: PicoUsd(6_600_000),
        reasoning: PicoUsd(20_000_000),
        ..Rates::of(PicoUsd(3_300_000), PicoUsd(16_500_000))
    };
    let long = Band { above: 200_000, rates: Rates::of(PicoUsd(6_600_000), PicoUsd(24_750_000)) };
    let priority = Tariff::flat(Rates::of(PicoUsd(7_000_000), PicoUsd(30_000_000)));
    Price {
        standard: Tariff::new(rates, vec![long]),
        tiers: Box::new([(Tier::Priority, priority)]),
        request: PicoUsd(500),
        ..Price::flat("sonnet", "test", rates)
    }
}

#[test]
fn every_kind_of_token_has_its_price() {
    let none = Usage::of(0, 0);
    for (usage, nano) in [
        (Usage::of(1_000_000 / 10, 0), 330_000_000),
        (Usage::of(0, 10), 165_000),
        (Usage { cache_read: Some(10), ..none }, 3_300),
        (Usage { cache_write: Some(10), ..none }, 41_250),
        (Usage { cache_write: Some(10), cache_write_1h: Some(4), ..none }, 6 * 4_125 + 4 * 6_600),
        // A part that is larger than its whole is the whole.
        (Usage { cache_write: Some(1), cache_write_1h: Some(4), ..none }, 4 * 6_600),
        (Usage { cache_write_1h: Some(4), ..none }, 4 * 6_600),
        (Usage { reasoning: Some(4), ..Usage::of(0, 10) }, 6 * 16_500 + 4 * 20_000),
        (Usage { reasoning: Some(12), ..Usage::of(0, 10) }, 12 * 20_000),
    ] {
        // The fee of half a nano-dollar is rounded up with the rest, once.
        assert_eq!(sonnet().cost(&usage, &Terms::default()), Some(NanoUsd(nano + 1)), "{usage:?}");
    }
}

#[test]
fn a_band_holds_for_the_whole_request_and_counts_cached_input() {
    let cost = |usage| sonnet().cost(&usage, &Terms { requests: 0, ..Terms::default() }).unwrap().0;
    assert_eq!(cost(Usage::of(200_000, 1)), 200_000 * 3_300 + 16_500);
    assert_eq!(cost(Usage::of(200_001, 1)), 200_001 * 6_600 + 24_750);
    let cached = Usage { cache_read: Some(200_000), ..Usage::of(1, 1) };
    assert_eq!(cost(cached), 200_001 * 6_600 + 24_750);
}

#[test]
fn what_is_unknown_is_not_zero() {
    let (price, terms) = (sonnet(), Terms::default());
    assert_eq!(price.cost(&Usage::default(), &terms), None);
    assert_eq!(price.cost(&Usage { output: None, ..Usage::of(1, 1) }, &terms), None);
    assert_eq!(price.cost(&Usage { input: None, ..Usage::of(1, 1) }, &terms), None);
    let plain = Price { tiers: Box::default(), ..sonnet() };
    let of = |tier| plain.cost(&Usage::of(10, 0), &Terms { tier, requests: 0 });
    assert_eq!(of(Tier::Priority), None);
    assert_eq!((of(Tier::Flex), of(Tier::Batch)), (of(Tier::Standard), of(Tier::Standard)));
    let priority = Terms { tier: Tier::Priority, requests: 2 };
    assert_eq!(price.cost(&Usage::of(10, 0), &priority), Some(NanoUsd(70_001)));
    assert_eq!(plain.upper_bound(&Bounds::of(1, 1), &priority), None);
    assert_eq!(Price::free("x", "test").cost(&Usage::default(), &priority), Some(NanoUsd(0)));
}

#[test]
fn a_row_holds_between_its_dates() {
    let row = Price { valid_from: Some(10), valid_until: Some(20), ..sonnet() };
    assert_eq!([9, 10, 19, 20].map(|unix| row.holds_at(unix)), [false, true, true, false]);
    assert!(sonnet().holds_at(0) && sonnet().holds_at(u64::MAX));
}

#[test]
fn prices_are_shown_with_every_digit() {
    for (pico, shown) in [(3_300_000, "3.3"), (16_000_000, "16"), (1, "0.000001"), (0, "0")] {
        assert_eq!(PicoUsd(pico).to_string(), shown);
    }
}

/// Any number, and often one at an end.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0u64..5, 0u64..1_000_000, Just(u64::MAX), Just(u64::MAX - 1)]
}

fn rates() -> impl Strategy<Value = Rates> {
    prop::array::uniform6(number().prop_map(PicoUsd)).prop_map(
        |[input, output, cache_read, cache_write, cache_write_1h, reasoning]| Rates {
            input,
            output,
            cache_read,
            cache_write,
            cache_write_1h,
            reasoning,
        },
    )
}

fn tariff() -> impl Strategy<Value = Tariff> {
    let band = (number(), rates()).prop_map(|(above, rates)| Band { above, rates });
    (rates(), prop::collection::vec(band, 0..3)).prop_map(|(base, bands)| Tariff::new(base, bands))
}

fn price() -> impl Strategy<Value = Price> {
    (tariff(), tariff(), number()).prop_map(|(standard, flex, request)| Price {
        standard,
        tiers: Box::new([(Tier::Flex, flex)]),
        request: PicoUsd(request),
        ..Price::flat("any", "test", Rates::default())
    })
}

fn usage() -> impl Strategy<Value = Usage> {
    let some = || prop::option::of(number());
    (number(), number(), some(), some(), some(), some()).prop_map(
        |(input, output, cache_read, cache_write, cache_write_1h, reasoning)| Usage {
            input: Some(input),
            output: Some(output),
            cache_read,
            cache_write,
            cache_write_1h,
            reasoning,
        },
    )
}

/// The part of `whole` that `share` of 65536 says.
fn part(whole: u64, share: u16) -> u64 {
    (u128::from(whole) * u128::from(share) / 65_535) as u64
}

/// A usage of at most so many tokens, cut up by `shares`.
fn within(bounds: &Bounds, shares: [u16; 6]) -> Usage {
    let mut left = part(bounds.input_tokens, shares[0]);
    let mut take = |share| {
        let taken = part(left, share);
        left -= taken;
        taken
    };
    let (input, cache_read, cache_write) = (take(shares[1]), take(shares[2]), take(shares[3]));
    let output = part(bounds.output_total(), shares[4]);
    Usage {
        input: Some(input),
        output: Some(output),
        cache_read: Some(cache_read),
        cache_write: Some(cache_write),
        cache_write_1h: Some(part(cache_write, shares[5])),
        reasoning: Some(part(output, shares[0])),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_within_the_bounds_costs_more_than_the_upper_bound(
        price in price(),
        input_tokens in number(),
        output_tokens in number(),
        answers in 0u64..5,
        shares in any::<[u16; 6]>(),
        (tier, requests) in (prop_oneof![Just(Tier::Standard), Just(Tier::Flex)], 0u64..3),
    ) {
        let (bounds, terms) = (Bounds { input_tokens, output_tokens, answers }, Terms { tier, requests });
        let usage = within(&bounds, shares);
        prop_assert!(bounds.admit(&usage));
        let most = price.upper_bound(&bounds, &terms).unwrap();
        prop_assert!(price.cost(&usage, &terms).unwrap() <= most, "{usage:?}");
        let fewer = Terms { requests: requests.saturating_sub(1), ..terms };
        prop_assert!(price.cost(&usage, &fewer).unwrap() <= most);
    }

    #[test]
    fn any_usage_that_the_bounds_admit_is_covered_and_none_overflows(
        price in price(),
        usage in usage(),
        (input_tokens, output_tokens) in (number(), number()),
    ) {
        let (bounds, terms) = (Bounds::of(input_tokens, output_tokens), Terms::default());
        let cost = price.cost(&usage, &terms).unwrap();
        prop_assert!(cost >= NanoUsd(0));
        if bounds.admit(&usage) {
            prop_assert!(cost <= price.upper_bound(&bounds, &terms).unwrap());
        }
    }

    #[test]
    fn wider_bounds_never_cost_less(
        price in price(),
        (input, output) in (number(), number()),
        (more_input, more_output, answers) in (number(), number(), 1u64..4),
    ) {
        let terms = Terms::default();
        let narrow = price.upper_bound(&Bounds::of(input, output), &terms).unwrap();
        let wide = Bounds {
            input_tokens: input.saturating_add(more_input),
            output_tokens: output.saturating_add(more_output),
            answers,
        };
        prop_assert!(narrow <= price.upper_bound(&wide, &terms).unwrap());
    }
}
