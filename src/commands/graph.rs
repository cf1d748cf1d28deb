use super::Context;
use crate::cli::{Graph, GraphFormat};
use crate::graph;
use crate::stack;
use anyhow::Result;

pub async fn run(context: &Context, options: &Graph) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    let config = stack::run_compose(&environment, &["config", "--format", "json"]).await?;
    let containers = context.engine().await?.containers(&environment.id).await?;
    let services = graph::read(&config, &environment.release()?.services(), &containers, &environment.mix)?;
    let text = match options.format {
        GraphFormat::Text => graph::text(&services),
        GraphFormat::Mermaid => graph::mermaid(&services),
        GraphFormat::Dot => graph::dot(&services),
        GraphFormat::Svg => graph::svg(&services),
    };
    context.print(&services, &text)
}
