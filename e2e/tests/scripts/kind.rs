//! What scripts for kind make of their arguments and of what other programs answer. Nothing here shows that clusters come of it.

use std::fs;
use std::path::Path;

use kubeweir_e2e::kubectl;

use crate::stage::Stage;

const IMAGE: &str = "registry.example:5000/mirror/kubeweir:v9";
/// Does what the real one does for an image but build it: leaves an archive where that one would, with the name that it would have.
const MAKE: &str = r#"
archive=$(real make -n "$@" | sed -n 's/.* docker-archive:\([^:]*\):.*/\1/p')
image=$(real make -n "$@" | sed -n 's/.* docker-archive:[^:]*://p')
cd "$2"
mkdir -p "$(dirname "$archive")" "$CALLED-archive"
printf '[{"Config":"c.json","RepoTags":["%s"],"Layers":[]}]' "$image" >"$CALLED-archive/manifest.json"
tar -C "$CALLED-archive" -cf "$archive" manifest.json
"#;

#[test]
fn a_way_that_nobody_knows_is_refused_with_those_that_there_are_before_anything_is_done() {
    let stage = Stage::new();
    for arguments in [&["nonsense"][..], &["nftables", "nonsense"], &[""]] {
        let said = stage.run("run.sh", arguments, &[]).expect_err(&format!("{arguments:?}"));
        let ways = ["nftables", "ipvs", "nftables-image", "iptables-image", "ipvs-image", "nftables-kubeadm"];
        for way in ways {
            assert!(said.split_whitespace().any(|word| word == way), "{way}: {said}");
        }
        assert_eq!(stage.called(), Vec::<String>::new());
    }
}

#[test]
fn a_way_by_its_name_is_the_only_one_and_ends_where_something_fails() {
    let stage = Stage::new();
    stage.program("make", MAKE);
    stage.program("kind", "exit 1");
    stage.run("run.sh", &["ipvs-image"], &[]).unwrap_err();
    let called = stage.called();
    let clusters: Vec<&String> = called.iter().filter(|call| call.starts_with("kind ")).collect();
    assert!(
        matches!(clusters[..], [only] if only.starts_with("kind create cluster --name kubeweir-ipvs-image ")),
        "{called:?}"
    );
}

/// The archive that a script for a cluster has `kind` load.
fn loaded(stage: &Stage) -> String {
    let called = stage.called();
    let load = |call: &String| call.strip_prefix("kind load image-archive ").map(str::to_owned);
    let load = called.iter().find_map(load).unwrap_or_else(|| panic!("{called:?}"));
    load.strip_suffix(" --name test").unwrap().to_owned()
}

#[test]
fn what_make_has_built_under_the_name_that_was_asked_for_is_what_kind_loads() {
    let stage = Stage::new();
    stage.program("make", MAKE);
    let elsewhere = stage.directory.path().join("elsewhere").display().to_string();
    for (variables, archive) in [
        (vec![], format!("{}/image/kubeweir.tar", stage.target())),
        (vec![("IMAGE", IMAGE)], format!("{}/image/kubeweir.tar", stage.target())),
        (vec![("IMAGE_DIRECTORY", elsewhere.as_str())], format!("{elsewhere}/kubeweir.tar")),
    ] {
        stage.run("cluster.sh", &["none"], &variables).unwrap_or_else(|said| panic!("{variables:?}: {said}"));
        assert_eq!(loaded(&stage), archive, "{variables:?}");
        let manifest = stage.directory.path().join("called-archive/manifest.json");
        let image = variables.iter().find(|(name, _)| *name == "IMAGE");
        let image = image
            .map_or(concat!("ghcr.io/kubeweir/kubeweir:v", env!("CARGO_PKG_VERSION")), |(_, image)| image);
        let manifest = fs::read_to_string(manifest).unwrap();
        assert!(manifest.contains(&format!("[\"{image}\"]")), "{manifest}");
    }
}

#[test]
fn an_archive_of_another_image_is_refused_before_there_is_a_cluster() {
    let stage = Stage::new();
    stage.program("make", MAKE);
    stage.run("cluster.sh", &["none"], &[]).unwrap();
    let archive = loaded(&stage);
    stage.run("cluster.sh", &["none"], &[("ARCHIVE", &archive)]).unwrap();
    assert_eq!(loaded(&stage), archive);
    let said = stage.run("cluster.sh", &["none"], &[("ARCHIVE", &archive), ("IMAGE", IMAGE)]).unwrap_err();
    assert!(said.contains(IMAGE) && said.contains(&archive), "{said}");
    assert_eq!(stage.called(), Vec::<String>::new());
}

/// Renders with the real one, which is given names that it knows if it is old, and keeps what is sent to a cluster.
fn kubectl_that_keeps(to: &Path) -> String {
    let age = if kubectl::minor() < 21 {
        "sed -i -z 's|\\nresources:\\n- \\.\\./|\\nbases:\\n- ../|' \"$2\"/../*/kustomization.yaml"
    } else {
        ":"
    };
    let to = to.display();
    format!(
        "case \"$*\" in\nkustomize*) {age}; real kubectl \"$@\" ;;\n\
         apply* | replace*) cp \"${{@: -1}}\" {to} ;;\nesac"
    )
}

#[test]
fn our_manifests_come_with_the_image_that_was_loaded_and_with_no_other() {
    let stage = Stage::new();
    let applied = stage.directory.path().join("applied");
    stage.program("kubectl", &kubectl_that_keeps(&applied));
    let ours = concat!("ghcr.io/kubeweir/kubeweir:v", env!("CARGO_PKG_VERSION"));
    for (way, verb) in [("nftables", "apply"), ("ipvs", "apply"), ("kubeadm", "replace")] {
        for image in [IMAGE, ours] {
            stage
                .run("install.sh", &[way], &[("IMAGE", image)])
                .unwrap_or_else(|said| panic!("{way}: {said}"));
            let called = stage.called();
            assert!(called.iter().any(|call| call.starts_with(&format!("kubectl {verb} "))), "{called:?}");
            let text = fs::read_to_string(&applied).unwrap();
            let images: Vec<_> =
                text.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
            assert_eq!(images, [image; 2], "{way}");
            if verb == "apply" {
                assert!(text.contains("server: https://test-control-plane:6443"), "{text}");
                assert!(text.contains("clusterCIDR: 10.244.0.0/16,"), "{text}");
            }
        }
    }
    stage.run("install.sh", &["image"], &[("IMAGE", IMAGE)]).unwrap();
    let set = format!("kubectl -n kube-system set image daemonset/kube-proxy kube-proxy={IMAGE}");
    assert!(stage.called().contains(&set));
}

#[test]
fn an_image_without_a_tag_is_refused() {
    let stage = Stage::new();
    let said =
        stage.run("install.sh", &["nftables"], &[("IMAGE", "registry.example:5000/kubeweir")]).unwrap_err();
    assert!(said.contains("registry.example:5000/kubeweir"), "{said}");
    assert!(!stage.called().iter().any(|call| call.starts_with("kubectl apply")));
}
