//! Signed commands.

use std::time::{SystemTime, UNIX_EPOCH};

use meshground_node::{
    WallTime,
    admin::{AdminCommand, Nonce, OperatorKey},
};
use meshground_shared::{AdminVerb, Decision, Hex, IceVerb, Rejection, Verb};

use super::*;

const FROZEN: Decision = Decision::Rejected(Rejection::FreezeInEffect);

/// Waits until all nodes have decided so on this, and the page shows that they agree.
async fn audited(
    browser: &Browser,
    server: &RunningServer,
    verb: &Verb,
    decision: Decision,
    operators: &[&str],
    shown: &[&str],
) {
    let decided = |snapshot: &Snapshot| {
        snapshot.nodes.values().all(|node| {
            let mut entries = node.audit.iter();
            entries.any(|it| it.verb == *verb && it.decision == decision && it.operators == operators)
        })
    };
    until(server, "every node's decision", decided).await;
    says(browser, "[data-testid=audit-row][data-agreed=true]", shown).await;
}

/// Simulates a break-glass command, and commits it once its blast radius is shown.
async fn break_glass(browser: &Browser, verb: &str, radius: &str) {
    browser.choose("[data-testid=ice-verb]", verb).await;
    browser.click("[data-testid=ice-simulate]").await;
    says(browser, "[data-testid=ice-radius]", &[radius]).await;
    browser.click("[data-testid=ice-commit]").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_from_the_page_moves_what_runs_and_stands_in_every_nodes_audit_trail() {
    let server = server(0, 3).await;
    let browser = opened(server.local_addr()).await;
    let node = nodes(&server)[0];
    let counter = spawn(&browser, &server, node, "counter", "from=7").await;
    tab(&browser, "audit").await;
    browser.choose("[data-testid=admin-verb]", "drain").await;
    browser.choose("[data-testid=admin-node]", &node.to_string()).await;
    browser.choose("[data-testid=admin-operator]", "demo-2").await;
    browser.click("[data-testid=admin-submit]").await;
    let verb = Verb::Admin(AdminVerb::Drain { node });
    let shown = ["Drain node 0", "demo-2", "Applied", "nodes 0, 1, 2"];
    audited(&browser, &server, &verb, Decision::Applied, &["demo-2"], &shown).await;
    says(&browser, "[data-testid=admin-answer]", &["Drain node 0: applied, by 3 of 3 nodes"]).await;
    let host = |snapshot: &Snapshot| {
        let nodes = snapshot.nodes.iter().filter(|(id, _)| **id != node);
        let host = nodes.filter(|(_, other)| other.daemons.contains_key(&counter)).map(|(&id, _)| id).next();
        host.filter(|_| !snapshot.nodes[&node].daemons.contains_key(&counter))
    };
    let snapshot = until(&server, "the way out", |snapshot| host(snapshot).is_some()).await;
    tab(&browser, "daemons").await;
    let host = host(&snapshot).expect("it was waited for");
    lives(&browser, counter, host, "running").await;
    asks(&browser, counter, host, "get", "7").await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_from_the_page_is_simulated_and_committed_and_refuses_what_comes_until_it_is_over() {
    let server = server(0, 3).await;
    let browser = opened(server.local_addr()).await;
    let node = nodes(&server)[1];
    tab(&browser, "audit").await;
    browser.choose("[data-testid=ice-verb]", "freeze_cluster").await;
    browser.fill("[data-testid=ice-ttl]", "600").await;
    break_glass(&browser, "freeze_cluster", "It touches 3 nodes").await;
    let freeze = Verb::Ice(IceVerb::FreezeCluster { ttl_ms: 600_000 });
    let shown = ["Freeze the cluster", "demo-1 and demo-2", "Applied", "nodes 0, 1, 2"];
    audited(&browser, &server, &freeze, Decision::Applied, &["demo-1", "demo-2"], &shown).await;
    tab(&browser, "nodes").await;
    browser
        .wait_until(
            "[...document.querySelectorAll('[data-testid=node-table] tbody tr')]
                .filter(row => row.textContent.includes('Frozen')).length === 3",
        )
        .await;

    tab(&browser, "audit").await;
    browser.choose("[data-testid=admin-verb]", "drain").await;
    browser.choose("[data-testid=admin-node]", &node.to_string()).await;
    browser.click("[data-testid=admin-submit]").await;
    refused(&browser, "rejected", "freeze_in_effect").await;
    let drain = Verb::Admin(AdminVerb::Drain { node });
    let shown = ["Drain node 1", "demo-1", "Rejected: frozen", "nodes 0, 1, 2"];
    audited(&browser, &server, &drain, FROZEN, &["demo-1"], &shown).await;

    break_glass(&browser, "thaw_cluster", "It touches 3 nodes").await;
    let thaw = Verb::Ice(IceVerb::ThawCluster);
    let shown = ["Thaw the cluster", "Applied", "nodes 0, 1, 2"];
    audited(&browser, &server, &thaw, Decision::Applied, &["demo-1", "demo-2"], &shown).await;
    tab(&browser, "nodes").await;
    browser
        .wait_until("!document.querySelector('[data-testid=node-table]').textContent.includes('Frozen')")
        .await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_glass_command_that_one_operator_signed_is_rejected_everywhere() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    tab(&browser, "audit").await;
    browser.click("[data-testid=ice-operator][value=demo-1]").await;
    break_glass(&browser, "freeze_cluster", "It touches 2 nodes").await;
    refused(&browser, "rejected", "insufficient_signatures").await;
    let freeze = Verb::Ice(IceVerb::FreezeCluster { ttl_ms: 30_000 });
    let decision = Decision::Rejected(Rejection::InsufficientSignatures);
    let shown = ["Freeze the cluster", "demo-2", "Rejected: too few signatures", "nodes 0, 1"];
    audited(&browser, &server, &freeze, decision, &["demo-2"], &shown).await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_signed_elsewhere_is_submitted_from_the_page_and_taken_once() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    let node = nodes(&server)[1];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let wall = WallTime(u64::try_from(now.as_micros()).expect("before the year 586,000"));
    let command = AdminCommand::new(AdminVerb::Cordon { node }, wall, Nonce([5; 16]));
    let envelope = Hex(command.sign(&OperatorKey::demo(3).expect("there are three")).encode());
    tab(&browser, "audit").await;
    browser.choose("[data-testid=admin-verb]", "signed").await;
    browser.fill("[data-testid=admin-envelope]", &envelope.to_string()).await;
    browser.click("[data-testid=admin-submit]").await;
    let verb = Verb::Admin(AdminVerb::Cordon { node });
    let shown = ["Cordon node 1", "demo-3", "Applied", "nodes 0, 1"];
    audited(&browser, &server, &verb, Decision::Applied, &["demo-3"], &shown).await;
    says(&browser, "[data-testid=admin-answer]", &["Cordon node 1: applied, by 2 of 2 nodes"]).await;
    browser.click("[data-testid=admin-submit]").await;
    refused(&browser, "rejected", "nonce_replayed").await;
    tab(&browser, "nodes").await;
    says(&browser, &format!("[data-testid=node-table] [data-node=\"{node}\"]"), &["Cordoned"]).await;
    browser.close().await;
    server.stop().await;
}
