//! Name lookup that outlives a broken name server.
//!
//! Every lookup asks the system; when that fails or hangs, the last good answer is used for up to
//! ten minutes. There is no other cache: a changed record is seen by the next connection. A lookup of
//! the system cannot be called back. Invariant: at most one is under way per name.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
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
    under_way: Mutex<HashMap<Box<str>, Lookup>>,
}

type Lookup = Shared<BoxFuture<'static, Result<Vec<IpAddr>, Arc<io::Error>>>>;

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
        let name = host.to_owned();
        let lookup = async move {
            let found = tokio::net::lookup_host((name, port)).await?;
            Ok(found.map(|address| address.ip()).collect())
        };
        let addresses = self.with_lookup(host, patience, lookup).await?;
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    async fn with_lookup(
        &self,
        host: &str,
        patience: Duration,
        lookup: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    ) -> Result<Vec<IpAddr>, ConnectError> {
        let lookup = self.join(host, lookup);
        let lookup = lookup.map(|found| found.map_err(|error| io::Error::new(error.kind(), error)));
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

    /// The lookup under way, or else this one. Waiting for it never ends it.
    fn join(
        &self,
        host: &str,
        lookup: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    ) -> Lookup {
        let mut under_way = self.under_way.lock();
        // What one that ended while nobody waited has found may be of any age, so it is not used.
        under_way.retain(|_, lookup| lookup.clone().now_or_never().is_none());
        let started = || lookup.map(|found| found.map_err(Arc::new)).boxed().shared();
        under_way.entry(host.into()).or_insert_with(started).clone()
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
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(resolver.with_lookup("h", PATIENCE, async { bad() }).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_hangs_is_joined_and_not_repeated() {
        let resolver = Resolver::default();
        resolver.with_lookup("h", PATIENCE, async { Ok(good()) }).await.unwrap();
        let (end, ended) = tokio::sync::oneshot::channel();
        let hanging = async move { ended.await.map_err(io::Error::other)? };
        assert_eq!(resolver.with_lookup("h", PATIENCE, hanging).await.unwrap(), good());
        let second = async { panic!("a second lookup of the same name") };
        assert_eq!(resolver.with_lookup("h", PATIENCE, second).await.unwrap(), good());
        let other = vec![IpAddr::from([192, 0, 2, 2])];
        end.send(Ok(vec![IpAddr::from([192, 0, 2, 3])])).unwrap();
        let answer = other.clone();
        let fresh = resolver.with_lookup("h", PATIENCE, async { Ok(answer) }).await;
        assert_eq!(fresh.unwrap(), other, "an answer nobody waited for is not kept");
    }

    #[tokio::test]
    async fn an_empty_answer_is_a_failure() {
        let resolver = Resolver::default();
        assert!(resolver.with_lookup("h", PATIENCE, async { Ok(Vec::new()) }).await.is_err());
    }
}
