use super::Context;
use crate::cli::Doctor;
use crate::doctor::{self, Finding, State};
use crate::error::Fault;
use anyhow::Result;
use std::path::Path;

/// The remedy of what baibox itself can mend.
const FIX: &str = "baibox doctor --fix";

pub async fn run(context: &Context, options: &Doctor) -> Result<()> {
    let here = std::env::current_dir()?;
    let (findings, editors) = tokio::join!(doctor::examine(&here), doctor::examine_editors());
    if options.install {
        return doctor::install(&findings, &context.store, &context.ui).await;
    }
    let mut findings = mend(context, &here, findings, options.fix).await?;
    findings.push(editors);
    if options.cuda {
        findings.extend(doctor::examine_cuda(&here).await);
    }
    let mut rows = Vec::new();
    for finding in &findings {
        let mark = match finding.state {
            State::Fine => "ok",
            State::Warning => "note",
            State::Fault => "FAULT",
        };
        rows.push(vec![mark.to_owned(), finding.name.to_string(), finding.detail.clone()]);
        if let Some(remedy) = &finding.remedy {
            rows.push(vec![String::new(), String::new(), format!("→ {remedy}")]);
        }
    }
    context.print(&findings, &crate::ui::table(&rows))?;
    check(&findings)
}

/// Mends what can be mended: told to by `--fix`, or after asking a person.
pub async fn mend(context: &Context, folder: &Path, findings: Vec<Finding>, yes: bool) -> Result<Vec<Finding>> {
    if !findings.iter().any(|finding| finding.fix.is_some()) {
        return Ok(findings);
    }
    let list: Vec<&str> =
        findings.iter().filter(|finding| finding.fix.is_some()).map(|finding| finding.detail.as_str()).collect();
    if !yes && !context.ui.confirm(&format!("{}\nMend this now?", list.join("\n"))) {
        return Ok(findings);
    }
    doctor::fix(&findings, &context.store, &context.ui).await?;
    Ok(doctor::examine(folder).await)
}

/// A fault that is left is a failure with what to do.
pub fn check(findings: &[Finding]) -> Result<()> {
    let faults: Vec<&Finding> = findings.iter().filter(|finding| finding.state == State::Fault).collect();
    let Some(first) = faults.first() else { return Ok(()) };
    let mut fault = Fault::engine(format!("this host is not ready: {}", first.detail));
    // What `--fix` mends is said once, below.
    for remedy in faults.iter().filter_map(|finding| finding.remedy.as_ref()).filter(|remedy| *remedy != FIX) {
        fault = fault.hint(remedy.clone());
    }
    // GPUs are beyond what it installs.
    if faults.iter().any(|finding| !finding.name.starts_with("gpu-")) {
        fault = fault.hint("type `baibox doctor --fix` to have it mended");
    }
    Err(fault.into())
}
