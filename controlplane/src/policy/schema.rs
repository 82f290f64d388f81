//! Schemas of what Kubernetes has types for. Theirs in full would be a hundred times
//! longer, and say no more than the API server says when a pod is made of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::gateway_api::PolicyStatus;

/// Kubernetes' own, of amounts that are not negative.
const QUANTITY: &str =
    r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]+))?$";

/// An object of which nothing is said.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

pub(super) fn resources(_: &mut SchemaGenerator) -> Schema {
    let quantities = json_schema!({
        "type": "object",
        "additionalProperties": {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY,
            "x-kubernetes-int-or-string": true,
        },
    });
    json_schema!({
        "type": "object",
        "properties": {"requests": quantities, "limits": quantities},
    })
}

pub(super) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {
            "type": "object",
            "properties": {
                "key": {"type": "string"},
                "operator": {"type": "string", "enum": ["Exists", "Equal"]},
                "value": {"type": "string"},
                "effect": {"type": "string", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
                "tolerationSeconds": {"type": "integer", "format": "int64"},
            },
        },
    })
}

pub(super) fn topology_spread(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {
            "type": "object",
            "required": ["maxSkew", "topologyKey", "whenUnsatisfiable"],
            "properties": {
                "maxSkew": {"type": "integer", "format": "int32", "minimum": 1},
                "topologyKey": {"type": "string", "minLength": 1},
                "whenUnsatisfiable": {"type": "string", "enum": ["DoNotSchedule", "ScheduleAnyway"]},
            },
            "x-kubernetes-preserve-unknown-fields": true,
        },
    })
}

pub(super) fn int_or_percentage(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": "^(([0-9]|[1-9][0-9]|100)%|[0-9]+)$",
        "x-kubernetes-int-or-string": true,
    })
}

/// As the Gateway API's policies have it.
impl JsonSchema for PolicyStatus {
    fn schema_name() -> Cow<'static, str> {
        "PolicyStatus".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = json_schema!({"type": "string"});
        let condition = json_schema!({
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": text,
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": text,
                "message": {"type": "string", "maxLength": 32768},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
            },
        });
        let ancestor = json_schema!({
            "type": "object",
            "required": ["ancestorRef", "controllerName"],
            "properties": {
                "ancestorRef": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "group": text,
                        "kind": text,
                        "namespace": text,
                        "name": text,
                        "sectionName": text,
                        "port": {"type": "integer", "format": "int32"},
                    },
                },
                "controllerName": text,
                "conditions": {
                    "type": "array",
                    "maxItems": 8,
                    "items": condition,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["type"],
                },
            },
        });
        json_schema!({
            "type": "object",
            "required": ["ancestors"],
            "properties": {
                "ancestors": {
                    "type": "array",
                    "maxItems": 16,
                    "items": ancestor,
                    "x-kubernetes-list-type": "atomic",
                },
            },
        })
    }
}
