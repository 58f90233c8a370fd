//! A PostgreSQL server in a temporary folder, reached over a socket in it, that can be gone for a while.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use outcrop_store::{AccountFilter, Location, Store};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::stands::Stands;
use crate::house::eventually;

/// The server.
pub(super) struct Server {
    folder: TempDir,
    process: Option<Child>,
    // Further words of its command line.
    settings: Vec<String>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| vec!["listen_addresses=".to_owned()]).await
    }

    /// One with other settings, which may name files that are put into its folder.
    pub(super) async fn start_with(settings: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let init = tool("initdb", folder.path())
            .args(["--no-sync", "--auth=trust", "--username=outcrop", "--encoding=UTF8", "--locale=C"])
            .args(["-D", "data"])
            .output()
            .unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let settings = settings(folder.path());
        let mut server = Self { folder, process: None, settings };
        server.resume().await;
        server
    }

    /// Runs it, the first time or again.
    pub(super) async fn resume(&mut self) {
        let process = tool("postgres", self.folder.path())
            .args(["-D", "data", "-c", "fsync=off", "-k"])
            .arg(self.folder.path())
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
        eventually("PostgreSQL is ready", async || {
            let mut asking = tool("pg_isready", self.folder.path());
            asking.arg("-h").arg(self.folder.path()).stderr(Stdio::null());
            let port = self.settings.iter().find_map(|setting| setting.strip_prefix("port="));
            asking.args(port.iter().flat_map(|port| ["-p", port]));
            asking.status().unwrap().success().then_some(())
        })
        .await;
    }

    /// Ends it at once, as a crash does.
    pub(super) fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            let id = process.id().to_string();
            drop(Command::new("kill").arg("-QUIT").arg(id).status());
            process.wait().unwrap();
        }
    }

    pub(super) fn address(&self) -> String {
        let host = self.folder.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://outcrop@{host}/postgres")
    }

    async fn look<T>(&self, look: impl AsyncFnOnce(&Store) -> T) -> T {
        let store = Store::open(&Location::Postgres(self.address()), &TaskTracker::new()).await.unwrap();
        let seen = look(&store).await;
        store.close().await;
        seen
    }

    /// Replicas that are heard.
    pub(super) async fn live(&self) -> usize {
        let replicas = self.look(async |store| store.replicas().await.unwrap()).await;
        replicas.iter().filter(|replica| replica.is_live).count()
    }

    /// How the one budget stands, seen from beside the gateways.
    pub(super) async fn stands(&self) -> Stands {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let accounts = self.look(async |store| store.accounts(AccountFilter::default(), now_ms).await).await;
        let mut accounts = accounts.unwrap();
        assert!(accounts.len() <= 1, "{accounts:?}");
        accounts.pop().map_or_else(Stands::default, |(_, balance)| Stands {
            posted: balance.posted,
            suspense: balance.suspense,
            leased: balance.leased,
            pending: balance.pending,
            limit: balance.limit,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// A tool of PostgreSQL. It does not run as root, so whoever is root becomes somebody else.
fn tool(name: &str, folder: &Path) -> Command {
    let found = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found.map(|version| version.path().join("bin").join(name)).collect();
    paths.retain(|path| path.exists());
    paths.sort();
    let path = paths.pop().unwrap_or_else(|| {
        panic!("there is no /usr/lib/postgresql/*/bin/{name}: run `apt-get install postgresql` (scripts/test does)")
    });
    let mut command = Command::new(path);
    command.stdout(Stdio::null()).current_dir(folder);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let everybody = fs::read_to_string("/etc/passwd").unwrap();
        let line = everybody.lines().find(|line| line.starts_with("nobody:")).unwrap();
        let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
        chown(folder, Some(ids[0]), Some(ids[1])).unwrap();
        command.uid(ids[0]).gid(ids[1]);
    }
    command
}
