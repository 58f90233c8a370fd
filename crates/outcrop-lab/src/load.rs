//! An open-loop load generator: requests are sent when they are due, whatever becomes of the earlier ones.
//!
//! Latency counts from the moment a request was due, not from the moment it was sent, so a slow answer cannot hide
//! the queue behind it (coordinated omission). When the generator itself cannot keep its times, the run is void and
//! says so (the run is void). It knows the public APIs only, nothing of any gateway.
//!
//! Reading order: [`schedule`] says when, [`call`] what, [`answer`] whether an answer is one, [`client`] carries,
//! [`drive`] does it all at the right times, [`tally`] counts.

pub mod answer;
pub mod call;
pub mod client;
pub mod credential;
pub mod drive;
pub mod schedule;
pub mod tally;
