//! The REST API: parse, ask `operations`, answer as JSON.

// `utoipa::path` repeats the types that it is given with a path.
#![allow(unused_qualifications)]

pub(crate) mod audit;
mod capture;
mod configuration;
pub(crate) mod connections;
mod dataplanes;
pub(crate) mod events;
mod keys;
mod listeners;

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{operations::Operations, types};

/// The routes under `/v1`, and their description.
pub(crate) fn router() -> (Router<Operations>, openapi::OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(dataplanes::list))
        .routes(routes!(dataplanes::drain))
        .routes(routes!(dataplanes::undrain))
        .routes(routes!(listeners::list))
        .routes(routes!(listeners::drain))
        .routes(routes!(listeners::undrain))
        .routes(routes!(connections::list))
        .routes(routes!(connections::show))
        .routes(routes!(connections::close))
        .routes(routes!(connections::close_selected))
        .routes(routes!(capture::qlog))
        .routes(routes!(capture::next_qlog))
        .routes(routes!(capture::key_log))
        .routes(routes!(audit::list))
        .routes(routes!(events::watch))
        .routes(routes!(configuration::config))
        .routes(routes!(configuration::status))
        .routes(routes!(keys::rotate))
        .split_for_parts()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate admin API",
        description = "Looks into, closes and drains live connections, and shows what is \
                       configured. The same operations are there as gRPC, service \
                       `tidegate.v1.Admin`, on the same port with the same token.",
    ),
    components(schemas(types::Problem, types::Lagged)),
    security(("token" = [])),
    modifiers(&Token),
    tags(
        (name = "connections", description = "Live connections and their end"),
        (name = "captures", description = "What happens on connections, packet by packet"),
        (name = "fleet", description = "Dataplanes and listeners"),
        (name = "history", description = "What happened"),
        (name = "configuration", description = "What is in service, and why"),
    ),
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, description: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "Standalone: the file admin.token in the state folder.",
            ))
            .build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}
