//! The folder of YAML that the control plane watches.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::authority::Identity;

/// A folder of resources, all in namespace `default`. Every write replaces a file at once.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn gateway_class(&self) {
        self.object(
            "gatewayclass",
            &json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "GatewayClass",
                "metadata": {"name": "tidegate"},
                "spec": {"controllerName": "tidegate.dev/gateway-controller"},
            }),
        );
    }

    /// A Gateway named `edge`, on loopback.
    pub fn gateway(&self, listeners: &Value) {
        self.gateway_at(Ipv4Addr::LOCALHOST.into(), listeners);
    }

    /// A Gateway named `edge`, on this address.
    pub(crate) fn gateway_at(&self, address: IpAddr, listeners: &Value) {
        self.object(
            "gateway",
            &json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": metadata("edge"),
                "spec": {
                    "gatewayClassName": "tidegate",
                    "addresses": [{"type": "IPAddress", "value": address}],
                    "listeners": listeners,
                },
            }),
        );
    }

    pub fn secret(&self, name: &str, identity: &Identity) {
        self.object(
            &format!("secret-{name}"),
            &json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": metadata(name),
                "type": "kubernetes.io/tls",
                "stringData": {"tls.crt": identity.chain_pem, "tls.key": identity.key_pem},
            }),
        );
    }

    /// A Service with port 80 and the slices of its endpoints.
    pub fn service(&self, name: &str, endpoints: &[SocketAddr]) {
        self.service_with(name, endpoints, None);
    }

    /// With an `appProtocol`, such as `kubernetes.io/h2c`.
    pub fn service_with(&self, name: &str, endpoints: &[SocketAddr], app_protocol: Option<&str>) {
        let mut port = json!({"name": "http", "port": 80, "targetPort": 80, "protocol": "TCP"});
        if let Some(protocol) = app_protocol {
            port["appProtocol"] = protocol.into();
        }
        self.object(
            &format!("service-{name}"),
            &json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata(name),
                "spec": {"ports": [port]},
            }),
        );
        self.endpoints(name, endpoints);
    }

    /// Replaces the endpoints of a Service.
    pub fn endpoints(&self, service: &str, endpoints: &[SocketAddr]) {
        let slices: Vec<Value> = (endpoints.iter().enumerate())
            .map(|(index, endpoint)| {
                let mut metadata = metadata(&format!("{service}-{index}"));
                metadata["labels"] = json!({"kubernetes.io/service-name": service});
                json!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": metadata,
                    "addressType": if endpoint.is_ipv4() { "IPv4" } else { "IPv6" },
                    "ports": [{"name": "http", "port": endpoint.port(), "protocol": "TCP"}],
                    "endpoints": [{"addresses": [endpoint.ip().to_string()], "conditions": {"ready": true}}],
                })
            })
            .collect();
        self.objects(&format!("endpoints-{service}"), &slices);
    }

    /// An HTTPRoute for every listener of the Gateway.
    pub fn route(&self, name: &str, hostnames: &[&str], rules: &Value) {
        let mut spec = json!({"parentRefs": [{"name": "edge"}], "rules": rules});
        if !hostnames.is_empty() {
            spec["hostnames"] = json!(hostnames);
        }
        self.object(
            &format!("route-{name}"),
            &json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": metadata(name),
                "spec": spec,
            }),
        );
    }

    /// A QUICPolicy of the Gateway.
    pub fn quic_policy(&self, spec: &Value) {
        let mut policy = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "QUICPolicy",
            "metadata": metadata("quic"),
            "spec": spec,
        });
        policy["spec"]["targetRefs"] = json!([
            {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"},
        ]);
        self.object("policy", &policy);
    }

    /// One file with one object.
    pub fn object(&self, file: &str, object: &Value) {
        self.objects(file, std::slice::from_ref(object));
    }

    /// One file with several documents.
    pub fn objects(&self, file: &str, objects: &[Value]) {
        let documents: Vec<String> = objects
            .iter()
            .map(|object| serde_norway::to_string(object).expect("JSON is YAML"))
            .collect();
        self.text(file, &documents.join("---\n"));
    }

    /// One file with any text, sound or not.
    pub fn text(&self, file: &str, text: &str) {
        let path = self.path.join(format!("{file}.yaml"));
        let new = self.path.join(format!(".{file}.new"));
        fs::write(&new, text).expect("the folder is ours");
        fs::rename(&new, &path).expect("the folder is ours");
    }

    pub fn remove(&self, file: &str) {
        fs::remove_file(self.path.join(format!("{file}.yaml"))).expect("the file is there");
    }
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": "default"})
}
