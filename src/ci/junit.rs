//! JUnit reports of several test runs become one.
//!
//! pytest writes `<testsuites><testsuite …><testcase classname name><failure/>…`; the
//! schema is that of Jenkins' xUnit plug-in.

use anyhow::{Context, Result};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, Writer};
use std::collections::BTreeMap;

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Passed,
    Failed,
    Skipped,
}

/// One report: its text, and the outcome of each test by `module::name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The `testsuite` elements.
    pub suites: Vec<u8>,
    pub cases: BTreeMap<String, Case>,
}

impl Report {
    /// Reads pytest's report; its suites get the component's name.
    pub fn parse(component: &str, text: &str) -> Result<Self> {
        let mut reader = Reader::from_str(text);
        let mut writer = Writer::new(Vec::new());
        let mut cases = BTreeMap::new();
        let mut current: Option<String> = None;
        loop {
            let event = reader.read_event().with_context(|| format!("the test report of `{component}` is no XML"))?;
            match &event {
                Event::Eof => break,
                Event::Start(element) | Event::Empty(element) if element.name().as_ref() == "testsuite" => {
                    let renamed = renamed(element, component)?;
                    let event = if matches!(event, Event::Start(_)) { Event::Start(renamed) } else { Event::Empty(renamed) };
                    writer.write_event(event)?;
                    continue;
                }
                Event::Start(element) | Event::Empty(element) if element.name().as_ref() == "testcase" => {
                    let name = format!("{}::{}", attribute(element, "classname")?, attribute(element, "name")?);
                    cases.entry(name.clone()).or_insert(Case::Passed);
                    current = matches!(event, Event::Start(_)).then_some(name);
                }
                Event::End(element) if element.name().as_ref() == "testcase" => current = None,
                Event::Start(element) | Event::Empty(element) => {
                    let outcome = match element.name().as_ref() {
                        "failure" | "error" => Some(Case::Failed),
                        "skipped" => Some(Case::Skipped),
                        _ => None,
                    };
                    if let (Some(outcome), Some(name)) = (outcome, &current)
                        && cases.get(name) != Some(&Case::Failed)
                    {
                        cases.insert(name.clone(), outcome);
                    }
                }
                _ => {}
            }
            let frame = matches!(&event, Event::Decl(_))
                || matches!(&event, Event::Start(element) | Event::Empty(element) if element.name().as_ref() == "testsuites")
                || matches!(&event, Event::End(element) if element.name().as_ref() == "testsuites");
            if !frame {
                writer.write_event(event)?;
            }
        }
        Ok(Self { suites: writer.into_inner(), cases })
    }

    pub fn count(&self, wanted: Case) -> usize {
        self.cases.values().filter(|case| **case == wanted).count()
    }
    pub fn failed(&self) -> impl Iterator<Item = &String> {
        self.cases.iter().filter(|(_, case)| **case == Case::Failed).map(|(name, _)| name)
    }
}

fn renamed(element: &BytesStart<'_>, component: &str) -> Result<BytesStart<'static>> {
    let mut renamed = BytesStart::new("testsuite");
    renamed.push_attribute(("name", component));
    for attribute in element.attributes() {
        let attribute = attribute.context("an attribute of the test report is malformed")?;
        if attribute.key.as_ref() != "name" {
            renamed.push_attribute(attribute);
        }
    }
    Ok(renamed.into_owned())
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<String> {
    let found = element.try_get_attribute(name).context("an attribute of the test report is malformed")?;
    let value =
        found.map(|found| found.normalized_value(quick_xml::XmlVersion::Implicit1_0).map(|value| value.into_owned())).transpose();
    Ok(value.context("an attribute of the test report is malformed")?.unwrap_or_default())
}

/// One report of all components.
pub fn merge<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Vec<u8> {
    let mut text = b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<testsuites>".to_vec();
    for report in reports {
        text.extend(&report.suites);
    }
    text.extend(b"</testsuites>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTEST: &str = r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="1" tests="4"><testcase classname="tests.test_a" name="test_one[&lt;x&gt;]" time="0.1" /><testcase classname="tests.test_a" name="test_two"><failure message="no">trace &amp; text</failure></testcase><testcase classname="tests.test_a" name="test_three"><skipped type="pytest.skip"/></testcase><testcase classname="tests.test_a" name="test_two"><error message="teardown"/></testcase></testsuite></testsuites>"#;

    #[test]
    fn outcomes_are_read_and_suites_named_by_component() {
        let report = Report::parse("manager", PYTEST).unwrap();
        let check = |name: &str, wanted: Case| assert_eq!(report.cases.get(name), Some(&wanted), "{name}");
        check("tests.test_a::test_one[<x>]", Case::Passed);
        check("tests.test_a::test_two", Case::Failed);
        check("tests.test_a::test_three", Case::Skipped);
        assert_eq!(report.count(Case::Failed), 1);
        let whole = String::from_utf8(merge([&report, &report])).unwrap();
        assert_eq!(whole.matches("<testsuite name=\"manager\" errors=\"1\" tests=\"4\">").count(), 2, "{whole}");
        assert!(whole.contains("trace &amp; text") && whole.matches("<testsuites>").count() == 1);
        assert_eq!(Report::parse("manager", &whole).unwrap().cases, report.cases);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(Report::parse("x", "<testsuites><testsuite></testsuites>").is_err());
        assert!(Report::parse("x", "").unwrap().cases.is_empty());
    }
}
