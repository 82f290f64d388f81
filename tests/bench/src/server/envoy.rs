//! Envoy with one worker.

use super::{Site, Tools};
use crate::process::{Process, SERVER_CORE, pinned};

pub(super) fn start(tools: &Tools, site: &Site) -> anyhow::Result<(Process, Vec<Process>)> {
    let config = site.write("envoy.yaml", &config(site))?;
    let mut command = pinned(SERVER_CORE, tools.peers.join("envoy"));
    command
        .arg("--config-path")
        .arg(config)
        .args(["--concurrency", "1", "--disable-hot-restart"])
        .args(["--log-level", "error"]);
    let process = Process::start("Envoy", &mut command, &site.log("envoy"))?;
    Ok((process, Vec::new()))
}

fn config(site: &Site) -> String {
    let port = site.listen.port();
    let (certificate, key) = (site.certificate(), site.key());
    let certificates = format!(
        "tls_certificates: [{{certificate_chain: {{filename: \"{}\"}}, private_key: {{filename: \"{}\"}}}}]",
        certificate.display(),
        key.display(),
    );
    let idle = site.idle_timeout;
    let filters = |codec: &str, more: &str| {
        format!(
            r#"
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          codec_type: {codec}
          stat_prefix: edge
          common_http_protocol_options: {{idle_timeout: {idle}s}}
          {more}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: origin, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#
        )
    };
    format!(
        r#"
static_resources:
  listeners:
  - name: tcp
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            {certificates}{tcp}
  - name: quic
    address: {{socket_address: {{protocol: UDP, address: 127.0.0.1, port_value: {port}}}}}
    udp_listener_config:
      quic_options: {{}}
      downstream_socket_config: {{prefer_gro: true}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.quic
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport
          downstream_tls_context:
            common_tls_context:
              alpn_protocols: [h3]
              {certificates}{quic}
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {origin}}}}}}}
"#,
        tcp = filters("AUTO", ""),
        quic = filters("HTTP3", "http3_protocol_options: {}"),
        ip = site.origin.ip(),
        origin = site.origin.port(),
    )
}
