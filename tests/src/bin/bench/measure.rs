//! What a measuring process needs, whoever is measured in it: the clock, the process's own memory and
//! processor time, and a form in which its figures reach the program that started it.
//!
//! The workspace in `tests/peers` compiles this very file, so that both sides are measured alike.

use std::{
    fs,
    future::Future,
    process, thread,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

/// Whatever went wrong: the process prints it and fails, and the table says so.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Figures by name, as they go to standard output and come back.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// How long a flow of messages is sent.
pub(crate) const FLOW: Duration = Duration::from_millis(1_500);

/// How long nothing may arrive before a flow that is sent no more counts as over.
pub(crate) const QUIET: Duration = Duration::from_millis(250);

/// How long calls are made.
pub(crate) const CALLING: Duration = Duration::from_millis(1_500);

/// How long an idle cluster is watched, after a second in which it comes to rest.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

/// Prints figures for the program that reads them.
pub(crate) fn hand_over(figures: &Figures) {
    for (name, value) in figures {
        println!("{name} {value}");
    }
}

/// Ends this process after `limit`, whatever it is doing: a measurement that hangs is a failed one.
pub(crate) fn give_up_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("gave up after {} s", limit.as_secs());
        process::exit(1);
    });
}

/// This process's resident memory in bytes. Linux only: elsewhere there is nothing to read.
pub(crate) fn resident() -> Result<f64, Error> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1_024.0)
}

/// The processor time that this process's present threads have used, user and system together. Linux only.
pub(crate) fn processor_time() -> Result<Duration, Error> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir("/proc/self/task")? {
        let Ok(times) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        total += running(&times)?;
    }
    Ok(total)
}

/// How long a thread has run, from its `schedstat`: that counts in nanoseconds, whereas `stat` does in hundredths of a
/// second.
pub(crate) fn running(schedstat: &str) -> Result<Duration, Error> {
    let time = schedstat.split_whitespace().next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(time.parse()?))
}

/// What an idle cluster costs, `memory_before` having been this process's before it was booted.
pub(crate) async fn idle(nodes: usize, memory_before: f64) -> Result<Figures, Error> {
    sleep(Duration::from_secs(1)).await;
    let (before, start) = (processor_time()?, Instant::now());
    sleep(IDLE).await;
    let share = processor_time()?.saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64();
    let memory = (resident()? - memory_before).max(0.0);
    let (nodes, ends) = (as_f64(nodes), as_f64(nodes * (nodes - 1)));
    Ok(vec![
        ("memory_a_node", memory / nodes),
        ("memory_a_session_end", memory / ends),
        ("idle_processor", share),
        ("idle_processor_a_session_end", share / ends),
    ])
}

/// What has arrived of a flow of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrivals {
    start: Instant,
    last: Instant,
    count: usize,
}

impl Arrivals {
    /// Nothing yet; the first message is about to be sent.
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, count: 0 }
    }

    /// `count` more have arrived just now.
    pub(crate) fn add(&mut self, count: usize) {
        self.count += count;
        self.last = Instant::now();
    }

    /// Whether it is still time to send.
    pub(crate) fn is_flowing(&self) -> bool {
        self.start.elapsed() < FLOW
    }

    /// Messages of `size` bytes delivered a second, from the first sent to the last received, and the share of the
    /// `sent` ones that got through.
    pub(crate) fn figures(&self, size: usize, sent: usize) -> Result<Figures, Error> {
        if self.count == 0 {
            return Err(format!("sent {sent} messages, and none arrived").into());
        }
        let rate = as_f64(self.count) / (self.last - self.start).as_secs_f64();
        Ok(vec![
            ("rate", rate),
            ("throughput", rate * as_f64(size)),
            ("delivered", as_f64(self.count) / as_f64(sent)),
        ])
    }
}

/// Makes calls from `callers` tasks at once, each its next as soon as its last is answered, for [`CALLING`]. `call` says
/// whether it was answered, and rightly.
pub(crate) async fn calls<F>(
    callers: usize,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> Result<Figures, Error>
where
    F: Future<Output = bool> + Send,
{
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let call = call.clone();
        tasks.spawn(async move {
            let (mut times, mut lost) = (Vec::new(), 0_u32);
            while start.elapsed() < CALLING {
                let asked = Instant::now();
                if call().await {
                    times.push(asked.elapsed());
                } else {
                    lost += 1;
                }
            }
            (times, lost)
        });
    }
    let outcomes = tasks.join_all().await;
    let took = start.elapsed();
    let lost: u32 = outcomes.iter().map(|(_, lost)| lost).sum();
    let times = outcomes.into_iter().flat_map(|(times, _)| times).collect();
    call_figures(times, lost, took)
}

/// What the `times` of answered calls come to, made within `took`, with as many `lost`.
pub(crate) fn call_figures(mut times: Vec<Duration>, lost: u32, took: Duration) -> Result<Figures, Error> {
    if times.is_empty() {
        return Err(format!("none of {lost} calls was answered").into());
    }
    times.sort_unstable();
    let mean = times.iter().sum::<Duration>().as_secs_f64() / as_f64(times.len());
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64();
    Ok(vec![
        ("p50", percentile(50)),
        ("p99", percentile(99)),
        ("mean", mean),
        ("rate", as_f64(times.len()) / took.as_secs_f64()),
        ("lost", f64::from(lost)),
    ])
}

/// A count as a figure.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}
