//! Unreliable messages, one way between two nodes.

use std::time::Instant;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    measure::{Arrivals, Error, FLOW, Figures, QUIET, as_f64},
    ours::Pair,
    suite::{Contender, MESHGROUND, Round, Topic},
    table::{Better, Column, Unit},
};

const SIZES: [(usize, &str); 4] = [(64, "64 B"), (256, "256 B"), (1_024, "1 KiB"), (8_192, "8 KiB")];

/// The longest message that net-mesh-sdk sends.
const ITS_LONGEST: usize = 8_104;

pub(crate) fn topic() -> Topic {
    let rounds = SIZES.into_iter().map(|(size, label)| Round {
        label: label.to_owned(),
        contenders: vec![
            Contender::own(MESHGROUND, format!("messages {size}")),
            Contender::own("AES-256-GCM alone, one core", format!("aead {size}")),
            Contender::peers("bare UDP, GSO and GRO", format!("udp messages {size}")),
            Contender::peers("quinn, datagrams", format!("quinn messages {size}")),
            Contender::peers(
                "net-mesh-sdk, one a call",
                format!("net-mesh messages {} 1", size.min(ITS_LONGEST)),
            ),
            Contender::peers(
                "net-mesh-sdk, 64 a call",
                format!("net-mesh messages {} 64", size.min(ITS_LONGEST)),
            ),
        ],
    });
    Topic {
        name: "messages",
        title: "Unreliable messages, one way",
        text: "Between two nodes in one process over loopback, delivered a second, as fast as the sender may; time runs from \
            the first one sent to the last one received. *Delivered* is the share of the sent ones that got through. \
            AES-256-GCM is sealing and opening in memory; bare UDP encrypts nothing. \
            net-mesh-sdk's longest message, 8,104 B, stands for its 8 KiB; \
            quinn goes without segmentation offload there, in which it would lose almost everything.",
        columns: flow_columns(),
        better: Better::More,
        rounds: rounds.collect(),
    }
}

/// What is shown of a flow of messages.
pub(crate) fn flow_columns() -> Vec<Column> {
    vec![
        Column { heading: "messages", key: "rate", unit: Unit::Rate },
        Column { heading: "payload", key: "throughput", unit: Unit::Throughput },
        Column { heading: "delivered", key: "delivered", unit: Unit::Share },
    ]
}

/// Messages of `size` bytes.
pub(crate) async fn messages(size: usize) -> Result<Figures, Error> {
    let pair = Pair::new(size).await?;
    let (mut sender, mut receiver) = pair.messages();
    let start = Arrivals::start();
    let receiving: JoinHandle<Result<Arrivals, Error>> = tokio::spawn(async move {
        let mut arrivals = start;
        while let Ok(received) = timeout(QUIET, receiver.receive()).await {
            arrivals.add(received?);
        }
        Ok(arrivals)
    });
    // In a task of its own: the one that began runs on no worker thread.
    let sending: JoinHandle<Result<usize, Error>> = tokio::spawn(async move {
        let payload = vec![7; size];
        let mut sent = 0;
        while start.is_flowing() {
            sender.send(&payload).await?;
            sent += 1;
        }
        Ok(sent)
    });
    let sent = sending.await??;
    receiving.await??.figures(size, sent)
}

/// Sealing and opening `size` bytes in place, on one core.
pub(crate) fn aead(size: usize) -> Result<Figures, Error> {
    const IN_A_ROW: usize = 100;
    let failed = |_| "AES-256-GCM refused";
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0x42; 32]).map_err(failed)?);
    let nonce = |counter: usize| {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&(counter as u64).to_be_bytes());
        Nonce::assume_unique_for_key(bytes)
    };
    let header = [0; 16];
    let mut buffer = vec![7; size];
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < FLOW / 3 {
        for _ in 0..IN_A_ROW {
            let tag = key
                .seal_in_place_separate_tag(nonce(count), Aad::from(&header), &mut buffer)
                .map_err(failed)?;
            buffer.extend_from_slice(tag.as_ref());
            key.open_in_place(nonce(count), Aad::from(&header), &mut buffer).map_err(failed)?;
            buffer.truncate(size);
            count += 1;
        }
    }
    let rate = as_f64(count) / start.elapsed().as_secs_f64();
    Ok(vec![("rate", rate), ("throughput", rate * as_f64(size))])
}
