//! The endpoint, with clients and servers on the official SDK and with bare HTTP.
//!
//! A client is a path of another gateway, so that each story runs through the SDK's own client, this
//! endpoint, the exchange, and the SDK's client and server behind it.

mod calls;
mod desk;
mod door;
mod house;
