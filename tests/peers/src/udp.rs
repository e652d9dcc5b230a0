//! Bare UDP with segmentation offload in both directions, through quinn-udp under tokio: no encryption, no protocol.

use std::{
    io::{self, IoSliceMut},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket, task::JoinHandle, time::timeout};

use crate::measure::{Arrivals, Error, Figures, QUIET};

/// The longest that one call sends or one buffer receives.
const LONGEST: usize = 65_507;

struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    async fn open() -> Result<Self, Error> {
        let io = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // As far as the system allows.
        let _ = state.set_send_buffer_size(UdpSockRef::from(&io), 4 << 20);
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&io), 4 << 20);
        Ok(Self { io, state })
    }

    async fn send(&self, destination: SocketAddr, size: usize, contents: &[u8]) -> io::Result<()> {
        let transmit = Transmit { destination, ecn: None, contents, segment_size: Some(size), src_ip: None };
        let send = || self.state.try_send(UdpSockRef::from(&self.io), &transmit);
        self.io.async_io(Interest::WRITABLE, send).await
    }

    async fn receive(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        let receive = || self.state.recv(UdpSockRef::from(&self.io), buffers, metas);
        self.io.async_io(Interest::READABLE, receive).await
    }
}

/// Datagrams of `size` bytes one way, as many in each call as fit.
pub(crate) async fn messages(size: usize) -> Result<Figures, Error> {
    let (a, b) = (Socket::open().await?, Arc::new(Socket::open().await?));
    let destination = b.io.local_addr()?;
    let start = Arrivals::start();
    let receiving: JoinHandle<Result<Arrivals, Error>> = tokio::spawn(async move {
        let mut arrivals = start;
        let mut memory = vec![0; BATCH_SIZE * (1 << 16)];
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        loop {
            let mut buffers: Vec<_> = memory.chunks_mut(1 << 16).map(IoSliceMut::new).collect();
            let Ok(received) = timeout(QUIET, b.receive(&mut buffers, &mut metas)).await else {
                return Ok(arrivals);
            };
            arrivals.add(metas[..received?].iter().map(|meta| meta.len / meta.stride).sum());
        }
    });
    let a_call = a.state.max_gso_segments().min(LONGEST / size);
    let payload = vec![7; a_call * size];
    let mut sent = 0;
    while start.is_flowing() {
        a.send(destination, size, &payload).await?;
        sent += a_call;
        // A receiver that never ran would lose everything.
        tokio::task::consume_budget().await;
    }
    receiving.await??.figures(size, sent)
}
