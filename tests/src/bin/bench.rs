//! `cargo xtask bench`: how fast a cluster boots and how much memory it takes, beside
//! the floor measured in the same run.
//!
//! Absolute figures drift from machine to machine; the ratio to the floor does not.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use meshground::cluster::ClusterHarness;
use meshground_node::floor::HandshakeFloor;

/// Cluster sizes measured.
const SIZES: [usize; 5] = [2, 5, 16, 32, 64];

/// Runs of each; the median counts.
const RUNS: usize = 5;

/// What `total` comes to per node.
#[allow(clippy::cast_precision_loss)]
fn per_node(total: f64, n: usize) -> f64 {
    total / n as f64
}

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => table(),
        ["--boot", n] => one_boot(n.parse()?),
        _ => Err("usage: bench (measures everything), or bench --boot N (one cluster, in figures)".into()),
    }
}

/// One cluster in a process of its own: microseconds to convergence, to shut down, and
/// kilobytes of resident memory it added.
fn one_boot(n: usize) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // What the first cluster of a process pays once is no node's.
        ClusterHarness::new(2).await?.shutdown().await?;
        let before = resident_kb()?;
        let start = Instant::now();
        let cluster = ClusterHarness::new(n).await?;
        let booted = start.elapsed();
        let health = cluster.health();
        if !health.fully_converged() {
            return Err(format!("booted, but {health:?}").into());
        }
        let added = resident_kb()?.saturating_sub(before);
        let start = Instant::now();
        cluster.shutdown().await?;
        println!("{} {} {added}", booted.as_micros(), start.elapsed().as_micros());
        Ok(())
    })
}

fn table() -> Result<(), Error> {
    let cores = thread::available_parallelism()?.get();
    println!("{}", machine(cores));
    println!();
    println!(
        "One handshake, both ends, both identities verified, one core: {:.0} us",
        micros(one_handshake())
    );
    println!();
    println!(
        "| n | boot to converged | floor: n(n-1)/2 handshakes on all cores | boot / floor | shutdown | resident memory a node |"
    );
    println!("|---|---|---|---|---|---|");
    for n in SIZES {
        let (mut boots, mut shutdowns, mut memory, mut floors, mut ratios) =
            (vec![], vec![], vec![], vec![], vec![]);
        for run in 0..RUNS {
            let [boot, shutdown, kb] = boot_in_child(n)?;
            let floor = micros(all_handshakes(n, cores, run as u64));
            boots.push(boot);
            shutdowns.push(shutdown);
            memory.push(per_node(kb, n));
            ratios.push(boot / floor);
            floors.push(floor);
        }
        println!(
            "| {n} | {} | {} | {:.2} | {} | {:.0} KiB |",
            spread(&mut boots),
            spread(&mut floors),
            median(&mut ratios),
            spread(&mut shutdowns),
            median(&mut memory),
        );
    }
    println!();
    println!(
        "Median of {RUNS} runs (least to most); each boot in a process of its own, boot and floor in turn."
    );
    Ok(())
}

fn boot_in_child(n: usize) -> Result<[f64; 3], Error> {
    let output = Command::new(std::env::current_exe()?).args(["--boot", &n.to_string()]).output()?;
    if !output.status.success() {
        return Err(format!("{n} nodes did not boot: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let figures: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    figures.try_into().map_err(|_| "the child printed something else than three figures".into())
}

/// As many handshakes as a full mesh of `n` needs, on every core at once.
fn all_handshakes(n: usize, cores: usize, seed: u64) -> Duration {
    let total = n * (n - 1) / 2;
    let start = Instant::now();
    thread::scope(|scope| {
        for core in 0..cores {
            let share = total / cores + usize::from(core < total % cores);
            scope.spawn(move || {
                let mut pair = HandshakeFloor::new(seed * 1_000 + core as u64);
                (0..share).for_each(|_| pair.run());
            });
        }
    });
    start.elapsed()
}

fn one_handshake() -> Duration {
    const COUNT: u32 = 500;
    let mut pair = HandshakeFloor::new(9);
    pair.run();
    let start = Instant::now();
    (0..COUNT).for_each(|_| pair.run());
    start.elapsed() / COUNT
}

/// This process's resident memory. Linux only: elsewhere there is nothing to read.
fn resident_kb() -> Result<u64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn machine(cores: usize) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = cpu.trim_start_matches([' ', '\t', ':']);
    format!(
        "meshground {}, {cores} cores of {cpu}, {} {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        kernel.trim()
    )
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn spread(values: &mut [f64]) -> String {
    let middle = median(values);
    format!("{} ({} to {})", pretty(middle), pretty(values[0]), pretty(values[values.len() - 1]))
}

fn pretty(micros: f64) -> String {
    if micros < 1_000.0 { format!("{micros:.0} us") } else { format!("{:.1} ms", micros / 1_000.0) }
}
