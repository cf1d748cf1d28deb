//! Forms in which figures, tables and finished stages are shown. Text in, text out.

use std::time::Duration;

/// `12.3 MB`, in powers of ten as disks are sold.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        // What would be rounded to 1000.0 belongs to the next unit.
        if value < 999.95 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// `500MB`, `10 GB`, `1000`: powers of ten, as [`bytes`] writes them.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size such as `500MB` or `10GB`");
    let (number, unit) =
        text.split_at(text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len()));
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok((number * factor) as u64)
}

/// `12h`, `30d`, `90 s`.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not an age such as `12h` or `30d`");
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// `0.4 s`, `1 min 5 s`, `2 h 3 min`.
pub fn duration(time: Duration) -> String {
    match (time.as_millis() + 50) / 1000 {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Aligned columns; the last one is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// How lines are dressed: colours and signs for people, words for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dress {
    Plain,
    Signs,
    Colours,
}

impl Dress {
    /// What a stream gets, by what it is and what the person asked for.
    pub(super) fn of(terminal: bool, term: Option<&str>, no_color: bool) -> Self {
        match (terminal && term != Some("dumb"), no_color) {
            (false, _) => Self::Plain,
            (true, true) => Self::Signs,
            (true, false) => Self::Colours,
        }
    }
    fn paint(self, code: &str, text: &str) -> String {
        if self == Self::Colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The line that stays of a stage.
    pub(super) fn done(self, name: &str, summary: &str, took: Duration) -> String {
        match self {
            Self::Plain => format!("{name}: {summary} ({})", duration(took)),
            _ => {
                let sign = self.paint("32", "✓");
                format!("{sign} {}", columns(name, summary, took))
            }
        }
    }
    /// The line of a stage that ended early; `note` is what it did last.
    pub(super) fn stopped(self, name: &str, note: &str, took: Duration) -> String {
        let what = if note.is_empty() { "stopped".to_owned() } else { format!("stopped at: {note}") };
        match self {
            Self::Plain => format!("{name}: {what} ({})", duration(took)),
            _ => format!("{} {}", self.paint("31", "✗"), columns(name, &what, took)),
        }
    }
    /// A sign of life where no bar can move.
    pub(super) fn progress(self, name: &str, position: u64, length: u64, note: &str) -> String {
        let count = if length > 0 { format!(" {position}/{length}") } else { String::new() };
        format!("{name}:{count} {note}").trim_end().to_owned()
    }
    /// A line that stands beside a stage, in its columns.
    pub(super) fn remark(self, name: &str, text: &str) -> String {
        match self {
            Self::Plain => format!("{name}: {text}"),
            _ => format!("  {name:<9} {text}"),
        }
    }
    pub(super) fn warning(self, text: &str) -> String {
        format!("{} {text}", self.paint("33", "warning:"))
    }
}

fn columns(name: &str, summary: &str, took: Duration) -> String {
    format!("{name:<9} {summary:<48} {:>8}", duration(took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_say_them() {
        let sizes = [0, 999, 1_500, 999_960, 2_500_000_000, 3_000_000_000_000].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.5 kB", "1.0 MB", "2.5 GB", "3.0 TB"]);
        let times = [420, 59_940, 59_960, 65_000, 7_380_000].map(|milliseconds| duration(Duration::from_millis(milliseconds)));
        assert_eq!(times, ["0.4 s", "59.9 s", "1 min 0 s", "1 min 5 s", "2 h 3 min"]);
    }

    #[test]
    fn sizes_and_ages_are_read_as_people_write_them() {
        let sizes = ["500MB", "1.5 gb", "7", "2kB"].map(parse_size);
        assert_eq!(sizes, [500_000_000, 1_500_000_000, 7, 2000].map(Ok));
        assert!(["", "GB", "1.2.3", "-1", "5 PB", "MB5"].into_iter().all(|text| parse_size(text).is_err()));
        let ages = ["90s", "5 min", "12h", "30d"].map(parse_age);
        assert_eq!(ages, [90, 300, 43_200, 2_592_000].map(|seconds| Ok(Duration::from_secs(seconds))));
        assert!(["", "d", "12", "1.5h", "-1d", "1w", "99999999999999999d"].into_iter().all(|text| parse_age(text).is_err()));
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["lōng".to_owned(), "c".to_owned()], vec!["x".to_owned()]];
        assert_eq!(table(&rows), "a     b\nlōng  c\nx");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn colours_need_a_terminal_that_can_and_a_person_who_wants() {
        assert_eq!(Dress::of(true, Some("xterm"), false), Dress::Colours);
        assert_eq!(Dress::of(true, Some("xterm"), true), Dress::Signs);
        assert_eq!(Dress::of(true, Some("dumb"), false), Dress::Plain);
        assert_eq!(Dress::of(false, Some("xterm"), false), Dress::Plain);
    }

    #[test]
    fn a_stage_leaves_one_line() {
        let took = Duration::from_millis(4200);
        assert_eq!(Dress::Plain.done("build", "12 images", took), "build: 12 images (4.2 s)");
        assert_eq!(
            Dress::Signs.done("build", "12 images, 3 layers new", took),
            "✓ build     12 images, 3 layers new                             4.2 s"
        );
        assert!(Dress::Colours.done("build", "x", took).starts_with("\x1b[32m✓\x1b[0m build "));
        assert_eq!(Dress::Plain.stopped("build", "byte code", took), "build: stopped at: byte code (4.2 s)");
        assert!(Dress::Signs.stopped("load", "", took).starts_with("✗ load      stopped "));
        assert_eq!(Dress::Plain.progress("build", 3, 12, "numpy"), "build: 3/12 numpy");
        assert_eq!(Dress::Plain.progress("lock", 0, 0, "reading"), "lock: reading");
        assert_eq!(Dress::Plain.warning("low"), "warning: low");
    }
}
