//! Others, measured the way Meshground measures itself: one measurement a process, its figures on standard output, one
//! a line. `cargo xtask bench --peers` runs it beside Meshground; by hand it is
//! `cargo run --release --manifest-path tests/peers/Cargo.toml -- net-mesh boot 16`.

#[path = "../../src/bin/bench/measure.rs"]
mod measure;
mod net_mesh;
mod quic;
mod udp;

use std::{env, time::Duration};

use measure::{Error, Figures};

/// No measurement takes longer, the slowest included.
const LIMIT: Duration = Duration::from_mins(4);

const USAGE: &str = "usage: meshground-peers
    net-mesh boot NODES | idle NODES | messages BYTES A_CALL | stream BYTES | rpc BYTES CALLERS | crash
    quinn    messages BYTES | stream BYTES
    udp      messages BYTES
    versions";

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if words == ["versions"] {
        println!("{}", versions());
        return Ok(());
    }
    measure::give_up_after(LIMIT);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(measured(&words))?;
    measure::hand_over(&figures);
    // What others leave running is not waited for.
    runtime.shutdown_background();
    Ok(())
}

async fn measured(words: &[&str]) -> Result<Figures, Error> {
    match *words {
        ["net-mesh", "boot", nodes] => net_mesh::cluster::boot(nodes.parse()?).await,
        ["net-mesh", "idle", nodes] => net_mesh::cluster::idle(nodes.parse()?).await,
        ["net-mesh", "messages", size, a_call] => {
            net_mesh::messages(size.parse()?, a_call.parse()?, false).await
        }
        ["net-mesh", "stream", size] => net_mesh::messages(size.parse()?, 1, true).await,
        ["net-mesh", "rpc", size, callers] => net_mesh::rpc(size.parse()?, callers.parse()?).await,
        ["net-mesh", "crash"] => net_mesh::cluster::crash().await,
        ["quinn", "messages", size] => quic::messages(size.parse()?).await,
        ["quinn", "stream", size] => quic::stream(size.parse()?).await,
        ["udp", "messages", size] => udp::messages(size.parse()?).await,
        _ => Err(USAGE.into()),
    }
}

/// What is measured here, as the lock file pins it.
fn versions() -> String {
    let version = |name: &str| {
        let package = format!("name = \"{name}\"\nversion = \"");
        let (_, rest) = include_str!("../Cargo.lock").split_once(&package)?;
        rest.split_once('"').map(|(version, _)| format!("{name} {version}"))
    };
    ["net-mesh-sdk", "quinn", "quinn-udp"].into_iter().filter_map(version).collect::<Vec<_>>().join(", ")
}
