//! The Helm chart, rendered by Helm: every object is one that Kubernetes takes, they fit together, and the configuration in
//! them is one that the node takes.
//!
//! `helm/render.py` installs the chart by Helm's own library into a cluster that is made up, and judges what arrives by the
//! JSON Schemas of Kubernetes. README.md of the tests says what that leaves out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};

#[path = "support/certificate.rs"]
#[allow(dead_code, reason = "shared with the integration tests")]
mod certificate;

/// The versions of Kubernetes whose schemas the objects are judged by.
const KUBERNETES: [&str; 2] = ["1.27", "1.37"];

const EDGE: &str = include_str!("../conf/helm/forebay/values-edge.yaml");
const SHIELD: &str = include_str!("../conf/helm/forebay/values-shield.yaml");

/// Values that use everything that the chart has and the other cases leave alone.
const EVERYTHING: &str = r#"
config: |
  [origin.main]
  servers = ["http://origin.{{ .Release.Namespace }}.svc:80"]
  [token.viewer]
  format = "edgeauth"
  keys = [{ id = "k1", secret_file = "/etc/forebay/keys/k1" }]
  [[site]]
  hosts = ["*"]
  origin = "main"
  token = "viewer"
image: { repository: registry.example/forebay, tag: "1.2.3", pullPolicy: Always, pullSecrets: [registry] }
fullnameOverride: cdn
listenAddress: 0.0.0.0
role: shield
nodesMax: 3
replicas: 3
viewers:
  extra: |
    trusted_proxies = ["192.0.2.0/24"]
    request_timeout = "5s"
  http: { enabled: false }
  https: { enabled: true, port: 9443, secretName: tls }
  healthPath: ""
  proxyProtocol: { from: ["10.0.0.0/8", "2001:db8::/32"], required: false }
  service:
    type: NodePort
    externalTrafficPolicy: Cluster
    annotations: { example/one: "1" }
    httpsPort: 8443
admin: { port: 9999, tokenSecret: { name: operators, key: bearer } }
cache:
  memory: 256MiB
  disk: { type: ephemeral, size: 1GiB, volumeSize: 2Gi }
  extra: disk_ttl_min = "5s"
fleet:
  bus: redis://redis:6379/0
  passwordSecret: { name: redis, key: secret }
  keys:
    - { id: n2, secretName: node-keys, secretKey: new }
    - { id: n1, secretName: node-keys, secretKey: old }
  extra: prefix = "{{ .Release.Name }}"
secrets: [{ secretName: viewer-keys, mountPath: /etc/forebay/keys }]
drain: { delaySeconds: 1000000, timeoutSeconds: 5 }
"#;

/// What comes of installing the chart.
struct Rendered {
    objects: Vec<Value>,
    faults: Vec<Value>,
    unjudged: Vec<Value>,
    error: Option<String>,
}

/// Installs the chart as this release, with these values in YAML.
fn install(release: &str, values: &str, kubernetes: &str) -> Rendered {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        root.join("target/chart/requirements.txt").exists(),
        "Helm's library is missing: run `make setup`"
    );
    let mut child = Command::new(root.join("target/chart/bin/python"))
        .arg(root.join("tests/helm/render.py"))
        .arg(root.join("conf/helm/forebay"))
        .args([release, kubernetes])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the Python of target/chart: run `make setup`");
    child.stdin.take().expect("a pipe").write_all(values.as_bytes()).expect("a script that reads");
    let output = child.wait_with_output().expect("the script ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "render.py: {}\n{stderr}", output.status);
    let said: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{stderr}"));
    let list = |name: &str| said[name].as_array().expect("a list").clone();
    Rendered {
        objects: list("objects"),
        faults: list("faults"),
        unjudged: list("unjudged"),
        error: said["error"].as_str().map(str::to_owned),
    }
}

/// What is installed once, whoever asks first.
type Once = Arc<OnceLock<Arc<Rendered>>>;

