//! The store, on every engine and in every weather.

mod child;
mod disks;
mod engines;
mod home;
mod journal;
mod keyed;
mod kills;
mod ledger;
mod neighbours;
mod register;
mod replicas;
mod stops;
mod wire;
