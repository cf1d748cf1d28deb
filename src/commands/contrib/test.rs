use super::{Context, place};
use crate::ci::{self, Case};
use crate::cli::Test;
use crate::commands::ci as runs;
use anyhow::{Context as _, Result};
use serde_json::json;

pub async fn run(context: &Context, options: &Test) -> Result<()> {
    let place = place(context, &options.worked).await?;
    let (environment, named) = (&place.environment, &place.named);
    if options.pytest.is_empty() && runs::tests_there(named, &place.tree).is_empty() {
        return Err(runs::no_tests(&named.name).into());
    }
    runs::develop(context, environment, &[&named.component.name], runs::Need::Tests).await?;
    let state = environment.state_folder();
    let log = state.join(format!("tests-{}.log", named.name));
    let words = runs::words(named, &named.component.tests, &place.tree, &options.pytest);
    let report = runs::test(context, environment, named, &words, &log).await;
    runs::untest(environment, named).await?;
    let report = report?;
    let path = match &options.junit {
        Some(path) => std::path::absolute(path)?,
        None => state.join(format!("junit-{}.xml", named.name)),
    };
    crate::store::write_for_others(&path, &ci::merge([&report])).with_context(|| format!("cannot write `{}`", path.display()))?;
    let counts = runs::count(&place.release, &named.name, &report, options.strict);
    let [passed, skipped] = [Case::Passed, Case::Skipped].map(|case| report.count(case));
    let value = json!({ "junit": path, "passed": passed, "failed": counts.failed, "known": counts.known, "skipped": skipped });
    context.print(&value, &path.display().to_string())?;
    runs::verdict(&[(named.name.clone(), counts)].into())
}
