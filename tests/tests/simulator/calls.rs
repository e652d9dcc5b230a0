//! Remote calls between nodes, over networks that lose things.

use std::time::Duration;

use meshground_node::{
    CallError, CallEvent, CallId, CallRecord, MAX_BODY, Node, NodeEvent, ReplyError, StreamEvent,
};
use meshground_tests::sim::{Faults, Network};

use super::{PATIENCE, converged};

fn events(net: &Network, number: usize) -> impl Iterator<Item = &CallEvent> {
    net.members[number].told().filter_map(|event| match event {
        NodeEvent::Call(event) => Some(event),
        _ => None,
    })
}

fn records(net: &Network, number: usize) -> Vec<&CallRecord> {
    let mut records = Vec::new();
    for event in events(net, number) {
        if let CallEvent::Observed(record) = event {
            records.push(record);
        }
    }
    records
}

fn requested(net: &Network, number: usize) -> Vec<(CallId, String, Vec<u8>)> {
    let request = |event: &CallEvent| match event {
        CallEvent::Requested { call, method, body, .. } => Some((*call, method.clone(), body.clone())),
        _ => None,
    };
    events(net, number).filter_map(request).collect()
}

fn items(net: &Network, number: usize, of: CallId) -> Vec<Vec<u8>> {
    let item = |event: &CallEvent| match event {
        CallEvent::Item { call, body } if *call == of => Some(body.clone()),
        _ => None,
    };
    events(net, number).filter_map(item).collect()
}

fn outcome(net: &Network, number: usize, of: CallId) -> Option<Result<(), CallError>> {
    events(net, number).find_map(|event| match event {
        CallEvent::Ended { call, outcome } if *call == of => Some(outcome.clone()),
        _ => None,
    })
}

fn call(net: &mut Network, method: &str, body: &[u8], wait: Option<Duration>) -> CallId {
    let peer = net.id(1);
    net.act(0, |node, now| node.call(now, peer, method, body, wait)).expect("the call begins")
}

/// Runs until member 1 has been asked `count` times.
fn await_requests(net: &mut Network, count: usize) -> Vec<(CallId, String, Vec<u8>)> {
    net.run_until(PATIENCE, |net| requested(net, 1).len() >= count).expect("the request arrives");
    requested(net, 1)
}

