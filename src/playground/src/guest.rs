//! Guests: other kernels in an emulator, with the files of this host.
//!
//! A guest sees the host's root file system read-only, under a layer of memory of its own, so that every program of the host
//! runs in it by its own path; what is written is gone with the guest. It has one processor, no network and no disk, and
//! its modules (`ip_vs`, `dummy` and others) are loaded before the first program runs. The emulator translates every
//! instruction (`tcg`): no hardware is asked for, and everything takes several times as long.
//!
//! Needs `qemu-system-x86_64`, `setpriv`, a static `busybox`, `kmod` and `iproute2`.

mod archive;
mod kernel;
mod machine;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use kernel::Kernel;
use machine::Machine;

/// A booted guest. Dropping it ends it at once.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
}

/// A developer's shell in a guest.
#[derive(Clone, Debug)]
pub struct Shell {
    /// Where it starts.
    pub directory: PathBuf,
    /// The kind of terminal, as in `TERM`.
    pub terminal: String,
}

/// A guest could not be started or did not last.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The kernel was not fetched.
    #[error("no kernel {name} in {place}: run `make guest-kernels`")]
    NoKernel {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        place: PathBuf,
    },
    /// A file that the guest is made of cannot be read or written.
    #[error("guest file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The emulator does not run.
    #[error("emulator qemu-system-x86_64, started by setpriv")]
    Emulator {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nothing came from the guest for longer than allowed.
    #[error("guest silent for {seconds} s, last on its console:\n{}", tail(console))]
    Silent {
        /// How long, in seconds.
        seconds: u64,
        /// All that the kernel has said.
        console: String,
    },
    /// The guest was off before its time.
    #[error("guest gone too early, last on its console:\n{}", tail(console))]
    Gone {
        /// All that the kernel has said.
        console: String,
    },
    /// The guest's kernel has met an error of its own.
    #[error("guest kernel in trouble:\n{}", tail(console))]
    Trouble {
        /// All that the kernel has said.
        console: String,
    },
}

/// How long a guest may take to boot and to go.
const PATIENCE: Duration = Duration::from_secs(120);
const READY: &[u8] = b"\x1eready\n";
const STATUS: &[u8] = b"\x1estatus ";
/// What a kernel says that goes on after an error, or does not.
const TROUBLE: [&str; 6] =
    ["Kernel panic", "Oops", "BUG:", "kernel BUG at", "general protection fault", "WARNING: CPU"];

impl Guest {
    /// Boots a kernel, and waits until programs can be run.
    pub fn boot(kernel: &Kernel) -> Result<Guest, GuestError> {
        let guest = Guest { machine: Machine::start(kernel)? };
        while guest.next_line(PATIENCE)? != READY {}
        Ok(guest)
    }

    /// Runs a program with the arguments, the variables and the directory that a command names, and passes on what it
    /// prints, on both ways, line by line and without line ends. Returns its exit code, 128 and the number if a signal
    /// has ended it. Variables of this process are not inherited.
    ///
    /// A program that prints nothing for longer than `patience` is held to be lost, and the guest with it.
    pub fn run(
        &mut self,
        command: &Command,
        patience: Duration,
        mut line: impl FnMut(&str),
    ) -> Result<i32, GuestError> {
        let script = script(command);
        if self.machine.send(&format!("{}\n{script}", script.len())).is_err() {
            return Err(self.gone());
        }
        // An end of a line before the status belongs to the status.
        let mut held = false;
        loop {
            let bytes = self.next_line(patience)?;
            if let Some(status) = bytes.strip_prefix(STATUS) {
                return Ok(String::from_utf8_lossy(status).trim().parse().unwrap_or(-1));
            }
            if held {
                line("");
            }
            held = bytes == b"\n";
            if !held {
                line(String::from_utf8_lossy(&bytes).trim_end_matches('\n'));
            }
        }
    }

    /// Turns the guest off. Fails if its kernel has met an error of its own.
    pub fn power_off(self) -> Result<(), GuestError> {
        let mut machine = self.machine;
        machine.close();
        while machine.line(PATIENCE)?.is_some() {}
        sound(&machine)
    }

    /// Boots a kernel with a shell on this program's terminal, and returns when it has ended. `Ctrl-A X` ends it at once.
    pub fn shell(kernel: &Kernel, shell: &Shell) -> Result<(), GuestError> {
        machine::run_shell(kernel, shell)
    }

    fn next_line(&self, patience: Duration) -> Result<Vec<u8>, GuestError> {
        self.machine.line(patience)?.ok_or_else(|| self.gone())
    }

    fn gone(&self) -> GuestError {
        sound(&self.machine).err().unwrap_or_else(|| GuestError::Gone { console: self.machine.console() })
    }
}

/// Whether the kernel has said nothing that it should not.
fn sound(machine: &Machine) -> Result<(), GuestError> {
    let console = machine.console();
    let troubled = console.lines().any(|line| TROUBLE.iter().any(|words| line.contains(words)));
    if troubled { Err(GuestError::Trouble { console }) } else { Ok(()) }
}

/// A command as a script for `/bin/sh`.
fn script(command: &Command) -> String {
    let plain = |text: &OsStr| text.to_string_lossy().into_owned();
    let set = |(name, value): (&OsStr, Option<&OsStr>)| {
        Some(format!("export {}={}", plain(name), quoted(&plain(value?))))
    };
    let enter = |path: &Path| format!("cd {} || exit 126", quoted(&plain(path.as_os_str())));
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<String> = words.map(|word| quoted(&plain(word))).collect();
    let before = command.get_envs().filter_map(set).chain(command.get_current_dir().map(enter));
    let lines: Vec<String> = before.chain([format!("exec {}", words.join(" "))]).collect();
    lines.join("\n") + "\n"
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The last lines of a text, or from the first that tells of trouble.
fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    let troubled = |line: &&str| TROUBLE.iter().any(|words| line.contains(words));
    let start = lines.iter().position(troubled).unwrap_or(lines.len().saturating_sub(30));
    let shown: Vec<String> = lines[start..].iter().take(60).map(|line| format!("    {line}")).collect();
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_same_in_a_shell() {
        let mut command = Command::new("printf");
        command.args(["%s|", "it's", "a b", "$HOME\n", ""]).env("WHO", "o'neil").current_dir("/");
        let output = Command::new("sh").arg("-c").arg(script(&command)).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "it's|a b|$HOME\n||");
        assert!(script(&command).starts_with("export WHO='o'\\''neil'\ncd '/' || exit 126\n"));
    }

    #[test]
    fn trouble_is_told_from_where_it_begins() {
        let quiet: Vec<String> = (0..40).map(|number| format!("line {number}")).collect();
        assert_eq!(tail(&quiet.join("\n")).lines().next(), Some("    line 10"));
        let troubled = format!("all is well\nBUG: unable to handle\n{}", quiet.join("\n"));
        assert_eq!(tail(&troubled).lines().next(), Some("    BUG: unable to handle"));
    }
}
