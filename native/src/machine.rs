//! How the machine does: what its nodes tell each other about it.

use std::{
    fs,
    sync::Mutex,
    time::{Duration, Instant},
};

use meshground_node::{InventoryProbe, Resources};

use crate::lock::lock;

/// All nodes of a process are on one machine, and what they ask within this is answered once.
const FRESH: Duration = Duration::from_millis(500);

/// What was found last.
static LATEST: Mutex<Option<Sample>> = Mutex::new(None);

/// Says how busy the machine's processors and how full its memory are; where there is no `/proc`, that neither is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MachineProbe;

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    /// Time since boot in which the processors were busy, and all of it, in ticks.
    ticks: (u64, u64),
    resources: Resources,
}

impl InventoryProbe for MachineProbe {
    fn resources(&mut self) -> Resources {
        let mut latest = lock(&LATEST);
        if let Some(sample) = latest.filter(|sample| sample.at.elapsed() < FRESH) {
            return sample.resources;
        }
        let ticks = fs::read_to_string("/proc/stat").ok().and_then(|text| ticks(&text)).unwrap_or_default();
        let memory =
            fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory(&text)).unwrap_or_default();
        let cpu = latest.map_or(0, |before| {
            thousandths(ticks.0.saturating_sub(before.ticks.0), ticks.1.saturating_sub(before.ticks.1))
        });
        let resources = Resources { cpu, memory };
        *latest = Some(Sample { at: Instant::now(), ticks, resources });
        resources
    }
}

/// Busy and all ticks, out of `/proc/stat` (`proc_stat(5)`).
fn ticks(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(str::parse::<u64>);
    let mut next = || fields.next()?.ok();
    let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
    let idle = idle + next().unwrap_or(0);
    let busy = user + nice + system;
    Some((busy, busy + idle))
}

/// How full the memory is, out of `/proc/meminfo` (`proc_meminfo(5)`).
fn memory(text: &str) -> Option<u16> {
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
    };
    let (total, available) = (figure("MemTotal")?, figure("MemAvailable")?);
    Some(thousandths(total.saturating_sub(available), total))
}

fn thousandths(part: u64, whole: u64) -> u16 {
    u16::try_from(part.saturating_mul(1_000) / whole.max(1)).unwrap_or(u16::MAX).min(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        assert_eq!(ticks("cpu  10 20 30 40 50 0 0 0 0 0\ncpu0 1"), Some((60, 150)));
        assert_eq!(ticks("intr 1"), None);
        let text = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n";
        assert_eq!(memory(text), Some(750));
        assert_eq!(memory("MemTotal: x"), None);
    }
}
