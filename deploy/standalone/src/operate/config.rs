//! `tidegate config`: what dataplanes are told to serve.

use tidegate_controlplane::api::types::{
    Attachment, BackendRef, Configuration, Filter, Match, PathMatch, Redirect, Route, Rule,
    Snapshot, ValueMatch,
};

use super::{
    Output,
    connections::render::word,
    print, print_json,
    table::{or_dash, table, yes_no},
};
use crate::admin::{AdminArgs, AdminClient, AdminError, Query};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub admin: AdminArgs,
    /// What this dataplane gets, rather than one that serves all Gateways
    #[arg(long, value_name = "ID")]
    pub dataplane: Option<String>,
}

/// # Errors
/// Any [`AdminError`].
pub async fn run(args: Args) -> Result<(), AdminError> {
    let api = AdminClient::new(&args.admin)?;
    let query = Query::path(&["v1", "config"]);
    let query = query.with("dataplane", args.dataplane.unwrap_or_default());
    let value = api.fetch_json(&query).await?;
    if args.admin.output == Output::Json {
        print_json(&value);
    } else {
        print(&render(&api.typed(value)?));
    }
    Ok(())
}

fn render(configuration: &Configuration) -> String {
    let Some(snapshot) = &configuration.snapshot else {
        return "no configuration yet\n".into();
    };
    let parts = [
        format!("version {}\n", snapshot.version),
        listeners(snapshot),
        routes(snapshot),
        backends(configuration, snapshot),
    ];
    parts.join("\n")
}

fn listeners(snapshot: &Snapshot) -> String {
    table(
        &[
            "LISTENER",
            "PROTOCOL",
            ">PORT",
            "HTTP/3",
            "HOST NAME",
            "CERTIFICATES",
        ],
        snapshot.listeners.iter().map(|listener| {
            vec![
                listener.id.clone(),
                word(&listener.protocol),
                listener.port.to_string(),
                yes_no(listener.http3.is_some()),
                if listener.hostname.is_empty() {
                    "any".into()
                } else {
                    listener.hostname.clone()
                },
                or_dash(&listener.certificate_ids.join(", ")),
            ]
        }),
    )
}

fn routes(snapshot: &Snapshot) -> String {
    let rows = snapshot.routes.iter().flat_map(|route| {
        route
            .rules
            .iter()
            .enumerate()
            .map(|(index, rule)| route_row(route, index, rule))
    });
    table(
        &[
            "ROUTE",
            ">RULE",
            "HOST NAMES",
            "MATCHES",
            "FILTERS",
            "BACKENDS",
        ],
        rows,
    )
}

fn route_row(route: &Route, index: usize, rule: &Rule) -> Vec<String> {
    let matches: Vec<_> = rule.matches.iter().map(one_match).collect();
    let filters: Vec<_> = rule.filters.iter().map(filter).collect();
    let backends: Vec<_> = rule.backends.iter().map(backend_ref).collect();
    vec![
        route.id.clone(),
        (index + 1).to_string(),
        hostnames(&route.attachments),
        if matches.is_empty() {
            "everything".into()
        } else {
            matches.join(" or ")
        },
        or_dash(&filters.join(", ")),
        or_dash(&backends.join(", ")),
    ]
}

fn hostnames(attachments: &[Attachment]) -> String {
    let mut names: Vec<_> = attachments
        .iter()
        .flat_map(|attachment| &attachment.hostnames)
        .collect();
    names.sort();
    names.dedup();
    or_dash(&names.into_iter().cloned().collect::<Vec<_>>().join(", "))
}

fn one_match(one: &Match) -> String {
    let mut parts = Vec::new();
    if !one.method.is_empty() {
        parts.push(one.method.clone());
    }
    parts.push(match &one.path {
        Some(PathMatch::Exact(path)) => format!("={path}"),
        Some(PathMatch::Prefix(path)) => format!("{}/*", path.trim_end_matches('/')),
        Some(PathMatch::Regex(pattern)) => format!("~{pattern}"),
        None => "/*".into(),
    });
    parts.extend(
        one.headers
            .iter()
            .map(|header| value_match("header", header)),
    );
    parts.extend(one.query.iter().map(|query| value_match("query", query)));
    parts.join(" ")
}

fn value_match(kind: &str, one: &ValueMatch) -> String {
    match (&one.exact, &one.regex) {
        (Some(exact), _) => format!("{kind} {}={exact}", one.name),
        (None, Some(regex)) => format!("{kind} {}~{regex}", one.name),
        (None, None) => format!("{kind} {}", one.name),
    }
}

