//! How a value is written inside the double quotes of each kind of file.

type Escape = fn(&str) -> String;

/// The escaping that belongs to a template's kind, told by its ending.
pub fn escape(template: &str) -> Escape {
    match template.rsplit_once('.').map(|(_, ending)| ending) {
        Some("yaml") => |text| quoted(text).replace('$', "$$"),
        Some("ini") => |text| text.replace('%', "%%"),
        Some("sh") => |text| text.replace('\'', r"'\''"),
        _ => quoted,
    }
}

/// As between the quotes of a JSON string, which YAML and TOML read alike.
fn quoted(text: &str) -> String {
    let whole = serde_json::Value::from(text).to_string();
    whole[1..whole.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_has_its_own_escapes() {
        let check = |template: &str, value: &str, expected: &str| {
            assert_eq!(escape(template)(value), expected, "{template} {value}");
        };
        check("compose.yaml", r#"/a "b"/$HOME"#, r#"/a \"b\"/$$HOME"#);
        check("agent.toml", r"/a\b$c", r"/a\\b$c");
        check("etcd.json", "/a\"b", "/a\\\"b");
        check("alembic.ini", "50%", "50%%");
        check("client-admin.sh", "it's", r"it'\''s");
    }
}
