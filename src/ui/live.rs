//! A text that is drawn again in its place while it changes.

use console::Term;
use std::io::Write;

/// On a terminal the text before is replaced; elsewhere a changed one follows.
#[derive(Debug)]
pub struct Live {
    term: Term,
    lines: usize,
    shown: String,
}

impl Default for Live {
    fn default() -> Self {
        Self { term: Term::stdout(), lines: 0, shown: String::new() }
    }
}

impl Live {
    /// Shows the text, if it is another one than before.
    pub fn show(&mut self, text: &str) -> std::io::Result<()> {
        if self.shown == text {
            return Ok(());
        }
        self.shown = text.to_owned();
        if !self.term.is_term() {
            return writeln!(&self.term, "{text}\n");
        }
        let (height, width) = self.term.size();
        let fitting = fit(text, usize::from(height).saturating_sub(1), usize::from(width));
        self.term.clear_last_lines(self.lines)?;
        self.lines = fitting.len();
        for line in fitting {
            self.term.write_line(&line)?;
        }
        self.term.flush()
    }
}

/// What would scroll or wrap could not be replaced.
fn fit(text: &str, height: usize, width: usize) -> Vec<String> {
    text.lines().take(height).map(|line| console::truncate_str(line, width, "…").into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_to_the_screen() {
        assert_eq!(fit("abcdef\nx\ny", 2, 4), ["abc…", "x"]);
        assert_eq!(fit("", 2, 4), [""; 0]);
    }
}
