//! The lab: simulated model services, a real MCP server, and the billing records that judge every claim.
//!
//! It shares no code with the gateway on purpose: a common mistake must not hide itself. It knows
//! nothing of how routes, budgets or decisions are made.
//!
//! Reading order follows a request: `listen` accepts, `serve` conducts the exchange, the [`exchange::Service`] of the
//! target makes the contents, `deliver` and `body` carry them (and break them as scripted), [`billing`] remembers.

mod body;
mod control;
mod deliver;
mod lab;
mod listen;
mod serve;
mod socket;

pub mod billing;
pub mod exchange;
pub mod prices;
pub mod quota;
pub mod requests;
pub mod script;
pub mod target;

pub mod answer;
pub mod clock;
pub mod dice;
pub mod tokens;

pub mod anthropic;
pub mod bedrock;
pub mod mcp;
pub mod openai;

pub mod certify;
pub mod load;

pub use lab::{Lab, LabConfig, LabError, Listening};
