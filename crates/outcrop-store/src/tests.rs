//! The store, on every engine.

mod engines;
mod home;
mod journal;
mod ledger;
mod register;
