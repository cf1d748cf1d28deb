//! What a person sees: talk goes to standard error, data to standard output.

mod format;

pub use format::{bytes, duration, table};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Cheap to clone; all clones share one screen.
#[derive(Clone)]
pub struct Ui {
    quiet: bool,
    bars: Option<MultiProgress>,
    timings: Arc<Mutex<Vec<(String, Duration)>>>,
}

impl Ui {
    pub fn new(quiet: bool) -> Self {
        let dumb = crate::host::variable("TERM").as_deref() == Some("dumb");
        let bars = (!quiet && !dumb && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self { quiet, bars, timings: Arc::default() }
    }

    /// A stage of the straight line; it ends with [`Stage::done`].
    pub fn stage(&self, name: &str) -> Stage {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(ProgressStyle::with_template("{spinner} {prefix:<10} {msg}").expect("a fixed template"));
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Stage { inner: Arc::new(StageInner { ui: self.clone(), name: name.to_owned(), begin: Instant::now(), bar }) }
    }

    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }
    pub fn warn(&self, line: &str) {
        self.line(&format!("warning: {line}"));
    }
    /// Errors are shown even when quiet.
    pub fn fail(&self, text: &str) {
        self.line(text);
    }
    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| write_line(text)),
            None => write_line(text),
        }
    }

    /// Asks a person; without a terminal the answer is no.
    pub fn confirm(&self, question: &str) -> bool {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return false;
        }
        self.line(&format!("{question} [y/N]"));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// How long each finished stage took, in order.
    pub fn timings(&self) -> Vec<(String, Duration)> {
        self.timings.lock().expect("never poisoned").clone()
    }
}

fn write_line(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[derive(Clone)]
pub struct Stage {
    inner: Arc<StageInner>,
}

struct StageInner {
    ui: Ui,
    name: String,
    begin: Instant,
    bar: Option<ProgressBar>,
}

impl Stage {
    /// How much there is to do.
    pub fn length(&self, length: u64) {
        if let Some(bar) = &self.inner.bar {
            bar.set_length(length);
            bar.set_style(
                ProgressStyle::with_template("{spinner} {prefix:<10} {wide_bar} {pos}/{len}  {msg}").expect("a fixed template"),
            );
        }
    }
    pub fn advance(&self, count: u64) {
        if let Some(bar) = &self.inner.bar {
            bar.inc(count);
        }
    }
    /// What is being done now.
    pub fn note(&self, text: &str) {
        if let Some(bar) = &self.inner.bar {
            bar.set_message(text.to_owned());
        }
    }
    /// Keeps one line of the stage.
    pub fn done(self, summary: &str) {
        let inner = &self.inner;
        let took = inner.begin.elapsed();
        if let Some(bar) = &inner.bar {
            bar.finish_and_clear();
        }
        inner.ui.say(&format!("{:<10} {summary} ({})", inner.name, duration(took)));
        inner.ui.timings.lock().expect("never poisoned").push((inner.name.clone(), took));
    }
}

impl Drop for StageInner {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
