use super::Context;
use crate::cli::One;
use anyhow::Result;

pub fn run(context: &Context, one: &One) -> Result<()> {
    let environment = context.environment(one)?;
    let release = environment.release()?;
    let lines: Vec<String> = release
        .cures
        .iter()
        .map(|cure| format!("{} ({})\n  why    {}\n  until  {}", cure.name, cure.scope, cure.reason, cure.until))
        .collect();
    context.print(&release.cures, &lines.join("\n\n"))
}