/// Has member 1 add to its answer, waiting while it must.
fn reply(net: &mut Network, call: CallId, item: &[u8]) {
    loop {
        match net.act(1, |node, now| node.reply(now, call, item)) {
            Ok(()) => return,
            Err(ReplyError::Full) => net.run_for(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn end(net: &mut Network, call: CallId, outcome: Result<(), CallError>) {
    net.act(1, |node, now| node.end_reply(now, call, outcome)).expect("the call goes on");
}

fn open_streams(net: &Network, number: usize) -> usize {
    net.members[number].node.as_ref().map_or(0, Node::open_streams)
}

#[test]
fn a_question_is_answered_and_both_ends_keep_a_record_of_it() {
    for loss in [0.0, 0.3] {
        let mut net = converged(3, 2);
        net.faults = Faults { loss, ..Faults::NONE };
        let asked = call(&mut net, "echo", b"hello", Some(PATIENCE));
        let requests = await_requests(&mut net, 1);
        let [(served, method, body)] = &requests[..] else { panic!("{requests:?}") };
        assert_eq!((&**method, &body[..]), ("echo", &b"hello"[..]));
        reply(&mut net, *served, b"hello yourself");
        end(&mut net, *served, Ok(()));
        net.run_until(PATIENCE, |net| outcome(net, 0, asked).is_some()).expect("the answer arrives");
        assert_eq!(
            (items(&net, 0, asked), outcome(&net, 0, asked)),
            (vec![b"hello yourself".to_vec()], Some(Ok(())))
        );
        for (number, made_here) in [(0, true), (1, false)] {
            let records = records(&net, number);
            let [record] = records[..] else { panic!("{records:?}") };
            assert_eq!((record.made_here, &*record.method, &record.outcome), (made_here, "echo", &Ok(())));
            assert_eq!((record.request_bytes, record.items, record.response_bytes), (5, 1, 14));
            assert!(made_here == (record.took >= Duration::from_millis(2)), "there and back: {record:?}");
        }
        net.run_for(Duration::from_secs(5));
        assert_eq!((open_streams(&net, 0), open_streams(&net, 1)), (0, 0), "nothing is left of it");
    }
}

#[test]
fn bodies_of_four_mebibytes_go_both_ways_and_one_byte_more_does_not() {
    let mut net = converged(3, 2);
    let body: Vec<u8> = (0..MAX_BODY).map(|i| u8::try_from(i / 5 % 251).expect("small")).collect();
    let asked = call(&mut net, "echo", &body, None);
    let (served, _, got) = await_requests(&mut net, 1).remove(0);
    assert!(got == body);
    reply(&mut net, served, &got);
    let too_long = vec![0; MAX_BODY + 1];
    let error = net.act(1, |node, now| node.reply(now, served, &too_long));
    assert_eq!(error, Err(ReplyError::TooLarge(MAX_BODY + 1)));
    end(&mut net, served, Ok(()));
    net.run_until(PATIENCE, |net| outcome(net, 0, asked).is_some()).expect("the answer arrives");
    assert!(items(&net, 0, asked) == [body]);
    let peer = net.id(1);
    let error = net.act(0, |node, now| node.call(now, peer, "echo", &too_long, None));
    assert_eq!(error, Err(CallError::TooLarge(MAX_BODY + 1)));
}

#[test]
fn a_long_answer_waits_for_whoever_takes_it() {
    let mut net = converged(3, 2);
    let asked = call(&mut net, "count", b"", None);
    let (served, ..) = await_requests(&mut net, 1).remove(0);
    let mut sent: u32 = 0;
    // As long as the caller takes nothing, the answer stops somewhere.
    for _ in 0..10_000 {
        match net.act(1, |node, now| node.reply(now, served, &[7; 10_000])) {
            Ok(()) => sent += 1,
            Err(ReplyError::Full) => net.run_for(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent < 1_000, "{sent} items, and nobody took one");
    let told = |net: &Network| items(net, 0, asked).len();
    let before = told(&net);
    assert!(before < usize::try_from(sent).expect("small"));
    net.act(0, |node, now| node.release_items(now, asked, 10, 100_000));
    net.run_for(Duration::from_millis(100));
    assert_eq!(told(&net), before + 10);
    end(&mut net, served, Ok(()));
    while outcome(&net, 0, asked).is_none() {
        net.act(0, |node, now| node.release_items(now, asked, 64, 640_000));
        net.run_for(Duration::from_millis(100));
    }
    assert_eq!(u32::try_from(told(&net)), Ok(sent));
}

/// Calls member 1 with a body as long as may be, and has it answered with the same.
fn echo_much(net: &mut Network) {
    let before = requested(net, 1).len();
    let body = vec![5; MAX_BODY];
    let asked = call(net, "echo", &body, None);
    let (served, _, got) = await_requests(net, before + 1).pop().expect("it was asked");
    reply(net, served, &got);
    end(net, served, Ok(()));
    net.run_until(PATIENCE, |net| outcome(net, 0, asked).is_some()).expect("the answer arrives");
    assert!(items(net, 0, asked) == [body]);
}

#[test]
fn streams_that_nobody_reads_keep_no_call_from_being_answered() {
    let mut net = converged(3, 2);
    // As many as there may be, and as much as goes out on them, both ways.
    for (number, peer) in [net.id(1), net.id(0)].into_iter().enumerate() {
        while let Ok(stream) = net.act(number, |node, now| node.open_stream(now, peer)) {
            net.act(number, |node, now| node.write_stream(now, peer, stream, &[1; 5_000]))
                .expect("it is open");
        }
    }
    net.run_for(Duration::from_secs(10));
    let unread = open_streams(&net, 0);
    assert!(unread > 4_000, "{unread}");
    echo_much(&mut net);
    // More of them than there may be streams at once, and all answered.
    let mut answered = 0;
    while answered < 1_000 {
        let peer = net.id(1);
        while net.act(0, |node, now| node.call(now, peer, "nothing", b"", None)).is_ok() {}
        net.run_for(Duration::from_millis(100));
        let asked: Vec<CallId> =
            requested(&net, 1).into_iter().skip(1 + answered).map(|(call, ..)| call).collect();
        assert!(!asked.is_empty(), "after {answered} none came through");
        answered += asked.len();
        for call in asked {
            end(&mut net, call, Ok(()));
        }
        net.run_for(Duration::from_millis(100));
    }
}

#[test]
fn answers_that_nobody_takes_keep_no_other_call_from_being_answered() {
    let mut net = converged(3, 2);
    let many: Vec<CallId> = (0..10).map(|_| call(&mut net, "count", b"", None)).collect();
    let served: Vec<CallId> =
        await_requests(&mut net, many.len()).into_iter().map(|(call, ..)| call).collect();
    for call in served {
        let mut items = 0;
        while net.act(1, |node, now| node.reply(now, call, &vec![7; 100_000])).is_ok() {
            items += 1;
            net.run_for(Duration::from_millis(10));
        }
        assert!(items > 10, "{items}");
    }
    net.run_for(Duration::from_secs(10));
    echo_much(&mut net);
}

#[test]
fn after_its_deadline_a_call_is_over_at_both_ends() {
    let mut net = converged(3, 2);
    let wait = Duration::from_millis(500);
    let asked = call(&mut net, "sleep", b"", Some(wait));
    let (served, ..) = await_requests(&mut net, 1).remove(0);
    net.run_for(Duration::from_secs(1));
    assert_eq!(outcome(&net, 0, asked), Some(Err(CallError::Deadline(wait))));
    assert!(events(&net, 1).any(|event| *event == CallEvent::Abandoned { call: served }));
    assert_eq!(net.act(1, |node, now| node.reply(now, served, b"late")), Err(ReplyError::Over));
    net.run_for(Duration::from_secs(5));
    assert_eq!((open_streams(&net, 0), open_streams(&net, 1)), (0, 0));
}

#[test]
fn a_server_that_nobody_tells_keeps_the_deadline_by_itself() {
    let mut net = converged(3, 2);
    let asked = call(&mut net, "sleep", b"", Some(Duration::from_millis(500)));
    let (served, ..) = await_requests(&mut net, 1).remove(0);
    net.faults = Faults { loss: 1.0, ..Faults::NONE };
    net.run_for(Duration::from_millis(600));
    assert!(outcome(&net, 0, asked).is_some());
    assert!(events(&net, 1).any(|event| *event == CallEvent::Abandoned { call: served }));
}

#[test]
fn a_call_called_off_is_abandoned_at_the_peer() {
    let mut net = converged(3, 2);
    let asked = call(&mut net, "sleep", b"", None);
    let (served, ..) = await_requests(&mut net, 1).remove(0);
    net.act(0, |node, now| node.cancel_call(now, asked));
    assert_eq!(outcome(&net, 0, asked), Some(Err(CallError::Cancelled)));
    net.run_for(Duration::from_millis(100));
    assert!(events(&net, 1).any(|event| *event == CallEvent::Abandoned { call: served }));
}

#[test]
fn a_call_to_a_peer_that_leaves_is_lost() {
    let mut net = converged(3, 2);
    let asked = call(&mut net, "sleep", b"", None);
    await_requests(&mut net, 1);
    net.act(1, Node::leave);
    net.run_for(Duration::from_millis(100));
    assert_eq!(outcome(&net, 0, asked), Some(Err(CallError::Lost)));
    assert!(events(&net, 1).any(|event| matches!(event, CallEvent::Abandoned { .. })));
}

#[test]
fn a_refusal_arrives_as_it_was_meant() {
    let mut net = converged(3, 2);
    let errors = [
        CallError::UnknownMethod,
        CallError::Overloaded,
        CallError::Failed,
        CallError::Refused { code: 300, reason: "not on a Sunday".to_owned() },
    ];
    for (n, error) in errors.into_iter().enumerate() {
        let asked = call(&mut net, "refuse", b"", None);
        let (served, ..) = await_requests(&mut net, n + 1).remove(n);
        end(&mut net, served, Err(error.clone()));
        net.run_for(Duration::from_millis(100));
        assert_eq!(outcome(&net, 0, asked), Some(Err(error)));
    }
}

#[test]
fn a_thousand_calls_at_once_are_all_answered_over_a_bad_network() {
    let mut net = converged(3, 2);
    net.faults = Faults { loss: 0.2, duplication: 0.1, jitter: Duration::from_millis(20), ..Faults::NONE };
    let asked: Vec<CallId> = (0..1_000_u32).map(|n| call(&mut net, "echo", &n.to_le_bytes(), None)).collect();
    for (served, _, body) in await_requests(&mut net, 1_000) {
        reply(&mut net, served, &body);
        end(&mut net, served, Ok(()));
    }
    let all = |net: &Network| asked.iter().all(|call| outcome(net, 0, *call).is_some());
    for _ in 0..200 {
        net.run_for(Duration::from_millis(100));
        if all(&net) {
            break;
        }
    }
    for (n, call) in (0_u32..).zip(&asked) {
        assert_eq!(outcome(&net, 0, *call), Some(Ok(())), "call {n}");
        assert_eq!(items(&net, 0, *call), [n.to_le_bytes().to_vec()]);
    }
    let plain = net.members[0]
        .told()
        .any(|event| matches!(event, NodeEvent::Stream { event: StreamEvent::Opened(_), .. }));
    assert!(!plain, "calls' streams are their own business");
}
