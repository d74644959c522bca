use super::*;

fn environment(no: &str) -> Environment {
    Environment {
        https: "http://proxy.example:3128".to_owned(),
        http: "plain.example:3129".to_owned(),
        no: no.to_owned(),
    }
}

fn chosen(environment: &Environment, server: &str) -> Option<String> {
    environment.proxy_to(&server.parse().unwrap()).map(|proxy| proxy.uri().to_string())
}

#[test]
fn the_scheme_of_the_server_chooses_the_proxy() {
    let all = environment("");
    assert_eq!(chosen(&all, "https://192.0.2.1:6443").as_deref(), Some("http://proxy.example:3128/"));
    assert_eq!(chosen(&all, "http://192.0.2.1:8080").as_deref(), Some("http://plain.example:3129/"));
    assert_eq!(chosen(&Environment::default(), "https://192.0.2.1:6443"), None);
    let wrong = Environment { https: "ftp://proxy.example".to_owned(), ..all };
    assert_eq!(chosen(&wrong, "https://192.0.2.1:6443"), None);
}

#[test]
fn this_host_is_never_reached_through_a_proxy() {
    for server in
        ["https://127.0.0.1:6443", "https://127.9.9.9", "https://[::1]:6443", "https://localhost:6443"]
    {
        assert_eq!(chosen(&environment(""), server), None, "{server}");
    }
}

#[test]
fn exceptions_are_those_of_go() {
    for (no, server, direct) in [
        ("192.0.2.1", "https://192.0.2.1:6443", true),
        ("10.96.0.0/12, 192.0.2.0/24,", "https://192.0.2.1:6443", true),
        ("192.0.2.2,198.51.100.0/24", "https://192.0.2.1:6443", false),
        ("192.0.2.1:6443", "https://192.0.2.1:6443", true),
        ("192.0.2.1:443", "https://192.0.2.1:6443", false),
        ("192.0.2.1:443", "https://192.0.2.1", true),
        ("2001:db8::1", "https://[2001:db8::1]:6443", true),
        ("[2001:db8::1]:6443", "https://[2001:db8::1]:6443", true),
        ("[2001:db8::1]:443", "https://[2001:db8::1]:6443", false),
        ("2001:db8::/32", "https://[2001:db8::1]:6443", true),
        (".svc,.cluster.local", "https://kubernetes.default.svc", true),
        ("example.com", "https://api.example.com:6443", true),
        ("*.example.com", "https://api.example.com:6443", true),
        (".example.com:6443", "https://api.example.com:6443", true),
        ("example.com", "https://api.notexample.com:6443", false),
        ("example.com", "https://example.com", true),
        (".example.com", "https://example.com", false),
        ("*.example.com", "https://EXAMPLE.com", false),
        ("*", "https://192.0.2.1:6443", true),
        ("localhost,*", "https://api.example.com:6443", true),
        ("not a name/,,", "https://192.0.2.1:6443", false),
    ] {
        assert_eq!(chosen(&environment(no), server).is_none(), direct, "{no} {server}");
    }
}

#[test]
fn the_proxy_of_a_kubeconfig_has_its_password_in_a_header() {
    let proxy =
        named("https://user:pass@proxy.example:8443", &"https://192.0.2.1:6443".parse().unwrap()).unwrap();
    assert_eq!(proxy.uri(), "https://proxy.example:8443/");
    assert_eq!(proxy.basic_auth().unwrap(), "Basic dXNlcjpwYXNz");
    let proxy =
        named("http://user:p@ss@proxy.example:3128", &"https://192.0.2.1:6443".parse().unwrap()).unwrap();
    assert_eq!(proxy.uri(), "http://proxy.example:3128/");
    assert_eq!(proxy.basic_auth().unwrap(), "Basic dXNlcjpwQHNz");
    assert!(named("ftp://proxy.example", &"https://192.0.2.1:6443".parse().unwrap()).is_none());
}
