//! Prometheus text (0.0.4) from OpenMetrics text.
//!
//! The metrics library writes OpenMetrics; scrapers that do not ask for it get the older form, which
//! names a counter with its `_total` and knows no `# UNIT` and no `# EOF`.

use std::fmt::Write;

/// Content type of OpenMetrics.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of the Prometheus text format.
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rewrites the comment lines; samples are the same in both forms.
pub(crate) fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut counters = std::collections::HashSet::new();
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ")
            && let Some((name, "counter")) = rest.split_once(' ')
        {
            counters.insert(name);
        }
    }
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), _, _) => {}
            (Some("#"), Some(word @ ("TYPE" | "HELP")), Some(name), Some(rest))
                if counters.contains(name) =>
            {
                // Writing into a string cannot fail.
                let _ = writeln!(text, "# {word} {name}_total {rest}");
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_get_their_full_name_and_the_end_mark_goes() {
        let open = "# HELP a_requests Requests.\n# TYPE a_requests counter\na_requests_total{x=\"1\"} 2\n\
                    # TYPE a_up gauge\n# UNIT a_up seconds\na_up 1\n# EOF\n";
        let expected = "# HELP a_requests_total Requests.\n# TYPE a_requests_total counter\n\
                        a_requests_total{x=\"1\"} 2\n# TYPE a_up gauge\na_up 1\n";
        assert_eq!(prometheus(open), expected);
    }
}
