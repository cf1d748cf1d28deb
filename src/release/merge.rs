//! A release's own data laid over what its era has in common.

use toml::{Table, Value};

/// Tables are merged, lists of tables with a `name` by their names, all else is replaced. What `false` stands
/// in the place of is not there, unless it is a truth value itself; of named tables, those that say `there = false`.
pub fn over(mut below: Table, own: Table) -> Table {
    for (key, value) in own {
        if value == Value::Boolean(false) && below.get(&key).is_some_and(|below| !below.is_bool()) {
            below.remove(&key);
            continue;
        }
        let merged = match (below.remove(&key), value) {
            (Some(Value::Table(below)), Value::Table(own)) => Value::Table(over(below, own)),
            (Some(Value::Array(below)), Value::Array(own)) if all_named(&below) && all_named(&own) => named(below, own),
            (_, own) => own,
        };
        below.insert(key, merged);
    }
    below
}

fn name(value: &Value) -> Option<&str> {
    value.as_table()?.get("name")?.as_str()
}

fn all_named(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(|value| name(value).is_some())
}

fn named(mut below: Vec<Value>, own: Vec<Value>) -> Value {
    for value in own {
        if value.get("there") == Some(&Value::Boolean(false)) {
            below.retain(|known| name(known) != name(&value));
            continue;
        }
        match (below.iter_mut().find(|known| name(known) == name(&value)), value) {
            (Some(Value::Table(known)), Value::Table(own)) => *known = over(std::mem::take(known), own),
            (_, value) => below.push(value),
        }
    }
    Value::Array(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_replaces_and_all_else_stays() {
        for (below, own, expected) in [
            ("a = 1\nb = 2", "b = 3\nc = 4", "a = 1\nb = 3\nc = 4"),
            ("[t]\na = 1\n[t.u]\nb = [1]", "[t.u]\nb = [2]", "[t]\na = 1\n[t.u]\nb = [2]"),
            (
                "[[x]]\nname = 'one'\na = 1\n[[x]]\nname = 'two'",
                "[[x]]\nname = 'two'\nb = 2\n[[x]]\nname = 'three'",
                "[[x]]\nname = 'one'\na = 1\n[[x]]\nname = 'two'\nb = 2\n[[x]]\nname = 'three'",
            ),
            ("[[x]]\nname = 'one'\n[[x]]\nname = 'two'", "[[x]]\nname = 'one'\nthere = false", "[[x]]\nname = 'two'"),
            ("x = []", "[[x]]\nname = 'one'", "[[x]]\nname = 'one'"),
            ("[[x]]\na = 1", "[[x]]\na = 2", "[[x]]\na = 2"),
            ("[[x]]\nname = 'one'", "x = []", "x = []"),
            ("a = 1", "[a]\nb = 1", "[a]\nb = 1"),
            ("a = true\n[t]\nb = 1\nc = 2", "a = false\n[t]\nb = false", "a = false\n[t]\nc = 2"),
            ("[t]\na = 1", "t = false", ""),
            ("a = 1", "b = false", "a = 1\nb = false"),
        ] {
            let table = |text: &str| toml::from_str::<Table>(text).unwrap();
            assert_eq!(over(table(below), table(own)), table(expected), "{below} {own}");
        }
    }
}
