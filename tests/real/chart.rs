//! The Helm chart: what it writes is what Kubernetes' own strict decoder takes, and what its pod holds serves tokens. There is no
//! cluster: a pod is the program of this run, with the files that the objects put into it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::dockwarden::{self, Dockwarden, address, password, program};
use crate::support::keys::{self, Kind, Pair};
use crate::support::part::{self, Said};
use crate::support::sql::{self, Product, Server, Tables};
use crate::support::{http, scratch, visit};

/// The Kubernetes that helm is to think of.
const KUBERNETES: &str = "1.37.0";
const CONFIG: &str = "/config/auth_config.yml";

pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart")
}

/// `helm WORDS` with these values, one file after the other.
fn helm(words: &[&str], values: &[&str]) -> Said {
    let directory = scratch::directory("values");
    let mut helm = part::client("helm");
    helm.args(words).arg(chart()).args(["--kube-version", KUBERNETES]).env("HOME", &directory);
    for (index, text) in values.iter().enumerate() {
        helm.arg("--values").arg(scratch::write(&directory, &format!("{index}.yml"), text));
    }
    part::run(&mut helm)
}

fn rendered(values: &[&str]) -> String {
    rendered_as("test", "auth", values)
}

/// What a release of this name writes for this namespace.
pub(crate) fn rendered_as(release: &str, namespace: &str, values: &[&str]) -> String {
    helm(&["template", release, "--namespace", namespace], values).well().stdout
}

/// What client-go's strict decoder makes of the text.
pub(crate) fn decoded(text: &str) -> Vec<Value> {
    let said = part::run_with(&mut part::client("manifests"), text.as_bytes()).well();
    said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[track_caller]
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The files of a secret or of anything else that a pod mounts.
type Files = BTreeMap<String, Vec<u8>>;

/// The one pod that a deployment makes, as far as the program can tell: its volumes are directories of this machine.
struct Pod {
    /// Where each volume is mounted, and the directory that is it.
    mounts: Vec<(String, PathBuf)>,
    container: Value,
    init: Vec<Value>,
    config: PathBuf,
}

impl Pod {
    /// Kubernetes does not start a pod with a secret that is not there; neither does this.
    fn from_objects(objects: &[Value], secrets: &BTreeMap<&str, Files>) -> Pod {
        let [deployment] = of_kind(objects, "Deployment")[..] else { panic!("one deployment: {objects:?}") };
        let spec = &deployment["spec"]["template"]["spec"];
        let volumes: BTreeMap<&str, PathBuf> = list(&spec["volumes"])
            .iter()
            .map(|volume| {
                let name = volume["name"].as_str().unwrap();
                let directory = scratch::directory(name);
                for (file, bytes) in contents(volume, objects, secrets) {
                    fs::write(directory.join(&file), bytes).unwrap();
                    let mode = if name == "config" { 0o644 } else { 0o440 };
                    fs::set_permissions(directory.join(file), PermissionsExt::from_mode(mode)).unwrap();
                }
                (name, directory)
            })
            .collect();
        let [container] = list(&spec["containers"]) else { panic!("one container: {spec}") };
        let init = list(&spec["initContainers"]).to_vec();
        for of_init in &init {
            assert_eq!(of_init["volumeMounts"], container["volumeMounts"]);
        }
        let mounts: Vec<(String, PathBuf)> = list(&container["volumeMounts"])
            .iter()
            .map(|mount| {
                let path = mount["mountPath"].as_str().unwrap().to_owned();
                (path, volumes[mount["name"].as_str().unwrap()].clone())
            })
            .collect();
        assert_eq!(mounts.len(), volumes.len(), "a volume that nobody mounts: {spec}");
        let mut pod = Pod { mounts, container: container.clone(), init, config: PathBuf::new() };
        pod.config = PathBuf::from(pod.here(CONFIG));
        // Here the ports are the system's choice, and the files below these directories.
        let written = fs::read_to_string(&pod.config).unwrap();
        let mut changed = written.clone();
        for port in [":5001", ":5002"] {
            assert!(changed.contains(&format!("addr: {port}\n")), "{written}");
            changed = changed.replace(&format!("addr: {port}\n"), "addr: \"127.0.0.1:0\"\n");
        }
        for (path, directory) in &pod.mounts {
            changed = changed.replace(&format!(" {path}/"), &format!(" {}/", directory.display()));
        }
        fs::write(&pod.config, changed).unwrap();
        pod
    }

    /// Where this path of the pod is on this machine.
    fn here(&self, path: &str) -> String {
        let mount = self.mounts.iter().find_map(|(at, directory)| {
            let rest = path.strip_prefix(at.as_str())?.strip_prefix('/')?;
            Some(directory.join(rest).display().to_string())
        });
        mount.unwrap_or_else(|| panic!("nothing is mounted at {path}"))
    }

    /// Runs what a container runs, to its end.
    fn run(&self, container: &Value) -> Said {
        let arguments = list(&container["args"]).iter().map(|word| word.as_str().unwrap());
        let arguments = arguments.map(|word| if word == CONFIG { self.here(word) } else { word.to_owned() });
        part::run(part::command_at(program()).args(arguments))
    }

    fn check(&self) -> Said {
        part::run(part::command_at(program()).arg("check").arg(&self.config))
    }

    /// Init containers first, then the program; each probe answers where the kubelet asks it.
    fn start(&self) -> Dockwarden {
        for container in &self.init {
            self.run(container).well();
        }
        assert_eq!(self.container["args"], json!(["serve", CONFIG]));
        let server = Dockwarden::start_unready(&self.config);
        let admin = address(&server.process, "listening for health and metrics");
        let asked = |path: &str| http::exchange(&admin, &http::request("GET", path, &admin, &[], b"")).status;
        server.process.until("/readyz", |_| (asked("/readyz") == 200).then_some(()));
        let admin_port = list(&self.container["ports"]).iter().find(|port| port["name"] == "admin").unwrap();
        assert_eq!(admin_port["containerPort"], 5002);
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            let asks = &self.container[probe]["httpGet"];
            assert_eq!((&asks["path"], &asks["port"]), (&json!(path), &json!("admin")), "{probe}");
            assert_eq!(asked(path), 200, "{probe}");
        }
        server
    }
}

