use super::Context;
use crate::release::Catalog;
use anyhow::Result;

pub fn run(context: &Context) -> Result<()> {
    let branches = Catalog::branches()?;
    context.print(&branches, &branches.join("\n"))
}
