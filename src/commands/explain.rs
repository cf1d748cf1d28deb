use super::Context;
use crate::cli::One;
use crate::release::Catalog;
use anyhow::Result;

pub fn run(context: &Context, one: &One) -> Result<()> {
    let environment = context.environment(one)?;
    let release = Catalog::release(environment.branch.as_str())?;
    let lines: Vec<String> = release
        .cures
        .iter()
        .map(|cure| format!("{} ({})\n  why    {}\n  until  {}", cure.name, cure.scope, cure.reason, cure.until))
        .collect();
    context.print(&release.cures, &lines.join("\n\n"))
}
