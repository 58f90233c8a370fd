//! Name lookup that outlives a broken name server.
//!
//! Every lookup asks the system; when that fails or hangs, the last good answer is used for up to
//! ten minutes. There is no other cache: a changed record is seen by the next connection.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::ConnectError;

/// How long an answer may stand in for a failed lookup.
const LAST_GOOD_MAX: Duration = Duration::from_mins(10);
/// A base URL has one host, so more names than a few mean that something is wrong.
const NAMES_MAX: usize = 64;

/// Looks names up and remembers the last good answers.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    known: Mutex<HashMap<Box<str>, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    addresses: Vec<IpAddr>,
    since: Instant,
}

impl Resolver {
    /// The addresses of `host`; `patience` bounds the lookup when an earlier answer is known.
    pub(crate) async fn resolve(
        &self,
        host: &str,
        port: u16,
        patience: Duration,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let lookup = async {
            let found = tokio::net::lookup_host((host, port)).await?;
            Ok(found.map(|address| address.ip()).collect())
        };
        let addresses = self.with_lookup(host, patience, lookup).await?;
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    async fn with_lookup(
        &self,
        host: &str,
        patience: Duration,
        lookup: impl Future<Output = io::Result<Vec<IpAddr>>>,
    ) -> Result<Vec<IpAddr>, ConnectError> {
        let known = self.known.lock().get(host).cloned();
        let known = known.filter(|k| k.since.elapsed() <= LAST_GOOD_MAX);
        let found = match &known {
            Some(_) => timeout(patience, lookup)
                .await
                .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut))),
            None => lookup.await,
        };
        let found = found.and_then(|addresses| {
            if addresses.is_empty() {
                Err(io::Error::new(io::ErrorKind::NotFound, "no addresses"))
            } else {
                Ok(addresses)
            }
        });
        match (found, known) {
            (Ok(addresses), _) => {
                self.remember(host, &addresses);
                Ok(addresses)
            }
            (Err(source), Some(known)) => {
                tracing::warn!(host, %source, "name lookup failed; using the last good answer");
                Ok(known.addresses)
            }
            (Err(source), None) => Err(ConnectError::Dns { host: host.to_owned(), source }),
        }
    }

    fn remember(&self, host: &str, addresses: &[IpAddr]) {
        let mut known = self.known.lock();
        if known.len() < NAMES_MAX || known.contains_key(host) {
            let entry = Known { addresses: addresses.to_vec(), since: Instant::now() };
            known.insert(host.into(), entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    fn good() -> Vec<IpAddr> {
        vec![IpAddr::from([192, 0, 2, 1])]
    }

    fn bad() -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other("no name server"))
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_answer_stands_in_for_ten_minutes() {
        let resolver = Resolver::default();
        let first = resolver.with_lookup("h", PATIENCE, async { bad() }).await;
        assert!(matches!(first, Err(ConnectError::Dns { .. })));
        resolver.with_lookup("h", PATIENCE, async { Ok(good()) }).await.unwrap();
        tokio::time::advance(Duration::from_secs(599)).await;
        let failed = resolver.with_lookup("h", PATIENCE, async { bad() }).await;
        assert_eq!(failed.unwrap(), good());
        let hung = resolver.with_lookup("h", PATIENCE, std::future::pending()).await;
        assert_eq!(hung.unwrap(), good());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(resolver.with_lookup("h", PATIENCE, async { bad() }).await.is_err());
    }

    #[tokio::test]
    async fn an_empty_answer_is_a_failure() {
        let resolver = Resolver::default();
        assert!(resolver.with_lookup("h", PATIENCE, async { Ok(Vec::new()) }).await.is_err());
    }
}
