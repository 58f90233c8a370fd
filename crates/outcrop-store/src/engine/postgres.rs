//! PostgreSQL: a task with a connection that comes back by itself.
//!
//! Whatever goes wrong, the connection is dropped with its transaction and the next job opens another.
//! Every try ends in time, here and on the server, so that a server that does not answer is known soon.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::{JOBS_MAX, Job, Lanes, Task, is_of_engine, tell};
use crate::StoreError;
use crate::location::postgres_config;
use crate::schema::migrate_postgres;
use crate::session::{Link, Session, postgres_failed};
use crate::work::{Outcome, Work, perform};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a transaction may take.
const TRANSACTION_MAX: Duration = Duration::from_millis(1_500);
/// How long a question may take.
const QUESTION_MAX: Duration = Duration::from_secs(10);
/// How long making the tables may take.
const MIGRATION_MAX: Duration = Duration::from_secs(30);
/// Tries of making the tables: replicas that start together may get into each other's way.
const MIGRATION_TRIES: usize = 5;

/// What the server is told of a connection: it gives up before we do.
const FOR_WRITING: &str = "SET statement_timeout = '1s'; SET lock_timeout = '1s'; \
     SET idle_in_transaction_session_timeout = '5s'; SET synchronous_commit = on; \
     SET default_transaction_isolation = 'read committed'";
const FOR_READING: &str = "SET statement_timeout = '10s'; SET default_transaction_read_only = on";
const FOR_WATCHING: &str = "SET statement_timeout = '1s'; SET default_transaction_read_only = on";

/// The tasks, each with a connection of its own.
pub(super) async fn open(address: &str, tasks: &TaskTracker) -> Result<Lanes, StoreError> {
    let connector = Connector::new(address, tasks)?;
    migrate(&connector).await?;
    let lane = |settings, time_max| {
        let (to, jobs) = mpsc::channel(JOBS_MAX);
        tasks.spawn(serve(connector.clone(), settings, time_max, jobs));
        to
    };
    Ok(Lanes {
        write: lane(FOR_WRITING, TRANSACTION_MAX),
        read: lane(FOR_READING, QUESTION_MAX),
        watch: lane(FOR_WATCHING, TRANSACTION_MAX),
    })
}

async fn migrate(connector: &Connector) -> Result<(), StoreError> {
    let mut last = StoreError::Unavailable("its tables cannot be made".to_owned());
    for _ in 0..MIGRATION_TRIES {
        let mut client = connector.connect().await?;
        let made = timeout(MIGRATION_MAX, migrate_postgres(&mut client)).await;
        last = match made {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error @ (StoreError::Refused(_) | StoreError::Unreadable(_)))) => return Err(error),
            Ok(Err(error @ StoreError::Unavailable(_))) => error,
            Err(_) => StoreError::Unavailable("its tables take too long to be made".to_owned()),
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(last)
}

async fn serve(
    connector: Connector,
    settings: &'static str,
    time_max: Duration,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut link = None;
    while let Some(Job { what, reply }) = jobs.recv().await {
        let work = match what {
            Task::Work(work) => work,
            Task::Close => {
                drop(link);
                return tell(reply, Ok(Outcome::Done));
            }
        };
        let outcome = timeout(CONNECT_MAX + time_max, try_once(&connector, settings, &mut link, &work)).await;
        let late = || Err(StoreError::Unavailable("PostgreSQL does not answer in time".to_owned()));
        let outcome = outcome.unwrap_or_else(|_| late());
        if outcome.as_ref().is_err_and(is_of_engine) {
            // The server undoes what was under way.
            link = None;
        }
        tell(reply, outcome);
    }
}

async fn try_once(
    connector: &Connector,
    settings: &str,
    link: &mut Option<Link>,
    work: &Work,
) -> Result<Outcome, StoreError> {
    let open = if let Some(open) = link.take().filter(|link| !link.client.is_closed()) {
        open
    } else {
        let fresh = Link::new(connector.connect().await?);
        fresh.batch(settings).await?;
        fresh
    };
    // Only a connection whose transaction has ended is used again: one that is left on the way, by an
    // error or because it takes too long, is dropped here.
    open.batch("BEGIN").await?;
    let outcome = perform(&Session::Postgres(&open), work).await;
    match &outcome {
        Ok(_) => open.batch("COMMIT").await?,
        Err(error) if is_of_engine(error) => return outcome,
        Err(_) => open.batch("ROLLBACK").await?,
    }
    *link = Some(open);
    outcome
}

/// How a connection is made.
#[derive(Clone)]
struct Connector {
    config: Config,
    // `None`: in plain text.
    tls: Option<MakeRustlsConnect>,
    tasks: TaskTracker,
}

impl Connector {
    fn new(address: &str, tasks: &TaskTracker) -> Result<Self, StoreError> {
        let unreadable = |_| StoreError::Refused("the address of the store cannot be read".to_owned());
        let mut config = postgres_config(address).map_err(unreadable)?;
        let tls = if config.get_ssl_mode() == SslMode::Require {
            Some(MakeRustlsConnect::new(trusting_the_machine()?))
        } else {
            config.ssl_mode(SslMode::Disable);
            None
        };
        config.connect_timeout(CONNECT_MAX).tcp_user_timeout(TRANSACTION_MAX);
        if config.get_application_name().is_none() {
            config.application_name("outcrop");
        }
        Ok(Self { config, tls, tasks: tasks.clone() })
    }

    async fn connect(&self) -> Result<Client, StoreError> {
        let late = |_| StoreError::Unavailable("PostgreSQL cannot be reached in time".to_owned());
        timeout(CONNECT_MAX, self.connect_patiently()).await.map_err(late)?
    }

    async fn connect_patiently(&self) -> Result<Client, StoreError> {
        // The connection ends with its client, and its errors are told there.
        if let Some(tls) = &self.tls {
            let (client, connection) =
                self.config.connect(tls.clone()).await.map_err(|e| postgres_failed(&e))?;
            self.tasks.spawn(connection);
            return Ok(client);
        }
        let (client, connection) = self.config.connect(NoTls).await.map_err(|e| postgres_failed(&e))?;
        self.tasks.spawn(connection);
        Ok(client)
    }
}

/// TLS that trusts whom this machine trusts (`SSL_CERT_FILE` names others).
fn trusting_the_machine() -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|e| StoreError::Refused(format!("TLS cannot be set up: {e}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
