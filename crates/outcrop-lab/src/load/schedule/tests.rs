use std::time::Duration;

use super::{Arrivals, Shape, ShapeError};

const TEN: Duration = Duration::from_secs(10);

fn due(shape: Shape, poisson: bool, seed: u64) -> Vec<f64> {
    let arrivals = Arrivals::new(shape, poisson).unwrap();
    arrivals.schedule(TEN, seed).map(|due| due.as_secs_f64()).collect()
}

fn between(due: &[f64], from: f64, until: f64) -> usize {
    due.iter().filter(|at| (from..until).contains(*at)).count()
}

#[test]
fn a_constant_rate_is_even_to_the_nanosecond() {
    let due = due(Shape::Constant(100.0), false, 1);
    assert_eq!(due.len(), 1_000);
    for (n, at) in due.iter().enumerate() {
        assert!((at - n as f64 / 100.0).abs() < 1e-8, "{n}: {at}");
    }
}

#[test]
fn every_shape_keeps_its_rate_in_each_part() {
    let ramp = due(Shape::Ramp(0.0, 200.0), false, 1);
    assert_eq!((ramp.len(), between(&ramp, 0.0, 5.0)), (1_000, 250));
    let falling = due(Shape::Ramp(200.0, 0.0), false, 1);
    assert_eq!((falling.len(), between(&falling, 0.0, 5.0)), (1_000, 750));
    let steps = due(Shape::Steps(vec![10.0, 100.0]), false, 1);
    assert_eq!((between(&steps, 0.0, 5.0), between(&steps, 5.0, 10.0)), (50, 500));
    let spike = due(Shape::Spike { base: 10.0, peak: 1_000.0, from: 0.4, until: 0.5 }, false, 1);
    let parts = (between(&spike, 0.0, 4.0), between(&spike, 4.0, 5.0), between(&spike, 5.0, 10.0));
    assert_eq!(parts, (40, 1_000, 50));
    for due in [ramp, falling, steps, spike] {
        assert!(due.is_sorted() && due.iter().all(|at| *at < 10.0));
    }
}

#[test]
fn poisson_has_the_rate_the_spread_and_the_seed_of_a_poisson_process() {
    let counts: Vec<f64> =
        (0..200).map(|seed| due(Shape::Constant(100.0), true, seed).len() as f64).collect();
    let mean = counts.iter().sum::<f64>() / 200.0;
    let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 199.0;
    // Mean and variance of a Poisson count are both 1,000; the bands are five standard errors wide.
    assert!((mean - 1_000.0).abs() < 5.0 * (1_000.0_f64 / 200.0).sqrt(), "{mean}");
    assert!((variance - 1_000.0).abs() < 5.0 * 1_000.0 * (2.0_f64 / 199.0).sqrt(), "{variance}");
    assert_eq!(due(Shape::Constant(50.0), true, 7), due(Shape::Constant(50.0), true, 7));
    assert_ne!(due(Shape::Constant(50.0), true, 7), due(Shape::Constant(50.0), true, 8));
}

#[test]
fn a_trace_is_played_as_recorded_and_cut_at_the_length() {
    let recorded = [0.5, 0.5, 2.25, 9.0, 10.0, 11.0].map(Duration::from_secs_f64).to_vec();
    assert_eq!(due(Shape::Trace(recorded), false, 1), [0.5, 0.5, 2.25, 9.0]);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let refused = |shape| Arrivals::new(shape, false).unwrap_err();
    assert_eq!(refused(Shape::Constant(0.0)), ShapeError::Rate(0.0));
    assert!(matches!(refused(Shape::Constant(f64::NAN)), ShapeError::Rate(_)));
    assert!(matches!(refused(Shape::Ramp(0.0, 0.0)), ShapeError::Rate(_)));
    assert_eq!(refused(Shape::Steps(Vec::new())), ShapeError::NoStep);
    let spike = Shape::Spike { base: 1.0, peak: 2.0, from: 0.5, until: 0.5 };
    assert_eq!(refused(spike), ShapeError::Spike(0.5, 0.5));
    let backwards = vec![Duration::from_secs(2), Duration::from_secs(1)];
    assert_eq!(refused(Shape::Trace(backwards)), ShapeError::Trace);
    assert_eq!(refused(Shape::Trace(Vec::new())), ShapeError::Trace);
}

#[test]
fn the_rate_can_be_asked_for_any_moment() {
    let ramp = Arrivals::new(Shape::Ramp(10.0, 30.0), false).unwrap();
    assert!((ramp.rate_at(Duration::from_secs(5), TEN) - 20.0).abs() < 1e-9);
    let tenfold = ramp.scaled(10.0).unwrap();
    assert!((tenfold.rate_at(Duration::from_secs(5), TEN) - 200.0).abs() < 1e-9);
}
