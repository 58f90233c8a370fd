//! The impact as people read it.

use serde_json::Value;

use crate::check::table;

/// The report as tables.
pub(super) fn show(report: &Value) {
    let word = |value: &Value| value.as_str().unwrap_or("too few answers to tell").to_owned();
    anstream::println!("Impact on latency: {}", word(&report["class"]));
    let mut resources = table(&["resource", "is", "alarms from", "state"]);
    for row in report["resources"].as_array().into_iter().flatten() {
        let percent = row["percent"].as_f64().map_or_else(|| "–".to_owned(), |p| format!("{p:.2} %"));
        let state = if row["alarmed"] == true { "ALARM" } else { "well" };
        resources.add_row([
            word(&row["resource"]),
            percent,
            format!("{} %", row["alarm_percent"]),
            state.into(),
        ]);
    }
    anstream::println!("{resources}");
    let mut stages = table(&["step", "times", "p50 us", "p99 us", "sum ms"]);
    for (stage, times) in report["stages"].as_object().into_iter().flatten() {
        let number = |field: &str, by: f64| format!("{:.1}", times[field].as_f64().unwrap_or(0.0) / by);
        stages.add_row([
            stage.clone(),
            times["count"].to_string(),
            number("p50_us", 1.0),
            number("p99_us", 1.0),
            number("sum_us", 1e3),
        ]);
    }
    anstream::println!("{stages}");
    for (work, how) in report["optional_work"].as_object().into_iter().flatten() {
        if how["on"] == false {
            anstream::println!("Stopped: {work}, because of {}.", word(&how["off_because"]));
        }
    }
    anstream::println!("{}", forecast(&report["forecast"]));
    for one in report["recommendations"].as_array().into_iter().flatten() {
        anstream::println!("Recommended: {} ({}).", word(&one["change"]), expected(one));
    }
    let (process, lag) = (&report["process"], &report["lag"]);
    anstream::println!(
        "{} threads, {} of them workers; the newest reading came {:.0} us late, the latest {:.0} us.",
        process["threads"],
        process["workers"],
        lag["newest_us"].as_f64().unwrap_or(0.0),
        lag["longest_us"].as_f64().unwrap_or(0.0),
    );
    let sampling = &report["sampling"];
    anstream::println!(
        "Reading this takes {:.0} us every {} ms: {:.4} % of a core.",
        sampling["us_each"].as_f64().unwrap_or(0.0),
        sampling["every_ms"],
        sampling["percent_of_a_core"].as_f64().unwrap_or(0.0),
    );
}

fn forecast(forecast: &Value) -> String {
    if forecast["state"] != "known" {
        let (windows, needed) = (&forecast["windows"], &forecast["needed"]);
        return format!("Saturation: not enough traffic to tell ({windows} of {needed} windows).");
    }
    let number = |field: &str| forecast[field].as_f64().unwrap_or(0.0);
    let first = &forecast["ceilings"][0];
    let at_least = if forecast["at_least"] == true { "at least " } else { "" };
    let low = first["low"].as_f64().unwrap_or(0.0);
    let range =
        first["high"].as_f64().map_or_else(|| format!("{low:.0} or more"), |h| format!("{low:.0} to {h:.0}"));
    format!(
        "Saturation: {} at {at_least}{:.0} requests/s ({range}), {:.0} now, {} confidence; a request costs \
         {:.0} us of CPU time ({}, {} windows).",
        forecast["limited_by"].as_str().unwrap_or_default(),
        number("requests_per_s"),
        number("now_per_s"),
        forecast["confidence"].as_str().unwrap_or_default(),
        number("cpu_us_per_request"),
        forecast["method"].as_str().unwrap_or_default(),
        forecast["windows"],
    )
}

fn expected(one: &Value) -> String {
    let gain = one["expected_gain_percent"].as_f64().unwrap_or(0.0);
    format!("{gain:+.1} % {}", one["gain_of"].as_str().unwrap_or_default())
}

/// A recommendation in the table of `outcrop recommendations`.
pub(crate) fn advice_row(kind: &str, row: &Value) -> [String; 7] {
    let evidence = row["evidence"].as_object().into_iter().flatten();
    let evidence: Vec<String> =
        evidence.map(|(name, value)| format!("{name} {:.1}", value.as_f64().unwrap_or(0.0))).collect();
    let change = row["change"].as_str().unwrap_or_default().to_owned();
    [
        kind.to_owned(),
        "–".to_owned(),
        change,
        expected(row),
        evidence.join(", "),
        String::new(),
        String::new(),
    ]
}
