//! The gateway as a process: parts in dependency order, sockets early, traffic last; a drain with a
//! deadline at the end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use outcrop_admin::Keys;
use outcrop_proxy::slots::watch_delay;
use outcrop_proxy::{Ending, Gateway, ListenLimits, Metrics, Parts};
use outcrop_store::keys::DeskError;
use outcrop_store::{Keeper, Store};
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{Name, Socket, SocketError, Sockets};
use crate::authority::Authority;
use crate::budgeting::limits::Limits;
use crate::budgeting::{Desk, watch};
use crate::cli::{EX_UNAVAILABLE, File, refuse};
use crate::clock::wall;
use crate::config::Checked;
use crate::impacting::Impacting;
use crate::optimizing::Optimizing;
use crate::overlay::Overlay;
use crate::steering::Helm;
use crate::store::{Former, Kept};
use crate::takeover::{Inherited, Line, Successor, TakeoverError};
use crate::view::GatewayView;
use crate::{admin, config, export, logging, memory, reload, snapshot, stopping, store, takeover, tls};

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be had.
    #[error(
        "cannot listen on {address}: {error}; is another process there? (`listen` in the file; `outcrop serve \
         --takeover` takes the place of a gateway that runs)"
    )]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The place of a gateway that runs cannot be taken.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// The operator's socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] outcrop_store::StoreError),
    /// There is no pepper for the keys.
    #[error("{0}")]
    Keys(String),
    /// The certificate cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// A path cannot be built.
    #[error(transparent)]
    Path(#[from] outcrop_upstream::BuildError),
    /// The system refuses something else.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub(crate) file: File,
    /// Take the place of the gateway that runs with this file, if one does: its sockets pass to this process
    /// without a gap, and it finishes what it has begun.
    #[arg(long)]
    takeover: bool,
}

