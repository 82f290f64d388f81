//! One rule of a route.

use tidegate_proto::v1;

use super::{
    Fault,
    backend::{Backends, Referrer},
    duration, filter, matches, retry,
    route_form::RuleForm,
};
use crate::{
    gateway_api::{HttpBackendRef, HttpRequestMirror, HttpRouteFilter},
    resources::ObjectKey,
};

/// What became of a rule.
#[derive(Default)]
pub(super) struct RulePlan {
    /// Absent: what it matches cannot be told. A rule that is refused for anything else
    /// answers its requests with 500, lest they fall to a rule that lacks its filters.
    pub rule: Option<v1::Rule>,
    /// Why it is not in service as written.
    pub refused: Option<Fault>,
    /// Why some of its backends get no requests.
    pub partial: Vec<Fault>,
    /// Backends and mirrors that it refers to in vain.
    pub unresolved: Vec<Fault>,
    /// What is left out without harm.
    pub ignored: Vec<String>,
    /// Services that it refers to.
    pub services: Vec<ObjectKey>,
}

/// The rule at `field` of a route.
pub(super) fn plan(
    backends: &mut Backends<'_>,
    referrer: Referrer<'_>,
    form: &RuleForm<'_>,
    field: &str,
) -> RulePlan {
    let mut reader = Reader {
        backends,
        referrer,
        form,
        by_prefix: false,
        plan: RulePlan::default(),
    };
    reader.read(field);
    reader.plan
}

struct Reader<'c, 'r> {
    backends: &'c mut Backends<'r>,
    referrer: Referrer<'c>,
    form: &'c RuleForm<'c>,
    /// Every match is by a prefix of the path.
    by_prefix: bool,
    plan: RulePlan,
}

impl Reader<'_, '_> {
    fn read(&mut self, field: &str) {
        if self.form.persists_sessions {
            let ignored = format!("{field}.sessionPersistence is not supported and left out");
            self.plan.ignored.push(ignored);
        }
        let mut rule = v1::Rule {
            name: self.form.name.unwrap_or_default().to_owned(),
            ..Default::default()
        };
        match matches::translate(&self.form.matches, &format!("{field}.matches")) {
            Ok(matches) => rule.matches = matches,
            Err(fault) => {
                self.plan.refused = Some(fault);
                return;
            }
        }
        self.by_prefix = rule.matches.iter().all(matches::is_by_prefix);
        // Backends are looked up in a refused rule too: their faults are worth knowing at once.
        let backends = self.form.backends.iter().enumerate();
        let backends: Vec<_> = backends
            .map(|(index, spec)| self.backend(spec, &format!("{field}.backendRefs[{index}]")))
            .collect();
        match self.fill(&mut rule, field) {
            Ok(()) => rule.backends = backends,
            Err(fault) => {
                rule = v1::Rule {
                    name: rule.name,
                    matches: rule.matches,
                    ..Default::default()
                };
                self.plan.refused = Some(fault);
            }
        }
        self.plan.rule = Some(rule);
    }

    /// Filters, time-outs and further attempts.
    fn fill(&mut self, rule: &mut v1::Rule, field: &str) -> Result<(), Fault> {
        let specs = self.form.filters;
        rule.filters = self.filters(specs, &format!("{field}.filters"))?;
        let redirects = specs.iter().any(|spec| spec.type_ == "RequestRedirect");
        if redirects && !self.form.backends.is_empty() {
            return Err(Fault::unsupported(
                format_args!("{field}.backendRefs"),
                "nothing reaches them beside a RequestRedirect; remove either",
            ));
        }
        if let Some(spec) = self.form.retry {
            rule.retry = Some(retry::translate(spec, &format!("{field}.retry"))?);
        }
        let Some(timeouts) = self.form.timeouts else {
            return Ok(());
        };
        let read = |value: &Option<String>, name: &str| {
            let parse = |text: &String| {
                duration::milliseconds(text).map_err(|problem| {
                    Fault::unsupported(format_args!("{field}.timeouts.{name}"), problem)
                })
            };
            value.as_ref().map(parse).transpose()
        };
        rule.request_timeout_ms = read(&timeouts.request, "request")?;
        rule.backend_request_timeout_ms = read(&timeouts.backend_request, "backendRequest")?;
        if let (Some(request), Some(backend)) =
            (rule.request_timeout_ms, rule.backend_request_timeout_ms)
            && request > 0
            && backend > request
        {
            return Err(Fault::unsupported(
                format_args!("{field}.timeouts.backendRequest"),
                "is longer than timeouts.request; shorten it",
            ));
        }
        Ok(())
    }

    /// A reference in vain keeps its weight: its share of the requests gets 500.
    fn backend(&mut self, spec: &HttpBackendRef, field: &str) -> v1::BackendRef {
        let mut backend = v1::BackendRef {
            weight: 1,
            ..Default::default()
        };
        let weight = u32::try_from(spec.weight.unwrap_or(1)).ok();
        match weight.filter(|weight| *weight <= 1_000_000) {
            Some(weight) => backend.weight = weight,
            None => {
                let problem = "is no weight; write a number from 0 to 1000000";
                let fault = Fault::unsupported(format_args!("{field}.weight"), problem);
                self.plan.partial.push(fault);
                return backend;
            }
        }
        let reference = spec.into();
        let resolved = match self.backends.resolve(self.referrer, &reference, field) {
            Ok(resolved) => resolved,
            Err(fault) => {
                self.plan.unresolved.push(fault);
                return backend;
            }
        };
        self.plan.services.push(resolved.service);
        match self.backend_filters(&spec.filters, &format!("{field}.filters")) {
            Ok(filters) => {
                backend.filters = filters;
                backend.backend_id = resolved.id;
            }
            Err(fault) => self.plan.partial.push(fault),
        }
        backend
    }

    fn backend_filters(
        &mut self,
        specs: &[HttpRouteFilter],
        field: &str,
    ) -> Result<Vec<v1::Filter>, Fault> {
        for (index, spec) in specs.iter().enumerate() {
            let problem = match spec.type_.as_str() {
                "RequestRedirect" => "a backend cannot redirect",
                "CORS" => "preflights are answered before a backend is chosen",
                _ => continue,
            };
            return Err(Fault::unsupported(
                format_args!("{field}[{index}].type"),
                format_args!("{problem}; put the {} into the rule's filters", spec.type_),
            ));
        }
        self.filters(specs, field)
    }

    /// `ReplacePrefixMatch` needs a prefix, in every match.
    fn filters(
        &mut self,
        specs: &[HttpRouteFilter],
        field: &str,
    ) -> Result<Vec<v1::Filter>, Fault> {
        if let Some(index) = specs.iter().position(filter::replaces_prefix)
            && !self.by_prefix
        {
            return Err(Fault::unsupported(
                format_args!("{field}[{index}]"),
                "ReplacePrefixMatch needs path matches of type PathPrefix; use ReplaceFullPath",
            ));
        }
        let kind = self.referrer.kind;
        filter::translate(kind, specs, field, &mut |spec, field| {
            self.mirrored(spec, field)
        })
    }

    /// The backend that gets copies. A reference in vain gets none; requests are served on.
    fn mirrored(&mut self, spec: &HttpRequestMirror, field: &str) -> String {
        let reference = (&spec.backend_ref).into();
        match self.backends.resolve(self.referrer, &reference, field) {
            Ok(resolved) => {
                self.plan.services.push(resolved.service);
                resolved.id
            }
            Err(fault) => {
                self.plan.unresolved.push(fault);
                String::new()
            }
        }
    }
}
