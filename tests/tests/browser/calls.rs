//! Calls from node to node.

use meshground_shared::{CallOutcome, EventKind};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_made_from_the_page_is_listed_with_its_way_its_outcome_and_how_long_it_took() {
    let server = server(0, 2).await;
    let browser = opened(server.local_addr()).await;
    let nodes = nodes(&server);
    let Subscription { mut events, .. } = server.log().subscribe();
    tab(&browser, "calls").await;
    browser.choose("[data-testid=call-from]", &nodes[1].to_string()).await;
    browser.choose("[data-testid=call-to]", &nodes[0].to_string()).await;
    browser.fill("[data-testid=call-body]", "as loud as I can").await;
    browser.click("[data-testid=call]").await;
    says(&browser, "[data-testid=call-answer]", &["Node 0", "as loud as I can"]).await;
    let finished = async {
        loop {
            let event = events.recv().await.expect("the log has room");
            if let EventKind::CallFinished { peer, outcome, .. } = &event.kind {
                return (event.node, *peer, outcome.clone());
            }
        }
    };
    let finished = in_time("the call's event", finished).await;
    assert_eq!(finished, (Some(nodes[1]), nodes[0], CallOutcome::Ok));
    let row = "[data-testid=call-row][data-ok=true]";
    says(&browser, row, &["Node 1", "Node 0", "echo", "Answered"]).await;
    let took = browser.value(&format!("document.querySelector('{row} .took-cell').textContent")).await;
    let took = took.as_str().expect("text").trim().to_owned();
    let (figure, unit) = took.split_once(|c: char| c.is_whitespace()).expect("a figure and its unit");
    assert!(figure.parse::<f64>().is_ok_and(|figure| figure > 0.0), "{took}");
    assert!(["µs", "ms", "s"].contains(&unit), "{took}");

    browser.fill("[data-testid=call-method]", "nobody-serves-this").await;
    browser.click("[data-testid=call]").await;
    refused(&browser, "call_failed", "no method").await;
    says(&browser, "[data-testid=call-row][data-ok=false]", &["nobody-serves-this", "Failed", "no method"])
        .await;
    browser.close().await;
    server.stop().await;
}
