//! The page, in a real browser, over a real server, on real sockets.

mod calls;
mod daemons;
mod eyes;
mod groups;
mod operators;

use std::net::SocketAddr;

use meshground::{
    log::Subscription,
    server::{RunningServer, Server, ServerConfig},
};
use meshground_shared::{DaemonId, Lifecycle, NodeId, Snapshot};
use meshground_tests::{browser::Browser, ws::in_time};
use serde_json::{Value, json};

const LIVE: &str = "document.querySelector('[data-testid=status]')?.dataset.state === 'live'";

/// A server whose cluster has `nodes` nodes, on `port` or any.
async fn server(port: u16, nodes: u32) -> RunningServer {
    let config = ServerConfig { port, ..ServerConfig::default() };
    booted(config, nodes).await
}

async fn booted(config: ServerConfig, nodes: u32) -> RunningServer {
    let server = Server::bind(config).await.expect("the port is free");
    let booter = server.booter();
    let running = server.start();
    booter.boot(nodes).await.expect("the cluster boots");
    running
}

async fn opened(address: SocketAddr) -> Browser {
    let browser = Browser::start().await;
    browser.open(&format!("http://{address}/")).await;
    browser.wait_until(LIVE).await;
    browser
}

/// The members, by place.
fn nodes(server: &RunningServer) -> Vec<NodeId> {
    server.log().snapshot().ids().into_values().collect()
}

/// Waits until the server's own snapshot is as it should be.
async fn until(server: &RunningServer, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let Subscription { mut snapshot, mut events } = server.log().subscribe();
    let watch = async {
        while !holds(&snapshot) {
            snapshot.apply(&events.recv().await.expect("the log has room"));
        }
        snapshot
    };
    in_time(what, watch).await
}

async fn tab(browser: &Browser, name: &str) {
    browser.click(&format!("[data-testid=tab-{name}]")).await;
    browser.wait_until(&format!("!document.getElementById('panel-{name}').hidden")).await;
}

/// Waits for an element whose text says all of this.
async fn says(browser: &Browser, selector: &str, words: &[&str]) {
    let words = json!(words);
    browser
        .wait_until(&format!(
            "[...document.querySelectorAll('{selector}')]
                .some(one => {words}.every(word => one.textContent.includes(word)))"
        ))
        .await;
}

/// Waits for a refusal of this name, in these words.
async fn refused(browser: &Browser, name: &str, word: &str) {
    says(browser, &format!("[data-testid=error][data-error={name}]"), &[word]).await;
}

/// The row of a daemon on a node.
fn row(daemon: DaemonId, node: NodeId) -> String {
    format!("[data-testid=daemon-row][data-daemon=\"{daemon}\"][data-node=\"{node}\"]")
}

/// Spawns a daemon by the page's form, and waits until its row says that it runs.
async fn spawn(browser: &Browser, server: &RunningServer, node: NodeId, kind: &str, args: &str) -> DaemonId {
    let before = server.log().snapshot();
    tab(browser, "daemons").await;
    browser.choose("[data-testid=daemon-kind]", kind).await;
    browser.choose("[data-testid=daemon-node]", &node.to_string()).await;
    browser.fill("[data-testid=daemon-args]", args).await;
    browser.click("[data-testid=daemon-spawn]").await;
    let new = |snapshot: &Snapshot| {
        let daemons = snapshot.nodes[&node].daemons.values();
        let mut new = daemons.filter(|daemon| !before.nodes[&node].daemons.contains_key(&daemon.id));
        new.find(|daemon| daemon.lifecycle == Lifecycle::Running).map(|daemon| daemon.id)
    };
    let snapshot = until(server, "the daemon", |snapshot| new(snapshot).is_some()).await;
    let daemon = new(&snapshot).expect("it was waited for");
    assert_eq!(snapshot.nodes[&node].daemons[&daemon].kind.as_deref(), Some(kind));
    lives(browser, daemon, node, "running").await;
    daemon
}

/// Waits until a daemon's row on this node says that it is so, and no other row says anything of it.
async fn lives(browser: &Browser, daemon: DaemonId, node: NodeId, lifecycle: &str) {
    let row = row(daemon, node);
    browser
        .wait_until(&format!(
            "document.querySelector('{row}[data-lifecycle={lifecycle}]')
             && document.querySelectorAll('[data-daemon=\"{daemon}\"]').length === 1"
        ))
        .await;
}

/// Gives a daemon a payload by the form below its row.
async fn deliver(browser: &Browser, daemon: DaemonId, node: NodeId, payload: &str) {
    let more = format!("{} [data-testid=daemon-more]", row(daemon, node));
    browser.wait_until(&format!("document.querySelector('{more}')")).await;
    let open = browser.value(&format!("document.querySelector('{more}').ariaExpanded")).await;
    if open != json!("true") {
        browser.click(&more).await;
    }
    browser.fill("[data-testid=daemon-payload]", payload).await;
    browser.click("[data-testid=daemon-deliver]").await;
}

/// Gives a daemon a payload, and waits until the page shows what it put out.
async fn asks(browser: &Browser, daemon: DaemonId, node: NodeId, payload: &str, answer: &str) {
    deliver(browser, daemon, node, payload).await;
    browser
        .wait_until(&format!(
            "document.querySelector('[data-testid=daemon-answer] code')?.textContent === '{answer}'"
        ))
        .await;
}

