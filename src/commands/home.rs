//! An environment belongs to the engine that it was made on.

use super::Context;
use crate::cli::One;
use crate::engine::Facts;
use crate::environment::{Environment, Home};
use crate::error::Fault;
use crate::host;
use anyhow::Result;

impl Context {
    /// The environment that the command line means, for what is done on its engine.
    pub async fn environment_at_home(&self, one: &One) -> Result<Environment> {
        let environment = self.environment(one)?;
        self.at_home(&environment).await?;
        Ok(environment)
    }

    /// Refuses another engine than the environment's, before anything is done there. The engine
    /// is asked only where its address is not the one of that time: it may have several.
    pub async fn at_home(&self, environment: &Environment) -> Result<()> {
        let here = host::engine_address();
        match &environment.home {
            Some(home) if home.address != here => Ok(same(environment, home, here, &self.engine().await?.facts().await?)?),
            _ => Ok(()),
        }
    }

    /// The architecture of the environment's engine as it was when that was made, if it still is where it was.
    pub fn architecture_of(&self, environment: &Environment) -> Option<String> {
        let home = environment.home.as_ref().filter(|home| Self::has_engine() && home.address == host::engine_address())?;
        home.architecture.clone()
    }

    /// The engine that a new environment is made on.
    pub async fn home(&self) -> Result<Home> {
        let facts = self.engine().await?.facts().await?;
        Ok(Home { engine: facts.id, address: host::engine_address(), architecture: Some(facts.architecture) })
    }
}

fn same(environment: &Environment, home: &Home, here: Option<String>, facts: &Facts) -> Result<(), Fault> {
    if facts.id == home.engine {
        return Ok(());
    }
    let (id, folder) = (&environment.id, environment.folder.display());
    let place = |address: Option<&str>| address.map_or("the default socket".to_owned(), |address| format!("`{address}`"));
    let (there, here) = (place(home.address.as_deref()), place(here.as_deref()));
    let fault = Fault::usage(format!("the environment `{id}` is on the engine at {there}, and not on this one at {here}"));
    let back = match &home.address {
        Some(address) => format!("type `export DOCKER_HOST={address}` and the same command again"),
        None => "type `unset DOCKER_HOST DOCKER_CONTEXT` and `docker context use default`, and the same command again".into(),
    };
    Err(fault.hint(back).hint(format!("if that engine is gone for good: `rm -r {folder}`, and baibox forgets the environment")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Fake};

    #[tokio::test]
    async fn another_engine_is_refused_and_the_same_one_at_another_address_is_not() {
        let value = serde_json::json!({
            "id": "one", "branch": "21.03", "folder": "/home/one", "ports": {}, "subnet": "", "gateway": "", "secrets": {},
            "images": {},
        });
        let environment: Environment = serde_json::from_value(value).unwrap();
        let facts = Fake::default().facts().await.unwrap();
        let check = |engine: &str, address: Option<&str>, says: &[&str]| {
            let home = Home { engine: engine.into(), address: address.map(String::from), architecture: None };
            match same(&environment, &home, Some("unix:///here".into()), &facts) {
                Ok(()) => assert!(says.is_empty()),
                Err(fault) => {
                    let text = crate::error::render(&fault.into());
                    assert!(!says.is_empty() && says.iter().all(|words| text.contains(words)), "{text}");
                }
            }
        };
        check("fake", None, &[]);
        check(
            "other",
            None,
            &["on the engine at the default socket", "at `unix:///here`", "`unset DOCKER_HOST", "rm -r /home/one"],
        );
        check("other", Some("unix:///there"), &["`export DOCKER_HOST=unix:///there`"]);
    }
}
