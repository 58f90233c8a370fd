//! A real MCP server on the official SDK, over streamable HTTP and over stdio, in both protocol eras.
//!
//! Behind it sit a simulated model (the tool `converse`) and small tools for tests. The SDK speaks the protocol; this
//! module only makes results, keeps the billing records and breaks what the script says. It never simulates the wire.
//!
//! `converse` reports progress if the caller gave a token: each message is the next piece of the text, so that the
//! messages in order of `progress` add up to the text of the result.

mod call;
mod catalogue;
mod converse;
mod handler;
mod http;
mod spelling;
mod stdio;
mod tools;

pub use http::Desk;
pub use stdio::{
    BILLING_VARIABLE, Ending, SCRIPT_VARIABLE, StdioConfig, StdioError, serve_stdio, serve_streams,
};