/// `outcrop serve`.
pub fn run(checked: &Checked, options: &Options) -> ExitCode {
    let file = &*options.file.config;
    let _log = logging::start();
    raise_open_files(checked.slots.max);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, EX_UNAVAILABLE),
    };
    let former = match former(checked, options) {
        Ok(former) => former,
        Err(error) => return refuse(&error, EX_UNAVAILABLE),
    };
    runtime.block_on(async {
        // Before the first socket: a signal that comes early drains as a late one does.
        let started = Ends::listen().map_err(StartError::from);
        let (ends, running) = match started {
            Ok(ends) => match Running::start_after(checked, Some(file.to_owned()), former).await {
                Ok(running) => (ends, running),
                Err(error) => return refuse(&error, EX_UNAVAILABLE),
            },
            Err(error) => return refuse(&error, EX_UNAVAILABLE),
        };
        if checked.open {
            tracing::warn!("auth is open: everybody who reaches the loopback listener may spend money");
        }
        if let Err(error) = running.show_first_admin().await {
            tracing::error!(%error, "the first admin key was not made; the operator's socket works without");
        }
        tracing::info!(data = %running.data, admin = %running.admin, "serving");
        // Not inside the macro: a field is only evaluated when its line is logged.
        let why = tokio::select! {
            signal = ends.wait() => signal,
            () = running.handed() => "another process has taken over",
        };
        tracing::info!(why, "draining");
        if running.stop().await { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

/// What the gateway that runs gives, if it is to be taken over and there is one.
fn former(checked: &Checked, options: &Options) -> Result<Option<Inherited>, StartError> {
    if !options.takeover {
        return Ok(None);
    }
    let operator = config::operator_socket(&options.file.config, checked.listen.operator.as_deref());
    let inherited = takeover::ask(&operator)?;
    if let Some(inherited) = &inherited {
        inherited.check(checked.listen.data, checked.listen.admin)?;
    } else {
        tracing::info!("no gateway runs that could be taken over");
    }
    Ok(inherited)
}

/// Raises the number of files the process may open to the most that the system grants: a stream needs two
/// sockets. Says so when `inflight_max` needs more.
fn raise_open_files(inflight_max: usize) {
    let granted = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        raised.map(|()| hard).or(Ok(soft))
    });
    let needed = u64::try_from(inflight_max).unwrap_or(u64::MAX).saturating_mul(2);
    match granted {
        Ok(files) if files < needed => {
            tracing::warn!(
                files,
                needed,
                "fewer open files are allowed than `inflight_max` may need (ulimit -n)"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit on open files is not known"),
    }
}

/// The signals that end the process.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// A gateway that serves.
pub struct Running {
    /// Address of the client APIs.
    pub data: SocketAddr,
    /// Address of the operator's API.
    pub admin: SocketAddr,
    /// What the exchanges share.
    pub gateway: Arc<Gateway>,
    authority: Authority,
    optimizing: Optimizing,
    /// What outlives the process.
    pub store: Store,
    drain: CancellationToken,
    end_export: CancellationToken,
    stop_admin: CancellationToken,
    successor: Arc<Successor>,
    serving: JoinHandle<bool>,
    admin_thread: std::thread::JoinHandle<io::Result<()>>,
}

impl Running {
    /// Binds the sockets, builds the parts and serves. Without a file there is no reload.
    pub async fn start(checked: &Checked, file: Option<PathBuf>) -> Result<Self, StartError> {
        Self::start_after(checked, file, None).await
    }

    /// The same, in the place of the process before if there is one.
    async fn start_after(
        checked: &Checked,
        file: Option<PathBuf>,
        inherited: Option<Inherited>,
    ) -> Result<Self, StartError> {
        let Place { data, admin, operator, former } = Place::take(checked, file.as_deref(), inherited)?;
        let (lock, arrival) = former.unzip();
        let acceptor = match &checked.listen.tls {
            Some(files) => Some(tls::acceptor(files).map_err(StartError::Tls)?),
            None => None,
        };
        let background = TaskTracker::new();
        let Kept { store, register, keeper, logs } = store::open(checked, &background, lock).await?;
        let listeners = (&data, &admin, operator.as_ref().map(Socket::name));
        let successor = Arc::new(Successor::new(listeners, store.clone(), logs, background.clone())?);
        let authority =
            Authority::establish(checked, register).map_err(|error| StartError::Keys(error.to_string()))?;
        let (gateway, registry) = gateway(checked, &authority, keeper, background.clone())?;
        let (drain, stop_admin) = (CancellationToken::new(), CancellationToken::new());
        let (data_address, admin_address) = (data.local_addr()?, admin.local_addr()?);
        let view = Arc::new(GatewayView { gateway: Arc::clone(&gateway), registry, drain: drain.clone() });
        let sockets = Sockets { network: admin, operator, handed: successor.handed.clone() };
        let base = file.as_deref().unwrap_or(Path::new(""));
        let (stopper, stopping) = stopping::start(&checked.stop, base, &gateway, authority.register());
        let limits = limits(checked, &gateway, &authority);
        let helm = Arc::new(helm(checked, &gateway, &authority));
        let desk = Desk::new(&gateway, &store, &limits, &helm.impacting);
        let more = more(&authority)
            .merge(outcrop_admin::stops(stopper))
            .merge(outcrop_admin::budgets(Arc::new(desk.clone())))
            .merge(outcrop_admin::steering(Arc::clone(&helm) as _))
            .merge(outcrop_admin::keyed(store.clone()))
            .merge(helm.impacting.routes())
            .merge(outcrop_admin::takeover(Arc::clone(&successor) as _));
        let admin_thread = admin::start(sockets, view, more, stopping, stop_admin.clone())?;
        gateway.background.spawn(authority.clone().follow(drain.clone()));
        gateway.background.spawn(limits.clone().follow(drain.clone()));
        let end_export = CancellationToken::new();
        export::start(&checked.export, &gateway, end_export.clone())?;
        look_after(checked, &helm, desk, &drain);
        if let Some(file) = file {
            let (gateway, authority) = (Arc::clone(&gateway), authority.clone());
            let parts = reload::Parts { gateway, authority, limits, overlay: helm.overlay.clone() };
            background.spawn(reload::watch(parts, file, drain.clone()));
        }
        let ending = Ending { drain: drain.clone(), handed: successor.handed.clone() };
        let door = Door { acceptor, limits: checked.listen.limits, ending };
        let serving = door.open(data, &gateway)?;
        if let Some(arrival) = arrival {
            arrival.complete();
        }
        Ok(Self {
            data: data_address,
            admin: admin_address,
            gateway,
            authority,
            optimizing: helm.optimizing.clone(),
            store,
            drain,
            end_export,
            stop_admin,
            successor,
            serving,
            admin_thread,
        })
    }

    /// Makes the first admin key where there has never been one, and shows it: on the terminal, this
    /// once, and in no log.
    async fn show_first_admin(&self) -> Result<(), DeskError> {
        if let Some(minted) = self.authority.first_admin().await? {
            anstream::eprintln!(
                "The first admin key, shown this once; it administers and calls no models:\n{}",
                minted.key.expose_secret()
            );
        }
        Ok(())
    }

    /// Has the optimizer look at the records as if it were that moment, in milliseconds since the Unix epoch.
    pub fn optimize(&self, now_ms: u64) {
        self.optimizing.turn(now_ms);
    }

    /// Ends when another process has taken over.
    async fn handed(&self) {
        self.successor.handed.cancelled().await;
    }

    /// Finishes what runs and ends. Returns whether everything finished in time.
    pub async fn stop(self) -> bool {
        // The listeners close with the last that holds them.
        self.successor.close();
        self.drain.cancel();
        let finished = self.serving.await.unwrap_or(false);
        self.gateway.snapshot().upstreams.close().await;
        if tokio::time::timeout(KEEPER_MAX, self.gateway.keeper.shutdown()).await.is_err() {
            tracing::warn!("the store did not take the last report; what it lacks is in the dispatch log");
        }
        self.store.close().await;
        self.end_export.cancel();
        self.gateway.background.close();
        if tokio::time::timeout(BACKGROUND_MAX, self.gateway.background.wait()).await.is_err() {
            tracing::warn!("background work did not end in time and is cut");
        }
        self.stop_admin.cancel();
        let joined = tokio::task::spawn_blocking(move || self.admin_thread.join()).await;
        if !matches!(joined, Ok(Ok(Ok(())))) {
            tracing::error!("the admin listener had failed");
        }
        finished
    }
}

/// The sockets of a process, its own or those of the process before.
struct Place {
    data: TcpListener,
    admin: TcpListener,
    operator: Option<Socket>,
    former: Option<(Former, Arrival)>,
}

impl Place {
    fn take(
        checked: &Checked,
        file: Option<&Path>,
        inherited: Option<Inherited>,
    ) -> Result<Self, StartError> {
        let named = checked.listen.operator.as_deref();
        let Some(inherited) = inherited else {
            let (data, admin) = (bind(checked.listen.data)?, bind(checked.listen.admin)?);
            return Ok(Self { data, admin, operator: operator_socket(named, file)?, former: None });
        };
        let path = config::operator_socket(file.unwrap_or(Path::new("")), named);
        let mut beside = path.clone().into_os_string();
        beside.push(format!(".{}", std::process::id()));
        let operator = Socket::bind(Path::new(&beside))?;
        let (data, admin, lock, line) = inherited.split();
        let arrival = Arrival { line, name: operator.name(), path };
        Ok(Self { data, admin, operator: Some(operator), former: Some((Former { lock }, arrival)) })
    }
}

/// What is left to do when a process serves in the place of another.
struct Arrival {
    line: Line,
    name: Arc<Name>,
    path: PathBuf,
}

impl Arrival {
    /// Takes the operator's socket over, and tells the process before.
    fn complete(self) {
        if let Err(error) = self.name.replace(&self.path) {
            tracing::error!(%error, "the operator's socket could not be taken over");
        }
        self.line.serving();
    }
}

/// The operator's socket: where the file says, else beside it. Without a file only a named one is
/// made. A folder that takes no socket is an error only where it was named.
fn operator_socket(named: Option<&Path>, file: Option<&Path>) -> Result<Option<Socket>, SocketError> {
    let path = match (named, file) {
        (None, None) => return Ok(None),
        (named, file) => config::operator_socket(file.unwrap_or(Path::new("")), named),
    };
    match Socket::bind(&path) {
        Ok(socket) => Ok(Some(socket)),
        Err(error @ SocketError::System { .. }) if named.is_none() => {
            tracing::warn!(%error, "there is no operator's socket; the operator's commands will not work");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What watches the gateway itself: its money, its targets, its delay, its memory.
fn look_after(checked: &Checked, helm: &Helm, desk: Desk, drain: &CancellationToken) {
    let Helm { gateway, overlay, optimizing, impacting, .. } = helm;
    let slots = || Arc::clone(&gateway.slots);
    let tasks = &gateway.background;
    tasks.spawn(overlay.clone().follow(drain.clone()));
    tasks.spawn(optimizing.clone().watch(drain.clone()));
    tasks.spawn(impacting.clone().watch(drain.clone()));
    tasks.spawn(watch::watch(desk, drain.clone()));
    tasks.spawn(outcrop_proxy::probe::watch(Arc::clone(gateway), drain.clone()));
    tasks.spawn(watch_delay(slots(), drain.clone()));
    tasks.spawn(memory::watch(slots(), checked.memory.clone(), drain.clone()));
}

/// What an operator steers by: flags, the optimizer, what the gateway costs.
fn helm(checked: &Checked, gateway: &Arc<Gateway>, authority: &Authority) -> Helm {
    let (register, is_kept) = authority.register();
    let overlay = Overlay::new(Arc::clone(gateway), register, checked.routes.clone());
    Helm {
        impacting: Impacting::new(Arc::clone(gateway), checked.impact.clone(), &checked.memory),
        optimizing: Optimizing::new(Arc::clone(gateway), overlay.clone()),
        gateway: Arc::clone(gateway),
        overlay,
        is_kept,
    }
}

/// The routes of the operator's API that change something.
fn more(authority: &Authority) -> axum::Router {
    let keys = Keys { desk: authority.desk(), is_kept: authority.is_kept(), now: wall };
    outcrop_admin::keys(keys)
}

fn limits(checked: &Checked, gateway: &Gateway, authority: &Authority) -> Limits {
    let (register, _) = authority.register();
    Limits::new(Arc::clone(gateway.keeper.ledger()), register, checked.budgets.clone())
}

fn gateway(
    checked: &Checked,
    authority: &Authority,
    keeper: Keeper,
    background: TaskTracker,
) -> Result<(Arc<Gateway>, Registry), StartError> {
    let mut registry = Registry::with_prefix("outcrop");
    let metrics = Metrics::register(&mut registry);
    let mut first = snapshot::build(checked, 1, None, &background)?;
    authority.complete(&mut first.auth).map_err(StartError::Keys)?;
    let (slots, grant_wait_max) = (checked.slots, checked.store.grant_wait_max);
    let parts = Parts { metrics, keeper, slots, grant_wait_max, background };
    let gateway = Gateway::new(first, parts);
    Ok((Arc::new(gateway), registry))
}

/// The data listener before it opens.
struct Door {
    acceptor: Option<TlsAcceptor>,
    limits: ListenLimits,
    ending: Ending,
}

impl Door {
    #[allow(clippy::disallowed_methods, reason = "the handle is kept and awaited by `Running::stop`")]
    fn open(self, listener: TcpListener, gateway: &Arc<Gateway>) -> io::Result<JoinHandle<bool>> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let gateway = Arc::clone(gateway);
        Ok(tokio::spawn(outcrop_proxy::serve(gateway, listener, self.acceptor, self.limits, self.ending)))
    }
}

/// Longest wait for the ledger's last report.
const KEEPER_MAX: Duration = Duration::from_secs(10);
/// Longest wait for background work at the end.
const BACKGROUND_MAX: Duration = Duration::from_secs(5);

/// Connections that may wait in the kernel's queue.
const BACKLOG: i32 = 4096;

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = || -> io::Result<TcpListener> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    listen().map_err(|error| StartError::Bind { address, error })
}
