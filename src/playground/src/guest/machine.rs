//! The machine that a guest runs in: one emulator process and the lines that come out of it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::archive::Archive;
use super::kernel::Kernel;
use super::{GuestError, Shell};

/// All that the emulator can do but `cmpxchg16b`, with which the kernel allocates memory if there is it: QEMU 7.2 left other bits
/// in the flags behind it once in some ten thousand seconds, which kills the kernel (double fault in `kmem_cache_alloc`).
const CPU: &str = "max,-cx16";
const PROCESSORS: &str = "1";
const MEMORY: &str = "3G";
/// Without these the host's files and the channel cannot be reached.
const FIRST_MODULES: [&str; 5] = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];
const BUSYBOX: &str = "/bin/busybox";

/// A running emulator. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Machine {
    child: Child,
    requests: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    console: Arc<Mutex<Vec<u8>>>,
}

impl Machine {
    /// Starts the emulator with a channel for requests and answers.
    pub(super) fn start(kernel: &Kernel) -> Result<Machine, GuestError> {
        let first_files = write_first_files(kernel)?;
        let mut command = emulator(kernel, &first_files, "ROOT_CACHE=loose");
        command.args(["-chardev", "stdio,id=channel,signal=off", "-device", "virtio-serial-pci"]);
        command.args(["-device", "virtserialport,chardev=channel,name=channel"]);
        // The console goes to where the emulator's own complaints go.
        command.args(["-serial", "file:/dev/fd/2"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (lines, console) = (channel(), Arc::default());
        let started = start_on_own_thread(command, lines.0, Arc::clone(&console));
        let (child, requests) = started.map_err(|source| GuestError::Emulator { source })?;
        Ok(Machine { child, requests: Some(requests), lines: lines.1, console })
    }

    /// Sends a request.
    pub(super) fn send(&mut self, request: &str) -> io::Result<()> {
        let requests = self.requests.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        requests.write_all(request.as_bytes())
    }

    /// Says that no requests will follow: the guest turns itself off.
    pub(super) fn close(&mut self) {
        self.requests = None;
    }

    /// The next line of answers, or nothing when there are no more. Waits so long at most.
    pub(super) fn line(&self, patience: Duration) -> Result<Option<Vec<u8>>, GuestError> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(GuestError::Silent { seconds: patience.as_secs(), console: self.console() })
            }
        }
    }

    /// What the kernel has said so far.
    pub(super) fn console(&self) -> String {
        let bytes = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has a terminal of its own in place of a channel. Returns when the guest is off.
pub(super) fn run_shell(kernel: &Kernel, shell: &Shell) -> Result<(), GuestError> {
    let first_files = write_first_files(kernel)?;
    let words = format!(
        "ROOT_CACHE=mmap SHELL_ON=ttyS0 SHELL_IN={} TERM={}",
        shell.directory.display(),
        shell.terminal
    );
    let mut command = emulator(kernel, &first_files, &words);
    let status = command.args(["-serial", "mon:stdio"]).status();
    status.map(|_| ()).map_err(|source| GuestError::Emulator { source })
}

/// The kernel ends a child of `setpriv --pdeathsig` with the *thread* that started it: the one that reads its lines to the end.
fn start_on_own_thread(
    mut command: Command,
    lines: Sender<Vec<u8>>,
    console: Arc<Mutex<Vec<u8>>>,
) -> io::Result<(Child, ChildStdin)> {
    let (started, wait) = channel();
    thread::spawn(move || {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return started.send(Err(error)).unwrap_or_default(),
        };
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(requests), Some(answers), Some(complaints)) = pipes else { return };
        let reader = thread::spawn(move || keep(complaints, &console));
        if started.send(Ok((child, requests))).is_ok() {
            forward(answers, &lines);
            // The channel closes a little before the emulator has said its last words.
            let _ = reader.join();
        }
    });
    wait.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

fn keep(mut from: impl Read, to: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        to.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
    }
}

fn forward(from: impl Read, lines: &Sender<Vec<u8>>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = from.read_until(b'\n', &mut line) {
        if lines.send(std::mem::take(&mut line)).is_err() {
            return;
        }
    }
}

/// What both ways of running a guest have in common.
///
/// One processor: with a thread for each of two, the kernel's changes of its own code are not always seen by the other in time,
/// and it dies with `Oops: int3` (QEMU 7.2, Linux 6.12); with one thread for both, each has slices of a tenth of a second, and
/// whatever goes from one to the other takes as long.
fn emulator(kernel: &Kernel, first_files: &std::path::Path, words: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
    command.args(["-accel", "tcg,thread=single", "-cpu", CPU, "-smp", PROCESSORS, "-m", MEMORY]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
    command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
    command.arg("-kernel").arg(kernel.beside("vmlinux")).arg("-initrd").arg(first_files);
    let quiet =
        "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic nowatchdog rcupdate.rcu_cpu_stall_suppress=1";
    let quick = "mitigations=off random.trust_cpu=on tsc=reliable no_timer_check audit=0";
    let modules = kernel.modules();
    command.args(["-append", &format!("{quiet} {quick} HOST_MODULES={} {words}", modules.display())]);
    command
}

/// Writes the archive with the guest's first programs to a file beside the kernel.
fn write_first_files(kernel: &Kernel) -> Result<PathBuf, GuestError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "host", "layer", "root", "modules"] {
        archive.directory(directory);
    }
    archive.console();
    archive.file("busybox", &read(BUSYBOX.into())?);
    archive.file("init", include_bytes!("init.sh"));
    archive.file("administrator.sh", include_bytes!("administrator.sh"));
    let mut order = Vec::new();
    for path in kernel.files_of(&FIRST_MODULES)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive.file(&format!("modules/{name}"), &read(path)?);
        order.push(name);
    }
    archive.file("modules/order", order.join("\n").as_bytes());
    // Renamed, so that who boots the same kernel at the same time never meets half a file; nothing is left over.
    let own = format!("first-files-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let (own, path) = (kernel.beside(&own), kernel.beside("first-files"));
    let written = fs::write(&own, archive.finish()).and_then(|()| fs::rename(&own, &path));
    written.map_err(|source| GuestError::File { path: own, source })?;
    Ok(path)
}

fn read(path: PathBuf) -> Result<Vec<u8>, GuestError> {
    fs::read(&path).map_err(|source| GuestError::File { path, source })
}
