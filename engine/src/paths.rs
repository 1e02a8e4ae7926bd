//! Where the daemon's files are (cluster management §1.1 and §1.2, samba-4.25 §6).

mod alias;

pub use alias::Alias;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io, path};

/// The directories of this node and the names below them.
///
/// ```text
///         packages          test mode
/// etc     /etc/ctdb         $CTDB_BASE          ctdb.conf bateria.toml nodes public_addresses
///                                               ctdb.tunables tunables.d/ events/ notify.sh
/// share   /usr/share/ctdb   $CTDB_BASE/share    events/
/// run     /run/ctdb         $CTDB_BASE/run      ctdbd.socket ctdbd.pid eventd.socket eventd.pid
/// var     /var/lib/ctdb     $CTDB_BASE/var      volatile/ persistent/ state/ scripts/
/// log     /var/log/ctdb     $CTDB_BASE          log.ctdb
/// ```
///
/// Outside test mode `CTDB_BASE` moves `etc` alone. The original leaves the defaults of log and
/// databases in the packages' directories even in test mode, where two test clusters would meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    pub etc: PathBuf,
    pub share: PathBuf,
    pub run: PathBuf,
    pub var: PathBuf,
    pub log: PathBuf,
    /// Programs of the stock packages.
    pub helpers: PathBuf,
    /// The socket that Samba's processes connect to.
    pub socket: PathBuf,
    pub test_mode: bool,
    /// The host in the lines of a log file; the nodes of a test cluster share one host.
    pub host_in_log: String,
}

/// What the paths depend on.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `CTDB_TEST_MODE` is set, to whatever value.
    pub test_mode: bool,
    /// `CTDB_BASE`.
    pub base: Option<OsString>,
    /// `CTDB_SOCKET`.
    pub socket: Option<OsString>,
    /// `CTDB_TEST_HELPER_BINDIR`.
    pub helpers: Option<OsString>,
    pub current_directory: PathBuf,
    pub host: String,
}

/// The environment does not allow a start.
#[derive(Debug, thiserror::Error)]
pub enum PathsFault {
    #[error("Broken CTDB setup, CTDB_BASE not set in test mode")]
    NoBase,
    #[error("the path of the socket has {size} bytes, at most {SOCKET_PATH_SIZE_BYTES_MAX} are possible: {path}", path = path.display())]
    SocketPathTooLong { path: PathBuf, size: usize },
    #[error("the current directory is not known: {0}")]
    NoCurrentDirectory(io::Error),
}

/// `sockaddr_un` holds 108 bytes with the NUL.
pub const SOCKET_PATH_SIZE_BYTES_MAX: usize = 107;

impl Paths {
    /// # Errors
    ///
    /// See [`PathsFault`].
    pub fn of_process() -> Result<Self, PathsFault> {
        Self::resolve(&Surroundings::of_process()?)
    }

    /// All paths are absolute, for a daemon works in the root directory.
    ///
    /// # Errors
    ///
    /// See [`PathsFault`].
    pub fn resolve(from: &Surroundings) -> Result<Self, PathsFault> {
        let absolute = |path: &OsString| plain(&from.current_directory.join(path));
        let base = from.base.as_ref().filter(|base| !base.is_empty()).map(absolute);
        let mut paths = match (from.test_mode, base) {
            (true, None) => return Err(PathsFault::NoBase),
            (true, Some(base)) => Self::below(&base),
            (false, base) => Self::packaged(base, from.host.clone()),
        };
        if let Some(socket) = from.socket.as_ref().filter(|socket| !socket.is_empty()) {
            paths.socket = absolute(socket);
        }
        if let Some(helpers) = from.helpers.as_ref().filter(|_| from.test_mode) {
            paths.helpers = absolute(helpers);
        }
        let size = paths.socket.as_os_str().len();
        if size > SOCKET_PATH_SIZE_BYTES_MAX {
            return Err(PathsFault::SocketPathTooLong { path: paths.socket, size });
        }
        Ok(paths)
    }

