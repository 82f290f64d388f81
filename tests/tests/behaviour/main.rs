//! Behaviour of the whole gateway, over real sockets: one module for each behaviour.

#![forbid(unsafe_code)]

mod acknowledge;
mod admission;
mod api;
mod attacks;
mod bodies;
mod captures;
mod client_certificates;
mod close;
mod control_restart;
mod drain;
mod early_data;
mod ech;
mod echo_application;
mod events;
mod fetch;
mod first_flight;
mod forwarded;
mod grpc;
mod grpc_admin;
mod header_sections;
mod hostile;
mod keys;
mod long_life;
mod moves;
mod path_events;
mod protocol_errors;
mod rebind;
mod relay;
mod reload;
mod resume;
mod routing;
mod silence;
mod slow;
mod smuggling;
mod streams;
mod telemetry;
mod transport;
mod trust;
mod websocket;
