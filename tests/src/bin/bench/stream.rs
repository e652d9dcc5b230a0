//! One reliable, ordered stream between two nodes.

use tokio::{task::JoinHandle, time::timeout};

use crate::{
    measure::{Arrivals, Error, Figures, QUIET},
    messages::flow_columns,
    ours::Pair,
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
                Contender::own(MESHGROUND, "stream 1024"),
                Contender::peers("quinn", "quinn stream 1024"),
                Contender::peers("net-mesh-sdk", "net-mesh stream 1024"),
            ],
        }],
    }
}

/// A stream written `size` bytes at a time.
pub(crate) async fn stream(size: usize) -> Result<Figures, Error> {
    let pair = Pair::new(size).await?;
    let (mut sender, mut receiver) = pair.stream().await?;
    let start = Arrivals::start();
    let receiving: JoinHandle<Result<Arrivals, Error>> = tokio::spawn(async move {
        let (mut arrivals, mut buffer, mut partial) = (start, vec![0; 256 << 10], 0);
        while let Ok(read) = timeout(QUIET, receiver.read(&mut buffer)).await {
            match read? {
                0 => break,
                len => {
                    partial += len;
                    arrivals.add(partial / size);
                    partial %= size;
                }
            }
        }
        Ok(arrivals)
    });
    let sending: JoinHandle<Result<usize, Error>> = tokio::spawn(async move {
        let piece = vec![7; size];
        let mut sent = 0;
        while start.is_flowing() {
            sender.write_all(&piece).await?;
            sent += 1;
        }
        sender.finish().await?;
        Ok(sent)
    });
    let sent = sending.await??;
    receiving.await??.figures(size, sent)
}
