//! The system through one node's eyes, beside the cluster's truth.

use meshground_shared::{
    LinkFault, NodeState,
    rpc::{ClearParams, FaultClear, FaultParams, FaultSet, NodeCrash, NodeParams, NodePause, NodeResume},
};
use meshground_tests::ws::Client;

use super::*;

/// The page agrees with the node.
const AGREES: &str = "document.querySelector('[data-testid=eyes][data-differences=\"0\"]')";

/// Looks through the eyes of the node in this place, and waits until there is something to see.
async fn look_through(browser: &Browser, index: usize) {
    tab(browser, "nodes").await;
    select_node(browser, index).await;
    browser.click("[data-testid=look-eyes]").await;
    browser.wait_until("document.querySelector('[data-testid=eyes]')").await;
}

/// Waits until the node looked through has this verdict on another and the page says whether that is otherwise than
/// it is.
async fn sees(browser: &Browser, other: NodeId, verdict: &str, differs: bool) {
    browser
        .wait_until(&format!(
            "document.querySelector('[data-testid=eyes-row][data-peer=\"{other}\"]\
             [data-verdict={verdict}][data-differs={differs}]')"
        ))
        .await;
}

/// Waits for a difference of this sort, told in these words.
async fn differs(browser: &Browser, about: &str, words: &[&str]) {
    says(browser, &format!("[data-testid=eyes-difference][data-about={about}]"), words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_link_cut_one_way_two_nodes_see_different_things_and_neither_sees_what_is_so() {
    let server = server(0, 3).await;
    let browser = opened(server.local_addr()).await;
    let [mute, deaf, third] = nodes(&server).try_into().expect("three nodes");
    look_through(&browser, 1).await;
    browser.wait_until(AGREES).await;
    says(&browser, "[data-testid=eyes-verdict]", &["Agrees"]).await;

    let mut client = Client::connect(server.local_addr()).await;
    let params = FaultParams { from: mute, to: deaf, both_ways: false, fault: LinkFault::CUT };
    client.call::<FaultSet>(&params).await.expect("the link is cut");
    sees(&browser, mute, "unreachable", true).await;
    sees(&browser, third, "healthy", false).await;
    differs(&browser, "doubts", &["node 0 Unreachable, which runs", "the link from node 0 is cut"]).await;
    says(&browser, "[data-testid=eyes-verdict]", &["Differs", "1 thing"]).await;
    let truth = server.log().snapshot();
    assert_eq!(truth.nodes[&mute].state, NodeState::Running, "what it sees is not so");

    // The other end, by its name in the table: these eyes stay open.
    browser.click(&format!("[data-testid=eyes-row][data-peer=\"{mute}\"] button")).await;
    browser
        .wait_until(&format!("document.querySelector('[data-testid=inspector]').dataset.node === '{mute}'"))
        .await;
    sees(&browser, deaf, "healthy", true).await;
    differs(&browser, "unrequited", &["node 1 Healthy, which finds it Unreachable", "to node 1 is cut"])
        .await;

    client.call::<FaultClear>(&ClearParams::default()).await.expect("the link is sound");
    browser.wait_until(AGREES).await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_still_goes_on_seeing_a_crashed_peer_healthy_and_the_crashed_what_they_saw_last() {
    let server = server(0, 3).await;
    let browser = opened(server.local_addr()).await;
    let nodes = nodes(&server);
    look_through(&browser, 2).await;
    browser.wait_until(AGREES).await;
    let mut client = Client::connect(server.local_addr()).await;
    client.call::<NodePause>(&NodeParams { node: nodes[2] }).await.expect("it stands still");
    client.call::<NodeCrash>(&NodeParams { node: nodes[0] }).await.expect("it is gone");
    sees(&browser, nodes[0], "healthy", true).await;
    differs(&browser, "trusts", &["node 0 Healthy, which has crashed"]).await;
    says(&browser, "[data-testid=eyes-standstill]", &["paused"]).await;

    client.call::<NodeResume>(&NodeParams { node: nodes[2] }).await.expect("it goes on");
    sees(&browser, nodes[0], "unreachable", false).await;
    browser.wait_until(AGREES).await;

    look_through(&browser, 0).await;
    says(&browser, "[data-testid=eyes-standstill]", &["crashed", "the last it saw"]).await;
    sees(&browser, nodes[1], "healthy", false).await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_shows_in_every_nodes_eyes_and_its_log_where_it_runs() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    let node = nodes(&server)[0];
    let canary = spawn(&browser, &server, node, "canary", "").await;
    deliver(&browser, canary, node, "crash").await;
    refused(&browser, "call_failed", "crashed").await;
    look_through(&browser, 1).await;
    says(&browser, "[data-testid=eyes-knows]", &["1 daemon,"]).await;
    let here = browser.value("document.querySelector('[data-testid=eyes-log]')").await;
    assert_eq!(here, Value::Null, "nothing of it is written here");
    look_through(&browser, 0).await;
    says(&browser, "[data-testid=eyes-log]", &["Canary", "crash"]).await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_would_see_is_not_asked_for() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    let nodes = nodes(&server);
    browser
        .value(
            "(() => {
                const send = WebSocket.prototype.send;
                window.asked = [];
                WebSocket.prototype.send = function (text) {
                    const {method, params} = JSON.parse(text);
                    if (method === 'node.view') window.asked.push(params.node);
                    return send.call(this, text);
                };
            })()",
        )
        .await;
    select_node(&browser, 0).await;
    let before = browser.value("window.asked.length").await;
    assert_eq!(before, json!(0), "nobody looks through its eyes yet");
    browser.click("[data-testid=look-eyes]").await;
    browser.wait_until("window.asked.length >= 3").await;

    // In another tab nothing is asked; back again, at once. Tried until no question happens to be under way.
    browser
        .wait_until(
            "(() => {
                const asks = hidden => {
                    const before = window.asked.length;
                    Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
                    document.dispatchEvent(new Event('visibilitychange'));
                    return window.asked.length - before;
                };
                const while_hidden = asks(true);
                return while_hidden === 0 && asks(false) === 1;
            })()",
        )
        .await;

    look_through(&browser, 1).await;
    let turned = browser.value("window.asked.length").await;
    let others = format!("window.asked.slice({turned})");
    browser.wait_until(&format!("{others}.length >= 3")).await;
    let asked: Vec<String> = serde_json::from_value(browser.value(&others).await).expect("ids");
    assert!(
        asked.iter().all(|id| *id == nodes[1].to_string()),
        "the first is asked about no more: {asked:?}"
    );
    browser.close().await;
    server.stop().await;
}
