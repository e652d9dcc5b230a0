//! Groups.

use std::collections::BTreeSet;

use meshground_shared::{GroupHealth, GroupView};

use super::*;

/// Spawns a group of counters by the page's form.
async fn spawn_group(browser: &Browser, kind: &str, parent: Option<DaemonId>, count: u32, args: &str) {
    tab(browser, "groups").await;
    browser.choose("[data-testid=group-kind]", kind).await;
    match parent {
        Some(parent) => browser.choose("[data-testid=group-parent]", &parent.to_string()).await,
        None => browser.choose("[data-testid=group-daemon]", "counter").await,
    }
    browser.fill("[data-testid=group-count]", &count.to_string()).await;
    browser.fill("[data-testid=group-name]", "the-group").await;
    browser.fill("[data-testid=group-args]", args).await;
    browser.click("[data-testid=group-spawn]").await;
    says(browser, "[data-testid=group-row]", &["the-group", "Healthy"]).await;
}

/// Waits until the page shows a healthy group of so many members, all on different nodes.
async fn spread(browser: &Browser, count: usize) {
    browser
        .wait_until(&format!(
            "(() => {{
                const running = [...document.querySelectorAll('[data-testid=group-member][data-state=running]')];
                const nodes = running.map(member => member.dataset.node);
                return nodes.length === {count} && new Set(nodes).size === {count}
                    && document.querySelectorAll('[data-testid=group-member]').length === {count}
                    && document.querySelector('[data-testid=group-desired]').textContent === '{count}'
                    && document.querySelector('[data-testid=group-row]').textContent.includes('Healthy');
            }})()"
        ))
        .await;
}

fn group(snapshot: &Snapshot) -> &GroupView {
    snapshot.groups.values().next().expect("there is a group")
}

/// Where the server says that its members run.
fn hosts(snapshot: &Snapshot) -> BTreeSet<NodeId> {
    let running = group(snapshot).members.iter().filter(|member| member.running);
    running.filter_map(|member| member.node).collect()
}

/// The member that works, and where.
async fn active(browser: &Browser) -> (DaemonId, NodeId) {
    let member = "document.querySelector('[data-testid=group-member][data-state=active]')";
    browser.wait_until(member).await;
    let told = browser.value(&format!("[{member}.title, {member}.dataset.node]")).await;
    serde_json::from_value(told).expect("two ids")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_scaled_from_the_page_has_so_many_members_on_different_nodes_and_replaces_a_lost_one() {
    let server = server(0, 4).await;
    let browser = opened(server.local_addr()).await;
    spawn_group(&browser, "replica", None, 2, "").await;
    spread(&browser, 2).await;
    browser.click("[data-testid=group-up]").await;
    spread(&browser, 3).await;
    let snapshot = server.log().snapshot();
    assert_eq!((group(&snapshot).desired, hosts(&snapshot).len()), (3, 3));

    let doomed = *hosts(&snapshot).last().expect("there are three");
    tab(&browser, "nodes").await;
    browser.click(&format!("[data-testid=node-table] [data-node=\"{doomed}\"] button")).await;
    browser.click("[data-testid=node-crash]").await;
    let replaced = |snapshot: &Snapshot| {
        let hosts = hosts(snapshot);
        group(snapshot).health == GroupHealth::Healthy && hosts.len() == 3 && !hosts.contains(&doomed)
    };
    until(&server, "another member", replaced).await;
    tab(&browser, "groups").await;
    browser
        .wait_until(&format!("!document.querySelector('[data-testid=group-member][data-node=\"{doomed}\"]')"))
        .await;
    spread(&browser, 3).await;

    browser.click("[data-testid=group-down]").await;
    spread(&browser, 2).await;
    until(&server, "two members", |snapshot| hosts(snapshot).len() == 2).await;
    browser.click("[data-testid=group-stop]").await;
    browser.wait_until("!document.querySelector('[data-testid=group-row]')").await;
    until(&server, "the group's end", |snapshot| snapshot.groups.is_empty()).await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_for_which_there_are_too_few_nodes_is_refused() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    tab(&browser, "groups").await;
    browser.fill("[data-testid=group-count]", "3").await;
    browser.click("[data-testid=group-spawn]").await;
    refused(&browser, "unplaceable", "3 members need as many nodes").await;
    assert!(server.log().snapshot().groups.is_empty());
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_promoted_from_the_page_goes_on_where_the_other_stood() {
    let server = server(0, 3).await;
    let browser = opened(server.local_addr()).await;
    spawn_group(&browser, "standby", None, 2, "from=40").await;
    let (worker, host) = active(&browser).await;
    tab(&browser, "daemons").await;
    asks(&browser, worker, host, "add 2", "42").await;
    tab(&browser, "groups").await;
    says(&browser, "[data-testid=group-member][data-state=standby]", &["1 synced"]).await;
    browser.click("[data-testid=group-promote]").await;
    browser
        .wait_until(&format!(
            "document.querySelector('[data-testid=group-member][data-state=active]:not([data-node=\"{host}\"])')
             && document.querySelectorAll('[data-testid=group-member][data-state=active]').length === 1"
        ))
        .await;
    let (successor, host) = active(&browser).await;
    tab(&browser, "daemons").await;
    asks(&browser, successor, host, "add 1", "43").await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_spawned_from_the_page_begins_with_its_parents_state_and_goes_its_own_way() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    let home = nodes(&server)[0];
    let parent = spawn(&browser, &server, home, "counter", "from=40").await;
    asks(&browser, parent, home, "add 2", "42").await;
    spawn_group(&browser, "fork", Some(parent), 1, "").await;
    spread(&browser, 1).await;
    let snapshot = server.log().snapshot();
    let member = group(&snapshot).members[0];
    let host = member.node.expect("it is placed");
    tab(&browser, "daemons").await;
    asks(&browser, member.daemon, host, "add 5", "47").await;
    asks(&browser, parent, home, "add 1", "43").await;
    browser.close().await;
    server.stop().await;
}