/// Waits until the tables and the last frame both show this many nodes and sessions.
async fn shows(browser: &Browser, nodes: usize, edges: usize) {
    browser
        .wait_until(&format!(
            "document.querySelectorAll('[data-testid=node-table] [data-node]').length === {nodes}
             && document.querySelectorAll('[data-testid=edge-row]').length === {edges}
             && document.querySelector('[data-testid=count-nodes]').textContent === '{nodes}'
             && document.querySelector('[data-testid=count-edges]').textContent === '{edges}'
             && document.querySelector('[data-testid=graph]').dataset.drawnNodes === '{nodes}'
             && document.querySelector('[data-testid=graph]').dataset.drawnEdges === '{edges}'"
        ))
        .await;
}

/// For each node the last frame drew: whether the canvas there differs from a corner.
async fn painted(browser: &Browser) -> Vec<bool> {
    let painted = browser
        .value(
            "(() => {
                const canvas = document.querySelector('[data-testid=graph]');
                const context = canvas.getContext('2d');
                const ratio = canvas.width / canvas.clientWidth;
                const pixel = (x, y) => context.getImageData(x * ratio, y * ratio, 1, 1).data.join();
                const background = pixel(1, 1);
                return JSON.parse(canvas.dataset.nodePositions)
                    .map(([id, x, y]) => pixel(x, y) !== background);
            })()",
        )
        .await;
    serde_json::from_value(painted).expect("a list of truths")
}

async fn select_node(browser: &Browser, index: usize) {
    browser.click(&format!("[data-testid=node-table] tbody tr:nth-child({}) button", index + 1)).await;
    browser.wait_until("document.querySelector('[data-testid=inspector]')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_appear_and_spawn_and_shutdown_change_them() {
    let server = server(0, 5).await;
    let browser = opened(server.local_addr()).await;
    shows(&browser, 5, 10).await;
    assert_eq!(painted(&browser).await, [true; 5], "something is drawn where each node stands");

    browser.click("[data-testid=spawn]").await;
    shows(&browser, 6, 15).await;
    assert_eq!(painted(&browser).await, [true; 6]);

    select_node(&browser, 5).await;
    browser.click("[data-testid=node-shutdown]").await;
    shows(&browser, 5, 10).await;
    assert_eq!(painted(&browser).await, [true; 5]);
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_shows_as_dead_and_unreachable_and_a_restart_heals_it() {
    let server = server(0, 4).await;
    let browser = opened(server.local_addr()).await;
    shows(&browser, 4, 6).await;
    select_node(&browser, 2).await;
    browser.click("[data-testid=node-crash]").await;
    browser
        .wait_until(
            "document.querySelectorAll('[data-testid=node-table] [data-state=crashed]').length === 1
             && document.querySelectorAll('[data-testid=half-edge-row][data-health=unreachable]').length === 3",
        )
        .await;
    shows(&browser, 4, 3).await;
    browser.click("[data-testid=node-restart]").await;
    shows(&browser, 4, 6).await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_tells_who_where_and_how_far() {
    let server = server(0, 3).await;
    let snapshot = server.log().snapshot();
    let browser = opened(server.local_addr()).await;
    shows(&browser, 3, 3).await;
    select_node(&browser, 1).await;
    let inspector = "document.querySelector('[data-testid=inspector]')";
    let id: Value = browser.value(&format!("{inspector}.dataset.node")).await;
    let (id, node) =
        snapshot.nodes.iter().find(|(known, _)| json!(known.to_string()) == id).expect("a member");
    // Whole, and for everyone: not only in a tooltip.
    let text = browser.value(&format!("{inspector}.textContent")).await;
    let text = text.as_str().expect("text");
    for fact in [id.to_string(), node.address.to_string(), node.public_key.to_string()] {
        assert!(text.contains(&fact), "{fact} is not in {text}");
    }
    // Round-trip times come with the telemetry, for both peers.
    browser
        .wait_until(&format!(
            "[...{inspector}.querySelectorAll('[data-testid=peer-row]')]
                .filter(row => /\\d\\s*(µs|ms)/.test(row.textContent)).length === 2"
        ))
        .await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_shown_in_the_servers_words() {
    let config = ServerConfig { port: 0, max_nodes: 2, ..ServerConfig::default() };
    let server = booted(config, 2).await;
    let browser = opened(server.local_addr()).await;
    shows(&browser, 2, 1).await;
    browser.click("[data-testid=spawn]").await;
    browser.wait_until("document.querySelector('[data-testid=error][data-error=limit_exceeded]')").await;
    shows(&browser, 2, 1).await;
    browser.close().await;
    server.stop().await;
}

#[test]
fn the_page_recovers_when_the_server_is_killed_and_started_again() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let here = runtime();
    // In a runtime of its own, whose end takes the server away in mid-sentence.
    let doomed = runtime();
    let victim = doomed.block_on(server(0, 5));
    let address = victim.local_addr();
    let browser = here.block_on(async {
        let browser = opened(address).await;
        shows(&browser, 5, 10).await;
        browser
    });
    drop(doomed);
    here.block_on(async {
        browser
            .wait_until(
                "['reconnecting', 'gone'].includes(document.querySelector('[data-testid=status]').dataset.state)",
            )
            .await;
        let again = server(address.port(), 3).await;
        browser.wait_until(LIVE).await;
        shows(&browser, 3, 3).await;
        browser.close().await;
        again.stop().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_server_invites_to_boot_and_the_boot_works() {
    let config = ServerConfig { port: 0, ..ServerConfig::default() };
    let server = Server::bind(config).await.expect("a free port").start();
    let browser = opened(server.local_addr()).await;
    browser.fill("[data-testid=boot-count]", "7").await;
    browser.click("[data-testid=boot]").await;
    shows(&browser, 7, 21).await;
    browser.close().await;
    server.stop().await;
}
