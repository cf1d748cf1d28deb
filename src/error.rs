//! How an error is shown, and what the process exits with.
//!
//! Rooms say what failed at their own level; a [`Hint`] in the chain says what
//! to type next. Rendering stands here once.

use std::fmt;

/// Exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    /// The stack is up, but not healthy or hello world did not run.
    Unhealthy = 3,
    /// No engine, or one that cannot do what baibox needs.
    Engine = 4,
    /// The environment worked, and tests in it failed.
    Tests = 5,
    /// Stopped by Ctrl-C, as shells count signals.
    Interrupted = 130,
}

/// A failure with its next steps and the exit code it leads to.
///
/// Put it anywhere in an [`anyhow`] chain: its text is a line of the chain,
/// its hints come after a blank line.
#[derive(Debug)]
pub struct Fault {
    pub message: String,
    pub hints: Vec<String>,
    pub exit: Exit,
}

impl Fault {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), exit: Exit::Failed }
    }
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }
    pub fn engine(message: impl Into<String>) -> Self {
        Self { exit: Exit::Engine, ..Self::new(message) }
    }
    pub fn unhealthy(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unhealthy, ..Self::new(message) }
    }
    pub fn tests(message: impl Into<String>) -> Self {
        Self { exit: Exit::Tests, ..Self::new(message) }
    }
    /// Adds something to type or to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// The text of a whole chain: intent, causes one a line, hints after a blank line.
pub fn render(error: &anyhow::Error) -> String {
    let mut lines = Vec::new();
    let mut hints: Vec<&str> = Vec::new();
    // A fault that was attached as context is no link of the chain by itself.
    let attached = error.downcast_ref::<Fault>();
    if let Some(fault) = attached {
        hints.extend(fault.hints.iter().map(String::as_str));
    }
    for (depth, cause) in error.chain().enumerate() {
        let text = cause.to_string();
        lines.push(if depth == 0 { format!("error: {text}") } else { format!("  cause: {text}") });
        if let Some(fault) =
            cause.downcast_ref::<Fault>().filter(|fault| !attached.is_some_and(|other| std::ptr::eq(*fault, other)))
        {
            hints.extend(fault.hints.iter().map(String::as_str));
        }
    }
    // Libraries repeat their source's text in their own; one line says it.
    lines.dedup_by(|next, previous| previous.ends_with(next.trim_start_matches("  cause: ")));
    if !hints.is_empty() {
        lines.push(String::new());
        lines.extend(hints.iter().map(|hint| format!("hint: {hint}")));
    }
    lines.join("\n")
}

/// The exit code that a chain asks for.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    let in_chain = || error.chain().find_map(|cause| cause.downcast_ref::<Fault>());
    error.downcast_ref::<Fault>().or_else(in_chain).map_or(Exit::Failed, |fault| fault.exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_chain_reads_from_intent_to_hint() {
        let error = Err::<(), _>(Fault::engine("nothing listens at `/run/docker.sock`").hint("type `baibox doctor --fix`"))
            .context("the engine does not answer")
            .unwrap_err();
        assert_eq!(
            render(&error),
            "error: the engine does not answer\n  cause: nothing listens at `/run/docker.sock`\n\nhint: type `baibox doctor --fix`"
        );
        assert_eq!(exit_of(&error), Exit::Engine);
    }

    #[test]
    fn a_fault_attached_as_context_keeps_its_hints_and_exit_code() {
        let error = Err::<(), _>(std::io::Error::other("refused"))
            .context(Fault::usage("that is not taken").hint("type this"))
            .context("it failed")
            .unwrap_err();
        assert_eq!(render(&error), "error: it failed\n  cause: that is not taken\n  cause: refused\n\nhint: type this");
        assert_eq!(exit_of(&error), Exit::Usage);
    }
}
