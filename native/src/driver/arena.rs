//! Where datagrams are received: memory of the worker thread, not of the node. A thousand nodes need no more of it
//! than one.

use std::{
    cell::RefCell,
    io::{self, IoSliceMut},
    net::SocketAddr,
};

use quinn_udp::RecvMeta;

use super::socket::Socket;

/// Runs of datagrams taken in one system call.
const RUNS: usize = 8;

/// Room for a run: as much as one IP packet, into which offload joins one.
const RUN_LEN: usize = 1 << 16;

thread_local! {
    /// Zeroed memory that nothing is written to is not there: a thread pays for what its nodes have received.
    static ARENA: RefCell<Box<[u8]>> = RefCell::new(vec![0; RUNS * RUN_LEN].into_boxed_slice());
}

/// Reads some of what `socket` holds, and gives `each` every run of datagrams from one sender: who, what, and how long
/// each of them is, save the last, which may be shorter. `each` must not receive. Whether that was all.
pub(super) fn receive(
    socket: &Socket,
    mut each: impl FnMut(SocketAddr, &mut [u8], usize),
) -> io::Result<bool> {
    ARENA.with_borrow_mut(|arena| {
        let mut meta = [RecvMeta::default(); RUNS];
        let (filled, all) = {
            let mut rooms = arena.chunks_exact_mut(RUN_LEN);
            let mut buffers: [IoSliceMut<'_>; RUNS] =
                std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
            socket.try_recv(&mut buffers, &mut meta)?
        };
        for (room, meta) in arena.chunks_exact_mut(RUN_LEN).zip(&meta[..filled]) {
            if let Some(run) = room.get_mut(..meta.len) {
                each(meta.addr, run, meta.stride);
            }
        }
        Ok(all)
    })
}
