//! Runs a program with nothing that it could write to, and without the system calls that container runtimes' default profiles refuse:
//! `kubeweir-refuse PROGRAM ARGUMENTS...`, in a mount namespace of its own.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, anyhow};
use nix::libc;
use nix::mount::{MsFlags, mount};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// What Docker's and containerd's profiles refuse to who has no further capability than `CAP_NET_ADMIN`, and both machines that
/// we build for have (<https://docs.docker.com/engine/security/seccomp/>).
const REFUSED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().context("usage: kubeweir-refuse PROGRAM [ARGUMENTS...]")?;
    make_read_only()?;
    seccompiler::apply_filter(&filter()?)?;
    Err(anyhow!(Command::new(&program).args(words).exec()).context(program.display().to_string()))
}

/// Makes everything read-only that is mounted. `/proc/sys` is a mount of its own in a container.
fn make_read_only() -> anyhow::Result<()> {
    let change = |from: Option<&str>, place: &str, flags| {
        mount(from, place, None::<&str>, flags, None::<&str>).with_context(|| place.to_owned())
    };
    change(None, "/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    change(Some("/proc/sys"), "/proc/sys", MsFlags::MS_BIND)?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    // What another mount hides cannot be reached, to be changed or to be written to.
    for place in places.filter(|place| Path::new(place).exists()) {
        change(None, place, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY)?;
    }
    Ok(())
}

fn filter() -> anyhow::Result<BpfProgram> {
    let refused: BTreeMap<i64, Vec<_>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter =
        SeccompFilter::new(refused, SeccompAction::Allow, refusal, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}
