use super::Context;
use crate::cli::One;
use crate::stack;
use anyhow::Result;

pub async fn run(context: &Context, one: &One) -> Result<()> {
    let environment = context.environment(one)?;
    let engine = context.engine().await?;
    let stage = context.ui.stage("verify");
    let proof = stack::verify(&*engine, &environment).await?;
    stage.done(&format!("a compute session said `{}`", proof.hello));
    context.print(&proof, &proof.hello)
}
