//! A wiretap: an unprivileged UDP relay between two nodes that records every datagram.
//!
//! One node dials the relay's address instead of the other's. What comes from it goes on to the other node from a
//! second socket, and back. To both ends the relay is the peer's address, so it can also slip in datagrams of its
//! own, as anybody could who sits on the path.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio::{net::UdpSocket, task::AbortHandle};

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    /// From the node that dialled to the other.
    Target,
    /// Back to the node that dialled.
    Dialer,
}

/// A datagram that went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Which way.
    pub toward: Toward,
    /// What.
    pub bytes: Vec<u8>,
}

/// A relay in front of one node. Ends when dropped.
#[derive(Debug)]
pub struct Relay {
    path: Arc<Path>,
    front_address: SocketAddr,
    tasks: [AbortHandle; 2],
}

#[derive(Debug)]
struct Path {
    /// The dialer's side.
    front: UdpSocket,
    /// The target's side.
    back: UdpSocket,
    target: SocketAddr,
    /// Whoever spoke first.
    dialer: OnceLock<SocketAddr>,
    captured: Mutex<Vec<Captured>>,
}

impl Relay {
    /// A relay in front of the node at `target`.
    ///
    /// # Errors
    /// When its sockets cannot be opened.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let front_address = front.local_addr()?;
        let path =
            Arc::new(Path { front, back, target, dialer: OnceLock::new(), captured: Mutex::new(Vec::new()) });
        let tasks = [Toward::Target, Toward::Dialer].map(|toward| {
            let path = Arc::clone(&path);
            tokio::spawn(async move { path.carry(toward).await }).abort_handle()
        });
        Ok(Self { path, front_address, tasks })
    }

    /// The address to dial instead of the target's.
    pub fn address(&self) -> SocketAddr {
        self.front_address
    }

    /// Every datagram that went through so far, in order; what was [slipped in](Self::slip_in) is not among them.
    pub fn captured(&self) -> Vec<Captured> {
        self.path.captured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a datagram of its own, from where the other end's datagrams come.
    ///
    /// # Errors
    /// When it cannot be sent, or nobody has dialled yet.
    pub async fn slip_in(&self, toward: Toward, bytes: &[u8]) -> io::Result<()> {
        self.path.send(toward, bytes).await
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Path {
    async fn carry(&self, toward: Toward) {
        let from = match toward {
            Toward::Target => &self.front,
            Toward::Dialer => &self.back,
        };
        let mut buffer = vec![0; 65_536];
        loop {
            // Another's closed port may surface as an error here; the relay goes on.
            let Ok((len, source)) = from.recv_from(&mut buffer).await else {
                tokio::task::yield_now().await;
                continue;
            };
            if toward == Toward::Target {
                self.dialer.get_or_init(|| source);
            }
            let bytes = buffer[..len].to_vec();
            // Recorded before it is sent: what has arrived has been recorded.
            self.captured
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Captured { toward, bytes: bytes.clone() });
            let _ = self.send(toward, &bytes).await;
        }
    }

    async fn send(&self, toward: Toward, bytes: &[u8]) -> io::Result<()> {
        match toward {
            Toward::Target => self.back.send_to(bytes, self.target).await?,
            Toward::Dialer => {
                let dialer = self.dialer.get().ok_or(io::ErrorKind::NotConnected)?;
                self.front.send_to(bytes, *dialer).await?
            }
        };
        Ok(())
    }
}
