//! Month ends, leap days and clock changes.

use super::*;

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn check(calendar: Calendar, zone: &str, now: &str, start: &str, end: &str) {
    let window = Window::Calendar(calendar, TimeZone::get(zone).unwrap());
    let span = window.span(at(now));
    let shown = |ms: i64| Timestamp::from_millisecond(ms).unwrap().to_string();
    assert_eq!(
        (shown(span.start_ms), shown(span.end_ms)),
        (start.to_owned(), end.to_owned()),
        "{calendar:?} {zone} {now}"
    );
    assert!(span.holds(at(now)));
}

#[test]
fn months_end_where_the_calendar_says() {
    check(Calendar::Month, "UTC", "2026-02-28T23:59:59Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
    check(Calendar::Month, "UTC", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z");
    check(Calendar::Month, "UTC", "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    // A month in Berlin begins at 23:00 UTC in winter and at 22:00 UTC in summer.
    check(
        Calendar::Month,
        "Europe/Berlin",
        "2026-03-31T21:59:59Z",
        "2026-02-28T23:00:00Z",
        "2026-03-31T22:00:00Z",
    );
    check(
        Calendar::Month,
        "Europe/Berlin",
        "2026-03-31T22:00:00Z",
        "2026-03-31T22:00:00Z",
        "2026-04-30T22:00:00Z",
    );
}

#[test]
fn days_with_a_clock_change_have_23_or_25_hours() {
    check(Calendar::Day, "UTC", "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z");
    let hours = |now: &str| {
        let span = Window::Calendar(Calendar::Day, TimeZone::get("Europe/Berlin").unwrap()).span(at(now));
        (span.end_ms - span.start_ms) / 3_600_000
    };
    assert_eq!(hours("2026-03-29T12:00:00Z"), 23);
    assert_eq!(hours("2026-10-25T12:00:00Z"), 25);
    assert_eq!(hours("2026-10-26T12:00:00Z"), 24);
}

#[test]
fn the_hour_that_a_clock_change_repeats_is_two_hours() {
    for (now, start, end) in [
        ("2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),
        ("2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),
    ] {
        check(Calendar::Hour, "Europe/Berlin", now, start, end);
    }
}

#[test]
fn weeks_begin_on_monday() {
    check(Calendar::Week, "UTC", "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z");
    check(Calendar::Week, "UTC", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z");
}

#[test]
fn windows_follow_each_other_without_gap_or_overlap() {
    for zone in ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"] {
        for calendar in [Calendar::Hour, Calendar::Day, Calendar::Week, Calendar::Month] {
            let window = Window::Calendar(calendar, TimeZone::get(zone).unwrap());
            let mut span = window.span(at("2026-01-01T00:00:00Z"));
            for _ in 0..400 {
                let next = window.span(span.end_ms);
                assert_eq!(next.start_ms, span.end_ms, "{zone} {calendar:?} {span:?}");
                assert_eq!(window.span(span.end_ms - 1), span);
                span = next;
            }
        }
    }
}

#[test]
fn a_bucket_of_a_rolling_window_counts_until_it_is_wholly_outside() {
    let window = Window::Rolling(Duration::from_hours(1));
    let span = window.span(at("2026-11-24T10:00:30Z"));
    assert_eq!((span.start_ms, span.end_ms), (at("2026-11-24T10:00:00Z"), at("2026-11-24T10:01:00Z")));
    assert_eq!(window.forgotten_ms(span), at("2026-11-24T11:01:00Z"));
    assert!(Window::Lifetime.span(at("2026-11-24T10:00:30Z")).holds(i64::MAX - 1));
}

#[test]
fn a_window_says_what_it_is() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    assert_eq!(Window::Calendar(Calendar::Month, TimeZone::UTC).to_string(), "month");
    assert_eq!(Window::Calendar(Calendar::Day, berlin).to_string(), "day@Europe/Berlin");
    assert_eq!(Window::Rolling(Duration::from_hours(1)).to_string(), "rolling:3600s");
}