fn filter(filter: &Filter) -> String {
    match filter {
        Filter::None => "unknown".into(),
        Filter::RequestHeaders(_) => "request headers".into(),
        Filter::ResponseHeaders(_) => "response headers".into(),
        Filter::Redirect(redirect) => redirect_text(redirect),
        Filter::Rewrite(_) => "rewrite".into(),
        Filter::Mirror(mirror) => format!("mirror to {}", mirror.backend_id),
        Filter::Cors(_) => "cors".into(),
    }
}

fn redirect_text(redirect: &Redirect) -> String {
    let status = if redirect.status == 0 {
        302
    } else {
        redirect.status
    };
    format!("redirect {status}")
}

fn backend_ref(backend: &BackendRef) -> String {
    let id = if backend.backend_id.is_empty() {
        "unresolved"
    } else {
        &backend.backend_id
    };
    if backend.weight == 1 {
        id.into()
    } else {
        format!("{id} ×{}", backend.weight)
    }
}

fn backends(configuration: &Configuration, snapshot: &Snapshot) -> String {
    table(
        &["BACKEND", "PROTOCOL", "TLS", "ENDPOINTS"],
        snapshot.backends.iter().map(|backend| {
            let endpoints: Vec<_> = configuration
                .endpoints
                .iter()
                .filter(|endpoints| endpoints.backend_id == backend.id)
                .flat_map(|endpoints| &endpoints.endpoints)
                .map(|endpoint| match endpoint.address.contains(':') {
                    true => format!("[{}]:{}", endpoint.address, endpoint.port),
                    false => format!("{}:{}", endpoint.address, endpoint.port),
                })
                .collect();
            vec![
                backend.id.clone(),
                word(&backend.protocol).replace("unspecified", "http1"),
                backend
                    .tls
                    .as_ref()
                    .map_or_else(|| "-".into(), |tls| tls.server_name.clone()),
                if endpoints.is_empty() {
                    "none".into()
                } else {
                    endpoints.join(", ")
                },
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use tidegate_controlplane::api::types::{Backend, Endpoint, Endpoints, Listener, Protocol};

    use super::*;

    #[test]
    fn a_match_is_written_as_it_is_thought_of() {
        let one = Match {
            path: Some(PathMatch::Prefix("/api".into())),
            method: "GET".into(),
            headers: vec![ValueMatch {
                name: "x-v".into(),
                exact: Some("2".into()),
                regex: None,
            }],
            query: vec![ValueMatch {
                name: "q".into(),
                exact: None,
                regex: Some("a.*".into()),
            }],
        };
        assert_eq!(one_match(&one), "GET /api/* header x-v=2 query q~a.*");
        assert_eq!(one_match(&Match::default()), "/*");
        let root = PathMatch::Prefix("/".into());
        assert_eq!(
            one_match(&Match {
                path: Some(root),
                ..Default::default()
            }),
            "/*"
        );
    }

    #[test]
    fn listeners_rules_and_endpoints_are_shown() {
        let listener = Listener {
            id: "default/demo/https".into(),
            port: 8443,
            protocol: Protocol::Https,
            ..Default::default()
        };
        let rule = Rule {
            backends: vec![BackendRef {
                backend_id: "default/demo:80".into(),
                weight: 1,
                filters: vec![],
            }],
            ..Default::default()
        };
        let route = Route {
            id: "HTTPRoute/default/site".into(),
            rules: vec![rule.clone(), rule],
            ..Default::default()
        };
        let backend = Backend {
            id: "default/demo:80".into(),
            ..Default::default()
        };
        let endpoint = Endpoint {
            address: "::1".into(),
            port: 4001,
        };
        let configuration = Configuration {
            snapshot: Some(Snapshot {
                version: "abc".into(),
                listeners: vec![listener],
                routes: vec![route],
                backends: vec![backend],
                ..Default::default()
            }),
            endpoints: vec![Endpoints {
                backend_id: "default/demo:80".into(),
                endpoints: vec![endpoint],
            }],
        };
        let text = render(&configuration);
        assert!(text.starts_with("version abc\n\nLISTENER"), "{text}");
        assert_eq!(text.matches("HTTPRoute/default/site").count(), 2, "{text}");
        assert!(text.contains("[::1]:4001"), "{text}");
    }

    #[test]
    fn a_control_plane_without_a_snapshot_says_so() {
        assert_eq!(render(&Configuration::default()), "no configuration yet\n");
    }
}
