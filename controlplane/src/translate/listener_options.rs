//! Tidegate's own settings of a listener: keys `tidegate.dev/…` of `tls.options`, and
//! the Gateway's annotations for who may connect and the limits of all of its listeners.

mod limits;

use std::collections::BTreeMap;

use tidegate_proto::v1;

use super::{Fault, duration};
use crate::selector::Cidr;

/// What the settings say. Defaults are left to the dataplane.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ListenerOptions {
    /// Absent: not said.
    pub http3: Option<bool>,
    pub advertised_port: u32,
    pub quic: Option<v1::QuicTransport>,
    pub admission: Option<v1::Admission>,
    pub limits: Option<v1::HttpLimits>,
    /// Secret with keys for encrypted ClientHellos.
    pub ech: Option<String>,
}

/// Reads `tls.options` over the Gateway's `annotations`. Keys of other domains are not
/// Tidegate's to judge.
pub(super) fn read(
    annotations: &BTreeMap<String, String>,
    options: &BTreeMap<String, String>,
    field: &str,
) -> Result<ListenerOptions, Fault> {
    let mut outcome = ListenerOptions::default();
    for (from, values) in [
        ("metadata.annotations".to_owned(), annotations),
        (format!("{field}.tls.options"), options),
    ] {
        for (key, value) in values {
            let Some(name) = key.strip_prefix(PREFIX) else {
                continue;
            };
            if from == "metadata.annotations" && !annotations_known().any(|known| known == name) {
                let known = listed(annotations_known());
                let problem = format!("is none of Tidegate's annotations: {known}");
                return Err(Fault::unsupported(format_args!("{from}[{key}]"), problem));
            }
            outcome
                .set(name, value.trim())
                .map_err(|problem| Fault::unsupported(format_args!("{from}[{key}]"), problem))?;
        }
    }
    Ok(outcome)
}

/// The first key of `options` by which a listener would say anew what the Gateway's
/// `annotations` say: the same limit, or anything of who may connect.
pub(super) fn overridden<'a>(
    annotations: &BTreeMap<String, String>,
    options: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let is_admission = |key: &String| is_one_of(key, &ADMISSION);
    let admission = annotations.keys().any(is_admission);
    let decided = |key: &&String| {
        key.starts_with(PREFIX)
            && (annotations.contains_key(*key) || admission && is_admission(key))
    };
    options.keys().find(decided).map(String::as_str)
}

/// The first key of `options` that holds for the whole port, whichever listener says it.
pub(super) fn of_port(options: &BTreeMap<String, String>) -> Option<&str> {
    let of_port = |key: &&String| is_one_of(key, &["ech", limits::HANDSHAKE]);
    options.keys().find(of_port).map(String::as_str)
}

/// Whether a key is Tidegate's and has one of these names.
fn is_one_of(key: &str, names: &[&str]) -> bool {
    key.strip_prefix(PREFIX)
        .is_some_and(|name| names.contains(&name))
}

impl ListenerOptions {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "http3" => {
                self.http3 = Some(match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(format!("`{value}` is neither `on` nor `off`")),
                });
            }
            "advertised-port" => {
                self.advertised_port = value
                    .parse::<u16>()
                    .ok()
                    .filter(|port| *port > 0)
                    .map(u32::from)
                    .ok_or_else(|| {
                        format!("`{value}` is no port; write a number from 1 to 65535")
                    })?;
            }
            "retry" => {
                self.quic().set_retry(match value {
                    "always" => v1::RetryMode::Always,
                    "never" => v1::RetryMode::Never,
                    "adaptive" => v1::RetryMode::Unspecified,
                    _ => return Err(format!("`{value}` is none of always, never, adaptive")),
                });
            }
            "congestion-control" => {
                if !["cubic", "bbr2", "reno"].contains(&value) {
                    return Err(format!("`{value}` is none of cubic, bbr2, reno"));
                }
                self.quic().congestion_control = value.to_owned();
            }
            "max-idle-timeout" => {
                let idle = duration::milliseconds(value)?;
                if idle == 0 {
                    return Err("must be more than zero".to_owned());
                }
                self.quic().max_idle_timeout_ms = idle;
            }
            "ech" => {
                if value.is_empty() {
                    return Err("names no Secret; name one, or remove it".to_owned());
                }
                self.ech = Some(value.to_owned());
            }
            "allow" => self.admission().allow = ranges(value)?,
            "deny" => self.admission().deny = ranges(value)?,
            _ => {
                let limits = self.limits.get_or_insert_default();
                if !limits::set(limits, name, value)? {
                    let known = listed(OPTIONS.into_iter().chain(annotations_known()));
                    return Err(format!("is none of Tidegate's options: {known}"));
                }
            }
        }
        Ok(())
    }

    fn quic(&mut self) -> &mut v1::QuicTransport {
        self.quic.get_or_insert_default()
    }

    fn admission(&mut self) -> &mut v1::Admission {
        self.admission.get_or_insert_default()
    }
}

/// Ranges of addresses, joined by commas. At least one, so that an emptied list never
/// opens a door that was meant to be narrow.
fn ranges(value: &str) -> Result<Vec<String>, String> {
    value
        .split(',')
        .map(|range| range.trim().parse::<Cidr>().map(|range| range.to_string()))
        .collect::<Result<_, _>>()
        .map_err(|problem| problem.to_string())
}

/// What a Gateway may say for all of its listeners.
fn annotations_known() -> impl Iterator<Item = &'static str> {
    ADMISSION.into_iter().chain(limits::NAMES)
}

fn listed(names: impl Iterator<Item = &'static str>) -> String {
    names
        .map(|name| format!("{PREFIX}{name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Of every key of Tidegate's.
pub(super) const PREFIX: &str = "tidegate.dev/";
const ADMISSION: [&str; 2] = ["allow", "deny"];
/// What only a listener may say.
const OPTIONS: [&str; 6] = [
    "http3",
    "advertised-port",
    "retry",
    "congestion-control",
    "max-idle-timeout",
    "ech",
];
