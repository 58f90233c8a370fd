//! Certification: scenarios played against a gateway, and judged by what the callers and the upstreams saw.
//!
//! The gateway's own counters never decide a verdict. What a run yields is plain data, [`outcome::Outcome`];
//! how it is shown is nobody's business here.

pub mod outcome;
