//! What a person sees: talk goes to standard error, data to standard output.

mod format;
mod live;

pub use format::{bytes, duration, parse_age, parse_size, table};
pub use live::Live;

use format::Dress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Logs get a sign of life from a long stage at this pace, not one line per note.
const PACE: Duration = Duration::from_secs(10);

/// Cheap to clone; all clones share one screen.
#[derive(Clone)]
pub struct Ui {
    quiet: bool,
    dress: Dress,
    bars: Option<MultiProgress>,
    timings: Arc<Mutex<Vec<(String, Duration)>>>,
}

impl Ui {
    /// Bars on a terminal, plain lines elsewhere; `NO_COLOR` and `TERM=dumb` are heeded.
    pub fn new(quiet: bool) -> Self {
        let term = crate::host::variable("TERM");
        let no_color = crate::host::variable("NO_COLOR").is_some();
        let dress = Dress::of(std::io::stderr().is_terminal(), term.as_deref(), no_color);
        let bars = (!quiet && dress != Dress::Plain).then(MultiProgress::new);
        Self { quiet, dress, bars, timings: Arc::default() }
    }

    /// A stage of the straight line; it ends with [`Stage::done`].
    pub fn stage(&self, name: &str) -> Stage {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style("{spinner} {prefix:<9} {wide_msg} {elapsed:>5}"));
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let begin = Instant::now();
        let state = Mutex::new(State { said: begin, position: 0, length: 0, note: String::new(), done: false });
        Stage { inner: Arc::new(StageInner { ui: self.clone(), name: name.to_owned(), begin, bar, state }) }
    }

    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }
    /// Something worth knowing about a stage or what it works on.
    pub fn remark(&self, name: &str, text: &str) {
        self.say(&self.dress.remark(name, text));
    }
    /// Warnings are shown even when quiet.
    pub fn warn(&self, line: &str) {
        self.line(&self.dress.warning(line));
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

    /// Whether data on standard output may have colours.
    pub fn colours_data(&self) -> bool {
        let (term, no_color) = (crate::host::variable("TERM"), crate::host::variable("NO_COLOR").is_some());
        Dress::of(std::io::stdout().is_terminal(), term.as_deref(), no_color) == Dress::Colours
    }

    /// Asks a person; without a terminal the answer is no.
    pub fn confirm(&self, question: &str) -> bool {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return false;
        }
        let ask = || {
            let mut screen = std::io::stderr().lock();
            let asked = write!(screen, "{question} [y/N] ").and_then(|()| screen.flush());
            let mut answer = String::new();
            asked.is_ok() && std::io::stdin().read_line(&mut answer).is_ok() && means_yes(&answer)
        };
        // Bars must not draw over the question.
        match &self.bars {
            Some(bars) => bars.suspend(ask),
            None => ask(),
        }
    }

    /// How long each finished stage took, in the order of their ends.
    pub fn timings(&self) -> Vec<(String, Duration)> {
        held(&self.timings).clone()
    }
}

fn means_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn write_line(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a fixed template").progress_chars("━╸─")
}

/// Talk goes on after a panic elsewhere: the values here are whole at any moment.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Progress of one stage; clones tell about the same stage.
///
/// When the last clone goes without [`Stage::done`], one line says where it stopped.
#[derive(Clone)]
pub struct Stage {
    inner: Arc<StageInner>,
}

struct StageInner {
    ui: Ui,
    name: String,
    begin: Instant,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

struct State {
    said: Instant,
    position: u64,
    length: u64,
    note: String,
    done: bool,
}

impl Stage {
    /// How much there is to do.
    pub fn length(&self, length: u64) {
        held(&self.inner.state).length = length;
        if let Some(bar) = &self.inner.bar {
            bar.set_length(length);
            bar.set_style(style("{spinner} {prefix:<9} {bar:24} {pos}/{len}  {wide_msg} {elapsed:>5}"));
        }
    }
    pub fn advance(&self, count: u64) {
        held(&self.inner.state).position += count;
        match &self.inner.bar {
            Some(bar) => bar.inc(count),
            None => self.inner.live(),
        }
    }
    /// What is being done now.
    pub fn note(&self, text: &str) {
        held(&self.inner.state).note = text.to_owned();
        match &self.inner.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.inner.live(),
        }
    }
    /// Keeps one line of the stage.
    pub fn done(self, summary: &str) {
        let inner = &self.inner;
        let took = inner.begin.elapsed();
        held(&inner.state).done = true;
        inner.clear();
        inner.ui.say(&inner.ui.dress.done(&inner.name, summary, took));
        held(&inner.ui.timings).push((inner.name.clone(), took));
    }
}

impl StageInner {
    fn live(&self) {
        let mut state = held(&self.state);
        if state.said.elapsed() >= PACE && !state.done {
            state.said = Instant::now();
            self.ui.say(&self.ui.dress.progress(&self.name, state.position, state.length, &state.note));
        }
    }
    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for StageInner {
    fn drop(&mut self) {
        self.clear();
        let state = held(&self.state);
        if !state.done {
            self.ui.say(&self.ui.dress.stopped(&self.name, &state.note, self.begin.elapsed()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finished_stages_are_timed_and_clones_share_them() {
        let ui = Ui::new(true);
        let (first, second) = (ui.stage("build"), ui.clone().stage("load"));
        drop(second);
        first.length(2);
        first.clone().advance(2);
        first.note("last");
        first.done("2 images");
        let names: Vec<String> = ui.timings().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["build"]);
    }

    #[test]
    fn a_screen_can_be_told_from_any_thread() {
        fn check<T: Clone + Send + Sync>() {}
        check::<Ui>();
        check::<Stage>();
    }

    #[test]
    fn nothing_but_yes_means_yes() {
        assert!(["y\n", "Yes", " YES "].into_iter().all(means_yes));
        assert!(!["", "\n", "n", "yep", "no"].into_iter().any(means_yes));
    }
}