/// The same, where nothing may be wrong. Each is installed once, whichever tests look at it.
fn good(release: &str, values: &str) -> Arc<Rendered> {
    static INSTALLED: Mutex<BTreeMap<(String, String), Once>> = Mutex::new(BTreeMap::new());
    let key = (release.to_owned(), values.to_owned());
    // A test that failed here has poisoned nothing: what is in the map is whole.
    let place =
        Arc::clone(INSTALLED.lock().unwrap_or_else(|error| error.into_inner()).entry(key).or_default());
    Arc::clone(place.get_or_init(|| Arc::new(install_good(release, values))))
}

fn install_good(release: &str, values: &str) -> Rendered {
    let [oldest, newest] = KUBERNETES.map(|version| {
        let rendered = install(release, values, version);
        assert_eq!(rendered.error, None, "{values}");
        assert!(rendered.faults.is_empty(), "Kubernetes {version}: {:?}\n{values}", rendered.faults);
        rendered
    });
    assert_eq!(oldest.objects.len(), newest.objects.len());
    newest
}

fn refusal(values: &str) -> String {
    let rendered = install("edge", values, KUBERNETES[1]);
    assert!(rendered.objects.is_empty(), "something was installed with\n{values}");
    rendered.error.unwrap_or_else(|| panic!("no error with\n{values}"))
}

fn everything() -> String {
    EVERYTHING.replace("delaySeconds: 1000000", "delaySeconds: 7")
}

impl Rendered {
    fn all(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "objects of kind {kind}");
        all[0]
    }

    fn pod(&self) -> &Value {
        &self.one("StatefulSet")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        let containers = self.pod()["spec"]["containers"].as_array().expect("containers");
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    /// The port of the container that a name or a number stands for.
    fn port(&self, named: &Value) -> Option<u64> {
        let ports = self.container()["ports"].as_array().expect("ports");
        let is_it = |port: &&Value| port["name"] == *named || port["containerPort"] == *named;
        ports.iter().find(is_it).and_then(|port| port["containerPort"].as_u64())
    }

    fn service(&self, headless: bool) -> &Value {
        let services = self.all("Service");
        assert_eq!(services.len(), 2);
        let found = services.into_iter().find(|service| (service["spec"]["clusterIP"] == "None") == headless);
        found.expect("the service")
    }

    /// The nodes' files, by name.
    fn files(&self) -> Vec<(String, String)> {
        let data = self.one("ConfigMap")["data"].as_object().expect("data");
        data.iter().map(|(name, text)| (name.clone(), text.as_str().expect("a text").to_owned())).collect()
    }

    /// The file of the first node, read.
    fn config(&self) -> toml::Table {
        let name =
            format!("{}-0.toml", self.one("StatefulSet")["metadata"]["name"].as_str().expect("a name"));
        let text =
            self.files().into_iter().find(|(found, _)| *found == name).expect("the first node's file").1;
        text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

/// Whether labels hold all that a selector asks for, which is something.
fn selects(selector: &Value, labels: &Value) -> bool {
    let asked = selector.as_object().expect("a selector");
    !asked.is_empty() && asked.iter().all(|(name, value)| labels[name] == *value)
}

fn cases() -> [(&'static str, &'static str, String); 4] {
    [
        ("default", "rel", String::new()),
        ("edge", "edge", EDGE.to_owned()),
        ("shield", "shield", SHIELD.to_owned()),
        ("everything", "rel", everything()),
    ]
}

/// Every object passes the schema of its kind, without a field that the kind does not have, in the oldest and the newest
/// Kubernetes; and what refers to another object or port finds it.
#[test]
fn what_is_installed_is_what_kubernetes_takes_and_fits_together() {
    for (case, release, values) in cases() {
        let rendered = good(release, &values);
        let unjudged: BTreeSet<_> = rendered.unjudged.iter().filter_map(Value::as_str).collect();
        let monitored = values.contains("monitoring:");
        let foreign: &[&str] = if monitored { &["PrometheusRule", "ServiceMonitor"] } else { &[] };
        assert_eq!(unjudged, foreign.iter().copied().collect(), "{case}: kinds that no schema was there for");

        let set = rendered.one("StatefulSet");
        let labels = &rendered.pod()["metadata"]["labels"];
        let selector = &set["spec"]["selector"]["matchLabels"];
        assert!(selects(selector, labels), "{case}");
        for service in rendered.all("Service") {
            assert!(selects(&service["spec"]["selector"], labels), "{case}");
            let ports = service["spec"]["ports"].as_array().expect("ports");
            assert!(!ports.is_empty(), "{case}");
            for port in ports {
                assert!(rendered.port(&port["targetPort"]).is_some(), "{case}: {port}");
            }
        }
        let peers = rendered.service(true);
        assert_eq!(set["spec"]["serviceName"], peers["metadata"]["name"], "{case}");
        assert_eq!(peers["spec"]["publishNotReadyAddresses"], false, "{case}");
        let budget = rendered.one("PodDisruptionBudget");
        assert_eq!(budget["spec"]["selector"]["matchLabels"], *selector, "{case}");
        for spread in rendered.pod()["spec"]["topologySpreadConstraints"].as_array().expect("constraints") {
            assert!(selects(&spread["labelSelector"]["matchLabels"], labels), "{case}");
        }
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let asked = &rendered.container()[probe]["httpGet"];
            assert_eq!(rendered.port(&asked["port"]), rendered.port(&json!("admin")), "{case}");
            assert!(["/readyz", "/healthz"].contains(&asked["path"].as_str().expect("a path")), "{case}");
        }
        let account = rendered.one("ServiceAccount");
        assert_eq!(rendered.pod()["spec"]["serviceAccountName"], account["metadata"]["name"], "{case}");
        match rendered.all("HorizontalPodAutoscaler")[..] {
            [scaler] => {
                assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], set["metadata"]["name"], "{case}");
                assert!(set["spec"]["replicas"].is_null(), "{case}: the autoscaler's choice is taken back");
            }
            _ => assert!(set["spec"]["replicas"].is_u64(), "{case}"),
        }
        if monitored {
            let monitor = &rendered.one("ServiceMonitor")["spec"];
            let chosen = |service: &&Value| {
                selects(&monitor["selector"]["matchLabels"], &service["metadata"]["labels"])
            };
            let chosen: Vec<_> = rendered.all("Service").into_iter().filter(chosen).collect();
            assert_eq!(chosen, [peers], "{case}: each node is to be read once");
            let port = &monitor["endpoints"][0]["port"];
            assert!(
                peers["spec"]["ports"].as_array().unwrap().iter().any(|named| named["name"] == *port),
                "{case}"
            );
        }
    }
}

