//! The reference CLI of dev containers, for those who open environments by it; editors bring their own.

use super::Finding;
use super::command::{Said, ask};
use super::facts::numbers;

/// The first that tells the containers of several configurations in one folder apart: 0.30 runs the commands
/// for one component in the container of another.
const OLDEST: [u64; 2] = [0, 36];
const INSTALL: &str = "npm install --global @devcontainers/cli";

/// What the CLI answers when asked for its version; none when it is not there.
pub async fn reference_cli() -> Option<Said> {
    ask("devcontainer", &["--version"]).await
}

pub fn judge(answer: Option<Said>) -> Finding {
    let name = "editors";
    let Some(said) = answer else {
        let detail = format!("the command `devcontainer` is not installed; who wants it without VS Code types `{INSTALL}`");
        return Finding::fine(name, detail);
    };
    let errors = said.errors.trim().to_owned();
    match said.line() {
        Some(version) if numbers(&version)[..] >= OLDEST[..] => Finding::fine(name, format!("@devcontainers/cli {version}")),
        Some(version) => {
            let needed = format!("{}.{}", OLDEST[0], OLDEST[1]);
            let detail = format!("@devcontainers/cli {version} is too old: before {needed} it mixes up components' containers");
            Finding::warning(name, detail).remedy(INSTALL)
        }
        None => Finding::warning(name, format!("the command `devcontainer` is there, but fails: {errors}")).remedy(INSTALL),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn only_a_cli_that_is_there_and_unfit_is_noted() {
        let said = |well, output: &str, errors: &str| Said { well, output: output.into(), errors: errors.into() };
        for (answer, state, words) in [
            (None, State::Fine, "not installed"),
            (Some(said(true, "0.89.0\n", "")), State::Fine, "0.89.0"),
            (Some(said(true, "0.36.0\n", "")), State::Fine, "0.36.0"),
            (Some(said(true, "1.0.0\n", "")), State::Fine, "1.0.0"),
            (Some(said(true, "0.30.0\n", "")), State::Warning, "0.30.0 is too old: before 0.36"),
            (Some(said(false, "", "node: not found")), State::Warning, "fails: node: not found"),
        ] {
            let finding = judge(answer);
            assert!(finding.state == state && finding.detail.contains(words), "{finding:?}");
            assert_eq!(finding.remedy.is_some(), state != State::Fine, "{finding:?}");
        }
    }
}
