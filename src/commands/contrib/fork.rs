use super::Context;
use crate::cli::Fork;
use crate::commands::sources::GIT_BASE;
use crate::error::Fault;
use crate::source::topic;
use anyhow::Result;

pub async fn run(context: &Context, options: &Fork) -> Result<()> {
    let environment = context.environment(&options.one)?;
    let release = environment.release()?;
    let all = || release.components.iter().chain(&release.optional);
    if let Some(name) = options.component.as_ref().filter(|name| !all().any(|one| one.name == **name)) {
        let known: Vec<&str> = all().map(|one| one.name.as_str()).collect();
        return Err(Fault::usage(format!("release {} has no component `{name}`", release.branch))
            .hint(format!("it has {}", known.join(", ")))
            .into());
    }
    let mut changed = Vec::new();
    for component in all().filter(|one| options.component.as_ref().is_none_or(|name| one.name == *name)) {
        let tree = environment.folder.join(&component.name);
        if !tree.join(".git").exists() {
            continue;
        }
        let Some(upstream) = topic::upstream(&tree).await? else {
            context.ui.remark("contrib", &format!("{} came from no git repository: it is left as it is", component.name));
            continue;
        };
        let url = topic::fork_url(&upstream, &options.account)?;
        let project = if upstream == url { format!("{GIT_BASE}/{}", component.repository) } else { upstream };
        if topic::fork(&tree, &url, &project).await? {
            context.ui.say(&format!("{}: origin is {url}, upstream {project}", component.name));
            changed.push(component.name.clone());
        }
    }
    if changed.is_empty() {
        context.ui.say("nothing to do: every `origin` is that fork already");
    }
    Ok(())
}