/// What is in a volume.
fn contents(volume: &Value, objects: &[Value], secrets: &BTreeMap<&str, Files>) -> Files {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    if let Some(map) = volume.get("configMap") {
        let maps = of_kind(objects, "ConfigMap");
        let map = maps.iter().find(|object| object["metadata"]["name"] == map["name"]).unwrap();
        map["data"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value).into_bytes())).collect()
    } else if let Some(secret) = volume.get("secret") {
        assert_eq!(secret["defaultMode"], 0o440, "{volume}");
        let name = secret["secretName"].as_str().unwrap();
        secrets.get(name).unwrap_or_else(|| panic!("there is no secret {name}")).clone()
    } else if let Some(projected) = volume.get("projected") {
        // Kubernetes puts them there in every cluster.
        let sources = list(&projected["sources"]);
        assert_eq!(sources[0]["serviceAccountToken"]["path"], "token");
        assert_eq!(sources[1]["configMap"]["name"], "kube-root-ca.crt");
        let authority = fs::read(keys::for_localhost().authority).unwrap();
        Files::from([("token".to_owned(), b"the.pods.token".to_vec()), ("ca.crt".to_owned(), authority)])
    } else {
        assert!(volume["persistentVolumeClaim"]["claimName"].is_string(), "{volume}");
        Files::new()
    }
}

/// As a secret of type kubernetes.io/tls.
fn files(pair: Pair) -> Files {
    let named = [("tls.crt", pair.certificate), ("tls.key", pair.key)];
    named.map(|(name, file)| (name.to_owned(), fs::read(file).unwrap())).into()
}

