//! The stand-in, as a client that asks it to be strict.

use hyper::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kubeweir_e2e::api::{RESOURCES, StandIn};
use serde_json::Value;
use tokio::runtime::Runtime;

pub(crate) struct Server {
    pub(crate) stand_in: StandIn,
    client: Client,
    runtime: Runtime,
}

impl Server {
    pub(crate) fn start() -> Server {
        let stand_in = StandIn::start();
        let kubeconfig = stand_in.listen();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(kubeconfig).unwrap();
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        Server { stand_in, client, runtime }
    }

    /// Has it create an object, or says why it does not.
    pub(crate) fn create(&self, object: &Value) -> Result<(), String> {
        self.send("POST", object, &object.to_string(), "application/json")
    }

    /// Has it take this text for an object: by `POST`, or by another method at the object's own path.
    pub(crate) fn send(&self, method: &str, object: &Value, text: &str, content: &str) -> Result<(), String> {
        let own = if method == "POST" {
            String::new()
        } else {
            format!("/{}", object["metadata"]["name"].as_str().unwrap())
        };
        let path = format!("{}{own}?fieldValidation=Strict&fieldManager=test", place(object));
        let request = Request::builder().method(method).uri(path).header("Content-Type", content);
        let request = request.body(text.as_bytes().to_vec()).unwrap();
        match self.runtime.block_on(self.client.request_text(request)) {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(format!("{} {}", status.code, status.message)),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The path that objects of its kind are created at.
fn place(object: &Value) -> String {
    let (version, kind) = (&object["apiVersion"], &object["kind"]);
    let resource =
        RESOURCES.iter().find(|resource| *version == resource.api_version() && *kind == resource.kind);
    let resource = resource.unwrap_or_else(|| panic!("no {kind} of {version}"));
    let namespace = match object["metadata"]["namespace"].as_str() {
        Some(namespace) if resource.namespaced => format!("/namespaces/{namespace}"),
        None if !resource.namespaced => String::new(),
        given => panic!("{kind}: the namespace is {given:?}"),
    };
    format!("{}{namespace}/{}", resource.root(), resource.plural)
}
