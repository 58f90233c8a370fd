//! Budgets of the real binary while everything around it fails: it is killed, its disk is full or does not
//! keep what it was given, its database is gone, its twin is paused, its clock is
//! stepped.
//!
//! The judge is the lab's billing record, and the gateway's word is its store, read from outside.

mod clocks;
mod disks;
mod drain;
mod keyed;
mod kills;
mod load;
mod place;
mod postgres;
mod process;
mod replicas;
mod restarts;
mod secured;
mod stands;
mod takeover;
