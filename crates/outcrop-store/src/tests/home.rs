//! Where a test keeps its store: in memory, in a file, or in a PostgreSQL server of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::{Location, Store};

/// Where it is.
pub(super) enum Home {
    Memory,
    Sqlite(TempDir),
    Postgres(Server),
}

impl Home {
    pub(super) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(super) fn postgres() -> Self {
        Self::Postgres(Server::start())
    }

    pub(super) fn location(&self) -> Location {
        match self {
            Self::Memory => Location::Memory,
            Self::Sqlite(folder) => Location::Sqlite(folder.path().join("ledger.db")),
            Self::Postgres(server) => Location::Postgres(server.address()),
        }
    }

    pub(super) async fn open(&self) -> Store {
        Store::open(&self.location(), &TaskTracker::new()).await.unwrap()
    }
}

/// A PostgreSQL server in a temporary folder, reached over a socket in it.
pub(super) struct Server {
    folder: TempDir,
    process: Child,
}

impl Server {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        let init = as_nobody("initdb", folder.path())
            .args(["--no-sync", "--auth=trust", "--username=outcrop", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let process = as_nobody("postgres", folder.path())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { folder, process };
        server.wait();
        server
    }

    fn wait(&self) {
        let is_ready = || {
            let tool = as_nobody("pg_isready", self.folder.path()).arg("-h").arg(self.folder.path()).output();
            tool.unwrap().status.success()
        };
        let ready = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            is_ready()
        });
        assert!(ready, "PostgreSQL did not start in {}", self.folder.path().display());
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    pub(super) fn address(&self) -> String {
        self.address_of("postgres")
    }

    pub(super) fn address_of(&self, database: &str) -> String {
        let host = self.folder.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://outcrop@{host}/{database}")
    }

    /// Runs a statement beside the store.
    pub(super) async fn run(&self, sql: &str) {
        let (client, connection) =
            tokio_postgres::connect(&self.address(), tokio_postgres::NoTls).await.unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(connection);
        client.batch_execute(sql).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        self.process.wait().unwrap();
    }
}

/// A tool of PostgreSQL. It does not run as root, so whoever is root becomes somebody else.
fn as_nobody(tool: &str, folder: &Path) -> Command {
    let found = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found.map(|version| version.path().join("bin").join(tool)).collect();
    paths.retain(|path| path.exists());
    paths.sort();
    let path = paths.pop().unwrap_or_else(|| {
        panic!("there is no /usr/lib/postgresql/*/bin/{tool}: run `apt-get install postgresql` (scripts/test does)")
    });
    let mut command = Command::new(path);
    command.stdout(Stdio::null()).current_dir(folder);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let nobody = fs::read_to_string("/etc/passwd").unwrap();
        let line = nobody.lines().find(|line| line.starts_with("nobody:")).unwrap();
        let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
        chown(folder, Some(ids[0]), Some(ids[1])).unwrap();
        command.uid(ids[0]).gid(ids[1]);
    }
    command
}