/// The rules of the chart are those of conf/prometheus.
#[test]
fn the_rules_are_those_that_are_shipped() {
    let rendered = good("shield", SHIELD);
    let groups = rendered.one("PrometheusRule")["spec"]["groups"].as_array().expect("groups").clone();
    let rules: Vec<_> =
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect();
    let shipped = include_str!("../conf/prometheus/rules.yml");
    let names =
        |key: &str| shipped.lines().filter(|line| line.trim().starts_with(&format!("- {key}: "))).count();
    assert_eq!(rules.len(), names("alert") + names("record"));
    for rule in rules {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).expect("a name");
        assert!(shipped.contains(name) && rule["expr"].is_string(), "{rule}");
    }
}

/// Each node has a file with its own name, which `forebay check` takes; every file that it names is mounted, and what it
/// listens on are the ports of the container.
#[test]
fn the_configuration_of_every_node_is_one_that_it_takes() {
    for (case, release, values) in cases() {
        let rendered = good(release, &values);
        let set = rendered.one("StatefulSet")["metadata"]["name"].as_str().expect("a name").to_owned();
        let folder = tempfile::tempdir().unwrap();
        certificate::write_certificate(folder.path());
        let files = rendered.files();
        let most = if case == "everything" { 3 } else { 32 };
        let expected: BTreeSet<_> = (0..most).map(|number| format!("{set}-{number}.toml")).collect();
        assert_eq!(files.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(), expected, "{case}");
        let args = rendered.container()["args"].as_array().expect("arguments");
        assert_eq!(args[..], ["serve", "--config", "/etc/forebay/nodes/$(POD_NAME).toml"], "{case}");

        let mounts = rendered.container()["volumeMounts"].as_array().expect("mounts").clone();
        let mounted = |path: &str| {
            let holds = |mount: &&Value| {
                let at = mount["mountPath"].as_str().expect("a path");
                path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            mounts.iter().find(holds).is_some_and(|mount| {
                let volumes = rendered.pod()["spec"]["volumes"].as_array().expect("volumes");
                let claims = rendered.one("StatefulSet")["spec"]["volumeClaimTemplates"].as_array();
                let claims = claims.into_iter().flatten().map(|claim| &claim["metadata"]["name"]);
                volumes.iter().map(|volume| &volume["name"]).chain(claims).any(|name| *name == mount["name"])
            })
        };
        for (name, text) in &files {
            let config: toml::Table = text.parse().unwrap();
            assert_eq!(config["fleet"]["name"].as_str(), name.strip_suffix(".toml"), "{case}");
        }
        // The node reads the files that it names: they are made here.
        let (name, mut text) = files[0].clone();
        let named: BTreeSet<_> =
            text.split('"').filter(|word| word.starts_with('/')).map(str::to_owned).collect();
        for path in named.iter().filter(|path| path.starts_with("/etc/") || path.starts_with("/var/")) {
            assert!(mounted(path), "{case}: {path} is not mounted");
            if path.starts_with("/var/") {
                // A folder of it might not be there, which ends a start.
                let folder = path.strip_suffix("/fleet").unwrap_or(path);
                assert!(
                    mounts.iter().any(|mount| mount["mountPath"] == *folder),
                    "{case}: {path} is not in a mount"
                );
                continue;
            }
            let here = match path.as_str() {
                "/etc/forebay/tls/tls.crt" => folder.path().join(certificate::CERT_FILE),
                "/etc/forebay/tls/tls.key" => folder.path().join(certificate::KEY_FILE),
                other => folder.path().join(other.replace('/', "-")),
            };
            if !here.exists() {
                std::fs::write(&here, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
                    .unwrap();
            }
            text = text.replace(&format!("\"{path}\""), &format!("{:?}", here.display().to_string()));
        }
        let file = folder.path().join(&name);
        std::fs::write(&file, &text).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_forebay")).arg("check").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{case}: {said}\n{text}");

        let server = rendered.config()["server"].as_table().expect("[server]").clone();
        let port =
            |address: &toml::Value| address.as_str().and_then(|text| text.rsplit(':').next()?.parse().ok());
        let first = |key: &str| server.get(key).and_then(|list| list.as_array()?.first().cloned());
        assert_eq!(first("http").as_ref().and_then(port), rendered.port(&json!("http")), "{case}");
        assert_eq!(
            first("https").and_then(|entry| port(&entry["listen"])),
            rendered.port(&json!("https")),
            "{case}"
        );
        assert_eq!(port(&server["admin"]), rendered.port(&json!("admin")), "{case}");
    }
}

/// A node is given the time that its own configuration says it may take, and more.
#[test]
fn nobody_kills_a_node_that_drains() {
    for (case, release, values) in cases() {
        let rendered = good(release, &values);
        let server = rendered.config()["server"].as_table().expect("[server]").clone();
        let seconds = |key: &str| -> u64 {
            server[key].as_str().and_then(|text| text.strip_suffix('s')?.parse().ok()).expect("seconds")
        };
        let grace = rendered.pod()["spec"]["terminationGracePeriodSeconds"].as_u64().expect("seconds");
        assert!(seconds("drain_delay") + seconds("drain_timeout") + 5 <= grace, "{case}");
        assert!(
            rendered.container()["lifecycle"].is_null(),
            "{case}: SIGTERM drains; nothing goes before it"
        );
    }
}

#[test]
fn a_node_has_no_privilege() {
    for (case, release, values) in cases() {
        let rendered = good(release, &values);
        let (pod, container) = (&rendered.pod()["spec"], &rendered.container()["securityContext"]);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{case}");
        assert_eq!(container["allowPrivilegeEscalation"], false, "{case}");
        assert_eq!(container["readOnlyRootFilesystem"], true, "{case}");
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]), "{case}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{case}");
        for port in rendered.container()["ports"].as_array().expect("ports") {
            assert!(port["containerPort"].as_u64() >= Some(1024), "{case}: {port}");
        }
        for mount in rendered.container()["volumeMounts"].as_array().expect("mounts") {
            assert!(mount["readOnly"] == true || mount["mountPath"] == "/var/lib/forebay", "{case}: {mount}");
        }
    }
}

