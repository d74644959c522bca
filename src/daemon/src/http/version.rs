//! Which program this is, in Kubernetes' words.

use serde::Serialize;

/// The minor version of Kubernetes whose kube-proxy this program stands in for.
const EMULATED: (&str, &str) = ("1", "36");

/// `version.Info` of Kubernetes. What a build does not know is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    major: &'static str,
    minor: &'static str,
    emulation_major: &'static str,
    emulation_minor: &'static str,
    git_version: &'static str,
    git_commit: &'static str,
    git_tree_state: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    compiler: &'static str,
    platform: String,
}

impl Info {
    /// Of this program. Its own version: what it emulates stands beside it.
    pub fn ours() -> Info {
        Info {
            major: env!("CARGO_PKG_VERSION_MAJOR"),
            minor: env!("CARGO_PKG_VERSION_MINOR"),
            emulation_major: EMULATED.0,
            emulation_minor: EMULATED.1,
            git_version: concat!("v", env!("CARGO_PKG_VERSION"), "+kubeweir"),
            git_commit: option_env!("KUBEWEIR_GIT_COMMIT").unwrap_or_default(),
            git_tree_state: "",
            build_date: option_env!("KUBEWEIR_BUILD_DATE").unwrap_or_default(),
            go_version: "",
            compiler: "rustc",
            platform: format!("{}/{}", std::env::consts::OS, architecture()),
        }
    }

    /// Without the letter in front.
    pub fn binary(&self) -> &'static str {
        self.git_version.trim_start_matches('v')
    }

    /// The version of Kubernetes that is emulated.
    pub fn emulated(&self) -> String {
        format!("{}.{}", self.emulation_major, self.emulation_minor)
    }

    /// The labels of `kubernetes_build_info`.
    pub fn labels(&self) -> [(&'static str, &str); 9] {
        [
            ("major", self.major),
            ("minor", self.minor),
            ("git_version", self.git_version),
            ("git_commit", self.git_commit),
            ("git_tree_state", self.git_tree_state),
            ("build_date", self.build_date),
            ("go_version", self.go_version),
            ("compiler", self.compiler),
            ("platform", &self.platform),
        ]
    }
}

/// As Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
