//! Daemons, their crashes and their migrations.

use meshground_shared::{
    LinkFault, MigrationPhase,
    rpc::{FaultParams, FaultSet},
};
use meshground_tests::ws::Client;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_spawned_and_stopped_from_the_page_comes_and_goes_in_its_table_and_on_the_server() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    let node = nodes(&server)[1];
    let counter = spawn(&browser, &server, node, "counter", "from=40").await;
    asks(&browser, counter, node, "add 2", "42").await;
    // No event tells that: it comes with the gauges.
    let row = row(counter, node);
    browser
        .wait_until(&format!(
            "document.querySelector('{row} [data-testid=daemon-events]').textContent === '1'"
        ))
        .await;
    // By way of the other node.
    browser.choose("[data-testid=daemon-via]", &nodes(&server)[0].to_string()).await;
    asks(&browser, counter, node, "add 3", "45").await;

    browser.click(&format!("{row} [data-testid=daemon-stop]")).await;
    browser.wait_until("!document.querySelector('[data-testid=daemon-row]')").await;
    until(&server, "its end", |snapshot| snapshot.nodes[&node].daemons.is_empty()).await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_cannot_be_made_is_refused_in_the_servers_words() {
    let server = server(0, 1).await;
    let browser = opened(server.local_addr()).await;
    tab(&browser, "daemons").await;
    browser.choose("[data-testid=daemon-kind]", "counter").await;
    browser.fill("[data-testid=daemon-args]", "from=many").await;
    browser.click("[data-testid=daemon-spawn]").await;
    refused(&browser, "spawn_failed", "from").await;
    let none = browser.value("document.querySelector('[data-testid=daemon-row]')").await;
    assert_eq!(none, Value::Null);
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_moved_from_the_page_goes_on_counting_and_the_migrations_table_says_how_it_went() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    let nodes = nodes(&server);
    let counter = spawn(&browser, &server, nodes[0], "counter", "from=40").await;
    asks(&browser, counter, nodes[0], "add 2", "42").await;
    browser.choose("[data-testid=daemon-to]", &nodes[1].to_string()).await;
    browser.click("[data-testid=daemon-migrate]").await;
    lives(&browser, counter, nodes[1], "running").await;
    asks(&browser, counter, nodes[1], "add 1", "43").await;
    tab(&browser, "migrations").await;
    let over = "[data-testid=migration-row][data-over=true]";
    says(&browser, over, &["Complete", "Node 0", "Node 1", "counter"]).await;
    let cancel = browser.value("document.querySelector('[data-testid=migration-cancel]')").await;
    assert_eq!(cancel, Value::Null, "there is nothing to cancel any more");
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_cancelled_from_the_page_leaves_the_daemon_where_it_is() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    let nodes = nodes(&server);
    let counter = spawn(&browser, &server, nodes[0], "counter", "from=40").await;
    // So that there is time to call it off.
    let fault = LinkFault { delay_us: 400_000, ..LinkFault::default() };
    let params = FaultParams { from: nodes[0], to: nodes[1], both_ways: true, fault };
    let mut client = Client::connect(server.local_addr()).await;
    client.call::<FaultSet>(&params).await.expect("the link is slow");
    browser.click(&format!("{} [data-testid=daemon-more]", row(counter, nodes[0]))).await;
    browser.choose("[data-testid=daemon-to]", &nodes[1].to_string()).await;
    browser.click("[data-testid=daemon-migrate]").await;
    tab(&browser, "migrations").await;
    browser.click("[data-testid=migration-cancel]").await;
    says(&browser, "[data-testid=migration-row][data-over=true]", &["Cancelled"]).await;
    let snapshot = server.log().snapshot();
    let phases: Vec<_> = snapshot.migrations.values().map(|migration| migration.view.phase).collect();
    assert_eq!(phases, [MigrationPhase::Cancelled]);
    tab(&browser, "daemons").await;
    lives(&browser, counter, nodes[0], "running").await;
    asks(&browser, counter, nodes[0], "get", "40").await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_told_to_crash_shows_how_it_backs_off_and_then_stays_down() {
    let server = server(0, 1).await;
    let browser = opened(server.local_addr()).await;
    let node = nodes(&server)[0];
    let canary = spawn(&browser, &server, node, "canary", "").await;
    for restarts in 1..=4 {
        deliver(&browser, canary, node, "crash").await;
        refused(&browser, "call_failed", "crashed").await;
        if restarts == 4 {
            // For four seconds.
            lives(&browser, canary, node, "backing_off").await;
        }
        // The first pauses are short; the log keeps what the table showed.
        browser
            .wait_until(&format!(
                "document.querySelector('{row}[data-lifecycle=running] [data-testid=daemon-restarts]')
                    ?.textContent === '{restarts}'
                 && [...document.querySelectorAll('[data-testid=event-row]')]
                    .filter(event => event.textContent.includes('starts again after a pause')).length === {restarts}",
                row = row(canary, node)
            ))
            .await;
    }
    deliver(&browser, canary, node, "crash").await;
    lives(&browser, canary, node, "crash_looping").await;
    says(&browser, &row(canary, node), &["Crash-looping"]).await;
    let server_says = server.log().snapshot().nodes[&node].daemons[&canary].lifecycle;
    assert_eq!(server_says, Lifecycle::CrashLooping);
    browser.close().await;
    server.stop().await;
}
