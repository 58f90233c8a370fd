//! Certification: scenarios played against a gateway, and judged by what the callers and the upstreams saw.
//!
//! The gateway's own counters never decide a verdict. What a run yields is plain data, [`outcome::Outcome`];
//! [`report`] shows, signs and compares it, and knows nothing else.

pub mod outcome;
pub mod report;