/// The least that must be said, with an account `admin`.
pub(crate) const LEAST: &str = "image: {repository: registry.example.org/dockwarden, tag: \"0.1.0\"}
signingKey: {existingSecret: pair}
secrets: {existingSecret: passwords}
config:
  token: {issuer: Acme, services: [Docker registry], expiration: 900}
  users: {admin: {password_file: /secrets/admin}}
  acl: [{match: {account: admin}, actions: [\"*\"]}]
";

fn secrets() -> BTreeMap<&'static str, Files> {
    let chain = keys::under_an_authority();
    let mut leaf = files(chain.leaf);
    leaf.insert("ca.crt".to_owned(), fs::read(chain.authority).unwrap());
    let web = keys::for_localhost().leaf;
    let mut database = files(keys::for_localhost().leaf);
    database.insert("password".to_owned(), b"of-the-database".to_vec());
    database.insert("ca.crt".to_owned(), fs::read(keys::for_localhost().authority).unwrap());
    let passwords = [("admin".to_owned(), dockwarden::hash(&password("admin")).into_bytes())];
    BTreeMap::from([
        ("pair", files(keys::as_in_the_guide(Kind::P256))),
        ("leaf", leaf),
        ("web", files(web)),
        ("passwords", Files::from(passwords)),
        ("database", database),
    ])
}

/// Values, and what they add to or leave out of the kinds of `LEAST`.
pub(crate) const VALUES: &[(&str, &[&str], &[&str])] = &[
    ("", &[], &[]),
    ("{replicaCount: 3}", &["PodDisruptionBudget"], &[]),
    ("{records: {kind: sqlite}, config: {records_auth: {}, lasting: {}}}", &["PersistentVolumeClaim"], &[]),
    ("{records: {kind: sqlite, sqlite: {existingClaim: mine}}}", &[], &[]),
    ("{records: {kind: sqlite, sqlite: {size: 500Mi, storageClassName: fast}}}", &["PersistentVolumeClaim"], &[]),
    (
        "{replicaCount: 2, records: {kind: postgres, postgres: {host: db.example.org, existingSecret: database}}}",
        &["PodDisruptionBudget"],
        &[],
    ),
    (
        "{records: {kind: postgres, postgres: {host: db.example.org, existingSecret: database, migrate: false}}}",
        &[],
        &[],
    ),
    // YAML reads `off` as false.
    (
        "{records: {kind: postgres, postgres: {host: db.example.org, existingSecret: database, tls: off}}, log: \"warn,dockwarden=debug\"}",
        &[],
        &[],
    ),
    (
        "{records: {kind: postgres, postgres: {host: db.example.org, existingSecret: database, ownAuthority: true, clientCertificate: \
         true}}, networkPolicy: {from: [{ipBlock: {cidr: 10.0.0.0/8}}]}, resources: {limits: {cpu: 0.5, memory: 1.5Gi}}}",
        &[],
        &[],
    ),
    ("{tls: {existingSecret: web}, service: {type: LoadBalancer, port: 443}}", &[], &[]),
    ("{signingKey: {existingSecret: leaf, authority: true}}", &[], &[]),
    ("{tokenReview: {enabled: true}, serviceAccount: {annotations: {a/b: c}}}", &["ClusterRoleBinding"], &[]),
    (
        "{ingress: {enabled: true, className: nginx, annotations: {a/b: \"1\"}, hosts: [{host: auth.example.org, paths: [/]}], \
         tls: [{secretName: web, hosts: [auth.example.org]}]}}",
        &["Ingress"],
        &[],
    ),
    ("{networkPolicy: {enabled: false}}", &[], &["NetworkPolicy"]),
    (
        "{networkPolicy: {from: [{podSelector: {}}], metricsFrom: [{namespaceSelector: {matchLabels: {a: b}}}], egress: [{ports: \
         [{port: 53, protocol: UDP}]}]}}",
        &[],
        &[],
    ),
    (
        "{serviceMonitor: {enabled: true, labels: {release: prometheus}}, networkPolicy: {metricsFrom: [{podSelector: {}}]}}",
        &["Service", "ServiceMonitor"],
        &[],
    ),
    (
        "{image: {digest: \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}, imagePullSecrets: [{name: x}], \
         env: {AWS_REGION: eu-central-1}, log: debug, files: {keys.json: \"{}\"}, podLabels: {a: b}, podAnnotations: {a: b}, \
         nodeSelector: {a: b}, tolerations: [{operator: Exists}], affinity: {nodeAffinity: {}}, priorityClassName: high, \
         fullnameOverride: gate, config: {server: {trusted_proxies: [10.0.0.0/8]}}}",
        &[],
        &[],
    ),
    // All at once.
    (
        "{replicaCount: 3, image: {digest: \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}, \
         imagePullSecrets: [{name: x}], signingKey: {existingSecret: leaf, authority: true}, tls: {existingSecret: web}, \
         records: {kind: postgres, postgres: {host: db.example.org, existingSecret: database, ownAuthority: true}}, \
         config: {server: {trusted_proxies: [10.0.0.0/8]}, records_auth: {}, lasting: {}}, files: {keys.json: \"{}\"}, \
         tokenReview: {enabled: true}, serviceAccount: {annotations: {a/b: c}}, log: debug, env: {AWS_REGION: eu-central-1}, \
         service: {type: LoadBalancer, port: 443, annotations: {a/b: c}}, ingress: {enabled: true, className: nginx, \
         annotations: {a/b: \"1\"}, hosts: [{host: auth.example.org, paths: [/]}], tls: [{secretName: web, hosts: [auth.example.org]}]}, \
         networkPolicy: {from: [{podSelector: {}}], metricsFrom: [{podSelector: {matchLabels: {a: b}}}], egress: [{}]}, \
         serviceMonitor: {enabled: true, interval: 60s, labels: {release: prometheus}}, \
         resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi}}, podLabels: {a: b}, podAnnotations: {a: b}, \
         nodeSelector: {a: b}, tolerations: [{operator: Exists}], affinity: {nodeAffinity: {}}, priorityClassName: high}",
        &["ClusterRoleBinding", "Ingress", "PodDisruptionBudget", "Service", "ServiceMonitor"],
        &[],
    ),
];

const KINDS_OF_LEAST: &[&str] = &["ConfigMap", "Deployment", "NetworkPolicy", "Service", "ServiceAccount"];

#[test]
fn kubernetes_knows_every_field_that_the_chart_writes_and_the_program_every_key() {
    let secrets = secrets();
    for (values, more, less) in VALUES {
        let values = [LEAST, values];
        helm(&["lint", "--strict"], &values).well();
        let text = rendered(&values);
        let objects = decoded(&text);
        let mut kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        let mut expected: Vec<&str> = [KINDS_OF_LEAST, more].concat();
        expected.retain(|kind| !less.contains(kind));
        expected.sort_unstable();
        assert_eq!(kinds, expected, "{values:?}");
        hardened(&objects);
        Pod::from_objects(&objects, &secrets).check().well();
    }
    // The decoder does refuse.
    let text = rendered(&[LEAST]);
    for (right, wrong) in [("readOnlyRootFilesystem", "readOnlyRootFileSystem"), ("apps/v1", "apps/v1beta9")] {
        let misspelt = text.replace(right, wrong);
        assert_ne!(misspelt, text);
        part::run_with(&mut part::client("manifests"), misspelt.as_bytes()).refused(&["unknown field", "no kind"]);
    }
}

/// No pod has a right that the program does not need.
fn hardened(objects: &[Value]) {
    let deployment = of_kind(objects, "Deployment")[0];
    let template = &deployment["spec"]["template"];
    let pod = &template["spec"];
    let wanted = json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(pod["securityContext"], wanted);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(of_kind(objects, "ServiceAccount")[0]["automountServiceAccountToken"], false);
    for container in list(&pod["containers"]).iter().chain(list(&pod["initContainers"])) {
        let wanted = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], wanted);
        // What can be written to is the volume of the records alone.
        for mount in list(&container["volumeMounts"]) {
            assert_eq!(mount["readOnly"] == true, mount["name"] != "data", "{mount}");
        }
    }
    assert!(template["metadata"]["annotations"]["checksum/config"].is_string());
    // What selects pods selects these.
    let labels = &template["metadata"]["labels"];
    let selectors = objects.iter().filter_map(|object| match object["kind"].as_str().unwrap() {
        "Deployment" | "PodDisruptionBudget" => Some(&object["spec"]["selector"]["matchLabels"]),
        "NetworkPolicy" => Some(&object["spec"]["podSelector"]["matchLabels"]),
        "Service" => Some(&object["spec"]["selector"]),
        _ => None,
    });
    for selector in selectors {
        let selector = selector.as_object().unwrap();
        assert!(selector.len() == 2 && selector.iter().all(|(name, value)| labels[name] == *value), "{selector:?}");
    }
}