    #[must_use]
    pub fn ctdb_conf(&self) -> PathBuf {
        self.etc.join("ctdb.conf")
    }

    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.etc.join("bateria.toml")
    }

    /// The nodes file, unless `[cluster] nodes list` names another.
    #[must_use]
    pub fn nodes(&self) -> PathBuf {
        self.etc.join("nodes")
    }

    #[must_use]
    pub fn public_addresses(&self) -> PathBuf {
        self.etc.join("public_addresses")
    }

    #[must_use]
    pub fn home_nodes(&self) -> PathBuf {
        self.etc.join("home_nodes")
    }

    #[must_use]
    pub fn tunables(&self) -> PathBuf {
        self.etc.join("ctdb.tunables")
    }

    #[must_use]
    pub fn tunables_directory(&self) -> PathBuf {
        self.etc.join("tunables.d")
    }

    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.etc.join("events")
    }

    #[must_use]
    pub fn notify_script(&self) -> PathBuf {
        self.etc.join("notify.sh")
    }

    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.run.join("ctdbd.pid")
    }

    #[must_use]
    pub fn event_socket(&self) -> PathBuf {
        self.run.join("eventd.socket")
    }

    #[must_use]
    pub fn event_pid_file(&self) -> PathBuf {
        self.run.join("eventd.pid")
    }

    /// The default of `[logging] location`.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.log.join("log.ctdb")
    }

    /// Names that Debian's 4.25 uses instead of ours. Linked to, they let its tools find this
    /// daemon, and a stock daemon of that release sees the pid file locked.
    #[must_use]
    pub fn aliases(&self) -> Vec<Alias> {
        if self.test_mode {
            return Vec::new();
        }
        let other = Path::new("/run/samba/ctdb");
        let targets = [self.socket.clone(), self.pid_file(), self.event_socket()];
        let names = ["ctdbd.socket", "ctdbd.pid", "eventd.socket"];
        let alias = |(name, target)| Alias { link: other.join(name), target };
        names.into_iter().zip(targets).map(alias).collect()
    }

    /// Creates the directory of socket and pid file, which the original expects to find; on most
    /// systems it is gone after a boot.
    ///
    /// # Errors
    ///
    /// Whatever `mkdir` reports.
    pub fn create_run_directory(&self) -> io::Result<()> {
        fs::create_dir_all(&self.run)?;
        match self.socket.parent() {
            Some(parent) => fs::create_dir_all(parent),
            None => Ok(()),
        }
    }

    fn below(base: &Path) -> Self {
        let run = base.join("run");
        Self {
            etc: base.to_owned(),
            share: base.join("share"),
            socket: run.join("ctdbd.socket"),
            run,
            var: base.join("var"),
            log: base.to_owned(),
            helpers: stock_helpers(),
            test_mode: true,
            host_in_log: base.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    fn packaged(base: Option<PathBuf>, host: String) -> Self {
        Self {
            etc: base.unwrap_or_else(|| "/etc/ctdb".into()),
            share: "/usr/share/ctdb".into(),
            run: "/run/ctdb".into(),
            var: "/var/lib/ctdb".into(),
            log: "/var/log/ctdb".into(),
            helpers: stock_helpers(),
            socket: "/run/ctdb/ctdbd.socket".into(),
            test_mode: false,
            host_in_log: host,
        }
    }
}

impl Surroundings {
    /// # Errors
    ///
    /// When the current directory is gone.
    pub fn of_process() -> Result<Self, PathsFault> {
        Ok(Self {
            test_mode: env::var_os("CTDB_TEST_MODE").is_some(),
            base: env::var_os("CTDB_BASE"),
            socket: env::var_os("CTDB_SOCKET"),
            helpers: env::var_os("CTDB_TEST_HELPER_BINDIR"),
            current_directory: env::current_dir().map_err(PathsFault::NoCurrentDirectory)?,
            host: host_name(),
        })
    }
}

/// The node name of the host, as it stands in log lines.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Distributions differ in where they put helpers; stock event scripts bring their own path.
fn stock_helpers() -> PathBuf {
    let candidates = ["/usr/libexec/ctdb", "/usr/lib/ctdb", "/usr/local/libexec/ctdb"];
    let present = candidates.into_iter().find(|path| Path::new(path).is_dir());
    present.unwrap_or(candidates[0]).into()
}

/// The path without `.` components; links are not followed.
fn plain(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            current_directory: "/srv/dir".into(),
            host: "nas1".into(),
            ..Surroundings::default()
        }
    }

    #[test]
    fn packages_put_everything_in_its_place() {
        let paths = Paths::resolve(&surroundings()).unwrap();
        assert_eq!(paths.ctdb_conf(), Path::new("/etc/ctdb/ctdb.conf"));
        assert_eq!(paths.settings(), Path::new("/etc/ctdb/bateria.toml"));
        assert_eq!(paths.socket, Path::new("/run/ctdb/ctdbd.socket"));
        assert_eq!(paths.pid_file(), Path::new("/run/ctdb/ctdbd.pid"));
        assert_eq!(paths.log_file(), Path::new("/var/log/ctdb/log.ctdb"));
        assert_eq!(paths.host_in_log, "nas1");
    }

    #[test]
    fn test_mode_moves_everything_below_the_base() {
        let base = Some("/t/node.3/".into());
        let paths = Paths::resolve(&Surroundings { test_mode: true, base, ..surroundings() });
        let paths = paths.unwrap();
        assert_eq!(paths.nodes(), Path::new("/t/node.3/nodes"));
        assert_eq!(paths.socket, Path::new("/t/node.3/run/ctdbd.socket"));
        assert_eq!(paths.var, Path::new("/t/node.3/var"));
        assert_eq!(paths.log_file(), Path::new("/t/node.3/log.ctdb"));
        assert_eq!(paths.host_in_log, "node.3");
        assert!(paths.aliases().is_empty());
    }

    #[test]
    fn test_mode_needs_a_base() {
        let from = Surroundings { test_mode: true, ..surroundings() };
        assert!(matches!(Paths::resolve(&from), Err(PathsFault::NoBase)));
    }

    #[test]
    fn outside_test_mode_the_base_moves_the_configuration_alone() {
        let paths = Paths::resolve(&Surroundings { base: Some("/b".into()), ..surroundings() });
        let paths = paths.unwrap();
        assert_eq!(paths.ctdb_conf(), Path::new("/b/ctdb.conf"));
        assert_eq!(paths.run, Path::new("/run/ctdb"));
        assert_eq!(paths.host_in_log, "nas1");
    }

    #[test]
    fn relative_names_start_at_the_current_directory() {
        let base = Some("./n0".into());
        let socket = Some("s".into());
        let from = Surroundings { test_mode: true, base, socket, ..surroundings() };
        let paths = Paths::resolve(&from).unwrap();
        assert_eq!(paths.etc, Path::new("/srv/dir/n0"));
        assert_eq!(paths.socket, Path::new("/srv/dir/s"));
        let paths = Paths::resolve(&Surroundings { base: Some(".".into()), ..from }).unwrap();
        assert_eq!((paths.etc, paths.host_in_log), ("/srv/dir".into(), "dir".into()));
    }

    #[test]
    fn the_socket_may_be_elsewhere() {
        let socket = Some("/tmp/s".into());
        let paths = Paths::resolve(&Surroundings { socket, ..surroundings() }).unwrap();
        assert_eq!(paths.socket, Path::new("/tmp/s"));
        assert_eq!(paths.pid_file(), Path::new("/run/ctdb/ctdbd.pid"));
    }

    #[test]
    fn a_socket_path_that_no_socket_can_have_is_refused() {
        let socket = Some(format!("/{}", "x".repeat(107)).into());
        let fault = Paths::resolve(&Surroundings { socket, ..surroundings() }).unwrap_err();
        assert!(matches!(fault, PathsFault::SocketPathTooLong { size: 108, .. }));
    }

    #[test]
    fn the_names_of_4_25_lead_to_ours() {
        let aliases = Paths::resolve(&surroundings()).unwrap().aliases();
        assert_eq!(aliases[1].link, Path::new("/run/samba/ctdb/ctdbd.pid"));
        assert_eq!(aliases[1].target, Path::new("/run/ctdb/ctdbd.pid"));
    }
}
