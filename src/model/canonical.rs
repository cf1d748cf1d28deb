use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// JSON with sorted keys and no white space: the one form of bytes that are hashed.
///
/// # Panics
/// If the value has maps with keys that are not strings.
pub fn canonical_json(value: &impl Serialize) -> Vec<u8> {
    fn sorted(value: Value) -> Value {
        match value {
            // Rebuilt in order, since a crate may switch on insertion order for all.
            Value::Object(map) => {
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect::<BTreeMap<_, _>>().into_iter().collect()
            }
            Value::Array(items) => items.into_iter().map(sorted).collect(),
            other => other,
        }
    }
    let value = serde_json::to_value(value).expect("hashed values have string keys");
    serde_json::to_vec(&sorted(value)).expect("JSON values serialise")
}