#[test]
fn a_pod_is_made_anew_if_and_only_if_its_configuration_changed() {
    let checksum = |values: &str| {
        let objects = decoded(&rendered(&[LEAST, values]));
        let annotations = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["metadata"]["annotations"];
        annotations["checksum/config"].as_str().unwrap().to_owned()
    };
    let least = checksum("");
    assert_eq!(checksum("{replicaCount: 2}"), least);
    assert_ne!(checksum("{config: {token: {expiration: 901}}}"), least);
    assert_ne!(checksum("{files: {more.json: \"{}\"}}"), least);
}

#[test]
fn values_that_could_not_work_are_refused_with_what_to_write() {
    let database = "postgres: {host: db.example.org, existingSecret: database}";
    let cases = [
        // The schema.
        ("{configmap: {data: {}}}".to_owned(), "additional properties 'configmap' not allowed"),
        ("{image: {repo: x}}".to_owned(), "additional properties 'repo' not allowed"),
        ("{records: {kind: mysql}}".to_owned(), "value must be one of 'none', 'sqlite', 'postgres'"),
        ("{replicaCount: 0}".to_owned(), "minimum"),
        ("{replicaCount: two}".to_owned(), "want integer"),
        ("{image: {digest: sha256}}".to_owned(), "does not match pattern"),
        ("{files: {../x: y}}".to_owned(), "does not match pattern"),
        ("{files: {auth_config.yml: y}}".to_owned(), "not"),
        ("{nameOverride: A_B}".to_owned(), "does not match pattern"),
        ("{fullnameOverride: Foo_Bar}".to_owned(), "does not match pattern"),
        ("{ingress: {enabled: true, hosts: [{host: Not_A_host, paths: [/]}]}}".to_owned(), "does not match pattern"),
        ("{resources: {requests: {cpu: abc}}}".to_owned(), "does not match pattern"),
        ("{log: foo bar}".to_owned(), "does not match pattern"),
        ("{networkPolicy: {from: [{foo: 1}]}}".to_owned(), "additional properties 'foo' not allowed"),
        ("{config: null}".to_owned(), "missing property 'config'"),
        (
            "{records: {postgres: {tls: prefer}}}".to_owned(),
            "value must be one of 'verify-full', 'require', 'off', false",
        ),
        // The chart.
        ("{image: {repository: \"\"}}".to_owned(), "image.repository: name the image that you have built"),
        ("{image: {tag: \"\"}}".to_owned(), "image.tag: name the tag of your image"),
        ("{signingKey: {existingSecret: \"\"}}".to_owned(), "signingKey.existingSecret: name the secret"),
        ("{replicaCount: 2, records: {kind: sqlite}}".to_owned(), "a file of SQLite is for one instance"),
        (
            "{records: {kind: postgres, postgres: {existingSecret: x}}}".to_owned(),
            "records.postgres.host: name the server",
        ),
        (
            "{records: {kind: postgres, postgres: {host: x}}}".to_owned(),
            "records.postgres.existingSecret: name the secret",
        ),
        (
            format!("{{records: {{kind: postgres, {database}}}, config: {{records: {{}}}}}}"),
            "config.records: say records.kind",
        ),
        (
            "{records: {kind: postgres, postgres: {host: x, existingSecret: x, ownAuthority: true, tls: require}}}"
                .to_owned(),
            "records.postgres.ownAuthority: it is not looked at without tls: verify-full",
        ),
        (
            "{records: {kind: postgres, postgres: {host: x, existingSecret: x, clientCertificate: true, tls: off}}}"
                .to_owned(),
            "records.postgres.clientCertificate: it is not shown without TLS",
        ),
        (
            "{podLabels: {app.kubernetes.io/name: x}}".to_owned(),
            "podLabels: the chart writes app.kubernetes.io/name itself",
        ),
        (
            "{podAnnotations: {checksum/config: x}}".to_owned(),
            "podAnnotations: the chart writes checksum/config itself",
        ),
        ("{config: {records_auth: {}}}".to_owned(), "config.records_auth needs records; write sqlite or postgres"),
        ("{config: {token: {issuer: \"\"}}}".to_owned(), "config.token.issuer: write what the registry has"),
        ("{config: {token: {generate: true}}}".to_owned(), "config.token.generate: the chart writes it"),
        ("{config: {server: {addr: \":1\"}}}".to_owned(), "config.server.addr: the chart writes it"),
        (
            "{config: {users: {bob: {password: x}}}}".to_owned(),
            "config.users.bob.password: do not put a password or its hash into a ConfigMap",
        ),
        ("{config: {ldap_auth: {bind_password: x}}}".to_owned(), "write bind_password_file: /secrets/NAME"),
        ("{config: {ldap_auth: {bind_password: 1234}}}".to_owned(), "write bind_password_file: /secrets/NAME"),
        (
            "{config: {oidc_auth: {client_secret: x}}}".to_owned(),
            "config.oidc_auth.client_secret: do not put a password",
        ),
        ("{config: {oidc_auth: [{client_secret: x}]}}".to_owned(), "write client_secret_file: /secrets/NAME"),
        ("{config: {telemetry: {authorization: x}}}".to_owned(), "write authorization_file: /secrets/NAME"),
        ("{config: {acl_xorm: {conn_string: x}}}".to_owned(), "write conn_string_file: /secrets/NAME"),
        (
            "{config: {registries: {r: {events: {secret: x}}}}}".to_owned(),
            "config.registries.r.events.secret: do not put a password",
        ),
        (
            "{config: {directory: {services: {a@b: {secrets: [x]}}}}}".to_owned(),
            "config.directory.services.a@b.secrets: do not put hashes into a ConfigMap",
        ),
        ("{config: {http_auth: {headers: {X: y}}}}".to_owned(), "config.http_auth.headers.X: do not put a header"),
        (
            "{config: {http_auth: {headers: {Authorization: \"Bearer y ${account}\"}}}}".to_owned(),
            "write {file: /secrets/NAME}",
        ),
        ("{config: {http_auth: {url: \"https://u:p@h/\"}}}".to_owned(), "config.http_auth.url: do not put a login"),
        ("{config: {http_auth: {url: \"https://h/?api_key=x\"}}}".to_owned(), "config.http_auth.url: do not put a key"),
        (
            "{config: {mongo_auth: {dial_info: {uri: \"mongodb://u:p@h/\"}}}}".to_owned(),
            "config.mongo_auth.dial_info.uri: do not put a login into a ConfigMap",
        ),
        (
            "{env: {DOCKWARDEN__LDAP_AUTH__BIND_PASSWORD: x}}".to_owned(),
            "name a file: DOCKWARDEN__LDAP_AUTH__BIND_PASSWORD_FILE",
        ),
        ("{config: {registries: {r: {}}}}".to_owned(), "config.registries needs records; write sqlite or postgres"),
        ("{config: {sign_in: {}}}".to_owned(), "config.sign_in needs records; write sqlite or postgres"),
        (
            "{config: {workload: [{single_use: true}]}}".to_owned(),
            "config.workload[0].single_use needs records; write sqlite or postgres",
        ),
        ("{serviceMonitor: {enabled: true}}".to_owned(), "networkPolicy.metricsFrom: name the pods of Prometheus"),
        (
            "{config: {gateway: {upstreams: [{password: x}]}}}".to_owned(),
            "config.gateway.upstreams[0].password: do not put a password",
        ),
        ("{ingress: {enabled: true}}".to_owned(), "ingress.hosts: name the host"),
    ];
    for (values, words) in cases {
        helm(&["template", "test"], &[LEAST, &values]).refused(&[words]);
    }
    // What only looks like a secret: files, and places where the client's own name and password are put in.
    for values in [
        "{config: {http_auth: {url: \"https://h/?user=${account}&password=${password}\"}}}",
        "{config: {http_auth: {headers: {Authorization: \"Basic ${basic}\", Accept: text/plain, X: {file: /secrets/x}}}}}",
        "{config: {users: {password: {password_file: /secrets/x, labels: {secret: [a], secrets: [b]}}}}}",
        "{config: {workload: [{single_use: false}]}}",
        "{env: {DOCKWARDEN__LDAP_AUTH__BIND_PASSWORD_FILE: /secrets/x}}",
        "{serviceMonitor: {enabled: true}, networkPolicy: {enabled: false}}",
    ] {
        helm(&["template", "test"], &[LEAST, values]).well();
    }
    // With nothing said, too: there is no image that would be pulled from a place that nobody chose.
    helm(&["template", "test"], &[]).refused(&["signingKey.existingSecret: name the secret"]);
}

