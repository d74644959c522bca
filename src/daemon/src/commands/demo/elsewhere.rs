//! The demo under another kernel, where the running one lacks what the mode needs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use kubeweir_ipvs::Client;
use kubeweir_netlink::Error;
use kubeweir_playground::{Guest, Kernel};

use super::PATIENCE;
use crate::cli::Demo;
use crate::settings::ProxyMode;

/// What an emulator makes of [`PATIENCE`].
const SLOWER: u32 = 10;

/// Whether the running kernel has what the mode needs. Asking lets it load IPVS.
pub(super) fn is_needed(mode: ProxyMode) -> anyhow::Result<bool> {
    match mode {
        ProxyMode::Nftables => Ok(false),
        ProxyMode::Ipvs => match Client::open() {
            Ok(_) => Ok(false),
            Err(Error::NoFamily { .. }) => Ok(true),
            Err(error) => Err(error).context("IPVS cannot be reached"),
        },
    }
}

/// Runs the same command in a guest. The exit code is that of the command there.
pub(super) fn demo(options: &Demo) -> anyhow::Result<ExitCode> {
    if options.in_guest {
        bail!("this kernel has no IPVS either");
    }
    let kernel = kernel(options.guest_kernels.as_deref())?;
    println!("this kernel has no IPVS: here is Linux {}, in a slow emulator\n", kernel.release());
    let mut guest = Guest::boot(&kernel)?;
    let status = guest.run(&command(options)?, SLOWER * PATIENCE, |line| println!("{line}"))?;
    guest.power_off()?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
}

/// The same command, by this very program: a guest sees the files of its host.
fn command(options: &Demo) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments(options)).current_dir(std::env::current_dir()?);
    Ok(command)
}

fn arguments(options: &Demo) -> Vec<OsString> {
    let plain = ["demo".to_owned(), "--in-guest".to_owned()];
    let given =
        [format!("--proxy-mode={}", options.proxy_mode), format!("--connections={}", options.connections)];
    let mut arguments: Vec<OsString> = plain.into_iter().chain(given).map(OsString::from).collect();
    if let Some(witness) = &options.witness {
        arguments.extend(["--witness".into(), witness.clone().into_os_string()]);
    }
    arguments
}

/// A kernel that was fetched: into this directory, or into `guest` beside the directory of this program or above.
fn kernel(directory: Option<&Path>) -> anyhow::Result<Kernel> {
    let program = std::env::current_exe().unwrap_or_default();
    let places: Vec<PathBuf> = match directory {
        Some(directory) => vec![directory.to_owned()],
        None => program.ancestors().map(|directory| directory.join("guest")).collect(),
    };
    let found = places.iter().find_map(|place| kernel_in(place));
    found.with_context(|| {
        let place =
            directory.map_or("above this program".to_owned(), |place| format!("in {}", place.display()));
        format!(
            "this kernel has no IPVS, and there is no other {place}: run `make guest-kernels`, \
             or name their directory with --guest-kernels"
        )
    })
}

/// The first by name, so that it is the same one each time.
fn kernel_in(place: &Path) -> Option<Kernel> {
    let entries = std::fs::read_dir(place).ok()?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names.iter().find_map(|name| Kernel::find(place, name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_in_the_guest_is_the_same_but_never_goes_further() {
        let witness = Some(PathBuf::from("ipvsadm"));
        let options = Demo {
            proxy_mode: ProxyMode::Ipvs,
            connections: 200,
            witness,
            guest_kernels: Some("elsewhere".into()),
            in_guest: false,
        };
        let expected =
            ["demo", "--in-guest", "--proxy-mode=ipvs", "--connections=200", "--witness", "ipvsadm"];
        assert_eq!(arguments(&options), expected);
    }

    #[test]
    fn a_missing_kernel_is_said_how_to_get() {
        let directory = tempfile::tempdir().unwrap();
        let error = kernel(Some(directory.path())).unwrap_err().to_string();
        assert!(error.contains("make guest-kernels") && error.contains("--guest-kernels"), "{error}");
        let fetched = directory.path().join("6.1");
        std::fs::create_dir(&fetched).unwrap();
        std::fs::write(fetched.join("release"), "6.1.0\n").unwrap();
        assert_eq!(kernel(Some(directory.path())).unwrap().release(), "6.1.0");
    }
}