/// Another configuration is read by other pods; another number of nodes restarts none.
#[test]
fn pods_are_replaced_when_their_configuration_changes_and_only_then() {
    let checksum = |values: &str| {
        good("rel", values).pod()["metadata"]["annotations"]["checksum/config"]
            .as_str()
            .expect("a sum")
            .to_owned()
    };
    let first = checksum("");
    assert_eq!(checksum("replicas: 5"), first);
    assert_eq!(checksum("nodesMax: 40"), first);
    assert_ne!(checksum("cache: { memory: 2GiB }"), first);
    assert_ne!(checksum("viewers: { extra: \"h2c = true\" }"), first);
}

/// Two tiers in one namespace do not take each other's pods.
#[test]
fn two_releases_are_apart() {
    let (edge, shield) = (good("edge", EDGE), good("shield", SHIELD));
    for (one, other) in [(&edge, &shield), (&shield, &edge)] {
        let labels = &other.pod()["metadata"]["labels"];
        assert!(!selects(&one.one("StatefulSet")["spec"]["selector"]["matchLabels"], labels));
        assert!(one.all("Service").iter().all(|service| !selects(&service["spec"]["selector"], labels)));
        let names = |rendered: &Rendered| -> BTreeSet<String> {
            let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
            rendered.objects.iter().map(name).collect()
        };
        assert!(names(one).is_disjoint(&names(other)));
    }
    // The edges' origin are the shields that are ready, and their peers each other, at the port that viewers have.
    let group = edge.config()["origin"]["shield"].clone();
    let shields = shield.config();
    assert_eq!(group["servers"][0], shields["fleet"]["peers"]);
    assert_eq!(group["health"]["path"], shields["server"]["health_path"]);
    for rendered in [&edge, &shield] {
        let service = rendered.service(true);
        let host = format!("{}.media.svc", service["metadata"]["name"].as_str().expect("a name"));
        let port = rendered.port(&json!("http")).expect("a port");
        let peers = rendered.config()["fleet"]["peers"].as_str().map(str::to_owned);
        assert_eq!(peers, Some(format!("dns://{host}:{port}")));
    }
}

