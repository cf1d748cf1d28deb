use super::lint::Linters;
use super::{Context, Place, news, place};
use crate::cli::Check;
use crate::commands::ci;
use crate::contrib::{self, Finding, Rules, State, Towncrier, foreign};
use crate::error::Fault;
use crate::source::{self, topic};
use anyhow::{Context as _, Result};

pub async fn run(context: &Context, options: &Check) -> Result<()> {
    let place = place(context, &options.worked).await?;
    let base = base(&place).await?;
    let mut findings = rules(&place, &base).await?;
    let lint = Linters::of(&place, &base).await?;
    let skipped = |rule, what: &str| Finding { state: State::Skipped, ..Finding::good(rule, what) };
    let all_skipped = |what: &str| lint.linters.iter().map(|linter| skipped(linter.name, what)).collect::<Vec<_>>();
    if options.no_lint {
        findings.extend(all_skipped("not asked for"));
    } else if lint.linters.is_empty() {
        findings.push(skipped("lint", "no workflow of the component's CI runs a linter that is known"));
    } else if lint.have_no_files() {
        findings.extend(all_skipped("the branch changes no Python file that it looks at"));
    } else {
        if let Err(error) = ci::develop(context, &place.environment, &[&place.named.component.name], ci::Need::Code).await {
            // What was found is worth knowing all the same.
            context.print(&findings, &contrib::print(&findings))?;
            return Err(error.context(Fault::new("the linters did not run").hint("leave them out with `--no-lint`")));
        }
        for linter in &lint.linters {
            findings.push(lint.run(context, &place, &base, linter).await?);
        }
    }
    context.print(&findings, &contrib::print(&findings))?;
    let broken = findings.iter().filter(|finding| finding.state == State::Fault).count();
    if broken == 0 {
        return Ok(());
    }
    let what = if broken == 1 { "1 rule is" } else { &format!("{broken} rules are") };
    Err(Fault::new(format!("{what} not kept by `{}`", place.tree.display()))
        .hint("each is told above, with how to mend it; then type the same command again")
        .into())
}

/// What the branch is compared with: upstream's branch as it was last fetched, or the import of a source distribution.
async fn base(place: &Place) -> Result<String> {
    let (tree, branch) = (&place.tree, &place.branch);
    let Some(remote) = topic::remote(tree).await? else {
        return topic::imported(tree).await.with_context(|| {
            Fault::new(format!("`{}` has neither `upstream` nor `origin` to compare with", tree.display()))
                .hint(format!("name upstream's repository: git -C {} remote add upstream URL", tree.display()))
        });
    };
    if topic::tracked(tree, remote, branch).await.is_none() {
        topic::fetch(tree, remote, branch).await.with_context(|| {
            Fault::new(format!("`{remote}` has no branch `{branch}` here to compare with"))
                .hint(format!("see where it is: git -C {} remote -v", tree.display()))
        })?;
    }
    Ok(format!("{remote}/{branch}"))
}

/// What can be told from git and the files alone.
async fn rules(place: &Place, base: &str) -> Result<Vec<Finding>> {
    let (tree, rules) = (&place.tree, Rules::read()?);
    let state = source::state(tree).await?;
    let remark = |rule, what: String, mend: String| Finding { state: State::Remark, mend, ..Finding::good(rule, what) };
    let mut findings = vec![if state.branch == place.branch || state.branch == "HEAD" {
        let what = if state.branch == "HEAD" {
            "no branch is checked out".into()
        } else {
            format!("the work is on `{}` itself", state.branch)
        };
        Finding::fault("branch", what, format!("give it a branch of its own: git -C {} switch -c fix/…", tree.display()))
    } else {
        contrib::branch(&rules, &state.branch)
    }];
    let behind = topic::ahead(tree, base, "HEAD").await?;
    if behind > 0 {
        findings.push(remark(
            "base",
            format!("{base} has {behind} commits more"),
            format!("git -C {} rebase {base}", tree.display()),
        ));
    }
    let commits = topic::commits(tree, base).await?;
    if commits.is_empty() {
        findings.push(remark("title", format!("there is no commit above {base} yet"), String::new()));
    }
    if state.dirty {
        findings.push(remark(
            "commit",
            "some changes are not committed; linters see them, a pull request does not".into(),
            String::new(),
        ));
    }
    for commit in &commits {
        let mut finding = contrib::title(&rules, &commit.title);
        finding.what = format!("{} {}", commit.id, finding.what);
        findings.push(finding);
        let letters = foreign(&commit.body);
        if !letters.is_empty() {
            let what = format!("{} has the letters {letters} in its text", commit.id);
            findings.push(Finding::fault(
                "english",
                what,
                "write it in English: git commit --amend, or git rebase --interactive",
            ));
        }
    }
    for (path, lines) in topic::added(tree, base).await? {
        let letters = foreign(&lines);
        if !letters.is_empty() {
            let what = format!("`{path}` gets lines with the letters {letters}");
            findings.push(remark(
                "english",
                what,
                "comments and texts are in English; leave it where it is data of a test".into(),
            ));
        }
    }
    match news::configured(tree)? {
        None => findings
            .push(Finding { state: State::Skipped, ..Finding::good("news", "the component has no towncrier configuration") }),
        Some(towncrier) => findings.extend(fragments(place, base, &towncrier, &commits).await?),
    }
    Ok(findings)
}

/// Every fragment that the branch brings; one is needed, but for a release.
async fn fragments(place: &Place, base: &str, towncrier: &Towncrier, commits: &[topic::Commit]) -> Result<Vec<Finding>> {
    let brought = topic::brought(&place.tree, base, &towncrier.folder).await?;
    let found: Vec<Finding> = brought
        .iter()
        .filter(|(name, _)| Towncrier::is_fragment(name))
        .map(|(name, text)| contrib::news(towncrier, name, text))
        .collect();
    let kinds: Vec<Option<&str>> = commits.iter().map(|commit| contrib::kind(&commit.title)).collect();
    if !found.is_empty() || kinds.is_empty() || kinds.iter().all(|kind| *kind == Some("release")) {
        return Ok(found);
    }
    let kind = towncrier.kind_of_title(kinds[0]);
    let mend = format!("when the pull request is open: baibox contrib news {} <its number> {kind} \"…\"", place.words());
    Ok(vec![Finding::fault("news", format!("no fragment is new in `{}/`", towncrier.folder), mend)])
}
