use super::*;
use crate::operation::Strategy;

fn whole() -> Decision {
    let mut target = Candidate::of("fra/sonnet".into());
    target.rank = Some(0);
    target.standing = Some(Standing { expected_us: Some(7), ..Standing::default() });
    target.expected_nusd = Some(9);
    let mut other = Candidate::of("dub/sonnet".into());
    other.excluded = Some(Exclusion::EmergencyOverMcp);
    Decision {
        candidates: vec![other, target],
        basis: Some(Basis {
            strategy: Strategy::Adaptive,
            mode: Mode::Panic,
            remaining_us: 3,
            asked_deadline_ms: Some(4),
            asked_priority: Some(Priority::Low),
            stick: Some(u64::MAX),
            may_probe: true,
            money_is_short: false,
            seed: u64::MAX - 1,
            residency: Some("eu".into()),
            hint: Some("direct".into()),
            allowed: true,
            usage: Usage::of(10, 20),
        }),
        attempts: vec![AttemptRecord {
            target: "fra/sonnet".into(),
            started_us: 1,
            took_us: 2,
            failed: Some(AttemptFailure {
                class: Class::Ambiguous,
                reason: Reason::Stalled,
                status: Some(500),
                detail: "x".into(),
            }),
            upstream_request_id: "u".into(),
            input_counted: None,
        }],
        outcome: Some(OutcomeRecord {
            code: Some(Code::DeadlineExceeded),
            label: End::CallerGone,
            usage: Usage::default(),
            cost_nusd: Some(-1),
            total_us: 5,
            overhead_us: 6,
            deadline_met: false,
        }),
        ..Decision::opened(RequestId::new("id"), 12, Dialect::Bedrock)
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let empty = Decision::opened(RequestId::new("id"), 12, Dialect::OpenAi);
    for decision in [whole(), empty] {
        let line = serde_json::to_string(&decision).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Decision>(&line).unwrap(), decision, "{line}");
    }
}

#[test]
fn the_first_choice_is_the_one_of_the_least_rank() {
    assert_eq!(whole().first().map(|c| c.target.as_str()), Some("fra/sonnet"));
}
