#![allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]

use super::*;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

struct Story {
    breaker: Breaker,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        Self { breaker: Breaker::default(), now: Instant::now() }
    }

    fn after(&mut self, passed: Duration) -> &mut Self {
        self.now += passed;
        self
    }

    fn ends(&mut self, verdict: Verdict) -> &mut Self {
        let _ = self.breaker.record(verdict, self.now, self.now, 0.0);
        self
    }

    fn many(&mut self, count: usize, verdict: Verdict) -> &mut Self {
        for _ in 0..count {
            self.ends(verdict);
        }
        self
    }

    fn gate(&self) -> Gate {
        self.breaker.gate(self.now)
    }

    fn is_open(&self) -> bool {
        matches!(self.gate(), Gate::Open { .. })
    }

    fn tripped() -> Self {
        let mut story = Self::new();
        story.many(5, Verdict::Hard);
        story
    }
}

#[test]
fn five_hard_failures_in_a_row_trip_and_a_good_end_begins_anew() {
    let mut story = Story::new();
    assert!(story.many(4, Verdict::Hard).is_open());
    assert!(story.ends(Verdict::Good).many(4, Verdict::Hard).is_open());
    // Nine ends so far: one more and the share says it, too.
    let mut story = Story::new();
    assert!(!story.many(5, Verdict::Hard).is_open());
}

#[test]
fn a_bad_share_trips_from_ten_ends_on_and_rate_refusals_count_only_there() {
    let mut story = Story::new();
    assert!(story.many(9, Verdict::Throttled).is_open());
    assert!(!story.ends(Verdict::Throttled).is_open());
    let mut story = Story::new();
    story.many(40, Verdict::Good).many(10, Verdict::Throttled);
    assert!(story.is_open(), "80 % is enough");
    assert!(!story.ends(Verdict::Throttled).is_open());
    let mut story = Story::new();
    story.many(9, Verdict::Throttled).after(seconds(33)).many(9, Verdict::Throttled);
    assert!(story.is_open(), "old ends are forgotten");
}

#[test]
fn pauses_double_up_to_eight_seconds_and_calm_takes_one_back() {
    let mut story = Story::tripped();
    for pause in [1, 2, 4, 8, 8] {
        assert_eq!(story.gate(), Gate::Closed { until: Some(story.now + seconds(pause)) });
        story.after(seconds(pause));
        assert_eq!(story.gate(), Gate::ProbeDue);
        assert!(story.breaker.take_probe(story.now));
        assert!(!story.breaker.take_probe(story.now), "there is one permit");
        story.ends(Verdict::Throttled);
    }
    story.after(seconds(8));
    assert!(story.breaker.take_probe(story.now));
    story.ends(Verdict::Good).after(seconds(61)).many(5, Verdict::Hard);
    assert_eq!(story.gate(), Gate::Closed { until: Some(story.now + seconds(2)) });
}

#[test]
fn a_pause_is_lengthened_by_half_at_most() {
    let now = Instant::now();
    let mut breaker = Breaker::default();
    for _ in 0..5 {
        let _ = breaker.record(Verdict::Hard, now, now, 7.0);
    }
    assert_eq!(breaker.gate(now), Gate::Closed { until: Some(now + Duration::from_millis(1500)) });
}

#[test]
fn a_good_probe_serves_at_once_and_ramps_over_five_seconds() {
    let mut story = Story::tripped();
    story.after(seconds(1));
    assert!(story.breaker.take_probe(story.now));
    let change = story.breaker.record(Verdict::Good, story.now, story.now, 0.0);
    assert_eq!(change, Some(Transition { from: BreakerState::Probing, to: BreakerState::Ramping }));
    for (after, percent) in [(0, 10), (2499, 10), (2500, 50), (4999, 50), (5000, 100)] {
        let at = story.now + Duration::from_millis(after);
        assert_eq!(story.breaker.gate(at), Gate::Open { percent }, "{after} ms");
    }
}

#[test]
fn a_permit_that_is_given_back_is_due_again_at_once() {
    let mut story = Story::tripped();
    story.after(seconds(1));
    assert!(story.breaker.take_probe(story.now));
    assert_eq!(story.gate(), Gate::Closed { until: None });
    story.breaker.release_probe(story.now);
    assert_eq!(story.gate(), Gate::ProbeDue);
}

#[test]
fn what_began_before_the_trip_neither_heals_nor_prolongs() {
    let mut story = Story::new();
    let early = story.now;
    story.after(seconds(1)).many(5, Verdict::Hard);
    let closed = story.gate();
    let _ = story.breaker.record(Verdict::Good, early, story.now, 0.0);
    let _ = story.breaker.record(Verdict::Hard, early, story.now, 0.0);
    assert_eq!(story.gate(), closed);
    story.after(seconds(1));
    assert!(story.breaker.take_probe(story.now));
    let _ = story.breaker.record(Verdict::Hard, early, story.now, 0.0);
    assert_eq!(story.gate(), Gate::Closed { until: None }, "the probe is still out");
}

#[test]
fn an_attempt_in_spite_of_the_trip_that_answers_heals() {
    let mut story = Story::tripped();
    story.after(Duration::from_millis(10)).ends(Verdict::Good);
    assert_eq!(story.gate(), Gate::Open { percent: 10 });
}

#[test]
fn an_operator_holds_it_and_lets_it_go() {
    let mut story = Story::tripped();
    story.breaker.force(Some(Forced::Serving));
    assert_eq!(story.many(9, Verdict::Hard).gate(), Gate::Open { percent: 100 });
    story.breaker.force(Some(Forced::Tripped));
    story.after(seconds(60));
    assert_eq!(story.gate(), Gate::Closed { until: None });
    assert!(!story.breaker.take_probe(story.now));
    assert_eq!(story.breaker.state(story.now), BreakerState::Tripped);
    story.breaker.force(None);
    assert_eq!(story.gate(), Gate::Open { percent: 100 });
}

/// Worst case of the specification: a target that has been down for long heals right after a failed
/// probe; with the longest pause and jitter and a probe that takes all its time it serves within 27 s.
#[test]
fn the_worst_recovery_is_bounded() {
    let now = Instant::now();
    let mut breaker = Breaker::default();
    let mut at = now;
    for _ in 0..50 {
        let _ = breaker.record(Verdict::Hard, at, at, 1.0);
        match breaker.gate(at) {
            Gate::Closed { until: Some(until) } => {
                assert!(until.duration_since(at) <= seconds(12));
                at = until;
                assert!(breaker.take_probe(at));
            }
            Gate::Open { .. } | Gate::ProbeDue | Gate::Closed { until: None } => {}
        }
    }
}

#[test]
fn an_answer_takes_back_the_trip_that_its_lateness_made() {
    let mut story = Story::new();
    let begun = story.now;
    story.after(seconds(1)).many(5, Verdict::Late);
    assert!(!story.is_open());
    let late_at = story.now;
    story.after(seconds(1));
    let change = story.breaker.answered_late(late_at, begun, story.now);
    assert!(story.is_open() && change.is_some());
    // What really failed is not taken back.
    let mut story = Story::new();
    let begun = story.now;
    story.after(seconds(1)).ends(Verdict::Late).many(9, Verdict::Hard);
    let late_at = story.now;
    story.after(Duration::from_millis(500));
    assert_eq!(story.breaker.answered_late(late_at, begun, story.now), None);
    assert!(!story.is_open());
}
