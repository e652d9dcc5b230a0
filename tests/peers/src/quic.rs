//! quinn: unreliable datagrams and one stream of a QUIC connection, with aws-lc's cryptography.

use std::{net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TransportConfig,
    rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer},
};
use tokio::{task::JoinHandle, time::timeout};

use crate::measure::{Arrivals, Error, Figures, QUIET};

/// What QUIC adds to a datagram, rounded up.
const OVERHEAD: usize = 64;

/// What an endpoint takes for granted without asking.
const USUAL_MTU: usize = 1_200;

/// A connection's two ends, and what must live as long as they.
struct Pair {
    a: Connection,
    b: Connection,
    _endpoints: [Endpoint; 2],
}

/// Two endpoints whose datagrams hold `size` bytes.
async fn pair(size: usize) -> Result<Pair, Error> {
    let mut transport = TransportConfig::default();
    let mtu = (size + OVERHEAD).max(USUAL_MTU);
    let path_mtu = u16::try_from(mtu)?;
    transport.initial_mtu(path_mtu);
    // What is lost on a busy machine must not have it take the path for a narrower one.
    transport.min_mtu(path_mtu);
    // It batches ten datagrams in one call, and silently loses what the system then finds too long.
    transport.enable_segmentation_offload(mtu * 10 < usize::from(u16::MAX));
    let transport = Arc::new(transport);
    let mut endpoint = EndpointConfig::default();
    endpoint.max_udp_payload_size(65_527)?;

    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = certified.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let mut server = ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
    server.transport_config(Arc::clone(&transport));
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut client = ClientConfig::with_root_certificates(Arc::new(roots))?;
    client.transport_config(transport);

    let open = |server| {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        Endpoint::new(endpoint.clone(), server, socket, Arc::new(quinn::TokioRuntime))
    };
    let (b, a) = (open(Some(server))?, open(None)?);
    let dial = a.connect_with(client, b.local_addr()?, "localhost")?;
    let answer = async { Ok::<_, Error>(b.accept().await.ok_or("the endpoint closed")?.await?) };
    let (answered, dialed) = tokio::join!(answer, dial);
    Ok(Pair { a: dialed?, b: answered?, _endpoints: [a, b] })
}

/// Unreliable datagrams of `size` bytes one way.
pub(crate) async fn messages(size: usize) -> Result<Figures, Error> {
    let Pair { a, b, _endpoints } = pair(size).await?;
    let start = Arrivals::start();
    let receiving: JoinHandle<Result<Arrivals, Error>> = tokio::spawn(async move {
        let mut arrivals = start;
        while let Ok(datagram) = timeout(QUIET, b.read_datagram()).await {
            assert_eq!(datagram?.len(), size, "datagrams arrive whole");
            arrivals.add(1);
        }
        Ok(arrivals)
    });
    let payload = Bytes::from(vec![7; size]);
    let mut sent = 0;
    while start.is_flowing() {
        a.send_datagram_wait(payload.clone()).await?;
        sent += 1;
    }
    receiving.await??.figures(size, sent)
}

/// One stream, written `size` bytes at a time.
pub(crate) async fn stream(size: usize) -> Result<Figures, Error> {
    let Pair { a, b, _endpoints } = pair(0).await?;
    let start = Arrivals::start();
    let receiving: JoinHandle<Result<usize, Error>> = tokio::spawn(async move {
        let mut stream = b.accept_uni().await?;
        let mut bytes = 0;
        while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
            bytes += chunk.bytes.len();
        }
        Ok(bytes)
    });
    let mut stream = a.open_uni().await?;
    let payload = vec![7; size];
    let mut sent = 0;
    while start.is_flowing() {
        stream.write_all(&payload).await?;
        sent += 1;
    }
    stream.finish()?;
    let mut arrivals = start;
    arrivals.add(receiving.await?? / size);
    arrivals.figures(size, sent)
}