/// Each key of the schema is one of the values, and the other way round: a default that the schema does not know would be refused,
/// and a key without a default is found by nobody.
#[test]
fn the_schema_and_the_values_have_the_same_keys_and_nothing_remote() {
    let text = fs::read_to_string(chart().join("values.schema.json")).unwrap();
    assert!(!text.contains("$ref"));
    let schema: Value = serde_json::from_str(&text).unwrap();
    let said = helm(&["show", "values"], &[]);
    // `show` takes no version of Kubernetes.
    assert!(!said.success);
    let values = part::run(part::client("helm").args(["show", "values"]).arg(chart())).well().stdout;
    let keys: Vec<&str> = values
        .lines()
        .filter(|line| !line.starts_with([' ', '#']))
        .filter_map(|line| line.split_once(':').map(|(key, _)| key))
        .collect();
    let mut known: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    // For charts that have this one in them.
    known.retain(|key| *key != "global");
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    known.sort_unstable();
    assert_eq!(sorted, known);
    closed(&schema, "");
}

/// Every map of the schema that names its keys takes no other.
fn closed(schema: &Value, at: &str) {
    if let Some(properties) = schema["properties"].as_object() {
        // The configuration's keys are the program's to know.
        if at != ".config" {
            assert_eq!(schema["additionalProperties"], false, "{at}");
        }
        for (key, inner) in properties {
            closed(inner, &format!("{at}.{key}"));
        }
    }
    if schema["items"].is_object() {
        closed(&schema["items"], &format!("{at}[]"));
    }
}

