//! The ledger against a reference of its own.
