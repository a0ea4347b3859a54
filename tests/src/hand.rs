//! Pieces of a deployment that a test puts together by hand: ports, nats-server, the roles and commands of the binary.
//!
//! Everything is in one folder: configuration files, stores, one log per process.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;

use crate::process::Process;
use crate::{tools, until};

/// How long a process may take until it answers.
pub const READY: Duration = Duration::from_secs(60);

/// Ports of this machine that nobody listens on, all different. They lie below those that most systems take for outgoing
/// connections, so that a restarted server finds its port free.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| {
        loop {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", rand::random_range(22_000..32_000))) {
                return listener;
            }
        }
    });
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}

/// Starts a nats-server in `dir` that syncs before it acknowledges, and waits until it takes connections. `settings` are
/// more of its configuration. Started again in the same folder it has what it had.
///
/// # Panics
/// If it does not.
pub async fn start_nats(dir: &Path, port: u16, settings: &str) -> Process {
    let config = dir.join("nats.conf");
    let text = format!(
        "host: 127.0.0.1\nport: {port}\nmax_payload: 4MB\n\
         jetstream {{ store_dir: {:?}, max_file: 200GB, sync_interval: always }}\n{settings}",
        dir.join("jetstream"),
    );
    std::fs::write(&config, text).expect("the folder is writable");
    let mut command = Command::new(tools::tool("bin/nats-server"));
    command.arg("-c").arg(config);
    let process = Process::spawn_logged("nats-server", command, &dir.join("nats.log"));
    listens("nats-server", port).await;
    process
}

/// Waits until somebody listens on a port.
///
/// # Panics
/// If nobody does in time.
pub async fn listens(what: &str, port: u16) {
    until(what, READY, || async { TcpStream::connect(("127.0.0.1", port)).await.ok() }).await;
}

/// Starts a role with `config`, a file in `dir`; it logs to `name`.log.
pub fn start_role(dir: &Path, name: &str, arguments: &[&str], config: &str, environment: &[(&str, &str)]) -> Process {
    let mut command = Command::new(tools::frazil());
    command.args(arguments).arg("--config").arg(dir.join(config)).current_dir(dir);
    command.envs(environment.iter().copied());
    Process::spawn_logged(name, command, &dir.join(format!("{name}.log")))
}

/// Waits until a GET of `url` succeeds.
///
/// # Panics
/// If it does not in time; shows the end of the log of `process`.
pub async fn answers(url: &str, process: &Process) {
    let client = reqwest::Client::new();
    let probe = || async { client.get(url).send().await.ok()?.status().is_success().then_some(()) };
    if tokio::time::timeout(READY, until(url, READY * 2, probe)).await.is_err() {
        panic!("{url} does not answer; the log ends\n{}", process.log_tail());
    }
}

/// Runs a command of the binary with `config`, a file in `dir`, if it is one that takes a configuration.
///
/// # Panics
/// If it cannot be run.
pub async fn frazil(dir: &Path, config: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(tools::frazil());
    command.args(arguments).current_dir(dir).kill_on_drop(true);
    match arguments[0] {
        "send" => &mut command,
        "check-config" => command.arg(dir.join(config)),
        _ => command.arg("--config").arg(dir.join(config)),
    };
    command.output().await.expect("frazil runs")
}

/// What a command printed that must have succeeded.
///
/// # Panics
/// If it failed; shows what it said.
pub fn succeeded(output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "frazil failed:\n{out}\n{err}");
    out.into_owned()
}

/// Makes a token for every stream and table.
///
/// # Panics
/// If that fails.
pub async fn token_for_all(dir: &Path, config: &str) -> String {
    let arguments = ["token", "create", "--name", "e2e", "--stream", "*", "--table", "*"];
    let text = succeeded(frazil(dir, config, &arguments).await);
    text.split_whitespace().find(|word| word.starts_with("frz_")).expect("the token is printed").to_owned()
}