#[test]
fn a_pod_with_a_volume_gives_tokens_and_keeps_its_records_there() {
    let values = "{records: {kind: sqlite}, config: {api: {listen: admin}, records_auth: {}}}";
    let pod = Pod::from_objects(&decoded(&rendered(&[LEAST, values])), &secrets());
    let server = pod.start();
    let token = visit::token(&server.realm(), dockwarden::SERVICE, "admin", &["repository:a/b:pull"]);
    assert_eq!(visit::claims(&token)["iss"], "Acme");
    assert!(Path::new(&pod.here("/data/dockwarden.db")).is_file());
}

#[test]
fn pods_with_postgresql_prepare_it_and_give_tokens() {
    let database = Server::shared(Product::Postgres);
    let tables = Tables::in_server(database);
    let (user, secret) = sql::ADMIN;
    let values = format!(
        "{{replicaCount: 2, records: {{kind: postgres, postgres: {{host: localhost, port: {}, database: {}, username: {user}, \
         ownAuthority: true, existingSecret: database}}}}, config: {{api: {{listen: admin}}, records_auth: {{}}}}}}",
        database.port(),
        tables.database(),
    );
    let mut secrets = secrets();
    let files = [("password", secret.as_bytes().to_vec()), ("ca.crt", fs::read(database.authority()).unwrap())];
    secrets.insert("database", files.map(|(name, bytes)| (name.to_owned(), bytes)).into());
    let objects = decoded(&rendered(&[LEAST, &values]));
    let [first, second] = [0, 1].map(|_| Pod::from_objects(&objects, &secrets));
    assert_eq!(first.init.len(), 1);
    for pod in [first, second] {
        let server = pod.start();
        visit::token(&server.realm(), dockwarden::SERVICE, "admin", &["repository:a/b:pull"]);
    }
}

