//! One reliable, ordered stream between two nodes.

use crate::{
    messages::flow_columns,
    suite::{Contender, MESHGROUND, Round, Topic},
    table::Better,
};

pub(crate) fn topic() -> Topic {
    Topic {
        name: "stream",
        title: "One reliable stream",
        text: "Between two nodes in one process over loopback, written 1 KiB at a time, until the last byte has been read. \
            net-mesh-sdk's is a sequence of messages, one a call.",
        columns: flow_columns(),
        better: Better::More,
        rounds: vec![Round {
            label: "1 KiB".to_owned(),
            contenders: vec![
                Contender::not_yet(MESHGROUND),
                Contender::peers("quinn", "quinn stream 1024"),
                Contender::peers("net-mesh-sdk", "net-mesh stream 1024"),
            ],
        }],
    }
}
