use super::{Context, sources};
use crate::environment::Environment;
use crate::error::Fault;
use crate::model::Branch;
use crate::release::{Catalog, Mix, Release, mix_name};
use anyhow::Result;

/// `COMPONENT=BRANCH` of `--component`.
pub fn parse(texts: &[String], base: &str) -> Result<Mix> {
    let (release, known) = (Catalog::release(base)?, Catalog::known()?);
    let named = sources::by_component("--component", texts, &release)?;
    named.into_iter().map(|(component, text)| Ok((component, Branch::parse(&text, &known)?))).collect()
}

/// Remembers what is asked for in an environment that was not made yet, and says what is known of it.
pub fn choose(context: &Context, environment: &mut Environment, texts: &[String]) -> Result<()> {
    if texts.is_empty() {
        return Ok(());
    }
    let mix = parse(texts, environment.branch.as_str())?;
    if mix == environment.mix {
        return Ok(());
    }
    if !environment.images.is_empty() {
        let message = format!("the environment `{}` is of release {} already", environment.id, environment.release_name());
        return Err(Fault::usage(message)
            .hint("its trees and database are of that: name another environment with `--env ID`")
            .into());
    }
    let mixed = Catalog::release(environment.branch.as_str())?.mixed(&mix)?;
    adopt(environment, &mixed);
    environment.mix = mix;
    let name = environment.release_name();
    context.ui.remark("mix", &format!("{name}: upstream asks for servers of one release; {}", seen(&name)?));
    Ok(())
}

/// A folder of clones may have those that only the mix has, such as `common-20.09`: they stay when the environment goes, too.
fn adopt(environment: &mut Environment, mixed: &Release) {
    if !environment.adopted.is_empty() {
        let names = mixed.components.iter().map(|component| component.name.clone());
        let there: Vec<String> = names.filter(|name| environment.folder.join(name).join(".git").exists()).collect();
        environment.adopted.extend(there);
    }
}

/// What `baibox releases --verify` saw of a mix.
fn seen(name: &str) -> Result<String> {
    Ok(match Catalog::verified()?.get(name) {
        Some(seen) if seen.stopped.is_empty() => format!("this mix said hello world on {}", seen.date),
        Some(seen) => format!("this mix came to `{}` on {}, then: {}", seen.level, seen.date, seen.stopped),
        None => "nobody has tried this mix".to_owned(),
    })
}

/// The words that ask for it on a command line.
pub fn words(mix: &Mix) -> Vec<String> {
    mix.iter().flat_map(|(component, branch)| ["--component".to_owned(), format!("{component}={branch}")]).collect()
}

/// Mixes of a base that were tried, and how far they came.
pub fn tried(base: &str) -> Result<Vec<(String, String)>> {
    let prefix = format!("{}+", mix_name(base, &Mix::new()));
    let all = Catalog::verified()?;
    let own = all.iter().filter(|(name, _)| name.starts_with(&prefix));
    own.map(|(name, seen)| {
        let stopped = if seen.stopped.is_empty() { String::new() } else { format!(", then: {}", seen.stopped) };
        Ok((name[prefix.len() - 1..].to_owned(), format!("{} ({}){stopped}", seen.level, seen.date)))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_that_only_a_mix_has_are_adopted_with_the_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("common-20.09/.git")).unwrap();
        let value = serde_json::json!({
            "id": "one", "branch": "21.03", "folder": folder.path(), "ports": {}, "subnet": "", "gateway": "", "secrets": {},
            "images": {}, "adopted": ["common"],
        });
        let mut environment: Environment = serde_json::from_value(value).unwrap();
        let mix = parse(&["agent=20.09".to_owned()], "21.03").unwrap();
        let mixed = Catalog::release("21.03").unwrap().mixed(&mix).unwrap();
        adopt(&mut environment, &mixed);
        assert_eq!(environment.adopted, ["common", "common-20.09"].map(String::from).into());
        environment.adopted.clear();
        adopt(&mut environment, &mixed);
        assert!(environment.adopted.is_empty(), "what it brought itself");
    }
}