/// In the place of kubectl, for it has no cluster to talk to: makes secrets as directories.
const KUBECTL: &str = r#"#!/bin/sh
set -e
[ "$1 $2" = "-n dockwarden" ] || [ "$*" = "create namespace dockwarden" ]
[ "$3 $4" = "create secret" ] || exit 0
kind=$5 to=secrets/$6
shift 6
mkdir -p "$to"
for word; do
    case $kind:$word in
        tls:--cert=*) cp "${word#*=}" "$to/tls.crt" ;;
        tls:--key=*) cp "${word#*=}" "$to/tls.key" ;;
        generic:--from-file=*) cp "${word#*=}" "$to/${word#*=}" ;;
        *) echo "unknown: $word" >&2; exit 64 ;;
    esac
done
"#;

/// In the place of docker: the image is tried elsewhere, and pushed nowhere; what runs in it is the program of this run.
const DOCKER: &str = r#"#!/bin/sh
[ "$1" = run ] || exit 0
[ "$2 $3" = "--rm registry.example.org/dockwarden:0.1.0" ] || exit 64
shift 3
exec dockwarden "$@"
"#;

/// The page's commands and its values, from the first to a token.
#[test]
fn the_commands_of_the_page_on_kubernetes_install_what_serves() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(repository.join("docs/how-to/kubernetes.md")).unwrap();
    let (_, install) = page.split_once("\n## Install\n").unwrap();
    let (install, _) = install.split_once("\n## ").unwrap();
    let fences = |language: &str| -> Vec<String> {
        let begin = format!("```{language}\n");
        let fences = install.split("<!-- test: ").filter_map(|piece| piece.split_once(&begin));
        fences.map(|(_, rest)| rest.split("```").next().unwrap().to_owned()).collect()
    };
    let directory = scratch::directory("install");
    let bin = directory.join("bin");
    fs::create_dir(&bin).unwrap();
    let helm = format!(
        "#!/bin/sh\n[ \"$1\" = upgrade ] && [ \"$2\" = --install ] || exit 64\nshift 2\nexec {} template --kube-version {KUBERNETES} \"$@\"\n",
        part::path("helm").display()
    );
    for (name, text) in [("kubectl", KUBECTL), ("helm", helm.as_str()), ("docker", DOCKER)] {
        fs::set_permissions(scratch::write(&bin, name, text), PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::symlink(program(), bin.join("dockwarden")).unwrap();
    fs::create_dir(directory.join("deploy")).unwrap();
    std::os::unix::fs::symlink(chart(), directory.join("deploy/chart")).unwrap();
    let [values] = &fences("yaml")[..] else { panic!("one file of values: {install}") };
    scratch::write(&directory, "values.yml", values);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let script = format!("set -e\n{}", fences("sh").concat());
    let said = part::run(
        part::client("sh").arg("-c").arg(script).current_dir(&directory).env("PATH", path).env("HOME", &directory),
    )
    .well();
    // As `template` prints it; before it, the commands before it.
    let (_, objects) = said.stdout.split_once("---\n").unwrap();
    let (_, shown) = said.text.split_once("Password, shown this once: ").unwrap();
    let word = shown.lines().next().unwrap().to_owned();
    let mut secrets: BTreeMap<String, Files> = BTreeMap::new();
    for secret in fs::read_dir(directory.join("secrets")).unwrap() {
        let secret = secret.unwrap();
        let files = fs::read_dir(secret.path()).unwrap().map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
        });
        secrets.insert(secret.file_name().into_string().unwrap(), files.collect());
    }
    let secrets = secrets.iter().map(|(name, files)| (name.as_str(), files.clone())).collect();
    let server = Pod::from_objects(&decoded(objects), &secrets).start();
    let target = "/auth?service=registry.example.org&scope=repository:a/b:pull,push";
    let basic = visit::basic("admin", &word);
    let request = http::request("GET", target, &server.address, &[("Authorization", &basic)], b"");
    let reply = http::exchange(&server.address, &request);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let claims = visit::claims(reply.json()["token"].as_str().unwrap());
    assert_eq!(claims["access"][0]["actions"], json!(["pull", "push"]));
}
