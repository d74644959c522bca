//! Objects as `kubectl kustomize` and the chart make them.

use std::collections::BTreeMap;
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

/// What `kubectl` knows by itself since 1.21.
const NAMES: &str = "
nameReference:
- kind: ConfigMap
  version: v1
  fieldSpecs: [{kind: DaemonSet, path: spec/template/spec/volumes/projected/sources/configMap/name}]
";

/// The directories of all kustomizations, so that this `kubectl` understands them: before 1.21 directories among resources went by
/// another name, and names of `ConfigMaps` were not looked for everywhere.
pub(crate) struct Kustomizations {
    directory: TempDir,
}

impl Kustomizations {
    pub(crate) fn new() -> Kustomizations {
        let directory = TempDir::new().unwrap();
        for name in kustomizations() {
            let (from, to) = (root().join("manifests").join(&name), directory.path().join(&name));
            fs::create_dir(&to).unwrap();
            for file in names_in(&from) {
                fs::copy(from.join(&file), to.join(&file)).unwrap();
            }
        }
        let kustomizations = Kustomizations { directory };
        if kubectl::minor() < 21 {
            kustomizations.age();
        }
        kustomizations
    }

    fn age(&self) {
        for name in overlays().iter().filter(|name| *name != KUBEADM) {
            self.edit(&format!("{name}/kustomization.yaml"), "\nresources:\n- ../", "\nbases:\n- ../");
        }
        fs::write(self.path("base/names.yaml"), NAMES).unwrap();
        let and = "\nconfigurations: [names.yaml]\nresources:\n";
        self.edit("base/kustomization.yaml", "\nresources:\n", and);
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Changes a file, as an operator does.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replace(from, to)).unwrap();
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

/// Files that pods find beside their configuration, with what they hold: all of their volume is among the objects.
pub(crate) fn mounted(objects: &[Value]) -> BTreeMap<String, String> {
    let volumes = &the(objects, "DaemonSet")["spec"]["template"]["spec"]["volumes"];
    assert_eq!(volumes.as_array().map(Vec::len), Some(1), "{volumes}");
    let mut files = BTreeMap::new();
    for name in sources(&volumes[0]).iter().map(|source| &source["configMap"]["name"]) {
        let is_it = |object: &&Value| object["kind"] == "ConfigMap" && object["metadata"]["name"] == *name;
        let map = objects.iter().find(is_it).unwrap_or_else(|| panic!("no ConfigMap {name}"));
        for (file, text) in map["data"].as_object().unwrap() {
            let before = files.insert(file.clone(), text.as_str().unwrap().to_owned());
            assert_eq!(before, None, "{file} is there twice");
        }
    }
    files
}

/// What a volume shows, one or more.
pub(crate) fn sources(volume: &Value) -> &[Value] {
    volume["projected"]["sources"].as_array().map_or(std::slice::from_ref(volume), Vec::as_slice)
}
