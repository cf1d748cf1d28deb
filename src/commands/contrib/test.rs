use super::{Context, place};
use crate::ci::{self, Case};
use crate::cli::Test;
use crate::commands::ci as runs;
use anyhow::{Context as _, Result};
use serde_json::json;

pub async fn run(context: &Context, options: &Test) -> Result<()> {
    let place = place(context, &options.worked).await?;
    let (environment, component) = (&place.environment, &place.component);
    if options.pytest.is_empty() && !place.tree.join("tests").is_dir() {
        return Err(runs::no_tests(&component.name).into());
    }
    runs::develop(context, environment, &[&component.name]).await?;
    let state = environment.state_folder();
    let log = state.join(format!("tests-{}.log", component.name));
    let words: Vec<&str> = component.tests.iter().chain(&options.pytest).map(String::as_str).collect();
    let report = runs::test(context, environment, (component, &component.name), &words, &log).await?;
    let path = match &options.junit {
        Some(path) => std::path::absolute(path)?,
        None => state.join(format!("junit-{}.xml", component.name)),
    };
    crate::store::write_for_others(&path, &ci::merge([&report])).with_context(|| format!("cannot write `{}`", path.display()))?;
    let counts = runs::count(&place.release, &component.name, &report, options.strict);
    let [passed, skipped] = [Case::Passed, Case::Skipped].map(|case| report.count(case));
    let value = json!({ "junit": path, "passed": passed, "failed": counts.failed, "known": counts.known, "skipped": skipped });
    context.print(&value, &path.display().to_string())?;
    runs::verdict(&[(component.name.clone(), counts)].into())
}
