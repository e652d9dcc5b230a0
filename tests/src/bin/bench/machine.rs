//! What the figures were measured on.

use std::{env, fs, process::Command, thread};

/// The processor, the system, the compiler and Meshground itself, in one paragraph.
pub(crate) fn describe() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let processor =
        processor.map_or("an unknown processor", |name| name.trim_start_matches([' ', '\t', ':']));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let compiler = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-V").output();
    let compiler = compiler.map_or_else(
        |_| "an unknown compiler".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    format!(
        "Meshground {}; {cores} cores of {processor}; {} {}; {compiler}, release profile.",
        env!("CARGO_PKG_VERSION"),
        env::consts::OS,
        kernel.trim(),
    )
}

/// How many tasks want a processor, on average over the last minute: whoever else is at work disturbs every figure.
pub(crate) fn load() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().next().unwrap_or("unknown").to_owned()
}
