//! Certification: scenarios played against a gateway, and judged by what the callers and the upstreams saw.
//!
//! The gateway's own counters never decide a verdict. What a run yields is plain data, [`outcome::Outcome`];
//! how it is shown is nobody's business here.
//!
//! Reading order: [`scenario`] is what is played, [`gateway`] what it is played against, [`play`] plays one,
//! [`evidence`] is what that left, [`measure`] judges it, [`course`] draws it, [`suite`] plays many.
//! [`report`] shows, signs and compares it, and knows nothing else.

mod control;
pub mod course;
mod descriptors;
pub mod evidence;
pub mod front;
pub mod gateway;
pub mod measure;
pub mod outcome;
pub mod play;
pub mod scenario;
mod statistics;
pub mod suite;
pub mod report;
