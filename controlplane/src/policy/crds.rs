//! The CustomResourceDefinitions of Tidegate's kinds, as YAML.

use std::collections::BTreeMap;

use kube::CustomResourceExt;
use serde::Serialize;
use serde_json::{Number, Value};

use super::{GatewayParameters, QUICPolicy};

/// By file name, in the order in which they are applied.
pub fn crds() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (
            "tidegate.dev_gatewayparameters.yaml",
            yaml(&GatewayParameters::crd()),
        ),
        ("tidegate.dev_quicpolicies.yaml", yaml(&QUICPolicy::crd())),
    ])
}

fn yaml(crd: &impl Serialize) -> String {
    let value = serde_json::to_value(crd).map(plain).unwrap_or_default();
    serde_norway::to_string(&value).unwrap_or_default()
}

/// Fields in the order of their names, and numbers as people write them. Nothing is
/// `nullable`: the API server then drops a null, and rules see an absent field.
fn plain(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().collect();
            fields
                .into_iter()
                .filter(|(name, value)| name != "nullable" || *value != Value::Bool(true))
                .map(|(name, value)| (name, plain(value)))
                .collect()
        }
        Value::Number(number) => whole(&number).map_or(Value::Number(number), Value::from),
        plain => plain,
    }
}

/// Schemas hold their limits as floating point.
fn whole(number: &Number) -> Option<i64> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    // Exact below 2^53.
    (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    #[test]
    fn the_charts_definitions_are_those_of_the_types() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tidegate/crds");
        let update = env::var_os("UPDATE_GOLDEN").is_some();
        for (name, expected) in crds() {
            let path = folder.join(name);
            if update {
                fs::create_dir_all(&folder).expect("writable");
                fs::write(&path, expected).expect("writable");
            } else {
                let found = fs::read_to_string(&path).unwrap_or_default();
                assert!(
                    found == expected,
                    "{name}: UPDATE_GOLDEN=1 accepts\n{expected}"
                );
            }
        }
    }
}
