//! `cargo xtask bench`: Meshground's figures, beside those of others measured in the same run.
//!
//! Absolute figures drift from machine to machine; their ratios do not. Hence every table has both sides, measured in
//! turn, each time in a process of its own. This program starts these processes: itself with the words of
//! [`measured`], and, with `--peers`, the program in `tests/peers`, which measures others.

mod boot;
mod crash;
mod flood;
mod idle;
mod machine;
mod measure;
mod meshos;
mod messages;
mod ours;
mod rpc;
mod sim;
mod stream;
mod suite;
mod system;
mod table;

use std::{
    env,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use measure::{Error, Figures};
use suite::{Runner, Topic};

/// No measurement takes longer.
const LIMIT: Duration = Duration::from_mins(2);

/// Where what is random comes from.
const SEEDS: &str = "Seeds: the simulator's networks grow from a core's number c at rest and from c 2^32, c 2^32 + 1 and so on in \
    upheaval, the handshakes' floor from c, the loop's nodes from their numbers; all else from the operating system.";

const USAGE: &str = "usage: bench [--peers PROGRAM] [--slow] [TOPIC...]
    PROGRAM is what tests/peers builds; TOPIC is one of boot, idle, growth, messages, stream, rpc, flood, crash,
    system, meshos, sim
one measurement: bench measure boot NODES | boot-floor NODES | boot-floor-signatures NODES | idle NODES | messages BYTES | aead BYTES
    | stream BYTES | rpc IN_FLIGHT | ping-pong IN_FLIGHT | flood PER_SECOND | flood-floor PER_SECOND | crash NODES SECONDS
    | system daemons EACH | system group MEMBERS | system migration BYTES | system command | meshos NODES | sim at-rest | sim in-upheaval";

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["measure", ref what @ ..] => {
            measure::give_up_after(LIMIT);
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            measure::hand_over(&runtime.block_on(measured(what))?);
            Ok(())
        }
        _ => tables(&words),
    }
}

/// One measurement, in this process.
async fn measured(words: &[&str]) -> Result<Figures, Error> {
    match *words {
        ["boot", nodes] => boot::boot(nodes.parse()?).await,
        ["boot-floor", nodes] => boot::floor(nodes.parse()?, boot::Floor::Handshakes),
        ["boot-floor-signatures", nodes] => boot::floor(nodes.parse()?, boot::Floor::WithAnnouncements),
        ["idle", nodes] => idle::idle(nodes.parse()?).await,
        ["messages", size] => messages::messages(size.parse()?).await,
        ["aead", size] => messages::aead(size.parse()?),
        ["stream", size] => stream::stream(size.parse()?).await,
        ["rpc", callers] => rpc::calls(callers.parse()?).await,
        ["ping-pong", callers] => rpc::ping_pong(callers.parse()?).await,
        ["flood", rate] => tokio::spawn(flood::flood(rate.parse()?)).await?,
        ["flood-floor", rate] => tokio::spawn(flood::floor(rate.parse()?)).await?,
        ["sim", how] => sim::sim(how),
        ["crash", nodes, seconds] => crash::crash(nodes.parse()?, seconds.parse()?).await,
        ["system", "daemons", each] => system::daemons(each.parse()?).await,
        ["system", "group", count] => system::group(count.parse()?).await,
        ["system", "migration", bytes] => system::migration(bytes.parse()?).await,
        ["system", "command"] => system::command().await,
        ["meshos", nodes] => meshos::turns(nodes.parse()?),
        _ => Err(USAGE.into()),
    }
}

/// Everything, or the topics named, as tables on standard output.
fn tables(words: &[&str]) -> Result<(), Error> {
    let mut topics: Vec<Topic> = vec![
        boot::topic(),
        idle::topic(),
        idle::growth(),
        messages::topic(),
        stream::topic(),
        rpc::topic(),
        flood::topic(),
        crash::topic(),
        system::topic(),
        meshos::topic(),
        sim::topic(),
    ];
    let (mut peers, mut slow, mut chosen) = (None, false, Vec::new());
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "--peers" => peers = Some(PathBuf::from(words.next().ok_or(USAGE)?)),
            "--slow" => slow = true,
            name if topics.iter().any(|topic| topic.name == name) => chosen.push(name),
            _ => return Err(USAGE.into()),
        }
    }
    if !chosen.is_empty() {
        topics.retain(|topic| chosen.contains(&topic.name));
    }

    let start = Instant::now();
    println!("{}", machine::describe());
    if let Some(peers) = &peers {
        let versions = Command::new(peers).arg("versions").output()?;
        println!("Beside {}.", String::from_utf8(versions.stdout)?.trim());
    }
    println!("Load average before: {}.", machine::load());
    println!(
        "Medians of {} runs (least to most) where nothing else is said, contenders in turn, each time in a process of its own.",
        suite::RUNS
    );
    println!("{SEEDS}");
    let mut runner = Runner::new(peers, slow);
    for topic in &topics {
        let table = runner.run(topic)?;
        print!("\n{table}\nLoad average after: {}.\n", machine::load());
    }
    eprintln!("took {} s", start.elapsed().as_secs());
    Ok(())
}
