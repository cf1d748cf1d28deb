//! Dev container Templates, as tools that publish them want them.

use super::{Context, build};
use crate::cli::Template;
use crate::release::Catalog;
use crate::render;
use anyhow::Result;

pub fn run(context: &Context, options: &Template) -> Result<()> {
    let mut written = Vec::new();
    for branch in Catalog::branches()? {
        for (place, text) in render::template_files(&Catalog::release(&branch)?, &options.feature)? {
            let path = options.folder.join("src").join(place);
            build::write_changed(&path, &text)?;
            written.push(path.display().to_string());
        }
    }
    context.print(&written, &written.join("\n"))
}
