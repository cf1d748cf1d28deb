use super::{Context, sources};
use crate::environment::Environment;
use crate::error::Fault;
use crate::model::Branch;
use crate::release::{Catalog, Mix, mix_name};
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
    Catalog::release(environment.branch.as_str())?.mixed(&mix)?;
    environment.mix = mix;
    let name = environment.release_name();
    context.ui.remark("mix", &format!("{name}: upstream asks for servers of one release; {}", seen(&name)?));
    Ok(())
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
