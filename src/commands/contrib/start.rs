use super::{Context, keep, place};
use crate::cli::Start;
use crate::contrib::{Rules, branch};
use crate::error::Fault;
use crate::source::{self, topic};
use anyhow::{Context as _, Result};

pub async fn run(context: &Context, options: &Start) -> Result<()> {
    let name = &options.name;
    keep(branch(&Rules::read()?, name))?;
    let place = place(context, &options.worked).await?;
    let tree = &place.tree;
    let remote = topic::remote(tree).await?.ok_or_else(|| {
        Fault::new(format!("`{}` came from no git repository: nothing in it can become a pull request", tree.display()))
            .hint(format!("move it away, then bring the repository: `baibox up --env {} --source git`", place.environment.id))
    })?;
    let branch = &place.branch;
    if topic::has_tag(tree, branch).await {
        return Err(Fault::usage(format!(
            "release {} has no branch any more, `{branch}` is its last tag",
            place.environment.branch
        ))
        .hint("begin on a release that is kept: `baibox releases`")
        .into());
    }
    let stage = context.ui.stage("contrib");
    let base = format!("{remote}/{branch}");
    stage.note(&format!("fetching {base}"));
    topic::fetch(tree, remote, branch).await.with_context(|| {
        Fault::new(format!("cannot fetch the branch `{branch}` of `{remote}`"))
            .hint(format!("see where it is: git -C {} remote -v", tree.display()))
            .hint(format!("or begin with what was fetched before: git -C {} switch -c {name} {base}", tree.display()))
    })?;
    let before = source::state(tree).await?;
    if topic::has_branch(tree, name).await {
        topic::switch(tree, name, None).await?;
        let (own, behind) = (topic::ahead(tree, "HEAD", &base).await?, topic::ahead(tree, &base, "HEAD").await?);
        stage.done(&format!("{} goes on with `{name}`: {own} commits above {base}, {behind} behind", place.named.name));
    } else {
        // What was committed on the release branch itself stays there.
        let stays = topic::ahead(tree, "HEAD", &base).await?;
        topic::switch(tree, name, Some(&base)).await?;
        let start = source::commit(tree).await?;
        stage.done(&format!("{} is on `{name}`, at {base} ({})", place.named.name, start.get(..12).unwrap_or(&start)));
        if stays > 0 {
            let what = format!(
                "{stays} commits of `{}` that {base} lacks stay there; to take them along: git -C {} cherry-pick {base}..{}",
                before.branch,
                tree.display(),
                before.branch
            );
            context.ui.remark("contrib", &what);
        }
    }
    let words = place.words();
    let mut rows = vec![
        ("edit", format!("{}, then: baibox restart --env {}", tree.display(), place.environment.id)),
        ("check", format!("baibox contrib check {words}")),
        ("test", format!("baibox contrib test {words}")),
        ("push", format!("git -C {} push --set-upstream {} {name}", tree.display(), topic::ORIGIN)),
        ("news", format!("baibox contrib news {words} <number of the pull request> <type> \"…\"")),
    ];
    if remote == topic::ORIGIN {
        rows.insert(3, ("fork", format!("baibox contrib fork {words} <your account>: `origin` is upstream's repository now")));
    }
    let rows: Vec<String> = rows.iter().map(|(what, how)| format!("  {what:<6} {how}")).collect();
    context.ui.say(&rows.join("\n"));
    Ok(())
}
