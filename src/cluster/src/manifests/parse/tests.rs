use super::*;

const MIXED: &str = "# a comment before everything
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, creationTimestamp: '2026-01-02T03:04:05Z'}
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, 'fd00:96::10']
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-x
  namespace: shop
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
ports:
- {name: http, port: 8080}
endpoints:
- addresses: [10.244.1.5]
  nodeName: node-1
- addresses: [10.244.1.6]
  conditions: {ready: false, serving: true, terminating: true}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
- {apiVersion: v1, kind: Node, metadata: {name: node-2}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}
- {apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/16]}}
";

fn read(file: &str, text: &str) -> Result<Content, ParseError> {
    parse(file, text, "node-1", &mut Strings::default())
}

#[test]
fn several_documents_and_lists_are_read_and_other_kinds_passed_over() {
    let content = read("all.yaml", MIXED).unwrap();
    let ids: Vec<String> = content.objects.iter().map(|((kind, name), _)| format!("{kind} {name}")).collect();
    assert_eq!(
        ids,
        [
            "Service shop/web",
            "EndpointSlice shop/web-x",
            "Node /node-1",
            "Node /node-2",
            "ServiceCIDR /kubernetes"
        ]
    );
    let Object::Service(service, _) = &content.objects[0].1 else { panic!() };
    assert_eq!((service.ports.len(), service.cluster_ips.len(), service.created), (2, 2, 1_767_323_045));
    let Object::Slice(slice, ..) = &content.objects[1].1 else { panic!() };
    assert!(slice.endpoints[0].ready && slice.endpoints[1].terminating && !slice.endpoints[1].ready);
    assert!(matches!(content.objects[2].1, Object::Node(_)));
    assert_eq!(content.objects[3].1, Object::OtherNode([IpAddr::from([192, 0, 2, 2])].into()));
}

#[test]
fn json_reads_as_yaml_does() {
    let json = r#"{"apiVersion": "v1", "kind": "ServiceList", "items": [
        {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}}]}"#;
    assert_eq!(read("a.json", json).unwrap().objects, read("a.yaml", json).unwrap().objects);
    assert_eq!(
        read("a.json", json).unwrap().objects[0].0,
        (Kind::Service, ObjectName::new("default", "web"))
    );
}

#[test]
fn faults_name_file_and_line() {
    let wrong_type = MIXED.replace("nodePort: 30080", "nodePort: many");
    let at = |text: &str| read("x.yaml", text).map(|_| ()).unwrap_err();
    let error = at(&wrong_type);
    assert_eq!((error.file.as_str(), error.line), ("x.yaml", 10), "{error}");
    assert_eq!(at("apiVersion: v1\nkind: Service\nspec: [\n").line, 3);
    assert_eq!(at("---\nkind: Service\n").line, 1);
    assert_eq!(at("---\na: 1\n---\n# no kind\nb: 2\n").reason, "apiVersion or kind is missing");
    assert!(at("apiVersion: v2\nkind: Service\n").reason.contains("Service of v2"));
    let json = read("x.json", "{\"apiVersion\": \"v1\",\n \"kind\": 5}").map(|_| ()).unwrap_err();
    assert_eq!(json.line, 2);
}

#[test]
fn one_bad_address_costs_that_address_only() {
    let text = MIXED.replace("10.244.1.5", "10.244.1.555");
    let content = read("x.yaml", &text).unwrap();
    let Object::Slice(slice, ..) = &content.objects[1].1 else { panic!() };
    assert_eq!(slice.endpoints.len(), 1);
    assert_eq!(
        content.complaints,
        ["EndpointSlice shop/web-x: endpoints.addresses: \"10.244.1.555\" is not valid"]
    );
}

#[test]
fn an_empty_file_holds_nothing() {
    for text in ["", "---\n", "# only a comment\n", "---\n---\n"] {
        assert!(read("x.yaml", text).unwrap().objects.is_empty(), "{text:?}");
    }
}
