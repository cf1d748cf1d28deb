//! `baibox contrib`: the way to a pull request.

use super::One;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum Contrib {
    /// Go to a new topic branch that begins at upstream's newest commit
    Start(Start),
    /// Check branch name, commit titles, news fragment, language and linters
    Check(Check),
    /// Write the news fragment of a pull request
    News(News),
    /// Run the component's own tests against this environment's halfstack
    Test(Test),
    /// Make `origin` your fork, and the repository that it was, `upstream`
    Fork(Fork),
}

/// The tree that one works in.
#[derive(Debug, Args)]
pub struct Worked {
    #[command(flatten)]
    pub one: One,
    /// Component [default: that of the current folder, or the only one on a topic branch]
    #[arg(long, short, value_name = "COMPONENT")]
    pub component: Option<String>,
}

#[derive(Debug, Args)]
pub struct Start {
    /// Name of the branch, such as fix/memory-leak-in-stats
    pub name: String,
    #[command(flatten)]
    pub worked: Worked,
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub worked: Worked,
    /// Leave out the linters, which run inside the environment
    #[arg(long)]
    pub no_lint: bool,
}

#[derive(Debug, Args)]
pub struct News {
    /// Number of the pull request
    pub number: u64,
    /// Type of the news, as the component's towncrier configuration lists them
    pub kind: String,
    /// One English sentence for users and developers
    pub text: String,
    #[command(flatten)]
    pub worked: Worked,
}

#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    pub worked: Worked,
    /// Where the JUnit report goes, besides the environment's folder
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Count failures that are known to be upstream's too
    #[arg(long)]
    pub strict: bool,
    /// Arguments for pytest, after `--`
    #[arg(last = true)]
    pub pytest: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Fork {
    /// Account with the forks, or the base URL of them
    #[arg(value_name = "USER")]
    pub account: String,
    #[command(flatten)]
    pub one: One,
    /// Component [default: all]
    #[arg(long, short, value_name = "COMPONENT")]
    pub component: Option<String>,
}

#[derive(Debug, Args)]
pub struct Sync {
    #[command(flatten)]
    pub one: One,
}
