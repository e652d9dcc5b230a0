//! Running contenders in turn, each measurement in a process of its own, and what comes of that as tables.

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{
    measure::Error,
    table::{Better, Column, Spread, Table},
};

/// What is measured of one thing: a table.
pub(crate) struct Topic {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Its heading.
    pub(crate) title: &'static str,
    /// What is measured, and what a reader must know to judge the figures.
    pub(crate) text: &'static str,
    /// What the table shows of each contender; its first column is what contenders are compared by.
    pub(crate) columns: Vec<Column>,
    /// Which figures are the better ones.
    pub(crate) better: Better,
    /// What runs against what, in turn.
    pub(crate) rounds: Vec<Round>,
}

/// Contenders that are compared with the first of them.
pub(crate) struct Round {
    /// What they do, such as `64 B`.
    pub(crate) label: String,
    /// Who they are, Meshground first.
    pub(crate) contenders: Vec<Contender>,
}

/// Somebody who is measured.
pub(crate) struct Contender {
    name: String,
    source: Source,
    runs: usize,
}

/// Where figures come from.
enum Source {
    /// This program, with these arguments.
    Own(String),
    /// The program in `tests/peers`, with these arguments; one that takes minutes only when that is asked for.
    Peers { arguments: String, slow: bool },
}

impl Contender {
    /// Measured by this program.
    pub(crate) fn own(name: &str, arguments: impl Into<String>) -> Self {
        Self { name: name.to_owned(), source: Source::Own(arguments.into()), runs: RUNS }
    }

    /// Measured by the program in `tests/peers`.
    pub(crate) fn peers(name: &str, arguments: impl Into<String>) -> Self {
        let source = Source::Peers { arguments: arguments.into(), slow: false };
        Self { name: name.to_owned(), source, runs: RUNS }
    }

    /// Measured so often: for what is over soon and compared closely.
    pub(crate) fn times(mut self, runs: usize) -> Self {
        self.runs = runs;
        self
    }

    /// Measured once, and only when asked for.
    pub(crate) fn slow(mut self) -> Self {
        if let Source::Peers { slow, .. } = &mut self.source {
            *slow = true;
        }
        self.runs = 1;
        self
    }
}

/// How often everything is measured, unless its text says otherwise; the median counts.
pub(crate) const RUNS: usize = 3;

/// The name under which Meshground's own figures stand.
pub(crate) const MESHGROUND: &str = "Meshground";

/// One process's figures.
type Sample = BTreeMap<String, f64>;

/// What came of one contender.
enum Outcome {
    Measured(Vec<Sample>),
    Failed(String),
    NotMeasured(&'static str),
}

/// Starts the processes.
pub(crate) struct Runner {
    /// The program in `tests/peers`, if it is to take part.
    pub(crate) peers: Option<PathBuf>,
    /// Whether to measure what takes minutes.
    pub(crate) slow: bool,
    /// What has been measured, by arguments: no process runs for two tables.
    known: BTreeMap<String, Vec<Sample>>,
}

impl Runner {
    pub(crate) fn new(peers: Option<PathBuf>, slow: bool) -> Self {
        Self { peers, slow, known: BTreeMap::new() }
    }

    /// Measures everything of a topic and writes it up.
    pub(crate) fn run(&mut self, topic: &Topic) -> Result<String, Error> {
        let mut table = Table::new(&topic.columns, topic.better);
        for round in &topic.rounds {
            eprintln!("{}: {}", topic.name, round.label);
            let contenders: Vec<&Contender> =
                round.contenders.iter().filter(|c| self.takes_part(c)).collect();
            let outcomes = self.alternate(&contenders)?;
            let own = outcomes.first().and_then(Outcome::samples).unwrap_or_default();
            for (contender, outcome) in contenders.iter().zip(&outcomes) {
                match outcome {
                    Outcome::Measured(samples) => {
                        let cells = topic.columns.iter().map(|column| Spread::of(samples, column.key));
                        let key = topic.columns[0].key;
                        table.row(&round.label, &contender.name, cells, ratio(own, samples, key));
                    }
                    Outcome::Failed(reason) => table.remark(&round.label, &contender.name, reason),
                    Outcome::NotMeasured(why) => table.remark(&round.label, &contender.name, why),
                }
            }
        }
        Ok(format!("## {}\n\n{}\n\n{table}", topic.title, topic.text))
    }

    fn takes_part(&self, contender: &Contender) -> bool {
        self.peers.is_some() || !matches!(contender.source, Source::Peers { .. })
    }

    /// Every contender once, then every contender again: what drifts meanwhile drifts for all of them.
    fn alternate(&mut self, contenders: &[&Contender]) -> Result<Vec<Outcome>, Error> {
        let mut outcomes: Vec<Outcome> = contenders
            .iter()
            .map(|contender| match contender.source {
                Source::Peers { slow: true, .. } if !self.slow => {
                    Outcome::NotMeasured("not run (`--slow` does)")
                }
                _ => Outcome::Measured(Vec::new()),
            })
            .collect();
        for run in 0..contenders.iter().map(|contender| contender.runs).max().unwrap_or_default() {
            for (contender, outcome) in contenders.iter().zip(&mut outcomes) {
                let Outcome::Measured(samples) = outcome else { continue };
                if run >= contender.runs {
                    continue;
                }
                match self.measure(contender, run)? {
                    Ok(sample) => samples.push(sample),
                    Err(reason) => *outcome = Outcome::Failed(reason),
                }
            }
        }
        Ok(outcomes)
    }

    /// A process's figures, or why there are none.
    fn measure(&mut self, contender: &Contender, run: usize) -> Result<Result<Sample, String>, Error> {
        let (program, arguments) = match &contender.source {
            Source::Own(arguments) => (env::current_exe()?, format!("measure {arguments}")),
            Source::Peers { arguments, .. } => {
                (self.peers.clone().ok_or("the program in tests/peers is missing")?, arguments.clone())
            }
        };
        let known = self.known.entry(format!("{} {arguments}", program.display())).or_default();
        if let Some(sample) = known.get(run) {
            return Ok(Ok(sample.clone()));
        }
        let output = Command::new(program).args(arguments.split(' ')).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let last = complaint.lines().last().unwrap_or("without a word").to_owned();
            eprintln!("{arguments}: {complaint}");
            return Ok(Err(format!("failed: {last}")));
        }
        let sample: Sample = String::from_utf8(output.stdout)?
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        known.push(sample.clone());
        Ok(Ok(sample))
    }
}

impl Outcome {
    fn samples(&self) -> Option<&[Sample]> {
        match self {
            Self::Measured(samples) if !samples.is_empty() => Some(samples),
            _ => None,
        }
    }
}

/// Meshground's figure divided by the contender's, run by run, and the median of that.
fn ratio(own: &[Sample], its: &[Sample], key: &str) -> Option<f64> {
    let ratios = own.iter().zip(its).filter_map(|(own, its)| Some(own.get(key)? / its.get(key)?));
    Spread::new(ratios.collect()).map(|ratio| ratio.median)
}
