//! The scenarios that ship, embedded: `scenarios/` at the repository's root.

/// The suites, in the order they are played.
pub const SUITES: [&str; 7] = ["load", "latency", "efficiency", "cost", "failover", "impact", "security"];

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../scenarios/", $name)))),*]
    };
}

/// File names and texts, in the order they are played.
pub(super) const FILES: &[(&str, &str)] = files![
    "load-baseline.toml",
    "load-ramp.toml",
    "load-step.toml",
    "load-spike.toml",
    "load-concurrent.toml",
    "load-streams.toml",
    "load-saturation.toml",
    "load-knee.toml",
    "load-endurance.toml",
    "latency-classes.toml",
    "latency-faults.toml",
    "efficiency-regions.toml",
    "efficiency-faults.toml",
    "cost-limit.toml",
    "cost-failover.toml",
    "cost-stop.toml",
    "cost-crash.toml",
    "cost-attribution.toml",
    "cost-degrade.toml",
    "failover-regions.toml",
    "failover-mcp.toml",
    "failover-storms.toml",
    "failover-streams.toml",
    "failover-flapping.toml",
    "failover-outage.toml",
    "failover-broken-off.toml",
    "failover-silent.toml",
    "failover-effects.toml",
    "impact-direct.toml",
    "impact-overhead.toml",
    "security.toml",
];
