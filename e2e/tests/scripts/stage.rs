//! Programs that scripts call, stood in for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use crate::root;

/// What must not be reached from a test, and what scripts listen to.
const PROGRAMS: [&str; 5] = ["docker", "hydrophone", "kind", "kubectl", "make"];
const VARIABLES: [&str; 5] = ["ARCHIVE", "CARGO_TARGET_DIR", "CLUSTER", "IMAGE", "IMAGE_DIRECTORY"];

/// Where scripts for kind run: with programs that write down how they were called, and beyond that do what a test has them do.
pub(crate) struct Stage {
    pub(crate) directory: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let stage = Stage { directory: TempDir::new().unwrap() };
        fs::create_dir(stage.directory.path().join("bin")).unwrap();
        for program in PROGRAMS {
            stage.program(program, "");
        }
        stage
    }

    /// Has a program do this, in a shell where `real NAME` is another program of that name.
    pub(crate) fn program(&self, name: &str, does: &str) {
        let path = self.directory.path().join("bin").join(name);
        let real = "real() { (PATH=${PATH#*:}; exec \"$@\"); }";
        let text =
            format!("#!/bin/bash\nset -euo pipefail\n{real}\necho \"{name} $*\" >>\"$CALLED\"\n{does}\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a script: what it says of its failure, if it fails.
    pub(crate) fn run(
        &self,
        script: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<(), String> {
        let mut command = Command::new(root().join("e2e/kind").join(script));
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        let path = format!("{}/bin:{}", self.directory.path().display(), std::env::var("PATH").unwrap());
        command.args(arguments).env("PATH", path).env("CALLED", self.directory.path().join("called"));
        command.env("CARGO_TARGET_DIR", self.target()).env("CLUSTER", "test").envs(variables.iter().copied());
        let output = command.current_dir(self.directory.path()).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    /// Where everything goes that is built, unless a variable says otherwise.
    pub(crate) fn target(&self) -> String {
        self.directory.path().join("target").display().to_string()
    }

    /// All programs that were called since this was asked last, with their arguments.
    pub(crate) fn called(&self) -> Vec<String> {
        let path = self.directory.path().join("called");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text.lines().map(str::to_owned).collect()
    }
}
