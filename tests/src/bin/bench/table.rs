//! Figures as a table in Markdown.

use std::{collections::BTreeMap, fmt};

/// What a table shows of each contender.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// The heading.
    pub(crate) heading: &'static str,
    /// The figure's name.
    pub(crate) key: &'static str,
    /// What it counts.
    pub(crate) unit: Unit,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// Seconds.
    Time,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    Throughput,
    /// Events a second.
    Rate,
    /// A share of one.
    Share,
    /// A share of one, of something tiny.
    Tiny,
    /// A number of things.
    Count,
    /// How many times something else.
    Ratio,
}

/// Which of two figures is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// The greater.
    More,
    /// The less.
    Less,
}

/// A figure measured several times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// What the figures come to; nothing if there are none.
    pub(crate) fn new(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self { median: *values.get(values.len() / 2)?, least: *values.first()?, most: *values.last()? })
    }

    /// What the samples' figures of this name come to.
    pub(crate) fn of(samples: &[BTreeMap<String, f64>], key: &str) -> Option<Self> {
        Self::new(samples.iter().filter_map(|sample| sample.get(key).copied()).collect())
    }
}

/// A table under construction.
pub(crate) struct Table<'a> {
    columns: &'a [Column],
    better: Better,
    rows: Vec<Vec<String>>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(columns: &'a [Column], better: Better) -> Self {
        Self { columns, better, rows: Vec::new() }
    }

    /// One contender's figures. `ratio` is Meshground's figure divided by the contender's.
    pub(crate) fn row(
        &mut self,
        label: &str,
        name: &str,
        cells: impl Iterator<Item = Option<Spread>>,
        ratio: Option<f64>,
    ) {
        let mut row = vec![label.to_owned(), name.to_owned()];
        row.extend(cells.zip(self.columns).map(|(spread, column)| {
            spread.map_or_else(|| "-".to_owned(), |spread| column.unit.spread(spread))
        }));
        let ahead = ratio.map(|ratio| if self.better == Better::More { ratio } else { 1.0 / ratio });
        row.push(ahead.map_or_else(|| "-".to_owned(), |ahead| format!("{} x", significant(ahead))));
        self.rows.push(row);
    }

    /// Why there are no figures of a contender.
    pub(crate) fn remark(&mut self, label: &str, name: &str, remark: &str) {
        let mut row = vec![label.to_owned(), name.to_owned(), remark.replace('|', "/")];
        row.resize(self.columns.len() + 3, "-".to_owned());
        self.rows.push(row);
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| | |")?;
        for column in self.columns {
            write!(f, " {} |", column.heading)?;
        }
        writeln!(f, " Meshground is better by |")?;
        writeln!(f, "|{}", "---|".repeat(self.columns.len() + 3))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

impl Unit {
    fn spread(self, spread: Spread) -> String {
        let middle = self.show(spread.median);
        let (least, most) = (self.show(spread.least), self.show(spread.most));
        if least == most { middle } else { format!("{middle} ({least} to {most})") }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Time => scaled(value * 1e6, 1e3, &["us", "ms", "s"]),
            Self::Bytes => scaled(value, 1_024.0, &["B", "KiB", "MiB", "GiB"]),
            Self::Throughput => scaled(value, 1e3, &["B/s", "kB/s", "MB/s", "GB/s"]),
            Self::Rate => scaled(value, 1e3, &["/s", "k/s", "M/s"]),
            Self::Share => format!("{}%", significant(value * 100.0)),
            Self::Tiny => format!("{} ppm", significant(value * 1e6)),
            Self::Count => format!("{value:.0}"),
            Self::Ratio => format!("{} x", significant(value)),
        }
    }
}

/// `value` in the greatest unit that leaves it at least 1, each being `step` times the one before.
fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().unwrap_or(&"");
    for next in units {
        if value < step {
            break;
        }
        value /= step;
        unit = next;
    }
    format!("{} {unit}", significant(value))
}

/// Three significant digits: the fourth is noise.
fn significant(value: f64) -> String {
    match value {
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Spread {
        Spread::new(values.to_vec()).expect("there are values")
    }

    #[test]
    fn a_figure_is_its_median_with_the_least_and_the_most() {
        assert_eq!(Unit::Time.spread(of(&[0.5, 0.002, 0.000_03])), "2.00 ms (30.0 us to 500 ms)");
        assert_eq!(Unit::Count.spread(of(&[0.0, 0.0, 0.0])), "0");
    }

    #[test]
    fn three_digits_are_shown_in_the_unit_that_fits() {
        assert_eq!(Unit::Bytes.show(1_023.0), "1023 B");
        assert_eq!(Unit::Bytes.show(40.4 * 1_024.0 * 1_024.0), "40.4 MiB");
        assert_eq!(Unit::Rate.show(1_234_567.0), "1.23 M/s");
        assert_eq!(Unit::Share.show(0.999), "99.9%");
    }

    #[test]
    fn whoever_takes_longer_shows_meshground_ahead() {
        let columns = [Column { heading: "boot", key: "boot", unit: Unit::Time }];
        let mut table = Table::new(&columns, Better::Less);
        // Meshground takes a twentieth of the time.
        table.row("16", "another", [Some(of(&[1.0]))].into_iter(), Some(0.05));
        assert!(table.to_string().ends_with("| 16 | another | 1.00 s | 20.0 x |\n"), "{table}");
    }
}
