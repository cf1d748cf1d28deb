use super::Context;
use super::lifecycle::HEALTH_LIMIT;
use crate::cli::One;
use crate::stack;
use anyhow::Result;

pub async fn run(context: &Context, one: &One) -> Result<()> {
    let environment = context.environment_at_home(one).await?;
    let engine = context.engine().await?;
    let stage = context.ui.stage("verify");
    // Whoever started it may not have waited: what is on its way is waited for, what is ill is told.
    let services = environment.release()?.services();
    stack::wait_healthy(&*engine, &environment, &services, HEALTH_LIMIT, |text| stage.note(text)).await?;
    let proof = stack::verify(&*engine, &environment).await?;
    stage.done(&format!("a compute session said `{}`", proof.hello));
    context.print(&proof, &proof.hello)
}
