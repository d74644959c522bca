//! Objects as `kubectl kustomize` and the chart make them.

use std::fs;
use std::path::{Path, PathBuf};

use kubeweir_e2e::api::documents;
use kubeweir_e2e::kubectl;
use serde_json::Value;
use tempfile::TempDir;

use crate::helm;

/// What overlays are built of.
pub(crate) const BASE: &str = "base";
/// The one that changes what kubeadm installed.
pub(crate) const KUBEADM: &str = "kubeadm";

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Names in a directory, in order.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All that can be built, whatever there is.
pub(crate) fn kustomizations() -> Vec<String> {
    let names = names_in(&root().join("manifests"));
    assert!(names.len() >= 4, "{names:?}");
    names
}

/// All but the base.
pub(crate) fn overlays() -> Vec<String> {
    kustomizations().into_iter().filter(|name| name != BASE).collect()
}

/// The directories of all kustomizations, so that this `kubectl` understands them: before 1.21 directories among resources went by
/// another name.
pub(crate) struct Kustomizations {
    directory: TempDir,
}

impl Kustomizations {
    pub(crate) fn new() -> Kustomizations {
        let directory = TempDir::new().unwrap();
        let is_old = kubectl::minor() < 21;
        for name in kustomizations() {
            let (from, to) = (root().join("manifests").join(&name), directory.path().join(&name));
            fs::create_dir(&to).unwrap();
            for file in names_in(&from) {
                let mut text = fs::read_to_string(from.join(&file)).unwrap();
                if is_old && file == "kustomization.yaml" {
                    text = text.replace("\nresources:\n- ../", "\nbases:\n- ../");
                }
                fs::write(to.join(file), text).unwrap();
            }
        }
        Kustomizations { directory }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub(crate) fn build(&self, name: &str) -> Vec<Value> {
        let kubeconfig = self.directory.path().join("none");
        documents(&kubectl::run(&kubeconfig, &["kustomize", &self.path(name)], "").unwrap())
    }
}

/// Objects of an overlay.
pub(crate) fn overlay(name: &str) -> Vec<Value> {
    Kustomizations::new().build(name)
}

/// All objects that operators may get, with where they are from: each overlay's and each of the chart's.
pub(crate) fn all() -> Vec<(String, Vec<Value>)> {
    let kustomizations = Kustomizations::new();
    let overlays = overlays().into_iter().map(|name| {
        let objects = kustomizations.build(&name);
        (format!("manifests/{name}"), objects)
    });
    let charts = helm::values_files().into_iter().map(|file| {
        let objects = helm::rendered(&file);
        (format!("the chart with {file}"), objects)
    });
    overlays.chain(charts).collect()
}

/// The only object of a kind.
pub(crate) fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut of_kind = objects.iter().filter(|object| object["kind"] == kind);
    match (of_kind.next(), of_kind.next()) {
        (Some(object), None) => object,
        _ => panic!("not exactly one {kind}"),
    }
}

/// Texts of a list.
pub(crate) fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The command line of a container, without the program.
pub(crate) fn arguments(container: &Value) -> Vec<String> {
    let command = texts(&container["command"]);
    command.into_iter().skip(1).chain(texts(&container["args"])).collect()
}

/// The main container of a `DaemonSet`, and the one before it.
pub(crate) fn containers(set: &Value) -> (&Value, &Value) {
    let pod = &set["spec"]["template"]["spec"];
    let only = |list: &'static str| {
        assert_eq!(pod[list].as_array().map(Vec::len), Some(1), "{list}");
        &pod[list][0]
    };
    (only("containers"), only("initContainers"))
}