/// With a bus a node notes what it has applied where its cache is, or a start would expire that; without a disk there is no
/// place for it, and nothing that it would spare.
#[test]
fn what_a_node_has_applied_is_kept_with_its_cache() {
    let state = |values: &str| good("rel", values).config()["fleet"].get("state").cloned();
    let noted = Some(toml::Value::from("/var/lib/forebay/fleet"));
    assert_eq!(state("fleet: { bus: \"redis://redis:6379/0\" }"), noted);
    assert_eq!(state(&everything()), noted);
    assert_eq!(state(""), None);
    assert_eq!(state("fleet: { bus: \"redis://redis:6379/0\" }\ncache: { disk: { type: none } }"), None);
}

/// Values that are wrong install nothing, and the message says which.
#[test]
fn wrong_values_are_refused() {
    for (values, word) in [
        ("replica: 3", "replica"),
        ("replicas: many", "replicas"),
        ("replicas: 33", "nodesMax"),
        ("autoscaling: { enabled: true, maxReplicas: 50 }", "nodesMax"),
        ("autoscaling: { enabled: true, minReplicas: 11 }", "minReplicas"),
        ("viewers: { https: { enabled: true } }", "secretName"),
        ("viewers: { http: { enabled: false } }", "viewers.http"),
        ("viewers: { http: { port: 80 } }", "port"),
        ("viewers: { healthPath: ready }", "healthPath"),
        ("cache: { memory: 1Gi }", "memory"),
        ("role: origin", "role"),
        ("fleet: { peers: true }", "fleet.keys"),
        (
            "fleet: { peers: true, keys: [{ id: n1, secretName: s, secretKey: k }] }\n\
             viewers: { http: { enabled: false }, https: { enabled: true, secretName: tls } }",
            "viewers.http",
        ),
        (EVERYTHING, "delaySeconds"),
    ] {
        let error = refusal(values);
        assert!(error.contains(word), "{error}\n{values}");
    }
}
